"""XGAN with the paper's networks, losses and Adam at 64 px (Royer et al. 2017).

    xgan prepare --domain face=PATH --domain anime=PATH --out data/faces
    python train.py --config configs/xgan.py --workdir runs/xgan --config.data.path=data/faces

21 million parameters, 92 GFLOP a step of 32 + 32 pictures: 0.6 s a step on 2 CPU cores, so hours there and a
run for a GPU. What the paper leaves open is listed in docs/choices.md. Watch `loss/reconstruction` fall,
`classifier_accuracy` stay near 0.5 and `embedding_std` stay away from zero.

In docs/leaderboard.md (16,000 drawn pictures of 64 px, one CPU core, narrow): 2 minutes of training;
blurred faces of the right hair, or of the wrong one (one seed of three); top-1 17% / 22%, KID 108% / 109%
of the untranslated pictures'.
"""

from xgan_jax.config import Config, DataConfig
from xgan_jax.xgan import Networks, Weights


def get_config() -> Config:
    return Config(method="xgan", networks=Networks(), weights=Weights(), data=DataConfig(size=64))

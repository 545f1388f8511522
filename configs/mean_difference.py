"""One picture added to every picture (`xgan_jax/baselines/mean_difference.py`): what any method has to beat.

    xgan prepare --domain face=PATH --domain anime=PATH --out data/faces
    python train.py --config configs/mean_difference.py --workdir runs/mean --config.data.path=data/faces

A minute on any machine. Expect the source with a faint mask of the other domain's mean over it.

In docs/leaderboard.md (16,000 drawn pictures of 64 px, one CPU core): a minute of training; the source
under a mask; top-1 34% / 46%, KID 49% / 61% of the untranslated pictures'.
"""

from xgan_jax.baselines.mean_difference import Networks, Weights
from xgan_jax.config import Config, DataConfig, OptimizerConfig, RunConfig


def get_config() -> Config:
    return Config(
        method="baselines.mean_difference",
        networks=Networks(),
        weights=Weights(),
        data=DataConfig(size=64, shift=0),
        optimizer=OptimizerConfig(),  # of nothing
        run=RunConfig(steps=200, batch_size=100),
    )

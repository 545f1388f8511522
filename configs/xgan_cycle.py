"""XGAN and CycleGAN's losses in one step, with the paper's networks at 64 px.

    xgan prepare --domain face=PATH --domain anime=PATH --out data/faces
    python train.py --config configs/xgan_cycle.py --workdir runs/xgan_cycle --config.data.path=data/faces

`configs/xgan.py` with the round trip through pixels and the identity term, at CycleGAN's weights. Beside the
paper's 2-norm they are light: an error of 0.1 a pixel costs 11 in the reconstruction, 1 in the round trip.
For a GPU: by its arithmetic 20 minutes at 20 TFLOP/s (`benchmarks/costs.py`; not measured).

In docs/leaderboard.md (16,000 drawn pictures of 64 px, one CPU core, narrow): 4 minutes of training; blurred
faces of the right hair; top-1 28% / 34%, KID 113% / 96% of the untranslated pictures'.
"""

from xgan_jax.config import Config, DataConfig
from xgan_jax.xgan import Networks, Weights


def get_config() -> Config:
    return Config(
        method="xgan",
        networks=Networks(),
        weights=Weights(cycle=10.0, identity=5.0),
        data=DataConfig(size=64),
    )

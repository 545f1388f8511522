"""A convolutional encoder and decoder, trained towards any picture of the other domain
(`xgan_jax/baselines/regression.py`).

    xgan prepare --domain face=PATH --domain anime=PATH --out data/faces
    python train.py --config configs/regression.py --workdir runs/regression --config.data.path=data/faces

Minutes on two CPU cores. Expect one blurred mean face for every picture, the sooner the longer it trains.

In docs/leaderboard.md (16,000 drawn pictures of 64 px, one CPU core): a minute of training; the mean
picture; top-1 0% / 0%, KID 294% / 312% of the untranslated pictures'.
"""

from xgan_jax.baselines.regression import Networks, Weights
from xgan_jax.config import Config, DataConfig, OptimizerConfig, RunConfig


def get_config() -> Config:
    return Config(
        method="baselines.regression",
        networks=Networks(),
        weights=Weights(),
        data=DataConfig(size=64, shift=4),
        optimizer=OptimizerConfig(learning_rate=1e-3, decay=0.5),
        run=RunConfig(steps=2500, batch_size=32, sample_every=500),
    )

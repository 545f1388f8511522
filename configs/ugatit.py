"""U-GAT-IT as its authors train it at 256 px: 279 million parameters a generator (Kim et al. 2020).

    xgan prepare --domain face=PATH --domain anime=PATH --out data/faces256 --size 256
    python train.py --config configs/ugatit.py --workdir runs/ugatit --config.data.path=data/faces256

A million steps of one picture of each domain, half of them with decay: for a large GPU, by its arithmetic 36
hours at 20 TFLOP/s (`benchmarks/costs.py`; not measured). What fits most machines is
`configs/ugatit_light.py`.

In docs/leaderboard.md (16,000 drawn pictures of 64 px, one CPU core, narrow): 19 minutes of training; the
target's faces, loosely the source's; top-1 10% / 11%, KID 56% / 50% of the untranslated pictures'.
"""

from xgan_jax.baselines.ugatit import Networks, Weights
from xgan_jax.config import Config, DataConfig, OptimizerConfig, RunConfig


def get_config() -> Config:
    return Config(
        method="baselines.ugatit",
        networks=Networks(),
        weights=Weights(),
        data=DataConfig(size=256, shift=15),
        optimizer=OptimizerConfig(learning_rate=1e-4, decay=0.5, ema_decay=0.0),
        run=RunConfig(steps=1_000_000, batch_size=1, checkpoint_every=5000, sample_every=5000),
    )

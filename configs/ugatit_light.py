"""U-GAT-IT's light model, 10.6 million parameters a generator, at 64 px (Kim et al. 2020).

    xgan prepare --domain face=PATH --domain anime=PATH --out data/faces
    python train.py --config configs/ugatit_light.py --workdir runs/ugatit_light --config.data.path=data/faces

For one GPU: its 200,000 steps are, by arithmetic, 25 minutes at 20 TFLOP/s (`benchmarks/costs.py`; not
measured, and steps this small wait for their launch, so longer). At 256 px: `--config.data.size=256
--config.data.shift=15`, and a million steps. The authors' users tell of blank pictures and of a weak
anime-to-face side with the light model.

In docs/leaderboard.md (16,000 drawn pictures of 64 px, one CPU core, narrow): 15 minutes of training; the
target's faces, loosely the source's; top-1 8% / 10%, KID 55% / 56% of the untranslated pictures'; after
32,000 40% / 43%.
"""

from xgan_jax.baselines.ugatit import Networks, Weights
from xgan_jax.config import Config, DataConfig, OptimizerConfig, RunConfig


def get_config() -> Config:
    return Config(
        method="baselines.ugatit",
        networks=Networks(light=True),
        weights=Weights(),
        data=DataConfig(size=64, shift=4),
        optimizer=OptimizerConfig(learning_rate=1e-4, decay=0.5, ema_decay=0.0),
        run=RunConfig(steps=200_000, batch_size=1, checkpoint_every=5000, sample_every=5000),
    )

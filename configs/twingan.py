"""Twin-GAN with progressive growing to 64 px (Li 2018).

    xgan prepare --domain face=PATH --domain anime=PATH --out data/faces
    python train.py --config configs/twingan.py --workdir runs/twingan --config.data.path=data/faces

The author's rates and phases: 300,000 pictures at each side while it is faded in, 300,000 while it is held.
For a GPU: by its arithmetic 8 hours at 20 TFLOP/s, less while it is small (`benchmarks/costs.py`; not
measured). To grow further, `--config.data.size=256` with smaller batches and as many more steps. On a laptop
take `--config.networks.width=0.25 --config.networks.discriminator_width=0.25
--config.weights.growth_steps=1000`. With labels of the anime pictures,
`--config.networks.reference=xgan_jax.readers.judge:as_reference` makes translations follow the hair and
eyes of a chosen picture (`xgan translate --reference`).

In docs/leaderboard.md (16,000 drawn pictures of 64 px, one CPU core, narrow): 10 minutes of training; large
eyes and the source's hair, roughly drawn; top-1 10% / 16%, KID 51% / 57% of the untranslated pictures'. With
references (48,000 pictures, 25 minutes): top-1 19% / 45%, KID 50% / 34%; hair of a reference is followed in
0.99, eyes in 0.91 of what can be read.
"""

from xgan_jax.baselines.twingan import Networks, Weights
from xgan_jax.config import Config, DataConfig, OptimizerConfig, RunConfig


def get_config() -> Config:
    return Config(
        method="baselines.twingan",
        networks=Networks(),
        weights=Weights(),
        data=DataConfig(size=64, shift=4, colour=0.1),
        optimizer=OptimizerConfig(learning_rate=1e-4, b2=0.99, ema_decay=0.0),
        run=RunConfig(steps=400_000, batch_size=8),
    )

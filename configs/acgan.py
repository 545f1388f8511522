"""A conditional GAN, then an encoder into its latent (Dong et al. 2017), both steps in one run, at 64 px.

    xgan prepare --domain face=PATH --domain anime=PATH --out data/faces
    python train.py --config configs/acgan.py --workdir runs/acgan --config.data.path=data/faces

The authors' rate, batch and lengths (100 epochs of some 16,000 pictures a domain, then 30,000 steps). Beside
their losses R1: without it, in short trials, z came to be lost (docs/choices.md); `--config.weights.r1=0
--config.optimizer.discriminator_scale=0.5` is theirs (two of their generator's steps to one of the
discriminator's are here the discriminator's half rate, for all players move at once). Before
`weights.encoder_start` samples are of an encoder that has not begun.

For a GPU: by its arithmetic half an hour at 20 TFLOP/s (`benchmarks/costs.py`; not measured). On a laptop
take `--config.networks.width=0.25 --config.networks.discriminator_width=0.5 --config.networks.resize=True
--config.run.batch_size=16`.

In docs/leaderboard.md (drawn pictures of 64 px, one CPU core, narrow): after 160,000 pictures, 15 minutes,
hair and background cross, faces are dotted; top-1 10% / 9%, KID 63% / 85% of the untranslated pictures'.
After 16,000 it has hardly begun: top-1 0% / 2%, KID 231% / 116%.
"""

from xgan_jax.baselines.acgan import Networks, Weights
from xgan_jax.config import Config, DataConfig, OptimizerConfig, RunConfig


def get_config() -> Config:
    return Config(
        method="baselines.acgan",
        networks=Networks(),
        weights=Weights(encoder_start=50_000, r1=5.0),
        data=DataConfig(size=64, shift=4),
        optimizer=OptimizerConfig(learning_rate=2e-4),
        run=RunConfig(steps=80_000, batch_size=32),
    )

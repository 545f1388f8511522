"""CycleGAN that is told the tilt of the face, as a fourth channel, at 64 px (Eki's third method, finished).

    xgan prepare --domain face=CELEBA --domain anime=PATH --out data/faces
    python train.py --config configs/cyclegan_angle.py --workdir runs/angle --config.data.path=data/faces

The angle is read by a small network that is first trained here: on CelebA's own landmarks, a column `tilt`,
or a landmark CSV (`xgan prepare --labels`), and where a domain has none, on eyes that OpenCV finds (`pip
install -e '.[detector]'`), else on turned pictures. For a GPU: its 200,000 steps are, by arithmetic, 20
minutes at 20 TFLOP/s (`benchmarks/costs.py`; not measured, and steps this small wait for their launch, so
longer). On a laptop take `--config.networks.width=16 --config.networks.discriminator_width=16`.

In docs/leaderboard.md (16,000 drawn pictures of 64 px, one CPU core, narrow): 10 minutes of training; the
target's faces with the source's hair; top-1 31% / 33%, KID 31% / 27% of the untranslated pictures'.
"""

from xgan_jax.baselines.cyclegan import Networks, Weights
from xgan_jax.config import Config, DataConfig, OptimizerConfig, RunConfig


def get_config() -> Config:
    return Config(
        method="baselines.cyclegan",
        networks=Networks(blocks=6, angle="xgan_jax.readers.angle:as_angle"),
        weights=Weights(),
        data=DataConfig(size=64, shift=4),
        optimizer=OptimizerConfig(learning_rate=2e-4, decay=0.5, ema_decay=0.999),
        run=RunConfig(steps=200_000, batch_size=1),
    )

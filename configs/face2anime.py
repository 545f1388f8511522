"""Face2Anime: CycleGAN with least-squares domain-adversarial and semantic terms, at 64 px.

    xgan prepare --domain face=CELEBA --domain anime=PATH --where face:Male=-1 --dedup --out data/faces
    python train.py --config configs/face2anime.py --workdir runs/face2anime --config.data.path=data/faces

The plan has no hyper-parameters: rate and batch are CycleGAN's. It means to add the terms one by one:
`--config.weights.domain_adversarial=0 --config.weights.semantic=0` is where it starts, then the first, then
both. For a GPU: its 200,000 steps are, by arithmetic, 20 minutes at 20 TFLOP/s (`benchmarks/costs.py`; not
measured, and steps this small wait for their launch, so longer). On a laptop take `--config.networks.width=16
--config.networks.discriminator_width=16`.

In docs/leaderboard.md (16,000 drawn pictures of 64 px, one CPU core, narrow): 10 minutes of training; the
target's faces with the source's hair; top-1 22% / 25%, KID 47% / 21% of the untranslated pictures'.
"""

from xgan_jax.baselines.face2anime import Networks, Weights
from xgan_jax.config import Config, DataConfig, OptimizerConfig, RunConfig


def get_config() -> Config:
    return Config(
        method="baselines.face2anime",
        networks=Networks(),
        weights=Weights(),
        data=DataConfig(size=64, shift=4),
        optimizer=OptimizerConfig(learning_rate=2e-4, decay=0.5, ema_decay=0.999),
        run=RunConfig(steps=200_000, batch_size=1),
    )

"""CycleGAN as its authors train it at 256 px: ResNet-9 generators, PatchGAN, pool of 50 (Zhu et al. 2017).

    xgan prepare --domain face=PATH --domain anime=PATH --out data/faces256 --size 256
    python train.py --config configs/cyclegan.py --workdir runs/cyclegan --config.data.path=data/faces256

28 million parameters, 2 TFLOP a step of one picture of each domain: for a GPU. 100 epochs at the full rate
and 100 of decay are, with the 10,000 pictures of a usual dataset, a million steps each: by their arithmetic
65 hours on a GPU that keeps 20 TFLOP/s (`benchmarks/costs.py`; not measured). Set `run.steps` to what you can
spend; the rate falls in its second half. At 64 px: `--config.data.size=64 --config.data.shift=4
--config.networks.blocks=6`.

In docs/leaderboard.md (16,000 drawn pictures of 64 px, one CPU core, narrow): 12 minutes of training; the
target's faces with the source's hair and background; top-1 34% / 33%, KID 29% / 37% of the untranslated
pictures'.
"""

from xgan_jax.baselines.cyclegan import Networks, Weights
from xgan_jax.config import Config, DataConfig, OptimizerConfig, RunConfig


def get_config() -> Config:
    return Config(
        method="baselines.cyclegan",
        networks=Networks(),
        weights=Weights(),
        data=DataConfig(size=256, shift=15),
        optimizer=OptimizerConfig(learning_rate=2e-4, decay=0.5, ema_decay=0.0),
        run=RunConfig(steps=2_000_000, batch_size=1, checkpoint_every=5000, sample_every=5000),
    )

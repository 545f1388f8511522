"""DTN: generators on features that never change (Taigman et al. 2016), at 64 px.

    xgan prepare --domain face=PATH --domain anime=PATH --labels face=LABELS.csv --out data/faces
    python train.py --config configs/dtn.py --workdir runs/dtn --config.data.path=data/faces

The features are of a network that is trained first, in a minute or two, on the labels of the first domain;
any other is named by `networks.teacher` ("package.module:function"). Weights are the paper's for faces; batch
size, rate and length it does not state, these are ours: for a GPU, by its arithmetic 25 minutes at 20 TFLOP/s
(`benchmarks/costs.py`; not measured). In a short run the GAN's gradients drown the others at these weights;
on a laptop take `--config.networks.width=0.25 --config.weights.constancy=1000 --config.weights.identity=30`.

In docs/leaderboard.md (16,000 drawn pictures of 64 px, one core, narrow, with those weights): 4 minutes of
training; the source's hair and background, heads loosely drawn; top-1 3% / 2%, KID 47% / 109% of the
untranslated pictures'. After 48,000: top-1 5% / 3%, KID 46% / 47%, hair 0.84 / 0.65 of what can be read (by
another judge of the same data).
"""

from xgan_jax.baselines.dtn import Networks, Weights
from xgan_jax.config import Config, DataConfig, OptimizerConfig, RunConfig


def get_config() -> Config:
    return Config(
        method="baselines.dtn",
        networks=Networks(),
        weights=Weights(),
        data=DataConfig(size=64, shift=4),
        optimizer=OptimizerConfig(learning_rate=2e-4, decay=0.5),
        run=RunConfig(steps=100_000, batch_size=32),
    )

"""Style transfer with a domain's mean style (Gatys et al. 2016): what texture and colour alone can do.

    xgan prepare --domain face=PATH --domain anime=PATH --labels face=LABELS.csv --out data/faces
    python train.py --config configs/gatys.py --workdir runs/gatys --config.data.path=data/faces

A minute for the mean styles; then every translation is a descent of `weights.iterations` steps on its
pixels. The maps are those of a small network that is first trained here on the data's own labels; with
torchvision's VGG-19, the paper's network, from a file of yours:
`--config.networks.features=xgan_jax.readers.features:vgg19 --config.networks.weights_file=vgg19.pth`.

In docs/leaderboard.md (16,000 drawn pictures of 64 px, one CPU core): a minute of training; the source in
the target's colours; top-1 7% / 15%, KID 108% / 143% of the untranslated pictures'.
"""

from xgan_jax.baselines.gatys import Networks, Weights
from xgan_jax.config import Config, DataConfig, OptimizerConfig, RunConfig


def get_config() -> Config:
    return Config(
        method="baselines.gatys",
        networks=Networks(),
        weights=Weights(),
        data=DataConfig(size=64, shift=0),
        optimizer=OptimizerConfig(),
        run=RunConfig(steps=200, batch_size=32, sample_every=100, checkpoint_every=100),
    )

"""XGAN as Josefsson and Kany trained it for manga faces (KTH ID2223 project).

    xgan prepare --domain face=datasets --domain anime=datasets --out data/manga
    python train.py --config configs/id2223.py --workdir runs/id2223 --config.data.path=data/manga

from their folders datasets/train1, train2, test1 and test2. Their weights (1 for reconstruction, 0.5 for the
rest), mean squared error, one direction of the GAN, Adam with beta1 0.9 and 1e-3, batches of 2, 5 epochs of
1,000 pictures. Their networks, with 7x7 kernels and a pool before the embedding, are not repeated; nor are
their code's bugs.

In docs/leaderboard.md (16,000 drawn pictures of 64 px, one CPU core, narrow): 4 minutes of training; noise;
top-1 0% / 0%, KID 238% / 268% of the untranslated pictures'.
"""

from xgan_jax.config import Config, DataConfig, OptimizerConfig, RunConfig
from xgan_jax.xgan import Networks, Weights


def get_config() -> Config:
    return Config(
        method="xgan",
        networks=Networks(),
        weights=Weights(
            domain_adversarial=0.5,
            semantic=0.5,
            gan=0.5,
            reconstruction_distance="mse",
            semantic_standardise=False,
            gan_form="ns",
            gan_directions="forward",
        ),
        data=DataConfig(size=64),
        optimizer=OptimizerConfig(learning_rate=1e-3, b1=0.9),
        run=RunConfig(steps=2500, batch_size=2, sample_every=500),
    )

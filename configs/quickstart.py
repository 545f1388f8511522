"""XGAN on the embedded data, sized for two CPU cores.

    make quickstart

draws the data, prepares it, trains with this file and evaluates: about 6 minutes on 2 cores. Expect
anime faces of the right kind with hair and background mostly kept, and reconstructions that are still
soft: half the paper's width and a few thousand steps. Without normalisation the small networks learn
faster; the discriminators are wider than the paper's because small ones let noise pass.
"""

from xgan_jax.config import Config, DataConfig, OptimizerConfig, RunConfig
from xgan_jax.xgan import Networks, Weights


def get_config() -> Config:
    return Config(
        method="xgan",
        networks=Networks(
            width=0.5, discriminator_width=2.0, embedding_size=256, classifier_layers=1, norm="none"
        ),
        weights=Weights(gan=2.0),
        data=DataConfig(path="data/quickstart/records", size=64, shift=2),
        optimizer=OptimizerConfig(learning_rate=1e-3, decay_start=2000, decay_steps=1000),
        run=RunConfig(steps=3000, batch_size=16, log_every=100, sample_every=1000, checkpoint_every=1000),
    )

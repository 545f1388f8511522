"""XGAN on the embedded data, sized for two CPU cores.

    make quickstart

draws the data, prepares it, trains with this file and evaluates: about 7 minutes on 2 cores. Expect anime
faces with the hair, skin and background of the photo, and back; softer than the originals, for this is
half the paper's width and a few thousand steps. Beside the paper's losses: identity (an anime picture put
through the face's encoder should come out as it is), without which hair and skin change colour freely,
and R1 with slow discriminators, without which noise passes for style. The decoder enlarges and convolves:
transposed convolutions give dotted pictures. Without normalisation the small networks learn faster.
"""

from xgan_jax.config import Config, DataConfig, OptimizerConfig, RunConfig
from xgan_jax.xgan import Networks, Weights


def get_config() -> Config:
    return Config(
        method="xgan",
        networks=Networks(
            width=0.5,
            discriminator_width=2.0,
            embedding_size=512,
            resize=True,
            classifier_layers=1,
            norm="none",
        ),
        weights=Weights(gan_form="ns", identity=30.0, r1=10.0, r1_every=20),
        data=DataConfig(path="data/quickstart/records", size=64, shift=2),
        optimizer=OptimizerConfig(learning_rate=1e-3, discriminator_scale=0.3, decay=0.5),
        run=RunConfig(steps=2500, batch_size=16, log_every=100, sample_every=500, checkpoint_every=500),
    )

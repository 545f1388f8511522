"""XGAN on the embedded data, sized for two CPU cores: `make quickstart` trains it in minutes."""

from xgan_jax.config import Config, DataConfig, OptimizerConfig, RunConfig
from xgan_jax.xgan import Networks, Weights


def get_config() -> Config:
    return Config(
        method="xgan",
        networks=Networks(width=0.5, embedding_size=256, classifier_layers=1),
        weights=Weights(),
        data=DataConfig(path="data/quickstart/records", size=64),
        optimizer=OptimizerConfig(learning_rate=5e-4),
        run=RunConfig(steps=2000, batch_size=16, sample_every=500, checkpoint_every=500),
    )

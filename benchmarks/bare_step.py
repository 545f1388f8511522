"""The compiled training step alone, on random pictures that are already on the devices."""

import time
from typing import Any

import jax
import numpy as np

from xgan_jax import method as methods
from xgan_jax.config import Config
from xgan_jax.runs import state as states
from xgan_jax.training import sharding
from xgan_jax.training.step import make_step


def random_pictures(config: Config, seed: int = 0) -> dict[str, np.ndarray]:
    """A uint8 batch of every domain."""
    rng = np.random.default_rng(seed)
    shape = (config.run.batch_size, config.data.size, config.data.size, 3)
    return {domain: rng.integers(0, 256, shape, dtype=np.uint8) for domain in config.data.domains}


class BareStep:
    """Our step and its state; a call makes one step and gives its metrics, without waiting for it."""

    def __init__(self, config: Config, batch: dict[str, np.ndarray]):
        method, mesh = methods.load(config), sharding.make_mesh()
        create = jax.jit(lambda: states.create(method, config), out_shardings=sharding.replicated(mesh))
        self.state = create()
        self.batch = sharding.to_devices(batch, sharding.split(mesh))
        start = time.perf_counter()
        self.compiled = make_step(method, config, mesh).lower(self.state, self.batch).compile()
        self.compile_seconds = time.perf_counter() - start

    def __call__(self) -> Any:
        self.state, metrics = self.compiled(self.state, self.batch)
        return metrics

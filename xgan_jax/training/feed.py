"""What the step is fed: batches of pictures, or their numbers where all pictures are on the devices."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from xgan_jax.config import Config
from xgan_jax.data import pipeline
from xgan_jax.progress import say
from xgan_jax.training import sharding
from xgan_jax.training.step import batch_sharding

Counts = dict[str, dict[str, int]]  # {domain: {split: pictures}}


class Feed:
    """The endless batches of a run, each domain's own, and their place in the data.

    With `config.run.steps_per_call` = k > 1 a batch is that of k steps, `[k, b, ...]`.
    """

    def __init__(self, config: Config, mesh: Mesh):
        self._config, self._mesh = config, mesh
        self._of_batch = batch_sharding(config, mesh)
        self._cached = config.data.cache == "device"
        run = config.run
        self._batches = (
            pipeline.train_indexes(config.data, batch_size=run.batch_size, seed=run.seed)
            if self._cached
            else pipeline.train_batches(
                config.data,
                batch_size=run.batch_size,
                seed=run.seed,
                process_index=jax.process_index(),
                process_count=jax.process_count(),
            )
        )

    def __next__(self) -> dict[str, np.ndarray]:
        """This process's part, in its own memory."""
        k = self._config.run.steps_per_call
        if k == 1:
            return next(self._batches)
        batches = [next(self._batches) for _ in range(k)]
        return {domain: np.stack([batch[domain] for batch in batches]) for domain in batches[0]}

    def send(self, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
        """To the devices, as the step takes it."""
        return sharding.to_devices(batch, self._of_batch)

    def shapes(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Of what `send` gives."""
        data, run = self._config.data, self._config.run
        calls = () if run.steps_per_call == 1 else (run.steps_per_call,)
        one = () if self._cached else (data.size, data.size, 3)
        dtype = jnp.int32 if self._cached else jnp.uint8
        shape = jax.ShapeDtypeStruct((*calls, run.batch_size, *one), dtype, sharding=self._of_batch)
        return dict.fromkeys(data.domains, shape)

    def resident(self, counts: Counts) -> tuple[dict[str, jax.Array], ...]:
        """The training pictures of all domains on the devices, as the step's last argument; else nothing.

        Raises:
          ValueError: they leave a device too little memory.
        """
        if not self._cached:
            return ()
        data, mesh = self._config.data, self._mesh
        total = sum(counts[domain][data.train_split] for domain in data.domains) * data.size**2 * 3
        limit = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit", 0)
        if limit and total / mesh.size > 0.7 * limit:
            raise ValueError(
                f"config.data.cache is 'device', but {total / mesh.size / 2**20:.0f} MiB of pictures leave "
                f"too little of a device's {limit / 2**20:.0f} MiB: use none."
            )
        say(f"  {total / 2**20:.0f} MiB of pictures go to {mesh.size} device(s)")
        resident = {}
        for domain in data.domains:
            source = pipeline.open_pictures(data, domain, data.train_split)
            resident[domain] = sharding.resident(len(source), source.read, data.size, mesh)
        return (resident,)

    def position(self) -> Any:
        """Where the next batch begins."""
        return self._batches.get_state()

    def go_to(self, position: Any) -> None:
        """The next batch is the one that was next when `position` was taken."""
        self._batches.set_state(position)

    def close(self) -> None:
        """Ends the threads that read."""
        self._batches.close()

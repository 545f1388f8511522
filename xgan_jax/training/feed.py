"""What the step is fed: batches of pictures, or their numbers where all pictures are on the devices."""

import os
import queue
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from xgan_jax.config import Config
from xgan_jax.data import pipeline
from xgan_jax.progress import duration, say
from xgan_jax.training import sharding
from xgan_jax.training.step import batch_sharding

Counts = dict[str, dict[str, int]]  # {domain: {split: pictures}}

SAID = 30.0  # seconds without a batch after which a line says so, again and again
STALLED = 300.0  # and after which the run ends


class StalledError(OSError):
    """No batch came for `STALLED` seconds."""


class Watched:
    """Asks an iterator for its next in a thread of its own, so that a read that never returns is noticed."""

    def __init__(self, batches: Iterator[Any], where: str):
        self._batches, self._where = batches, where
        self._asked: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._given: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        self.stalled = False
        threading.Thread(target=self._serve, daemon=True, name="feed").start()

    def __next__(self) -> Any:
        """The iterator's next.

        Raises:
          StalledError: nothing came for long. Else whatever the iterator raises.
        """
        self._asked.put(True)
        batch, error = self._wait()
        if error is not None:
            raise error
        return batch

    def _wait(self) -> tuple[Any, BaseException | None]:
        began = time.monotonic()
        while (waited := time.monotonic() - began) < STALLED:
            try:
                return self._given.get(timeout=min(SAID, STALLED - waited))
            except queue.Empty:
                say(f"waiting for pictures from {self._where} for {duration(time.monotonic() - began)}")
        self.stalled = True
        _leave_at_exit()
        raise StalledError(
            f"no pictures came from {self._where} for {duration(STALLED)}: look after its disk, then give "
            "the same command again."
        )

    def _serve(self) -> None:
        while self._asked.get():
            try:
                self._given.put((next(self._batches), None))
            except BaseException as error:
                self._given.put((None, error))

    def close(self) -> None:
        """Ends the thread, once it has nothing to wait for."""
        self._asked.put(False)


def _leave_at_exit() -> None:
    """Lets the interpreter end without the threads that read, for which it would wait for ever."""
    threading._register_atexit(_leave)  # type: ignore[attr-defined]


def _leave() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


class Feed:
    """The endless batches of a run, each domain's own, and their place in the data.

    With `config.run.steps_per_call` = k > 1 a batch is that of k steps, `[k, b, ...]`.
    """

    def __init__(self, config: Config, mesh: Mesh):
        self._config, self._mesh = config, mesh
        self._of_batch = batch_sharding(config, mesh)
        self._cached = config.data.cache == "device"
        self._open(config.run.seed)

    def _open(self, seed: int) -> None:
        data, size = self._config.data, self._config.run.batch_size
        self._batches = (
            pipeline.train_indexes(data, batch_size=size, seed=seed)
            if self._cached
            else pipeline.train_batches(
                data,
                batch_size=size,
                seed=seed,
                process_index=jax.process_index(),
                process_count=jax.process_count(),
            )
        )
        self._watched = Watched(self._batches, data.path)

    def __next__(self) -> dict[str, np.ndarray]:
        """This process's part, in its own memory.

        Raises:
          StalledError: no batch came for long.
        """
        k = self._config.run.steps_per_call
        if k == 1:
            batch: dict[str, np.ndarray] = next(self._watched)
            return batch
        batches = [next(self._watched) for _ in range(k)]
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

    def reorder(self, order: int) -> None:
        """Other orders of the pictures, by number, from the same place on; 0 is that of a run's start."""
        if order:
            position = self.position()
            self.close()
            seed = np.random.SeedSequence([self._config.run.seed, order]).generate_state(1)[0]
            self._open(int(seed))
            self.go_to(position)

    def close(self) -> None:
        """Ends the threads that read, but for those that hang."""
        self._watched.close()
        if not self._watched.stalled:
            self._batches.close()

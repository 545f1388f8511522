"""What is drawn and measured on the way: what training sees, grids of test pictures, KID, best weights."""

import contextlib
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from xgan_jax.config import Config
from xgan_jax.data import pipeline
from xgan_jax.evaluation import grid
from xgan_jax.method import Method
from xgan_jax.progress import say
from xgan_jax.runs.checkpoint import CheckpointError, Checkpoints
from xgan_jax.runs.state import TrainState
from xgan_jax.training.feed import Counts
from xgan_jax.training.metrics import Dispensable, MetricWriter


def _local(tree: Any) -> Any:
    """This process's copy of a replicated tree: drawing must not need the other processes."""
    return jax.tree.map(lambda x: x.addressable_data(0), tree)


class Samples:
    """Pictures in a run's folder: `reals.png`, and a grid of the same test pictures every so often."""

    def __init__(self, config: Config, method: Method, counts: Counts, workdir: Path, writer: MetricWriter):
        self._data, self._counts, self._workdir, self._writer = config.data, counts, workdir, writer
        self._drawing = Dispensable("samples")
        self._sampler = grid.make_sampler(method, config.data.domains)
        self._pictures = {}
        for domain in config.data.domains:  # spread over the split
            n = counts[domain][config.data.test_split]
            numbers = [int(i) for i in np.linspace(0, n - 1, min(n, config.run.samples)).round()]
            self._pictures[domain] = self._read(domain, config.data.test_split, numbers)

    def _read(self, domain: str, split: str, numbers: Any) -> Any:
        return pipeline.read_pictures(self._data, domain, split, numbers)

    def draw_reals(self) -> None:
        """What training sees: people look at it before they wait for hours."""
        split = self._data.train_split
        first = {
            domain: self._read(domain, split, range(min(64, self._counts[domain][split])))
            for domain in self._data.domains
        }
        sheet = grid.reals(first)
        grid.save_png(str(self._workdir / "reals.png"), sheet)
        self._writer.write_images(0, {"reals": sheet})

    def draw(self, state: TrainState, step: int) -> None:
        """What the averaged weights make of the test pictures."""
        grids = grid.translations(self._sampler, _local(state.ema), _local(state.extra), self._pictures)
        folder = self._workdir / "samples"
        with self._drawing:
            folder.mkdir(exist_ok=True)
            grid.save_png(str(folder / f"step_{step:07d}.png"), grid.beside(list(grids.values())))
        self._writer.write_images(step, grids)


class Best:
    """The weights with the lowest KID so far, in a run's `best/`; measured by process 0, told to all."""

    def __init__(
        self,
        config: Config,
        method: Method,
        workdir: Path,
        start: int,
        about: dict[str, Any],
        opened: contextlib.ExitStack,
    ):
        """What was measured after step `start` will be measured again, and is set aside; so is what was the
        best on other pictures than those `about` which the run goes on.

        Raises:
          ValueError: a domain has too few test pictures.
        """
        # Here, for the measures import much (SciPy among it) that a run without them need not wait for.
        from xgan_jax.evaluation.measures import RunningKid

        self._kid = RunningKid(config, method) if jax.process_index() == 0 else None
        self._checkpoints = opened.enter_context(contextlib.closing(Checkpoints(workdir / "best", keep=1)))
        self._checkpoints.set_aside_after(start)
        self._lowest = self._lowest_of_before(about)

    def _lowest_of_before(self, about: dict[str, Any]) -> float:
        """The KID of the weights that are kept; damaged ones are set aside, the run can do without them."""
        try:
            step = self._checkpoints.latest_good()
        except CheckpointError:
            self._checkpoints.set_aside_after(None)
            step = None
        if step is None:
            return float("inf")
        kept = self._checkpoints.data(step)
        if kept.get("pictures", about["pictures"]) != about["pictures"]:
            say(f"the best weights so far, of step {step}, were chosen on other pictures: they are set aside")
            self._checkpoints.set_aside_after(None)
            return float("inf")
        return float(kept["kid"])

    def measure(
        self, state: TrainState, step: int, position: dict[str, Any], writer: MetricWriter | None
    ) -> None:
        """Keeps the state, with its `position` in the data, where its KID is the lowest yet."""
        kid = self._mean_kid(state, step, writer)
        if kid < self._lowest:
            self._lowest = kid
            self._checkpoints.save(state, step, position | {"kid": kid})

    def _mean_kid(self, state: TrainState, step: int, writer: MetricWriter | None) -> float:
        """The mean KID of all directions."""
        kid = np.float32(0)
        if self._kid is not None and writer is not None:
            found = self._kid(_local(state.ema), _local(state.extra))
            kid = np.float32(found["kid"])
            writer.write_scalars(step, found)
            say(f"step {step}  " + "  ".join(f"{name} {value:.4f}" for name, value in found.items()))
        if jax.process_count() > 1:
            kid = multihost_utils.broadcast_one_to_all(kid)
        return float(kid)

"""Where a step's time goes: a trace of a few calls, and one page about it (`config.run.profile`)."""

import re
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.profiler import ProfileData

from xgan_jax.outputs import Outputs

WARM_UP, TIMED, TRACED = 4, 16, 16  # calls; 16 hold one lazy penalty
CALLS = WARM_UP + TIMED + TRACED + 2  # that a run must have left
_PARTS = ("penalty", "augmentation", "gather", "update")


def matrix_product_rate(dtype: str = "float32") -> float:
    """FLOP/s of a matrix product on one device, in JAX's default precision: the peak to compare with."""
    n = 1024 if jax.default_backend() == "cpu" else 8192
    product = jax.jit(lambda x: x @ x)
    return 2 * n**3 / _seconds(product, jnp.ones((n, n), dtype))


def copy_rate() -> float:
    """Bytes/s that one device reads and writes in an element-wise operation on a large array."""
    n = 2**26 if jax.default_backend() == "cpu" else 2**28
    return 2 * 4 * n / _seconds(jax.jit(lambda x: x + 1), jnp.ones(n, jnp.float32))


def _seconds(run: Any, x: jax.Array) -> float:
    jax.block_until_ready(run(x))
    times = []
    for _ in range(5):
        start = time.perf_counter()
        jax.block_until_ready(run(x))
        times.append(time.perf_counter() - start)
    return min(times)


def part_of(op_name: str, players: Iterable[str]) -> str:
    """The part of a step that an operation's name, as XLA keeps it, belongs to; "other" where none."""
    words = set(re.split(r"[/()]", op_name))
    return next((part for part in (*_PARTS, *players) if part in words), "other")


def part_shares(trace: Path, program: str, players: Iterable[str]) -> dict[str, float]:
    """{part: share of the time of all operations} in a trace of the compiled step.

    `program`: its `as_text()`, which says where in the source each operation comes from. What players
    share is computed once and counted for one of them.
    """
    names = dict(re.findall(r"^\s*(?:ROOT )?%?([\w.-]+) = .*op_name=\"([^\"]*)\"", program, re.MULTILINE))
    busy: Counter[str] = Counter()
    for path in trace.rglob("*.xplane.pb"):
        for plane in ProfileData.from_file(str(path)).planes:
            for line in plane.lines:
                for event in line.events:
                    operation = dict(event.stats).get("hlo_op")
                    if operation in names:
                        busy[part_of(names[str(operation)], players)] += int(event.duration_ns)
    total = sum(busy.values())
    return {part: time / total for part, time in busy.most_common()}


class Profile:
    """Times a few calls of a running loop, traces a few more, and writes `summary.md` into `folder`."""

    def __init__(self, folder: str, compiled: Any, steps_per_call: int, players: Iterable[str], dtype: str):
        self.folder = Path(folder)
        self._compiled, self._k, self._players, self._dtype = compiled, steps_per_call, tuple(players), dtype
        self._calls = 0
        self._start = self._call_seconds = self._input_seconds = 0.0
        self.done = False

    def add_input(self, seconds: float) -> None:
        """Time in which a call's batch was waited for and sent."""
        if WARM_UP <= self._calls < WARM_UP + TIMED:
            self._input_seconds += seconds

    def after_call(self, metrics: Any) -> None:
        """To be told of every call, with something of its results to wait for."""
        self._calls += 1
        if self._calls == WARM_UP:
            jax.block_until_ready(metrics)
            self._start = time.perf_counter()
        elif self._calls == WARM_UP + TIMED:
            jax.block_until_ready(metrics)
            self._call_seconds = (time.perf_counter() - self._start) / TIMED
            jax.profiler.start_trace(str(self.folder))
        elif self._calls == WARM_UP + TIMED + TRACED:
            jax.block_until_ready(metrics)
            jax.profiler.stop_trace()

    def write(self, saving: float) -> str | None:
        """The report, when the calls are made; `saving` is how long the loop stood for a checkpoint."""
        if self.done or self._calls < WARM_UP + TIMED + TRACED:
            return None
        self.done = True
        cost = self._compiled.cost_analysis() or {}
        step = self._call_seconds / self._k
        rows = []
        for name, unit, amount, peak in (
            ("arithmetic", "GFLOP/s", cost.get("flops", 0.0), matrix_product_rate(self._dtype)),
            ("memory", "GB/s", cost.get("bytes accessed", 0.0), copy_rate()),
        ):
            # XLA counts the body of a loop once, so the amounts are those of one step.
            rate = float(amount) / step
            rows.append((name, rate / 1e9, peak / 1e9, unit, rate / peak))
        bound = max(rows, key=lambda row: row[-1])
        lines = [
            f"# {1e3 * step:.2f} ms a step",
            "",
            f"{jax.device_count()} x {jax.devices()[0].device_kind}, {self._dtype}, {self._k} steps a call, "
            f"{TIMED} calls timed, {TRACED} traced. Figures are of one device; its peaks are those of a "
            "large matrix product and of an element-wise pass, measured just now. Bytes are XLA's count and "
            "include what caches serve.",
            "",
            "| | achieved | peak here | share |",
            "|---|---|---|---|",
            *(
                f"| {n} | {r:.1f} {unit} | {peak:.1f} {unit} | {share:.0%} |"
                for n, r, peak, unit, share in rows
            ),
            "",
            f"Nearest to its limit: {bound[0]}.",
            "",
            "| part | ms a step | share |",
            "|---|---|---|",
        ]
        shares = part_shares(self.folder, self._compiled.as_text(), self._players)
        lines += [f"| {part} | {1e3 * step * share:.2f} | {share:.1%} |" for part, share in shares.items()]
        waited = self._input_seconds / TIMED / self._k
        lines += [
            f"| waiting for and sending a batch | {1e3 * waited:.2f} | {waited / step:.1%} |",
            f"| one checkpoint (the loop stands) | {1e3 * saving:.0f} | |",
            "",
            "What players share (the translations) is computed once and counted for one of them. The trace "
            "lies beside this page, for TensorBoard or Perfetto.",
        ]
        page = "\n".join(lines) + "\n"
        return str(self.folder / Outputs(self.folder).write("summary.md", page.encode(), of="profile"))

"""What a person sees of the steps: a line now and then, the same numbers in files, and what is not finite."""

import dataclasses
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from xgan_jax.config import Config
from xgan_jax.progress import duration, say
from xgan_jax.runs import state as states
from xgan_jax.runs.checkpoint import Checkpoints
from xgan_jax.training.metrics import MetricWriter
from xgan_jax.training.step import Metrics

QUIET = 20.0  # seconds after which a line says that steps are made, where there is no terminal
# Steps in a row that are NaN or infinite, at which a run stops or goes back, by `config.run.on_nan`.
TOO_MANY = {"stop": 1, "skip": 10, "roll_back": 10}
BACK = 3  # times that a run goes back


@dataclass(frozen=True)
class Skipped:
    """The steps of a run that changed nothing, because a number was NaN or infinite: how many, how many of
    them the last ones in a row, and how often the run went back for them. Checkpoints keep it."""

    total: int = 0
    in_a_row: int = 0
    went_back: int = 0

    @staticmethod
    def of(position: Mapping[str, Any]) -> "Skipped":
        """What the "data" item of a checkpoint says; nothing, in those of runs that did not count."""
        return Skipped(**position.get("skipped", {}))

    def after(self, finite: bool) -> "Skipped":
        """With one more step."""
        if finite:
            return dataclasses.replace(self, in_a_row=0)
        return dataclasses.replace(self, total=self.total + 1, in_a_row=self.in_a_row + 1)

    def back(self) -> "Skipped":
        """When the run has gone back."""
        return Skipped(self.total, 0, self.went_back + 1)


class NonFiniteError(FloatingPointError):
    """A loss or gradient became NaN or infinite; the message names it and the last checkpoint."""

    def __init__(self, message: str, skipped: Skipped):
        super().__init__(message)
        self.skipped = skipped


class Clock:
    """Rates since the last report, and the time left; compiling, drawing and saving are left out."""

    def __init__(self, step: int):
        self._first = self._last = step
        self._begin = self._mark = time.perf_counter()
        self.waited = 0.0

    def skip(self, seconds: float) -> None:
        """Takes time out of the account that was not spent training."""
        self._begin += seconds
        self._mark += seconds

    def left(self, step: int, steps: int) -> str:
        """How long the rest will take, at the mean rate so far."""
        mean = (step - self._first) / max(time.perf_counter() - self._begin, 1e-9)
        return duration((steps - step) / mean)

    def report(self, step: int, steps: int, images: int) -> tuple[dict[str, float], str]:
        """Numbers for the log and a line for people; `images` is the pictures in a step."""
        if step == self._first:
            return {}, "(compiled and warmed up)"
        now = time.perf_counter()
        took = max(now - self._mark, 1e-9)
        rate = (step - self._last) / took
        numbers = {
            "steps_per_second": rate,
            "images_per_second": rate * images,
            "data_wait": self.waited / took,
        }
        waited, left = 100 * numbers["data_wait"], self.left(step, steps)
        text = f"{rate * images:.0f} images/s, {waited:.1f}% waiting for data, ETA {left}"
        self._last, self._mark, self.waited = step, now, 0.0
        return numbers, text


class Log:
    """The metrics of calls of the step, fetched one call late, while the device is at work on the next."""

    def __init__(
        self,
        config: Config,
        start: int,
        writer: MetricWriter | None,
        checkpoints: Checkpoints,
        skipped: Skipped,
    ):
        """`writer`: None on processes that write nothing. `skipped`: before step `start`."""
        self._run = config.run
        rate = states.learning_rate(config, "generator")
        self._rate = rate if callable(rate) else lambda _: rate
        self.skipped = skipped
        self._images = config.run.batch_size * len(config.data.domains)
        self._writer, self._checkpoints = writer, checkpoints
        self._calls: list[tuple[int, Metrics]] = []  # made since the last look at their metrics
        self._clock: Clock | None = None
        self._said = time.perf_counter()
        hidden = None if writer is not None else True  # None: where there is no terminal
        self._bar = tqdm(total=config.run.steps, initial=start, disable=hidden, leave=False)

    def waited(self, seconds: float) -> None:
        """For a batch."""
        if self._clock is not None:
            self._clock.waited += seconds

    def paused(self, seconds: float) -> None:
        """For drawing, measuring or saving, which is no training."""
        if self._clock is not None:
            self._clock.skip(seconds)

    def add(self, done: int, metrics: Metrics) -> None:
        """A call was made, whose last step is number `done`.

        Raises:
          NonFiniteError: too many, in calls before it whose metrics it was time to look at.
        """
        if self._calls and self._calls[-1][0] % self._run.log_every == 0:
            self.look()
        self._calls.append((done, metrics))
        self._bar.update(self._run.steps_per_call)
        if self._clock is None:
            jax.block_until_ready(metrics)
            self._clock = Clock(done)
        elif not sys.stderr.isatty() and time.perf_counter() - self._said > QUIET:
            self._say(f"step {done}/{self._run.steps}  ETA {self._clock.left(done, self._run.steps)}")

    def look(self) -> None:
        """Whether all calls since the last look were finite, and numbers for the log.

        Raises:
          NonFiniteError: as many in a row as `config.run.on_nan` does not allow were not.
        """
        self._count_not_finite()
        if not self._calls:
            return
        done, metrics = self._calls[-1]
        self._calls.clear()
        if self._clock is None or (done % self._run.log_every and done != self._run.steps):
            return
        scalars = {name: float(np.atleast_1d(v)[-1]) for name, v in jax.device_get(metrics).items()}
        del scalars["finite"]
        scalars["learning_rate"] = float(self._rate(done - 1))  # of this step: it is of the steps before
        numbers, speed = self._clock.report(done, self._run.steps, self._images)
        if self._run.on_nan != "stop":
            scalars = {name: value for name, value in scalars.items() if np.isfinite(value)}
            numbers["skipped_steps"] = self.skipped.total
            speed += f", {self.skipped.total} steps skipped" if self.skipped.total else ""
        self._say(line(done, self._run.steps, scalars, speed))
        if self._writer is not None:
            self._writer.write_scalars(done, scalars | numbers)
        self._checkpoints.poll()

    def _say(self, text: str) -> None:
        say(text)
        self._said = time.perf_counter()

    def _count_not_finite(self) -> None:
        for (done, metrics), finite in zip(self._calls, self._finite(), strict=True):
            for place, good in enumerate(finite):
                self.skipped = self.skipped.after(bool(good))
                if not good:
                    self._tell_of(done - finite.size + 1 + place, metrics, place)

    def _finite(self) -> list[np.ndarray]:
        """Of each call, whether its steps were."""
        fetched = jax.device_get([metrics["finite"] for _, metrics in self._calls])
        return [np.atleast_1d(finite) == 1 for finite in fetched]

    def _tell_of(self, step: int, metrics: Metrics, place: int) -> None:
        """Says what was not finite in a step, the one at `place` of its call.

        Raises:
          NonFiniteError: it is one too many in a row.
        """
        values = {name: np.atleast_1d(v)[place] for name, v in jax.device_get(metrics).items()}
        bad = ", ".join(sorted(name for name, value in values.items() if not np.isfinite(value)))
        in_a_row = self.skipped.in_a_row
        if in_a_row < TOO_MANY[self._run.on_nan]:
            self._say(f"step {step}: {bad} is NaN or infinite; it is skipped ({in_a_row} in a row)")
            return
        self._checkpoints.wait()
        steps = self._checkpoints.steps()
        saved = f"the checkpoint of step {steps[-1]} is good" if steps else "no checkpoint yet"
        before = f", as in the {in_a_row - 1} steps before it" if in_a_row > 1 else ""
        raise NonFiniteError(
            f"step {step}: {bad} is NaN or infinite{before}; {saved} and nothing was saved after it. "
            "Lower --config.optimizer.learning_rate or the weight of that term, and run again.",
            self.skipped,
        )

    def close(self) -> None:
        """Removes the bar."""
        self._bar.close()


def line(step: int, steps: int, scalars: dict[str, float], speed: str) -> str:
    """One for people: the mean of each loss over domains and directions, by a short name; rates."""
    terms: dict[str, list[float]] = {}
    for name, value in scalars.items():
        if name.startswith("loss/"):
            terms.setdefault(_short(name).split("/")[0], []).append(value)
    losses = " ".join(f"{name} {sum(values) / len(values):.3f}" for name, values in terms.items())
    return f"step {step}/{steps}  {losses}  learning rate {scalars['learning_rate']:.3g}  {speed}"


def _short(name: str) -> str:
    return (
        name.removeprefix("loss/")
        .replace("reconstruction", "rec")
        .replace("domain_adversarial", "dann")
        .replace("discriminator", "disc")
        .replace("semantic", "sem")
    )

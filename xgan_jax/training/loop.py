"""The loop around the step: batches in, states on; now and then it looks, draws, measures and saves."""

import contextlib
import dataclasses
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from xgan_jax import config as configs
from xgan_jax import faults
from xgan_jax.config import Config
from xgan_jax.progress import say
from xgan_jax.runs import folder
from xgan_jax.runs.checkpoint import newest_whole
from xgan_jax.runs.state import TrainState
from xgan_jax.training.log import BACK, Log, NonFiniteError, Skipped
from xgan_jax.training.metrics import RunWriter
from xgan_jax.training.profile import Profile
from xgan_jax.training.samples import Best, Samples
from xgan_jax.training.signals import Stopped, StopSignals
from xgan_jax.training.start import Start, compiled_step, start, traced_step, write_networks


def train(config: Config, workdir: str | os.PathLike[str]) -> TrainState:
    """Trains until `config.run.steps`, from the newest checkpoint in `workdir` where there is one.

    A run that was stopped at any step and continued ends, on the same devices, with exactly the bits
    of one that never stopped. The folder then holds `config.json`, `run.json`, `networks.txt`,
    `metrics.jsonl`, `tensorboard/`, `reals.png`, `samples/` and `checkpoints/`.

    Returns:
      the state after the last step.

    Raises:
      ValueError: configuration or data are not usable, or differ from those of the run so far.
      NonFiniteError: a term became NaN or infinite, more often than `config.run.on_nan` allows.
      MachineError: the disk or the memory failed; the message names the last good checkpoint.
      Stopped: SIGTERM or Ctrl-C; the state was saved.
    """
    configs.validate(config)
    workdir = Path(workdir)
    with folder.held(workdir), _what_is_saved(workdir):
        skipped: Skipped | None = None
        while True:
            try:
                return _train(config, workdir, skipped)
            except NonFiniteError as error:
                if config.run.on_nan != "roll_back" or error.skipped.went_back == BACK:
                    raise
                skipped = error.skipped.back()
                say(f"{error}\ngoing back, time {skipped.went_back} of {BACK} ...")


def _train(config: Config, workdir: Path, skipped: Skipped | None) -> TrainState:
    """From the newest checkpoint to the end; `skipped`: of a run that goes back."""
    with contextlib.ExitStack() as opened:
        run = start(config, workdir, opened, skipped)
        if run.step >= config.run.steps:
            say(f"{workdir} has its {config.run.steps} steps already: nothing to train.")
            return run.state
        return _Launch(run, opened).go_on()


@contextlib.contextmanager
def _what_is_saved(workdir: Path) -> Iterator[None]:
    """Adds to what the machine fails in what is left of the run, and that it goes on from there."""
    try:
        yield
    except (OSError, MemoryError, ValueError, jax.errors.JaxRuntimeError) as error:
        fault = faults.fault_of(error, "train.py", str(workdir))
        if fault is None or fault.status != faults.MACHINE:
            raise
        step = newest_whole(workdir / "checkpoints")
        left = "nothing was saved yet" if step is None else f"the checkpoint of step {step} is good"
        goes_on = "it begins anew" if step is None else "it goes on from there"
        said = str(fault).removesuffix(".")
        raise faults.MachineError(f"{said}; {left}, and {goes_on}.") from error


class _Launch:
    """What stands around the loop: made before the first step, closed (by `opened`) after the last."""

    def __init__(self, run: Start, opened: contextlib.ExitStack):
        config, workdir = run.config, run.workdir
        self.run = run
        self.samples, self.best, self.writer, self.profile = None, None, None, None
        if config.run.measure_every:  # first: it may refuse, and then nothing is written
            self.best = Best(config, run.method, workdir, run.step, run.about, opened)
        self.resident = run.feed.resident(run.counts)
        traced = traced_step(run, self.resident)  # it may refuse, too
        run.checkpoints.set_aside_after(run.step)
        folder.write_config(workdir, config)
        if jax.process_index() == 0:
            folder.record_launch(workdir, run.step)
            write_networks(run)
            self.writer = opened.enter_context(contextlib.closing(RunWriter(workdir, run.step)))
            self.samples = Samples(config, run.method, run.counts, workdir, self.writer)
        if self.samples is not None and run.step == 0:
            say("drawing what training sees, and what the networks make of it before the first step ...")
            self.samples.draw_reals()
            self.samples.draw(run.state, 0)
        self.compiled = compiled_step(run, traced)
        if config.run.profile and jax.process_index() == 0:
            self.profile = Profile(
                config.run.profile,
                self.compiled,
                config.run.steps_per_call,
                run.method.players,
                config.run.compute_dtype,
            )
        self.log = opened.enter_context(
            contextlib.closing(Log(config, run.step, self.writer, run.checkpoints, run.skipped))
        )

    def go_on(self) -> TrainState:
        """Until the last step, or a signal."""
        run, state = self.run.config.run, self.run.state
        each = run.steps_per_call
        with StopSignals() as signals:
            for done in range(self.run.step + each, run.steps + 1, each):
                state = self.call(state, done)
                stop = signals.stop_after(done)
                self.pause(state, done, stop)
                if stop and done < run.steps:
                    self.run.checkpoints.wait()
                    say(f"saved step {done}; the same command continues from here")
                    raise Stopped(128 + (signals.received or signal.SIGTERM))
        self.run.checkpoints.wait()
        say(f"done: {run.steps} steps in {self.run.workdir}")
        return state

    def call(self, state: TrainState, done: int) -> TrainState:
        """One call of the step, whose last step is number `done`; it is under way when this returns."""
        before = time.perf_counter()
        batch = next(self.run.feed)
        self.log.waited(time.perf_counter() - before)
        with jax.transfer_guard("disallow"):  # but for the batch, nothing travels
            on_devices = self.run.feed.send(batch)
            sent = time.perf_counter()
            state, metrics = self.compiled(state, on_devices, *self.resident)
        self.log.add(done, metrics)
        if self.profile is not None:
            self.profile.add_input(sent - before)
            self.profile.after_call(metrics)
        return state

    def pause(self, state: TrainState, done: int, stop: bool) -> None:
        """Draws, measures and saves what is due after step `done`; a bad number is found first."""
        run = self.run.config.run
        last = done == run.steps
        sample = last or done % run.sample_every == 0
        measure = self.best is not None and (last or done % run.measure_every == 0)
        save = last or stop or done % run.checkpoint_every == 0
        if not (sample or save or measure):
            return
        self.log.look()
        paused = time.perf_counter()
        position = self.run.about | {
            "iterator": self.run.feed.position(),
            "skipped": dataclasses.asdict(self.log.skipped),
        }
        if self.samples is not None and sample:
            self.samples.draw(state, done)
        if self.best is not None and measure:
            self.best.measure(state, done, position, self.writer)
        if last or stop or (save and not self.log.skipped.in_a_row):  # a run goes back to before its trouble
            self.save(state, done, position)
        self.log.paused(time.perf_counter() - paused)

    def save(self, state: TrainState, done: int, position: dict[str, Any]) -> None:
        """A checkpoint, in the background; and the profile, once it is made."""
        saving = time.perf_counter()
        self.run.checkpoints.save(state, done, position)
        if self.profile is not None and (page := self.profile.write(time.perf_counter() - saving)):
            say(f"profile: {page}")

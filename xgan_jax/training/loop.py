"""The loop around the step: start or continue a run, watch it, save it, stop it cleanly."""

import contextlib
import datetime
import fcntl
import importlib.metadata
import json
import os
import platform
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from clu import parameter_overview
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from tqdm import tqdm

from xgan_jax import __version__
from xgan_jax import config as configs
from xgan_jax import method as methods
from xgan_jax.config import Config
from xgan_jax.data import pipeline
from xgan_jax.evaluation import grid
from xgan_jax.evaluation.measures import RunningKid
from xgan_jax.runs import state as states
from xgan_jax.runs.checkpoint import Checkpoints
from xgan_jax.runs.state import TrainState
from xgan_jax.training import sharding
from xgan_jax.training.metrics import MetricWriter, RunWriter
from xgan_jax.training.profile import CALLS, Profile, matrix_product_rate
from xgan_jax.training.step import Metrics, batch_sharding, make_step

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


class NonFiniteError(FloatingPointError):
    """A loss or gradient became NaN or infinite; the message names it and the last checkpoint."""


class Stopped(SystemExit):
    """The run was asked to stop (SIGTERM, Ctrl-C) and has saved; the code is 128 + the signal."""


def say(text: str) -> None:
    """One line to the terminal, from process 0 only."""
    if jax.process_index() == 0:
        tqdm.write(text, file=sys.stdout)
        sys.stdout.flush()


def duration(seconds: float) -> str:
    """Seconds as 12s, 3m20s, 4h05m or 2d03h."""
    s = round(seconds)
    if s < 60:
        return f"{s}s"
    if s < 3600:
        return f"{s // 60}m{s % 60:02d}s"
    if s < 86400:
        return f"{s // 3600}h{s % 3600 // 60:02d}m"
    return f"{s // 86400}d{s % 86400 // 3600:02d}h"


# --- Before the first step -------------------------------------------------------------------------


@contextmanager
def _only_run_in(workdir: Path) -> Iterator[None]:
    """Holds the run's folder against a second training process."""
    if jax.process_index() != 0:
        yield
        return
    workdir.mkdir(parents=True, exist_ok=True)
    with (workdir / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError(
                f"another training process is running in {workdir}: "
                "stop it first, or give this one another --workdir."
            ) from None
        yield


def _check_config(config: Config, workdir: Path, started: bool) -> None:
    """Compares with the run's own `config.json` if it has `started` (has a checkpoint); writes it.

    Raises:
      ValueError: the run was started with another configuration and changes were not allowed.
    """
    path = workdir / "config.json"
    if started and path.exists():
        changed = configs.differences(configs.from_json(path.read_text()), config)
        for name, (old, new) in changed.items():
            say(f"changed since the run began: config.{name}: {old!r} -> {new!r}")
        refused = sorted(set(changed) - configs.FREE_ON_RESUME)
        if refused and not config.run.allow_config_change:
            old, new = changed[refused[0]]
            raise ValueError(
                f"{workdir} was trained with config.{refused[0]} = {old!r}, not {new!r}"
                + (f" (and {len(refused) - 1} more differ, listed above)" if refused[1:] else "")
                + ": use its configuration, another --workdir, or allow the change with "
                "--config.run.allow_config_change=True."
            )
    if jax.process_index() == 0:
        partial = path.with_suffix(".partial")
        partial.write_text(configs.to_json(config))
        partial.replace(path)


def _record_launch(workdir: Path, start_step: int) -> None:
    """Adds this launch (time, command line, versions, machine) to `run.json`."""
    path = workdir / "run.json"
    launches = json.loads(path.read_text()) if path.exists() else []
    launches.append(
        {
            "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "start_step": start_step,
            "argv": sys.argv,
            "versions": {"xgan_jax": __version__, "python": platform.python_version()}
            | {name: importlib.metadata.version(name) for name in _PACKAGES},
            "platform": platform.platform(),
            "devices": [str(device) for device in jax.devices()],
            "processes": jax.process_count(),
        }
    )
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(launches, indent=2) + "\n")
    partial.replace(path)


def _describe(config: Config, counts: dict[str, dict[str, int]], abstract: TrainState) -> None:
    devices = jax.devices()
    say(
        f"xgan_jax {__version__}, jax {jax.__version__}: {len(devices)} x {devices[0].device_kind}, "
        f"{jax.process_count()} process(es)"
    )
    for domain, splits in counts.items():
        found = ", ".join(f"{n} {split}" for split, n in splits.items())
        say(f"  {domain}: {found} pictures")
    for network, tree in abstract.params.items():
        say(f"  {network}: {parameter_overview.count_parameters(tree):,} parameters")
    total = parameter_overview.count_parameters(abstract.params)
    state_bytes = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(abstract))
    say(
        f"  together {total:,}, {state_bytes / 2**20:.0f} MiB with optimisers and average; batch "
        f"{config.run.batch_size} of each domain, {config.data.size} px, {config.run.compute_dtype}"
    )


def _compile(step: Any, arguments: tuple[Any, ...], left: int) -> Any:
    say("compiling the training step ...")
    start = time.perf_counter()
    compiled = step.lower(*arguments).compile()
    took = time.perf_counter() - start
    cost = compiled.cost_analysis() or {}
    memory = compiled.memory_analysis()
    line = f"  compiled in {duration(took)}"
    flops = float(cost.get("flops", 0.0))
    if flops:
        line += f"; {flops / 1e9:.1f} GFLOP a step and device"
    if memory is not None:
        bytes_ = memory.temp_size_in_bytes + memory.argument_size_in_bytes
        line += f", about {bytes_ / 2**20:.0f} MiB"
    say(line)
    if flops:
        rate = matrix_product_rate()
        # Training steps of such networks reach 0.3 to 0.6 of a matrix product's speed.
        seconds = left * flops / (0.4 * rate)
        say(
            f"  expected duration: about {duration(seconds)} for {left} steps "
            f"(at 0.4 of this device's {rate / 1e9:.0f} GFLOP/s; the ETA below is measured)"
        )
    return compiled


# --- While it runs ---------------------------------------------------------------------------------


class _StopSignals:
    """Remembers SIGTERM and Ctrl-C instead of dying of them; a second one kills as usual."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "_StopSignals":
        # With several processes SIGTERM is left to jax.distributed, which lets all of them agree
        # on the step after which to stop.
        signals = [signal.SIGINT] + ([signal.SIGTERM] if jax.process_count() == 1 else [])
        for number in signals:
            self._previous[number] = signal.signal(number, self._remember)
        return self

    def _remember(self, number: int, frame: Any) -> None:
        self.received = number
        signal.signal(number, self._previous[number])
        say(f"{signal.Signals(number).name}: stopping after this step ...")

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def stop_after(self, step: int) -> bool:
        """Whether the run is to save and exit now, after `step` updates: all processes alike."""
        if jax.process_count() == 1:
            return self.received is not None
        if multihost_utils.reached_preemption_sync_point(step):
            self.received = signal.SIGTERM
            return True
        return False


def _raise_if_not_finite(calls: list[tuple[int, Metrics]], checkpoints: Checkpoints) -> None:
    """Looks at the metrics of calls, each with the number of the last step it made."""
    for (done, metrics), finite in zip(calls, jax.device_get([m["finite"] for _, m in calls]), strict=True):
        wrong = np.flatnonzero(np.atleast_1d(finite) != 1)
        if wrong.size == 0:
            continue
        first = int(wrong[0])
        values = {name: np.atleast_1d(v)[first] for name, v in jax.device_get(metrics).items()}
        bad = sorted(name for name, value in values.items() if not np.isfinite(value))
        checkpoints.wait()
        steps = checkpoints.steps()
        saved = f"the checkpoint of step {steps[-1]} is good" if steps else "no checkpoint yet"
        raise NonFiniteError(
            f"step {done - np.size(finite) + 1 + first}: {', '.join(bad)} is NaN or infinite; {saved} and "
            "nothing was saved after it. "
            "Lower --config.optimizer.learning_rate or the weight of that term, and run again."
        )


class _Clock:
    """Rates since the last report, and the time left; compiling, drawing and saving are left out."""

    def __init__(self, step: int):
        self._first = self._last = step
        self._begin = self._mark = time.perf_counter()
        self.waited = 0.0

    def skip(self, seconds: float) -> None:
        """Takes time out of the account that was not spent training."""
        self._begin += seconds
        self._mark += seconds

    def report(self, step: int, steps: int, images: int) -> tuple[dict[str, float], str]:
        """Numbers for the log and a line for people; `images` is the pictures in a step."""
        if step == self._first:
            return {}, "(compiled and warmed up)"
        now = time.perf_counter()
        took = max(now - self._mark, 1e-9)
        rate = (step - self._last) / took
        mean = (step - self._first) / max(now - self._begin, 1e-9)
        numbers = {
            "steps_per_second": rate,
            "images_per_second": rate * images,
            "data_wait": self.waited / took,
        }
        left = duration((steps - step) / mean)
        text = f"{rate * images:.0f} images/s, {100 * numbers['data_wait']:.1f}% waiting for data, ETA {left}"
        self._last, self._mark, self.waited = step, now, 0.0
        return numbers, text


def _short(name: str) -> str:
    return (
        name.removeprefix("loss/")
        .replace("reconstruction", "rec")
        .replace("domain_adversarial", "dann")
        .replace("discriminator", "disc")
        .replace("semantic", "sem")
    )


def _line(step: int, steps: int, scalars: dict[str, float], speed: str) -> str:
    terms: dict[str, list[float]] = {}
    for name, value in scalars.items():
        if name.startswith("loss/"):
            terms.setdefault(_short(name).split("/")[0], []).append(value)
    losses = " ".join(f"{name} {sum(values) / len(values):.3f}" for name, values in terms.items())
    return f"step {step}/{steps}  {losses}  {speed}"


def _local(tree: Any) -> Any:
    """This process's copy of a replicated tree: drawing must not need the other processes."""
    return jax.tree.map(lambda x: x.addressable_data(0), tree)


def _draw_reals(config: Config, counts: dict[str, dict[str, int]], workdir: Path) -> Any:
    """What training sees, as `reals.png`: people look at it before they wait for hours."""
    data = config.data
    first = {
        domain: pipeline.read_pictures(
            data, domain, data.train_split, range(min(64, counts[domain][data.train_split]))
        )
        for domain in data.domains
    }
    sheet = grid.reals(first)
    grid.save_png(str(workdir / "reals.png"), sheet)
    return sheet


def _draw_samples(
    sampler: grid.Sampler, state: TrainState, pictures: dict[str, Any], workdir: Path, step: int
) -> dict[str, Any]:
    grids = grid.translations(sampler, _local(state.ema), _local(state.extra), pictures)
    (workdir / "samples").mkdir(exist_ok=True)
    sheet = grid.beside(list(grids.values()))
    grid.save_png(str(workdir / "samples" / f"step_{step:07d}.png"), sheet)
    return grids


def _measure(
    running_kid: RunningKid | None, state: TrainState, step: int, writer: MetricWriter | None
) -> float:
    """The mean KID of all directions, measured by process 0 and told to all."""
    kid = np.float32(0)
    if running_kid is not None and writer is not None:
        found = running_kid(_local(state.ema), _local(state.extra))
        kid = np.float32(found["kid"])
        writer.write_scalars(step, found)
        say(f"step {step}  " + "  ".join(f"{name} {value:.4f}" for name, value in found.items()))
    if jax.process_count() > 1:
        kid = multihost_utils.broadcast_one_to_all(kid)
    return float(kid)


def _to_devices_once(config: Config, counts: dict[str, dict[str, int]], mesh: Mesh) -> dict[str, Any]:
    """The training pictures of all domains, on the devices."""
    data = config.data
    total = sum(counts[domain][data.train_split] for domain in data.domains) * data.size**2 * 3
    limit = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit", 0)
    if limit and total / mesh.size > 0.7 * limit:
        raise ValueError(
            f"config.data.cache is 'device', but {total / mesh.size / 2**20:.0f} MiB of pictures leave too "
            f"little of a device's {limit / 2**20:.0f} MiB: use none."
        )
    say(f"  {total / 2**20:.0f} MiB of pictures go to {mesh.size} device(s)")
    resident = {}
    for domain in data.domains:
        source = pipeline.open_pictures(data, domain, data.train_split)
        resident[domain] = sharding.resident(len(source), source.read, data.size, mesh)
    return resident


def _fixed_test_pictures(config: Config, counts: dict[str, dict[str, int]]) -> dict[str, Any]:
    """The same test pictures for every grid of a run, spread over the split."""
    data = config.data
    pictures = {}
    for domain in data.domains:
        n = counts[domain][data.test_split]
        indices = [int(i) for i in np.linspace(0, n - 1, min(n, config.run.samples)).round()]
        pictures[domain] = pipeline.read_pictures(data, domain, data.test_split, indices)
    return pictures


def train(config: Config, workdir: str | os.PathLike[str]) -> TrainState:
    """Trains until `config.run.steps`, from the newest checkpoint in `workdir` where there is one.

    A run that was stopped at any step and continued ends, on the same devices, with exactly the bits
    of one that never stopped. The folder then holds `config.json`, `run.json`, `networks.txt`,
    `metrics.jsonl`, `tensorboard/`, `reals.png`, `samples/` and `checkpoints/`.

    Returns:
      the state after the last step.

    Raises:
      ValueError: configuration or data are not usable, or differ from those of the run so far.
      NonFiniteError: a term became NaN or infinite.
      Stopped: SIGTERM or Ctrl-C; the state was saved.
    """
    configs.validate(config)
    workdir = Path(workdir)
    with _only_run_in(workdir), contextlib.ExitStack() as opened:
        return _train(config, workdir, opened)


def _continue(
    config: Config,
    workdir: Path,
    checkpoints: Checkpoints,
    start: int,
    iterator: Any,
    counts: dict[str, dict[str, int]],
    abstract: TrainState,
    everywhere: jax.sharding.Sharding,
) -> TrainState:
    """The state of the checkpoint of step `start`; `iterator` is put at its place in the data.

    Raises:
      ValueError: the dataset is another, or calls of several steps do not meet `start`.
    """
    run, data = config.run, config.data
    state, position = checkpoints.restore(abstract, start, everywhere)
    # A run that began elsewhere (convert.py) has weights and no place in the data.
    if position["counts"] not in (None, counts) and not run.allow_config_change:
        raise ValueError(
            f"{data.path} holds {counts}, but this run was trained on {position['counts']} "
            "pictures: point config.data.path at the same dataset, or allow the change with "
            "--config.run.allow_config_change=True."
        )
    if start % run.steps_per_call:
        raise ValueError(
            f"{workdir} is at step {start}, which calls of {run.steps_per_call} steps do not meet: set "
            "--config.run.steps_per_call to a number that divides it."
        )
    checkpoints.set_aside_after(start)
    if position["iterator"] is not None:
        iterator.set_state(position["iterator"])
    say(f"continuing from step {start}")
    return state


def _train(config: Config, workdir: Path, opened: contextlib.ExitStack) -> TrainState:
    run, data = config.run, config.data
    mesh = sharding.make_mesh()
    everywhere = sharding.replicated(mesh)
    if run.batch_size % jax.device_count():
        raise ValueError(
            f"config.run.batch_size is {run.batch_size}, which {jax.device_count()} devices cannot "
            "share equally: use a multiple."
        )
    if run.profile and run.steps < CALLS * run.steps_per_call:
        raise ValueError(
            f"config.run.profile needs {CALLS} calls of the step, {CALLS * run.steps_per_call} steps: raise "
            f"config.run.steps from {run.steps}."
        )
    method = methods.load(config)
    counts = pipeline.picture_counts(data)
    crop = pipeline.crop_rules(data)  # kept with the weights: translate crops new pictures alike
    abstract = jax.eval_shape(lambda: states.create(method, config))
    _describe(config, counts, abstract)
    method.prepare()

    def closing(thing: Any) -> Any:
        """`thing`, closed at the run's end, however it ends."""
        return opened.enter_context(contextlib.closing(thing))

    checkpoints: Checkpoints = closing(Checkpoints(workdir / "checkpoints", run.keep_checkpoints))
    found = checkpoints.latest_good()
    _check_config(config, workdir, started=found is not None)
    cached = data.cache == "device"
    if cached:
        iterator = pipeline.train_indexes(data, batch_size=run.batch_size, seed=run.seed)
    else:
        iterator = pipeline.train_batches(
            data,
            batch_size=run.batch_size,
            seed=run.seed,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )
    closing(iterator)
    if found is None:
        start = 0
        state = jax.jit(lambda: states.create(method, config), out_shardings=everywhere)()
    else:
        start = found
        state = _continue(config, workdir, checkpoints, start, iterator, counts, abstract, everywhere)
    if start >= run.steps:
        say(f"{workdir} has its {run.steps} steps already: nothing to train.")
        return state

    chief = jax.process_index() == 0
    running_kid = RunningKid(config, method) if run.measure_every and chief else None
    best: Checkpoints | None = closing(Checkpoints(workdir / "best", keep=1)) if run.measure_every else None
    lowest = float("inf")
    if best is not None:
        best.set_aside_after(start)
        lowest = best.data(best.steps()[-1])["kid"] if best.steps() else lowest
    writer: MetricWriter | None = None
    sampler = grid.make_sampler(method, data.domains)
    if chief:
        _record_launch(workdir, start)
        overview = parameter_overview.get_parameter_overview(abstract.params, include_stats=False)
        (workdir / "networks.txt").write_text(overview + "\n")
        writer = closing(RunWriter(workdir, start))
        pictures = _fixed_test_pictures(config, counts)
        if start == 0:
            writer.write_images(0, {"reals": _draw_reals(config, counts, workdir)})
            writer.write_images(0, _draw_samples(sampler, state, pictures, workdir, 0))

    of_batch = batch_sharding(config, mesh)
    leading = () if run.steps_per_call == 1 else (run.steps_per_call,)
    shape = (run.batch_size,) if cached else (run.batch_size, data.size, data.size, 3)
    dtype = jnp.int32 if cached else jnp.uint8
    batch_shape = {
        domain: jax.ShapeDtypeStruct((*leading, *shape), dtype, sharding=of_batch) for domain in data.domains
    }
    resident = (_to_devices_once(config, counts, mesh),) if cached else ()
    step = make_step(method, config, mesh)
    compiled = _compile(step, (abstract, batch_shape, *resident), run.steps - start)
    profile = None
    if run.profile and chief:
        profile = Profile(run.profile, compiled, run.steps_per_call, method.players, run.compute_dtype)
    bar = closing(tqdm(total=run.steps, initial=start, disable=None if chief else True, leave=False))
    clock: _Clock | None = None
    calls: list[tuple[int, Metrics]] = []  # made since the last look at their metrics

    def look() -> None:
        """Fetches metrics: whether all calls since the last look were finite, and numbers for the log."""
        _raise_if_not_finite(calls, checkpoints)
        if not calls:
            return
        done, metrics = calls[-1]
        calls.clear()
        if clock is not None and (done % run.log_every == 0 or done == run.steps):
            scalars = {name: float(np.atleast_1d(v)[-1]) for name, v in jax.device_get(metrics).items()}
            numbers, speed = clock.report(done, run.steps, run.batch_size * len(data.domains))
            del scalars["finite"]
            say(_line(done, run.steps, scalars, speed))
            if writer is not None:
                writer.write_scalars(done, scalars | numbers)
            checkpoints.poll()

    def next_batch() -> Any:
        if not leading:
            return next(iterator)
        batches = [next(iterator) for _ in range(run.steps_per_call)]
        return {domain: np.stack([batch[domain] for batch in batches]) for domain in data.domains}

    with _StopSignals() as signals:
        for done in range(start + run.steps_per_call, run.steps + 1, run.steps_per_call):
            before = time.perf_counter()
            batch = next_batch()
            if clock is not None:
                clock.waited += time.perf_counter() - before
            with jax.transfer_guard("disallow"):  # but for the batch, nothing travels
                batch = sharding.to_devices(batch, of_batch)
                sent = time.perf_counter()
                state, metrics = compiled(state, batch, *resident)
            if calls and calls[-1][0] % run.log_every == 0:
                look()  # while the device is at work on the next call
            calls.append((done, metrics))
            bar.update(run.steps_per_call)
            if clock is None:
                jax.block_until_ready(metrics)
                clock = _Clock(done)
            if profile is not None:
                profile.add_input(sent - before)
                profile.after_call(metrics)
            stop = signals.stop_after(done)
            sample = done % run.sample_every == 0 or done == run.steps
            save = done % run.checkpoint_every == 0 or done == run.steps or stop
            measure = best is not None and (done % run.measure_every == 0 or done == run.steps)
            if sample or save or measure:
                look()
                paused = time.perf_counter()
                position = {"iterator": iterator.get_state(), "counts": counts, "crop": crop}
                if sample and writer is not None:
                    writer.write_images(done, _draw_samples(sampler, state, pictures, workdir, done))
                if best is not None and measure:
                    kid = _measure(running_kid, state, done, writer)
                    if kid < lowest:
                        lowest = kid
                        best.save(state, done, position | {"kid": kid})
                if save:
                    saving = time.perf_counter()
                    checkpoints.save(state, done, position)
                    if profile is not None and (page := profile.write(time.perf_counter() - saving)):
                        say(f"profile: {page}")
                clock.skip(time.perf_counter() - paused)
            if stop and done < run.steps:
                checkpoints.wait()
                number = signals.received or signal.SIGTERM
                say(f"saved step {done}; the same command continues from here")
                raise Stopped(128 + number)
    checkpoints.wait()
    say(f"done: {run.steps} steps in {workdir}")
    return state

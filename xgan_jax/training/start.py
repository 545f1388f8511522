"""Before the first step: what is asked for is checked and described, then a run is begun or taken up."""

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from clu import parameter_overview
from jax.sharding import Mesh

from xgan_jax import __version__
from xgan_jax import method as methods
from xgan_jax.config import Config, RunConfig, decay_of
from xgan_jax.data import pipeline
from xgan_jax.method import Method
from xgan_jax.progress import duration, say
from xgan_jax.runs import folder
from xgan_jax.runs import state as states
from xgan_jax.runs.checkpoint import Checkpoints
from xgan_jax.runs.state import TrainState
from xgan_jax.training import sharding
from xgan_jax.training.feed import Counts, Feed
from xgan_jax.training.log import Skipped
from xgan_jax.training.profile import CALLS, matrix_product_rate
from xgan_jax.training.step import make_step


@dataclass(frozen=True)
class Start:
    """A run that goes on with `state`, at `step`. `abstract` has its shapes; `about`, {"counts", "pictures",
    "crop"} of its data, is kept by its checkpoints."""

    config: Config
    workdir: Path
    method: Method
    mesh: Mesh
    abstract: TrainState
    counts: Counts
    about: dict[str, Any]
    checkpoints: Checkpoints
    feed: Feed
    state: TrainState
    step: int
    skipped: Skipped


def start(
    config: Config, workdir: Path, opened: contextlib.ExitStack, went_back: Skipped | None = None
) -> Start:
    """Begins the run in `workdir`, or takes it up at its newest undamaged checkpoint.

    What has to be closed at the run's end, however it ends, is put on `opened`. Files of the run are neither
    written nor moved. A run that `went_back` has another key and another order of its pictures from there.

    Raises:
      ValueError: configuration or data are not usable, or differ from those of the run so far.
    """
    mesh = sharding.make_mesh()
    _check_devices(config)
    method = methods.load(config)
    counts = pipeline.picture_counts(config.data)
    about = {
        "counts": counts,
        "pictures": pipeline.digests(config.data),
        # The rule is kept with the weights: translate crops new pictures alike.
        "crop": pipeline.crop_rules(config.data),
    }
    abstract = jax.eval_shape(lambda: states.create(method, config))
    describe(config, counts, abstract)
    say_schedule(config, method)
    feed = opened.enter_context(contextlib.closing(Feed(config, mesh)))  # first: it may refuse
    method.prepare()
    checkpoints = Checkpoints(workdir / "checkpoints", config.run.keep_checkpoints)
    opened.enter_context(contextlib.closing(checkpoints))
    found = checkpoints.latest_good()
    _check_profile(config.run, found or 0)
    everywhere = sharding.replicated(mesh)
    skipped = Skipped()
    if found is None:
        state = jax.jit(lambda: states.create(method, config), out_shardings=everywhere)()
    else:
        changed = folder.check_config(workdir, config)
        state, position = checkpoints.restore(abstract, found, everywhere)
        if _same_data(config, about, position) and "data.crop" not in changed:
            about["crop"] = position["crop"]  # not that of a report which is lost or another by now
        _take_up(config, workdir, found, position, feed)
        skipped = Skipped.of(position)
        say(f"continuing from step {found}")
    if went_back is not None:
        other_key = jax.jit(jax.random.fold_in, out_shardings=everywhere)
        skipped, state = went_back, state.replace(key=other_key(state.key, went_back.went_back))
    feed.reorder(skipped.went_back)
    step = found or 0
    return Start(
        config, workdir, method, mesh, abstract, counts, about, checkpoints, feed, state, step, skipped
    )


def _check_devices(config: Config) -> None:
    run = config.run
    if run.batch_size % jax.device_count():
        raise ValueError(
            f"config.run.batch_size is {run.batch_size}, which {jax.device_count()} devices cannot "
            "share equally: use a multiple."
        )


def _check_profile(run: RunConfig, step: int) -> None:
    """Raises:
    ValueError: a profile has no folder, or the steps of a new run are too few for one. Of a run that goes on,
      and may have its profile, that is only said.
    """
    if not run.profile or step >= run.steps:
        return
    if run.steps < step + CALLS * run.steps_per_call:
        needs = f"config.run.profile needs {CALLS} calls of the step, {CALLS * run.steps_per_call} steps"
        if step == 0:
            raise ValueError(f"{needs}: raise config.run.steps from {run.steps}.")
        say(f"note: {needs}, and {run.steps - step} are left: none is made now")
    try:
        if jax.process_index() == 0:
            Path(run.profile).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"config.run.profile is {run.profile}, which cannot be made a folder ({error.strerror}): use "
            "another."
        ) from error


def _same_data(config: Config, about: dict[str, Any], position: dict[str, Any]) -> bool:
    """Whether the run's dataset is still the one that the checkpoint at `position` was trained on.

    Raises:
      ValueError: it is another, and changes were not allowed.
    """
    if position["counts"] is None:  # a run that began elsewhere (convert.py) has weights and no data
        return False
    if "pictures" not in position:
        say(f"which pictures this run was trained on was not noted: {config.data.path} is taken for the same")
    other = _other_data(config.data.path, about, position)
    if other is None:
        return True
    if not config.run.allow_config_change:
        raise ValueError(
            f"{other}: point config.data.path at the same dataset, or allow the change with "
            "--config.run.allow_config_change=True."
        )
    say(f"changed since the run began: {other}")
    return False


def _other_data(path: str, about: dict[str, Any], position: dict[str, Any]) -> str | None:
    """In what the dataset at `path` is another than that of the checkpoint at `position`, in words."""
    if position["counts"] != about["counts"]:
        return f"{path} holds {about['counts']}, but this run was trained on {position['counts']} pictures"
    was = position.get("pictures", about["pictures"])
    differ = [
        f"{domain} ({split})"
        for domain, splits in about["pictures"].items()
        for split, digest in splits.items()
        if was.get(domain, {}).get(split) != digest
    ]
    if not differ:
        return None
    return (
        f"{path} holds as many pictures of {', '.join(differ)} as this run was trained on, but others "
        "(or the same with another crop, order or labels)"
    )


def _take_up(config: Config, workdir: Path, step: int, position: dict[str, Any], feed: Feed) -> None:
    """Puts `feed` where the checkpoint of `step` says.

    Raises:
      ValueError: calls of several steps do not meet `step`.
    """
    each = config.run.steps_per_call
    if step % each:
        raise ValueError(
            f"{workdir} is at step {step}, which calls of {each} steps do not meet: set "
            "--config.run.steps_per_call to a number that divides it."
        )
    if position["iterator"] is not None:
        feed.go_to(position["iterator"])


def describe(config: Config, counts: Counts, abstract: TrainState) -> None:
    """Says what was found: devices, pictures, networks, memory."""
    devices = jax.devices()
    say(
        f"xgan_jax {__version__}, jax {jax.__version__}: {len(devices)} x {devices[0].device_kind}, "
        f"{jax.process_count()} process(es)"
    )
    for domain, splits in counts.items():
        found = ", ".join(f"{n} {split}" for split, n in splits.items())
        say(f"  {domain}: {found} pictures")
    for domain in pipeline.cropped_by_others(config.data):
        say(
            f"note: nothing says how the pictures of {domain} were cropped ({config.data.path} has no "
            f"report.json of theirs): those to translate will be cropped by config.data.crop, "
            f"{config.data.crop}"
        )
    for network, tree in abstract.params.items():
        say(f"  {network}: {parameter_overview.count_parameters(tree):,} parameters")
    total = parameter_overview.count_parameters(abstract.params)
    state_bytes = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(abstract))
    say(
        f"  together {total:,}, {state_bytes / 2**20:.0f} MiB with optimisers and average; batch "
        f"{config.run.batch_size} of each domain, {config.data.size} px, {config.run.compute_dtype}"
    )


def say_schedule(config: Config, method: Method) -> None:
    """Says how the learning rate goes, and what of the method the run is too short for."""
    rate, steps = config.optimizer.learning_rate, config.run.steps
    start, length = decay_of(config)
    falls = f"falling to zero from step {start:,} to {start + length:,}" if length else "constant"
    say(f"  learning rate {rate:g}, {falls}; {steps:,} steps")
    for name, (value, begins) in method.delays().items():
        if begins >= steps:
            say(
                f"note: the run ends at step {steps:,} (config.run.steps), but what config.{name} = {value} "
                f"delays begins at step {begins:,}: raise the one or lower the other"
            )


def traced_step(run: Start, resident: tuple[Any, ...]) -> Any:
    """The step, ready to be compiled.

    Raises:
      ValueError: it would learn nothing.
    """
    return make_step(run.method, run.config, run.mesh).lower(run.abstract, run.feed.shapes(), *resident)


def compiled_step(run: Start, traced: Any) -> Any:
    """The step, compiled; says what it costs and how long the run will take."""
    config = run.config
    say("compiling the training step (minutes for large networks on a CPU; kept for the next start) ...")
    began = time.perf_counter()
    compiled = traced.compile()
    took = time.perf_counter() - began
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
        rate, left = matrix_product_rate(), config.run.steps - run.step
        # Training steps of such networks reach 0.3 to 0.6 of a matrix product's speed.
        seconds = left * flops / (0.4 * rate)
        say(
            f"  expected duration: about {duration(seconds)} for {left} steps "
            f"(at 0.4 of this device's {rate / 1e9:.0f} GFLOP/s; the ETA below is measured)"
        )
    return compiled


def write_networks(run: Start) -> None:
    """Every parameter and its shape, as `networks.txt`."""
    overview = parameter_overview.get_parameter_overview(run.abstract.params, include_stats=False)
    (run.workdir / "networks.txt").write_text(overview + "\n")

"""The typed configuration of a run, and its JSON form.

A recipe in `configs/` returns a `Config`; command-line flags change single fields
(`--config.run.steps=1000`). `networks` and `weights` are dataclasses that the method's own module
declares (`xgan_jax.xgan.Networks`, `xgan_jax.xgan.Weights`), so a new method needs no edit here. What
values a field may have stands beside it (`choice`, `number`), and one function checks them all.
"""

import dataclasses
import importlib
import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

Number = int | float


@dataclass(frozen=True)
class Rule:
    """Which values a field may have; `use` says it, to follow "use "."""

    allows: Callable[[Any], bool]
    use: str


def choice(default: Any, allowed: Sequence[Any]) -> Any:
    """A field that has one of the values `allowed`."""
    *others, last = map(str, allowed)
    rule = Rule(lambda value: value in allowed, f"{', '.join(others)} or {last}")
    return field(default=default, metadata={"rule": rule})


def _least(least: Number) -> Rule:
    use = "zero or more" if least == 0 else f"{least} or more"
    return Rule(lambda value: least <= value and math.isfinite(value), use)


def number(
    default: Number,
    *,
    least: Number | None = None,
    most: Number | None = None,
    above: Number | None = None,
    below: Number | None = None,
) -> Any:
    """A field that has a finite number: one above `above`, or `least` or more; perhaps up to `most`, or to
    below `below`."""
    if above is not None:
        rule = Rule(lambda value: above < value and math.isfinite(value), f"a number above {above or 'zero'}")
    elif least is None:
        raise TypeError("number takes above or least, and beside least perhaps most or below")
    elif most is not None:
        rule = Rule(lambda value: least <= value <= most, f"{least} to {most}")
    elif below is not None:
        rule = Rule(lambda value: least <= value < below, f"{least} to below {below}")
    else:
        rule = _least(least)
    return field(default=default, metadata={"rule": rule})


SIZES = (32, 64, 128, 256)  # sides of pictures that networks are made for, pixels


@dataclass
class DataConfig:
    """Where the pictures are and how they are augmented."""

    path: str = ""  # the folder that `xgan prepare` wrote
    domains: tuple[str, ...] = ("face", "anime")  # at least two, each a subfolder of `path`
    size: int = choice(64, SIZES)  # side of the square training pictures, pixels
    train_split: str = "train"
    test_split: str = "test"
    # For records at native size (TFDS's own) only.
    crop: str = choice("center", ("center", "celeba", "none"))
    flip: bool = True  # mirror half of the pictures
    shift: int = 4  # random translation, at most this many pixels each way; edges repeat
    # Brightness, contrast and saturation vary by this factor (0.1 = 10%).
    colour: float = number(0.0, least=0, below=1)
    threads: int = number(4, least=0, most=1024)  # threads that read and decode
    # device: all training pictures go to the devices once, split between them
    cache: str = choice("none", ("none", "device"))
    # Damaged records are no error: each is replaced by the next good one. All are checked at the start.
    skip_corrupt: bool = False


@dataclass
class OptimizerConfig:
    """Adam for every player (XGAN section 4: Adam, 1e-4), and the weights' moving average."""

    learning_rate: float = number(1e-4, above=0)
    # The discriminator's learning rate is this times the others'.
    discriminator_scale: float = number(1.0, above=0)
    b1: float = number(0.5, least=0, below=1)
    b2: float = number(0.999, least=0, below=1)
    eps: float = number(1e-8, above=0)
    # The last part of the run, in which the rate falls linearly to zero: 0.5 is its second half, 0 none.
    decay: float = number(0.0, least=0, most=1)
    # In steps, in the place of `decay`: where the fall begins, and its length.
    decay_start: int = number(0, least=0)
    decay_steps: int = number(0, least=0)
    # Evaluation uses the moving average of the weights; 0 is no average.
    ema_decay: float = number(0.999, least=0, below=1)


@dataclass
class RunConfig:
    """How long, how often, with which seed. Nothing here changes results but batch, seed, dtype, and steps
    where the learning rate falls towards the end of the run."""

    steps: int = number(100_000, least=1)
    batch_size: int = number(32, least=1)  # pictures of each domain in a step, over all devices together
    seed: int = number(0, least=0)
    # Parameters, statistics and losses stay float32.
    compute_dtype: str = choice("float32", ("float32", "bfloat16"))
    # Steps in one dispatch; more where Python is slower than the device.
    steps_per_call: int = number(1, least=1)
    log_every: int = number(50, least=1)
    sample_every: int = number(1000, least=1)
    samples: int = number(8, least=1)  # test pictures of each domain in a grid
    # KID of test pictures (readers/judge.py); best weights stay in best/.
    measure_every: int = number(0, least=0)
    checkpoint_every: int = number(1000, least=1)
    keep_checkpoints: int = number(3, least=1)
    # A step with a number that is NaN or infinite changes nothing. Then "stop"; or "skip" it, and stop after
    # 10 in a row; or "roll_back", after 10 in a row, to the last checkpoint, from where pictures come in
    # another order, with another key, and stop after 3 times.
    on_nan: str = choice("stop", ("stop", "skip", "roll_back"))
    profile: str = ""  # a folder for a trace of some steps and a page that sums it up
    allow_config_change: bool = False  # continue a run although its configuration differs


# Fields that may differ when a run continues: they change what is written, not what is computed (but a longer
# run's learning rate falls later).
FREE_ON_RESUME = frozenset(
    {
        "data.path",  # the same dataset may have moved; its fingerprint is checked instead
        "data.threads",
        "data.cache",
        "data.skip_corrupt",  # a run that met a damaged record has stopped, and used none
        "run.on_nan",  # likewise
        "run.steps",
        "run.log_every",
        "run.sample_every",
        "run.samples",
        "run.measure_every",
        "run.checkpoint_every",
        "run.keep_checkpoints",
        "run.profile",
        "run.allow_config_change",
    }
)


_DECAY = {"optimizer.decay", "optimizer.decay_start", "optimizer.decay_steps"}


@dataclass
class Config:
    """One run. `method` names a module of `xgan_jax`: "xgan", "baselines.cyclegan", ..."""

    method: str
    networks: Any
    weights: Any
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    run: RunConfig = field(default_factory=RunConfig)


def method_module(name: str) -> ModuleType:
    """The module that implements method `name`.

    Raises:
      ValueError: there is no such module, or none that has a method.
    """
    try:
        module = importlib.import_module(f"xgan_jax.{name}")
        if hasattr(module, "build"):
            return module
    except ModuleNotFoundError as error:
        if error.name is None or not f"xgan_jax.{name}".startswith(error.name):
            raise
    raise ValueError(
        f"config.method is {name!r}, but there is no method in xgan_jax.{name}: "
        'use "xgan" or the name of a file in xgan_jax/baselines, as "baselines.NAME".'
    )


# Modules that configurations of earlier runs name as "MODULE:FUNCTION", and where they stand now.
_MOVED = {
    f"xgan_jax.evaluation.{name}": f"xgan_jax.readers.{name}" for name in ("judge", "angle", "features")
}


def where_it_is_now(name: str) -> str:
    """A function's "package.module:function" of today, for one of an earlier version."""
    module, colon, function = name.partition(":")
    return f"{_MOVED.get(module, module)}{colon}{function}"


def to_json(config: Config) -> str:
    """`config` as indented JSON, the text of a run's `config.json`."""
    return json.dumps(dataclasses.asdict(config), indent=2) + "\n"


def from_json(text: str) -> Config:
    """The `Config` whose `to_json` is `text`; fields that are missing take their defaults.

    Raises:
      ValueError: a field is unknown here (the run is from another version of xgan_jax).
    """
    tree = json.loads(text)
    module = method_module(tree["method"])
    sections = {
        "networks": module.Networks,
        "weights": module.Weights,
        "data": DataConfig,
        "optimizer": OptimizerConfig,
        "run": RunConfig,
    }
    built: dict[str, Any] = {}
    for name, section in sections.items():
        values = dict(tree.get(name, {}))
        known = {f.name: f for f in dataclasses.fields(section)}
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ValueError(
                f"config.{name}.{unknown[0]} is not known to this version of xgan_jax: "
                "use the version that wrote the file (see run.json beside it)."
            )
        for key, value in values.items():
            if isinstance(value, list):
                values[key] = tuple(value)
            elif name == "networks" and isinstance(value, str):
                values[key] = where_it_is_now(value)
        built[name] = section(**values)
    return Config(method=tree["method"], **built)


def read(path: Path) -> Config:
    """The configuration in a run's `config.json`.

    Raises:
      ValueError: the file is damaged, or as `from_json`.
    """
    try:
        text = path.read_text()
        tree = json.loads(text)
    except ValueError:  # neither JSON nor, perhaps, text
        tree = None
    sections = ("networks", "weights", "data", "optimizer", "run")
    if (
        not isinstance(tree, dict)
        or not isinstance(tree.get("method"), str)
        or not all(isinstance(tree.get(section, {}), dict) for section in sections)
    ):
        raise ValueError(f"{path} is damaged: restore it from a copy, or train in another --workdir.")
    config = from_json(text)
    check_fields(config, "data")  # people edit the file
    return config


def flat(config: Config) -> dict[str, Any]:
    """The configuration as {"run.steps": 1000, ...}."""
    result: dict[str, Any] = {"method": config.method}
    for section, values in dataclasses.asdict(config).items():
        if isinstance(values, dict):
            result |= {f"{section}.{name}": value for name, value in values.items()}
    return result


def decay_of(config: Config) -> tuple[int, int]:
    """The step from which the learning rate falls to zero, and in how many steps; 0, 0 where it does not."""
    optimizer, steps = config.optimizer, config.run.steps
    if optimizer.decay_steps:
        return optimizer.decay_start, optimizer.decay_steps
    if not optimizer.decay:
        return 0, 0
    length = max(1, round(optimizer.decay * steps))
    return steps - length, length


def differences(old: Config, new: Config) -> dict[str, tuple[Any, Any]]:
    """{field: (old value, new value)} for every field that differs; a decay may be said in two ways."""
    a, b = (
        {name: where_it_is_now(value) if isinstance(value, str) else value for name, value in flat(c).items()}
        for c in (old, new)
    )
    same = _DECAY if decay_of(old) == decay_of(new) else set()
    return {
        key: (a.get(key), b.get(key))
        for key in sorted((a.keys() | b.keys()) - same)
        if a.get(key) != b.get(key)
    }


def require(ok: bool, message: str) -> None:
    """Refuses a configuration.

    Raises:
      ValueError: `message`, where it is not `ok`.
    """
    if not ok:
        raise ValueError(message)


_WEIGHT = _least(0)  # of every number among a method's weights
_FINITE = Rule(math.isfinite, "a finite number")  # of every other number
_INT32 = 2**31  # steps are counted in it


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -_INT32 < value < _INT32


# What a field of a type may have, and how that is said.
_TYPES: dict[Any, Rule] = {
    bool: Rule(lambda value: isinstance(value, bool), "True or False"),
    int: Rule(_whole, f"a whole number below {_INT32}"),
    float: Rule(lambda value: isinstance(value, float) or _whole(value), "a number"),
    str: Rule(lambda value: isinstance(value, str), "text"),
    tuple[str, ...]: Rule(
        lambda value: isinstance(value, tuple) and all(isinstance(v, str) and v for v in value),
        'names, as ("face", "anime")',
    ),
}


def check_fields(config: Config, *sections: str) -> None:
    """Holds every field of these sections of `config` against its type and the rule that stands beside it.

    Raises:
      ValueError: one sentence that names the first that breaks its rule, its value and what to use.
    """
    for section in sections:
        part = getattr(config, section)
        for one in dataclasses.fields(part):
            value = getattr(part, one.name)
            rule: Rule | None = one.metadata.get("rule")
            if rule is None and one.type in (int, float):
                rule = _WEIGHT if section == "weights" else _FINITE
            for wanted in (_TYPES.get(one.type), rule):
                if wanted is not None and not wanted.allows(value):
                    raise ValueError(f"config.{section}.{one.name} is {value!r}: use {wanted.use}.")


def validate(config: Config) -> None:
    """Checks what can be checked without data and without the method (`method.load` checks its part).

    Raises:
      ValueError: one sentence that names the field, what is wrong with it and what to use.
    """
    check_fields(config, "data", "optimizer", "run")
    data = config.data
    require(bool(data.path), "config.data.path is empty: set it to a folder that `xgan prepare` wrote.")
    check_domains(data.domains, "config.data.domains")
    require(0 <= data.shift < data.size, f"config.data.shift is {data.shift}: use 0 to {data.size - 1}.")
    _check_calls(config.run)
    _check_decay(config.optimizer, config.run.steps)
    method_module(config.method)


def check_domains(domains: Sequence[str], what: str) -> None:
    """Checks the names of domains, which name folders, files and directions; `what`: where they stand.

    Raises:
      ValueError: fewer than two, two alike, no name of a folder, or two directions would have one name.
    """
    require(
        len(domains) >= 2 and len(set(domains)) == len(domains),
        f"{what} is {tuple(domains)}: name at least two different domains.",
    )
    for domain in domains:
        require(
            domain.isprintable() and not domain.startswith(".") and not set(domain) & {"/", "\\"},
            f"{what} has {domain!r}: use the name of a folder, without slashes and not beginning with a dot.",
        )
    directions = Counter(f"{s}2{t}" for s in domains for t in domains if s != t)
    twice = next((name for name, times in directions.items() if times > 1), None)
    require(twice is None, f"{what} is {tuple(domains)}: two directions would be called {twice}; rename one.")


def _check_calls(run: RunConfig) -> None:
    for name in ("steps", "log_every", "sample_every", "checkpoint_every", "measure_every"):
        value = getattr(run, name)
        require(
            value % run.steps_per_call == 0,
            f"config.run.{name} is {value}, which calls of {run.steps_per_call} steps do not meet: use a "
            "multiple of config.run.steps_per_call.",
        )


def _check_decay(optimizer: OptimizerConfig, steps: int) -> None:
    start, length = optimizer.decay_start, optimizer.decay_steps
    if not length:
        require(
            not start,
            f"config.optimizer.decay_start is {start}, but decay_steps is 0: set both, or instead of them "
            "config.optimizer.decay, the part of the run in which the learning rate falls.",
        )
        return
    require(
        start < steps,
        f"config.optimizer.decay_start is {start}, but the run ends at step {steps} (config.run.steps): use "
        "less, or 0 for it and for decay_steps.",
    )
    require(
        steps <= start + length,
        f"config.run.steps is {steps}, but the learning rate is zero from step {start + length} on "
        "(config.optimizer.decay_start + decay_steps), and nothing more would be learnt: use "
        f"--config.optimizer.decay_steps={steps - start}, with --config.run.allow_config_change=True if the "
        "run has begun.",
    )

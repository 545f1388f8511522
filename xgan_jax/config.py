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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
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
    default: Number, *, least: Number | None = None, above: Number | None = None, below: Number | None = None
) -> Any:
    """A field that has a finite number: `least` or more, `least` to below `below`, or one above `above`."""
    if above is not None and least is None and below is None:
        rule = Rule(lambda value: above < value and math.isfinite(value), f"a number above {above or 'zero'}")
    elif above is None and least is not None and below is not None:
        rule = Rule(lambda value: least <= value < below, f"{least} to below {below}")
    elif above is None and least is not None:
        rule = _least(least)
    else:
        raise TypeError("number takes least, least and below, or above")
    return field(default=default, metadata={"rule": rule})


@dataclass
class DataConfig:
    """Where the pictures are and how they are augmented."""

    path: str = ""  # the folder that `xgan prepare` wrote
    domains: tuple[str, ...] = ("face", "anime")  # at least two, each a subfolder of `path`
    size: int = choice(64, (32, 64, 128, 256))  # side of the square training pictures, pixels
    train_split: str = "train"
    test_split: str = "test"
    # For records at native size (TFDS's own) only.
    crop: str = choice("center", ("center", "celeba", "none"))
    flip: bool = True  # mirror half of the pictures
    shift: int = 4  # random translation, at most this many pixels each way; edges repeat
    # Brightness, contrast and saturation vary by this factor (0.1 = 10%).
    colour: float = number(0.0, least=0, below=1)
    threads: int = 4  # threads that read and decode
    # device: all training pictures go to the devices once, split between them
    cache: str = choice("none", ("none", "device"))


@dataclass
class OptimizerConfig:
    """Adam for every player (XGAN section 4: Adam, 1e-4), and the weights' moving average."""

    learning_rate: float = number(1e-4, above=0)
    discriminator_scale: float = 1.0  # the discriminator's learning rate is this times the others'
    b1: float = 0.5
    b2: float = 0.999
    eps: float = 1e-8
    decay_start: int = 0  # step at which a linear decay to zero starts ...
    decay_steps: int = 0  # ... and its length in steps; 0 is a constant learning rate
    # Evaluation uses the moving average of the weights; 0 is no average.
    ema_decay: float = number(0.999, least=0, below=1)


@dataclass
class RunConfig:
    """How long, how often, with which seed. Nothing here but batch, seed and dtype changes results."""

    steps: int = number(100_000, least=1)
    batch_size: int = number(32, least=1)  # pictures of each domain in a step, over all devices together
    seed: int = 0
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
    profile: str = ""  # a folder for a trace of some steps and a page that sums it up
    allow_config_change: bool = False  # continue a run although its configuration differs


# Fields that may differ when a run continues: they change what is written, not what is computed.
FREE_ON_RESUME = frozenset(
    {
        "data.path",  # the same dataset may have moved; its fingerprint is checked instead
        "data.threads",
        "data.cache",
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
      ValueError: there is no such module.
    """
    try:
        return importlib.import_module(f"xgan_jax.{name}")
    except ModuleNotFoundError as error:
        if error.name is None or not f"xgan_jax.{name}".startswith(error.name):
            raise
        raise ValueError(
            f"config.method is {name!r}, but there is no module xgan_jax.{name}: "
            'use "xgan" or the name of a file in xgan_jax/baselines, as "baselines.NAME".'
        ) from None


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


def flat(config: Config) -> dict[str, Any]:
    """The configuration as {"run.steps": 1000, ...}."""
    result: dict[str, Any] = {"method": config.method}
    for section, values in dataclasses.asdict(config).items():
        if isinstance(values, dict):
            result |= {f"{section}.{name}": value for name, value in values.items()}
    return result


def differences(old: Config, new: Config) -> dict[str, tuple[Any, Any]]:
    """{field: (old value, new value)} for every field that differs."""
    a, b = (
        {name: where_it_is_now(value) if isinstance(value, str) else value for name, value in flat(c).items()}
        for c in (old, new)
    )
    return {key: (a.get(key), b.get(key)) for key in sorted(a.keys() | b.keys()) if a.get(key) != b.get(key)}


def require(ok: bool, message: str) -> None:
    """Refuses a configuration.

    Raises:
      ValueError: `message`, where it is not `ok`.
    """
    if not ok:
        raise ValueError(message)


_WEIGHT = _least(0)  # of every number among a method's weights


def check_fields(config: Config, *sections: str) -> None:
    """Holds every field of these sections of `config` against the rule that stands beside it.

    Raises:
      ValueError: one sentence that names the first that breaks its rule, its value and what to use.
    """
    for section in sections:
        part = getattr(config, section)
        for one in dataclasses.fields(part):
            value = getattr(part, one.name)
            rule: Rule | None = one.metadata.get("rule")
            if rule is None and section == "weights" and not isinstance(value, str):
                rule = _WEIGHT
            if rule is not None:
                require(rule.allows(value), f"config.{section}.{one.name} is {value!r}: use {rule.use}.")


def validate(config: Config) -> None:
    """Checks what can be checked without data and without the method (`method.load` checks its part).

    Raises:
      ValueError: one sentence that names the field, what is wrong with it and what to use.
    """
    data, run = config.data, config.run
    require(bool(data.path), "config.data.path is empty: set it to a folder that `xgan prepare` wrote.")
    require(
        len(data.domains) >= 2 and len(set(data.domains)) == len(data.domains),
        f"config.data.domains is {data.domains}: name at least two different domains.",
    )
    check_fields(config, "data", "optimizer", "run")
    require(0 <= data.shift < data.size, f"config.data.shift is {data.shift}: use 0 to {data.size - 1}.")
    for name in ("steps", "log_every", "sample_every", "checkpoint_every", "measure_every"):
        value = getattr(run, name)
        require(
            value % run.steps_per_call == 0,
            f"config.run.{name} is {value}, which calls of {run.steps_per_call} steps do not meet: use a "
            "multiple of config.run.steps_per_call.",
        )
    method_module(config.method)

"""The typed configuration of a run, and its JSON form.

A recipe in `configs/` returns a `Config`; command-line flags change single fields
(`--config.run.steps=1000`). `networks` and `weights` are dataclasses that the method's own module
declares (`xgan_jax.xgan.Networks`, `xgan_jax.xgan.Weights`), so a new method needs no edit here.
"""

import dataclasses
import importlib
import json
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any


@dataclass
class DataConfig:
    """Where the pictures are and how they are augmented."""

    path: str = ""  # the folder that `xgan prepare` wrote
    domains: tuple[str, ...] = ("face", "anime")  # at least two, each a subfolder of `path`
    size: int = 64  # side of the square training pictures, pixels: 32, 64, 128 or 256
    train_split: str = "train"
    test_split: str = "test"
    crop: str = "center"  # center | celeba | none: for records at native size (TFDS's own) only
    flip: bool = True  # mirror half of the pictures
    shift: int = 4  # random translation, at most this many pixels each way; edges repeat
    colour: float = 0.0  # brightness, contrast and saturation vary by this factor (0.1 = 10%)
    threads: int = 4  # threads that read and decode
    cache: str = "none"  # device: all training pictures go to the devices once, split between them


@dataclass
class OptimizerConfig:
    """Adam for every player (XGAN section 4: Adam, 1e-4), and the weights' moving average."""

    learning_rate: float = 1e-4
    discriminator_scale: float = 1.0  # the discriminator's learning rate is this times the others'
    b1: float = 0.5
    b2: float = 0.999
    eps: float = 1e-8
    decay_start: int = 0  # step at which a linear decay to zero starts ...
    decay_steps: int = 0  # ... and its length in steps; 0 is a constant learning rate
    ema_decay: float = 0.999  # evaluation uses the moving average of the weights


@dataclass
class RunConfig:
    """How long, how often, with which seed. Nothing here but batch, seed and dtype changes results."""

    steps: int = 100_000
    batch_size: int = 32  # pictures of each domain in a step, over all devices together
    seed: int = 0
    compute_dtype: str = "float32"  # or bfloat16; parameters, statistics and losses stay float32
    steps_per_call: int = 1  # steps in one dispatch; more where Python is slower than the device
    log_every: int = 50
    sample_every: int = 1000
    samples: int = 8  # test pictures of each domain in a grid
    measure_every: int = 0  # KID of test pictures (readers/judge.py); the best weights stay in best/
    checkpoint_every: int = 1000
    keep_checkpoints: int = 3
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
    a, b = flat(old), flat(new)
    return {key: (a.get(key), b.get(key)) for key in sorted(a.keys() | b.keys()) if a.get(key) != b.get(key)}


def validate(config: Config) -> None:
    """Checks what can be checked without data.

    Raises:
      ValueError: one sentence that names the field, what is wrong with it and what to use.
    """

    def require(ok: bool, message: str) -> None:
        if not ok:
            raise ValueError(message)

    data, run, optimizer = config.data, config.run, config.optimizer
    require(bool(data.path), "config.data.path is empty: set it to a folder that `xgan prepare` wrote.")
    require(
        len(data.domains) >= 2 and len(set(data.domains)) == len(data.domains),
        f"config.data.domains is {data.domains}: name at least two different domains.",
    )
    require(
        data.size in (32, 64, 128, 256),
        f"config.data.size is {data.size}: use 32, 64, 128 or 256.",
    )
    require(0 <= data.shift < data.size, f"config.data.shift is {data.shift}: use 0 to {data.size - 1}.")
    require(0 <= data.colour < 1, f"config.data.colour is {data.colour}: use 0 to below 1.")
    for name in (
        "steps",
        "steps_per_call",
        "batch_size",
        "log_every",
        "sample_every",
        "samples",
        "checkpoint_every",
        "keep_checkpoints",
    ):
        value = getattr(run, name)
        require(value >= 1, f"config.run.{name} is {value}: use 1 or more.")
    require(run.measure_every >= 0, f"config.run.measure_every is {run.measure_every}: use 0 or more.")
    for name in ("steps", "log_every", "sample_every", "checkpoint_every", "measure_every"):
        value = getattr(run, name)
        require(
            value % run.steps_per_call == 0,
            f"config.run.{name} is {value}, which calls of {run.steps_per_call} steps do not meet: use a "
            "multiple of config.run.steps_per_call.",
        )
    require(data.cache in ("none", "device"), f"config.data.cache is {data.cache!r}: use none or device.")
    require(
        run.compute_dtype in ("float32", "bfloat16"),
        f"config.run.compute_dtype is {run.compute_dtype!r}: use float32 or bfloat16.",
    )
    require(
        optimizer.learning_rate > 0,
        f"config.optimizer.learning_rate is {optimizer.learning_rate}: use a positive number.",
    )
    require(
        0 <= optimizer.ema_decay < 1,
        f"config.optimizer.ema_decay is {optimizer.ema_decay}: use 0 (no average) to below 1.",
    )
    method_module(config.method)

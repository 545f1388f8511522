"""Configurations: their JSON, what differs, and what is refused."""

import dataclasses
import importlib.util
import math
import random
from pathlib import Path
from typing import Any

import pytest

from xgan_jax import config as configs
from xgan_jax import method as methods
from xgan_jax.config import Config, DataConfig, OptimizerConfig
from xgan_jax.xgan import Networks, Weights


def make() -> Config:
    return Config(method="xgan", networks=Networks(), weights=Weights(), data=DataConfig(path="p"))


def test_json_round_trip_and_differences() -> None:
    config = make()
    config.data.domains = ("cat", "dog", "fox")
    config.weights.gan = 0.25
    again = configs.from_json(configs.to_json(config))
    assert again == config
    again.run.steps, again.networks.norm = 7, "none"
    assert configs.differences(config, again) == {
        "run.steps": (config.run.steps, 7),
        "networks.norm": ("instance", "none"),
    }


def test_missing_fields_take_defaults_and_unknown_ones_are_named() -> None:
    assert configs.from_json('{"method": "xgan", "data": {"path": "p"}}') == make()
    with pytest.raises(ValueError, match=r"config.run.speed is not known to this version"):
        configs.from_json('{"method": "xgan", "run": {"speed": 2}}')


def test_functions_that_moved_are_found_in_runs_of_before() -> None:
    text = '{"method": "baselines.dtn", "networks": {"teacher": "xgan_jax.evaluation.judge:as_teacher"}}'
    old, given = configs.from_json(text), configs.from_json(text)
    assert old.networks.teacher == "xgan_jax.readers.judge:as_teacher"
    given.networks.teacher = "xgan_jax.evaluation.judge:as_teacher"  # on a command line of before
    assert configs.differences(old, given) == {}


def test_every_free_field_exists() -> None:
    assert set(configs.flat(make())) >= configs.FREE_ON_RESUME


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("data.path", "", "config.data.path is empty"),
        ("data.domains", ("face",), "name at least two different domains"),
        ("data.domains", ("face", "face"), "name at least two different domains"),
        ("data.domains", ("face", "./face"), "has './face': use the name of a folder"),
        ("data.domains", ("a/b", ".."), "has 'a/b': use the name of a folder"),
        ("data.domains", ("a\n", "b"), "use the name of a folder"),
        ("data.domains", ("a", "a2a"), "two directions would be called a2a2a; rename one"),
        ("data.size", 48, "config.data.size is 48: use 32, 64, 128 or 256"),
        ("data.shift", 64, "config.data.shift is 64: use 0 to 63"),
        ("data.colour", 1.5, "config.data.colour is 1.5"),
        ("run.steps", 0, "config.run.steps is 0: use 1 or more"),
        ("run.batch_size", -1, "config.run.batch_size is -1"),
        ("run.compute_dtype", "float16", "use float32 or bfloat16"),
        ("optimizer.learning_rate", 0.0, "use a number above zero"),
        ("optimizer.ema_decay", 1.0, "config.optimizer.ema_decay is 1.0"),
        ("optimizer.b1", 1.0, "config.optimizer.b1 is 1.0: use 0 to below 1"),
        ("optimizer.eps", 0.0, "use a number above zero"),
        ("optimizer.discriminator_scale", 0.0, "use a number above zero"),
        ("optimizer.discriminator_scale", math.nan, "use a number above zero"),
        ("optimizer.decay", 1.5, "config.optimizer.decay is 1.5: use 0 to 1"),
        ("optimizer.decay_start", 5, "config.optimizer.decay_start is 5, but decay_steps is 0: set both"),
        ("run.steps", 3.5, "config.run.steps is 3.5: use a whole number"),
        ("run.steps", True, "config.run.steps is True: use a whole number"),
        ("run.steps", 10**11, "config.run.steps is 100000000000: use a whole number below 2147483648"),
        ("run.seed", -1, "config.run.seed is -1: use zero or more"),
        ("data.threads", -1, "config.data.threads is -1: use 0 to 1024"),
        ("data.shift", -1, "config.data.shift is -1: use 0 to 63"),
        ("data.flip", "perhaps", "config.data.flip is 'perhaps': use True or False"),
        ("data.domains", "face", "config.data.domains is 'face': use names"),
        ("data.domains", ("face", ""), "use names"),
    ],
)
def test_bad_fields_are_one_sentence(field: str, value, message: str) -> None:
    config = make()
    section, name = field.split(".")
    setattr(getattr(config, section), name, value)
    with pytest.raises(ValueError, match=message):
        configs.validate(config)


@pytest.mark.parametrize("method", ["baselines.stylegan9", "nets", "config", "", "x y"])
def test_unknown_method(method: str) -> None:
    config = make()
    config.method = method
    with pytest.raises(ValueError, match=rf"there is no method in xgan_jax.{method}"):
        configs.validate(config)


def decayed(steps: int, **optimizer: Any) -> Config:
    config = make()
    config.run.steps, config.optimizer = steps, OptimizerConfig(**optimizer)
    configs.validate(config)
    return config


def test_a_decay_follows_the_run() -> None:
    for steps in (1, 4, 12, 2501):
        start, length = configs.decay_of(decayed(steps, decay=0.5))
        assert start + length == steps and length >= 1
    assert configs.decay_of(decayed(10, decay=1.0)) == (0, 10)
    assert configs.decay_of(decayed(10)) == (0, 0)
    assert configs.decay_of(decayed(4, decay=0.5, decay_start=1, decay_steps=3)) == (1, 3)


def test_steps_without_a_learning_rate_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"steps is 12, but the learning rate is zero from step 4 on .*decay_steps=10,"
    ):
        decayed(12, decay_start=2, decay_steps=2)
    decayed(12, decay_start=2, decay_steps=10)
    decayed(12, decay_start=2, decay_steps=100)
    with pytest.raises(ValueError, match=r"decay_start is 12, but the run ends at step 12"):
        decayed(12, decay_start=12, decay_steps=2)


def test_a_run_of_before_goes_on_with_the_same_decay_said_otherwise() -> None:
    old = decayed(2500, decay_start=1250, decay_steps=1250)
    assert configs.differences(old, decayed(2500, decay=0.5)) == {}
    longer = configs.differences(old, decayed(5000, decay=0.5))
    assert set(longer) == {"run.steps", *configs._DECAY}


def test_networks_of_another_method_are_refused() -> None:
    config = make()
    config.method = "baselines.cyclegan"
    with pytest.raises(
        ValueError, match=r"but the networks and weights are of xgan_jax.xgan: choose a method by"
    ):
        methods.load(config)


RECIPES = [p for p in sorted((Path(__file__).parents[1] / "configs").glob("*.py"))]
VALUES = [
    *(
        -1,
        0,
        1,
        2,
        3,
        7,
        64,
        10**6,
        2**31,
        10**400,
        0.5,
        -0.5,
        1.5,
        1e-300,
        1e300,
        math.nan,
        math.inf,
        -math.inf,
    ),
    *(
        True,
        False,
        None,
        "",
        "x",
        "none",
        "a.b:c",
        "float16",
        b"x",
        (),
        ("a",),
        ("a", "b"),
        ("a", 1),
        [1],
        {},
    ),
]


def recipe(path: Path) -> Config:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config()
    config.data.path = "somewhere"
    for name in ("teacher", "features", "angle", "reference"):  # they read data
        if hasattr(config.networks, name):
            setattr(config.networks, name, "")
    return config


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_any_edit_is_valid_or_refused_in_one_sentence(path: Path) -> None:
    """Forty random edits of a recipe, of one to three fields, before anything is compiled."""
    dice, refused = random.Random(path.stem), 0
    for _ in range(40):
        config = recipe(path)
        for _ in range(dice.randint(1, 3)):
            section = getattr(config, dice.choice(("networks", "weights", "data", "optimizer", "run")))
            if fields := dataclasses.fields(section):
                field, value = dice.choice(fields), dice.choice(VALUES)
                as_flag = field.type is float and type(value) is int and value < 2**31
                setattr(section, field.name, float(value) if as_flag else value)
        try:
            configs.validate(config)
            methods.load(config)
        except ValueError as error:
            refused += 1
            assert str(error).startswith(("config.", "the ")) and "\n" not in str(error), error
    assert refused > 20

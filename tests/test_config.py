"""Configurations: their JSON, what differs, and what is refused."""

import pytest

from xgan_jax import config as configs
from xgan_jax.config import Config, DataConfig
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
        ("data.size", 48, "config.data.size is 48: use 32, 64, 128 or 256"),
        ("data.shift", 64, "config.data.shift is 64: use 0 to 63"),
        ("data.colour", 1.5, "config.data.colour is 1.5"),
        ("run.steps", 0, "config.run.steps is 0: use 1 or more"),
        ("run.batch_size", -1, "config.run.batch_size is -1"),
        ("run.compute_dtype", "float16", "use float32 or bfloat16"),
        ("optimizer.learning_rate", 0.0, "use a number above zero"),
        ("optimizer.ema_decay", 1.0, "config.optimizer.ema_decay is 1.0"),
    ],
)
def test_bad_fields_are_one_sentence(field: str, value, message: str) -> None:
    config = make()
    section, name = field.split(".")
    setattr(getattr(config, section), name, value)
    with pytest.raises(ValueError, match=message):
        configs.validate(config)


def test_unknown_method() -> None:
    config = make()
    config.method = "baselines.stylegan9"
    with pytest.raises(ValueError, match=r"there is no module xgan_jax.baselines.stylegan9"):
        configs.validate(config)

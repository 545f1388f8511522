"""The two that need no adversary: mean difference vector and encoder-decoder regression."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from xgan_jax import method as methods
from xgan_jax.baselines import mean_difference, regression
from xgan_jax.config import Config, DataConfig
from xgan_jax.method import Moment

KEY = jax.random.key(0)


def config(module, **networks) -> Config:
    return Config(
        method=f"baselines.{module.__name__.rpartition('.')[2]}",
        networks=module.Networks(**networks),
        weights=module.Weights(),
        data=DataConfig(path="none", size=32),
    )


def batch(n: int = 4):
    face, anime = (jax.random.uniform(k, (n, 32, 32, 3)) for k in jax.random.split(KEY))
    return {"face": 0.5 * face - 0.8, "anime": 0.5 * anime}


def descended(method, images, steps: int, rate: float):
    """Parameters after some steps of Adam on one batch."""
    params, extra = method.init(KEY)
    (player,) = method.players
    optimizer = optax.adam(rate)

    @jax.jit
    def step(params, state):
        def total(params):
            return sum(
                method.losses(player, Moment(params, extra, images, KEY, jnp.int32(0))).losses.values()
            )

        value, gradient = jax.value_and_grad(total)(params)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, updates), state, value

    state = optimizer.init(params)
    for _ in range(steps):
        params, state, value = step(params, state)
    return params, extra, float(value)


def test_the_vector_becomes_the_difference_of_the_means() -> None:
    method = methods.load(config(mean_difference))
    images = batch(12)
    params, extra = method.init(KEY)
    for i in range(3):
        part = {domain: x[4 * i : 4 * i + 4] for domain, x in images.items()}
        terms = method.losses("mean", Moment(params, extra, part, KEY, jnp.int32(i)))
        extra = terms.extra
    assert terms.losses["difference"] > 0
    difference = images["anime"].mean(0) - images["face"].mean(0)
    np.testing.assert_allclose(extra["vector"], difference, atol=1e-5)
    there = method.translate(params, extra, images["face"], "face", "anime")
    np.testing.assert_allclose(there, images["face"] + difference, atol=1e-5)
    np.testing.assert_allclose(
        method.translate(params, extra, there, "anime", "face"), images["face"], atol=1e-5
    )
    assert method.translate(params, extra, jnp.ones((1, 32, 32, 3)), "face", "anime").max() <= 1


def test_a_difference_is_of_two_domains() -> None:
    three = config(mean_difference)
    three.data.domains = ("a", "b", "c")
    with pytest.raises(ValueError, match="a difference is of two domains"):
        methods.load(three)


def test_regression_learns_the_mean_of_what_it_cannot_know() -> None:
    """Towards a random one of two pictures, the least error is that of their mean."""
    method = methods.load(config(regression, width=0.25))
    images = batch(2)
    both = {d: jnp.concatenate([x, x]) for d, x in images.items()}
    both["anime"] = jnp.concatenate([images["anime"], images["anime"][::-1]])  # each face, once with each
    params, extra, _ = descended(method, both, 400, 3e-3)
    made = method.translate(params, extra, images["face"], "face", "anime")
    mean = images["anime"].mean(0)
    to_mean = float(jnp.square(made - mean).mean())
    assert to_mean < 0.5 * float(jnp.square(made - images["anime"]).mean())
    np.testing.assert_array_equal(
        method.translate(params, extra, images["face"], "face", "face"), images["face"]
    )
    with pytest.raises(ValueError, match=r"config.networks.width is 0.0: use a number above zero"):
        methods.load(config(regression, width=0.0))

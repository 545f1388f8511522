"""Differentiable augmentation of what discriminators see."""

import jax
import jax.numpy as jnp
import numpy as np

from xgan_jax.nets.discriminator import differentiable_augmentation


def test_each_picture_is_changed_by_itself_and_by_the_key() -> None:
    x = jnp.broadcast_to(jax.random.uniform(jax.random.key(0), (32, 32, 3), minval=-1), (8, 32, 32, 3))
    y = differentiable_augmentation(x, jax.random.key(1))
    assert y.shape == x.shape and np.isfinite(y).all()
    np.testing.assert_array_equal(y, differentiable_augmentation(x, jax.random.key(1)))
    assert np.abs(y - differentiable_augmentation(x, jax.random.key(2))).max() > 0.1
    assert all(np.abs(y[i] - y[j]).mean() > 0.05 for i in range(8) for j in range(i))
    # A hole of half the side, at most, and margins of an eighth.
    empty = np.asarray((y == 0).all(-1)).mean((1, 2))
    assert (empty > 0).all() and (empty < 0.6).all()


def test_its_gradient_reaches_what_is_shown() -> None:
    x = jax.random.uniform(jax.random.key(0), (4, 32, 32, 3), minval=-1)
    key = jax.random.key(1)
    shown = np.asarray((differentiable_augmentation(x, key) != 0).any(-1)).mean()
    gradient = jax.grad(lambda x: jnp.square(differentiable_augmentation(x, key)).sum())(x)
    reached = np.asarray((gradient != 0).any(-1)).mean()
    assert 0.4 < shown <= reached

"""Augmentation on the device: what it may do to a picture, and that it does it to each by itself."""

import jax
import jax.numpy as jnp
import numpy as np

from xgan_jax.config import DataConfig
from xgan_jax.data.augment import augment, to_float, to_uint8

KEY = jax.random.key(0)


def off(**changes) -> DataConfig:
    return DataConfig(**({"flip": False, "shift": 0, "colour": 0.0} | changes))


def pictures(n: int = 64, size: int = 8):
    return jax.random.uniform(jax.random.key(5), (n, size, size, 3), minval=-1.0)


def test_all_256_values_survive_the_round_trip() -> None:
    x = jnp.arange(256, dtype=jnp.uint8).reshape(1, 16, 16, 1)
    f = to_float(x)
    assert float(f.min()) == -1 and float(f.max()) == 1
    np.testing.assert_array_equal(to_uint8(f), x)
    np.testing.assert_array_equal(to_uint8(jnp.array([[[[-9.0, 9.0]]]]))[0, 0, 0], [0, 255])


def test_nothing_on_means_nothing_changed() -> None:
    np.testing.assert_array_equal(augment(pictures(), KEY, off()), pictures())


def test_flip_mirrors_about_half() -> None:
    x = pictures()
    y = augment(x, KEY, off(flip=True))
    same = np.array([np.array_equal(a, b) for a, b in zip(x, y, strict=True)])
    mirrored = np.array([np.array_equal(a[:, ::-1], b) for a, b in zip(x, y, strict=True)])
    assert (same ^ mirrored).all() and 16 < mirrored.sum() < 48


def test_shift_moves_each_and_repeats_edges() -> None:
    x = pictures()
    y = np.asarray(augment(x, KEY, off(shift=2)))
    padded = np.pad(np.asarray(x), ((0, 0), (2, 2), (2, 2), (0, 0)), mode="edge")
    seen = set()
    for i in range(len(x)):
        found = [
            (r, c)
            for r in range(5)
            for c in range(5)
            if np.array_equal(padded[i, r : r + 8, c : c + 8], y[i])
        ]
        assert found
        seen.update(found)
    assert len(seen) > 15


def test_colour_stays_near_and_in_range() -> None:
    x = pictures()
    y = augment(x, KEY, off(colour=0.2))
    assert float(jnp.abs(y).max()) <= 1
    change = np.abs(np.asarray(y - x)).mean((1, 2, 3))
    assert change.max() < 0.5 and len(np.unique(change.round(6))) == len(x)
    grey = jnp.full((4, 8, 8, 3), 0.3)
    assert float(jnp.ptp(augment(grey, KEY, off(colour=0.2)), axis=-1).max()) < 1e-5


def test_the_key_decides() -> None:
    everything = off(flip=True, shift=2, colour=0.2)
    a, b = (augment(pictures(), KEY, everything) for _ in range(2))
    np.testing.assert_array_equal(a, b)
    assert np.abs(a - augment(pictures(), jax.random.key(1), everything)).max() > 0.1

"""Inception-v3 as FID uses it: TensorFlow's 2015 network, in the names of PyTorch's FID weights.

It differs from the published network (Szegedy et al. 2016) where TensorFlow's graph does: average pooling
leaves the padding out of its count, and the last block pools by the maximum.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Num

FEATURES = 2048
_SIDE = 299
_Pair = tuple[int, int]


class _Conv(nn.Module):
    """Convolution without bias, batch norm with stored statistics, ReLU."""

    features: int
    kernel: _Pair = (1, 1)
    stride: int = 1
    same: bool = False  # padded to keep height and width

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h2 w2 o"]:
        padding = [(k // 2, k // 2) if self.same else (0, 0) for k in self.kernel]
        x = nn.Conv(
            self.features,
            self.kernel,
            self.stride,
            padding,
            use_bias=False,
            precision=lax.Precision.HIGHEST,
            name="conv",
        )(x)
        return jax.nn.relu(nn.BatchNorm(use_running_average=True, epsilon=1e-3, name="bn")(x))


def _mean_pool(x: Array) -> Array:
    """3x3, stride 1, over the pixels that are there."""
    return nn.avg_pool(x, (3, 3), (1, 1), ((1, 1), (1, 1)), count_include_pad=False)


def _max_pool(x: Array) -> Array:
    return nn.max_pool(x, (3, 3), (2, 2))


class _A(nn.Module):
    pool_features: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        a = _Conv(64, name="branch1x1")(x)
        b = _Conv(48, name="branch5x5_1")(x)
        b = _Conv(64, (5, 5), same=True, name="branch5x5_2")(b)
        c = _Conv(64, name="branch3x3dbl_1")(x)
        c = _Conv(96, (3, 3), same=True, name="branch3x3dbl_2")(c)
        c = _Conv(96, (3, 3), same=True, name="branch3x3dbl_3")(c)
        d = _Conv(self.pool_features, name="branch_pool")(_mean_pool(x))
        return jnp.concatenate([a, b, c, d], -1)


class _B(nn.Module):
    @nn.compact
    def __call__(self, x: Array) -> Array:
        a = _Conv(384, (3, 3), 2, name="branch3x3")(x)
        b = _Conv(64, name="branch3x3dbl_1")(x)
        b = _Conv(96, (3, 3), same=True, name="branch3x3dbl_2")(b)
        b = _Conv(96, (3, 3), 2, name="branch3x3dbl_3")(b)
        return jnp.concatenate([a, b, _max_pool(x)], -1)


class _C(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        n = self.width
        a = _Conv(192, name="branch1x1")(x)
        b = _Conv(n, name="branch7x7_1")(x)
        b = _Conv(n, (1, 7), same=True, name="branch7x7_2")(b)
        b = _Conv(192, (7, 1), same=True, name="branch7x7_3")(b)
        c = _Conv(n, name="branch7x7dbl_1")(x)
        c = _Conv(n, (7, 1), same=True, name="branch7x7dbl_2")(c)
        c = _Conv(n, (1, 7), same=True, name="branch7x7dbl_3")(c)
        c = _Conv(n, (7, 1), same=True, name="branch7x7dbl_4")(c)
        c = _Conv(192, (1, 7), same=True, name="branch7x7dbl_5")(c)
        d = _Conv(192, name="branch_pool")(_mean_pool(x))
        return jnp.concatenate([a, b, c, d], -1)


class _D(nn.Module):
    @nn.compact
    def __call__(self, x: Array) -> Array:
        a = _Conv(192, name="branch3x3_1")(x)
        a = _Conv(320, (3, 3), 2, name="branch3x3_2")(a)
        b = _Conv(192, name="branch7x7x3_1")(x)
        b = _Conv(192, (1, 7), same=True, name="branch7x7x3_2")(b)
        b = _Conv(192, (7, 1), same=True, name="branch7x7x3_3")(b)
        b = _Conv(192, (3, 3), 2, name="branch7x7x3_4")(b)
        return jnp.concatenate([a, b, _max_pool(x)], -1)


class _E(nn.Module):
    pool_by_maximum: bool

    @nn.compact
    def __call__(self, x: Array) -> Array:
        a = _Conv(320, name="branch1x1")(x)
        b = _Conv(384, name="branch3x3_1")(x)
        b1 = _Conv(384, (1, 3), same=True, name="branch3x3_2a")(b)
        b2 = _Conv(384, (3, 1), same=True, name="branch3x3_2b")(b)
        c = _Conv(448, name="branch3x3dbl_1")(x)
        c = _Conv(384, (3, 3), same=True, name="branch3x3dbl_2")(c)
        c1 = _Conv(384, (1, 3), same=True, name="branch3x3dbl_3a")(c)
        c2 = _Conv(384, (3, 1), same=True, name="branch3x3dbl_3b")(c)
        biggest = functools.partial(nn.max_pool, window_shape=(3, 3), padding=((1, 1), (1, 1)))
        pooled = biggest(x) if self.pool_by_maximum else _mean_pool(x)
        d = _Conv(192, name="branch_pool")(pooled)
        return jnp.concatenate([a, b1, b2, c1, c2, d], -1)


def resize(images: Num[Array, "b h w 3"]) -> Float[Array, "b 299 299 3"]:
    """To 299x299 as TensorFlow 1 did: bilinear between corner-aligned pixels, no antialiasing."""
    x = images.astype(jnp.float32)
    for axis in (1, 2):
        side = x.shape[axis]
        place = jnp.arange(_SIDE) * (side / _SIDE)
        low = jnp.floor(place).astype(jnp.int32)
        shape = [1] * 4
        shape[axis] = _SIDE
        part = (place - low).reshape(shape)
        x = jnp.take(x, low, axis) * (1 - part) + jnp.take(x, jnp.minimum(low + 1, side - 1), axis) * part
    return x


class Inception(nn.Module):
    """uint8 pictures `[b, h, w, 3]` of any size to features `[b, 2048]`, the pool before the classifier."""

    @nn.compact
    def __call__(self, images: Num[Array, "b h w 3"]) -> Float[Array, "b 2048"]:
        x = (resize(images) - 128.0) / 128.0
        x = _Conv(32, (3, 3), 2, name="Conv2d_1a_3x3")(x)
        x = _Conv(32, (3, 3), name="Conv2d_2a_3x3")(x)
        x = _Conv(64, (3, 3), same=True, name="Conv2d_2b_3x3")(x)
        x = _Conv(80, name="Conv2d_3b_1x1")(_max_pool(x))
        x = _Conv(192, (3, 3), name="Conv2d_4a_3x3")(x)
        x = _max_pool(x)
        for letter, pool_features in (("b", 32), ("c", 64), ("d", 64)):
            x = _A(pool_features, name=f"Mixed_5{letter}")(x)
        x = _B(name="Mixed_6a")(x)
        for letter, width in (("b", 128), ("c", 160), ("d", 160), ("e", 192)):
            x = _C(width, name=f"Mixed_6{letter}")(x)
        x = _D(name="Mixed_7a")(x)
        x = _E(False, name="Mixed_7b")(x)
        x = _E(True, name="Mixed_7c")(x)
        return x.mean((1, 2))


def from_torch(weights: dict[str, Num[np.ndarray, "..."]]) -> dict[str, Any]:
    """Variables of `Inception` from the state dict of PyTorch's FID network.

    Raises:
      ValueError: an array is missing or has another shape.
    """
    shapes = jax.eval_shape(Inception().init, jax.random.key(0), jnp.zeros((1, 64, 64, 3), jnp.uint8))
    names = {
        ("conv", "kernel"): "conv.weight",
        ("bn", "scale"): "bn.weight",
        ("bn", "bias"): "bn.bias",
        ("bn", "mean"): "bn.running_mean",
        ("bn", "var"): "bn.running_var",
    }

    def find(path: tuple[jax.tree_util.DictKey, ...], shape: jax.ShapeDtypeStruct) -> Array:
        _, *modules, layer, leaf = (key.key for key in path)
        name = ".".join([*modules, names[layer, leaf]])
        if name not in weights:
            raise ValueError(f"these are not the weights of FID's Inception-v3: {name} is missing.")
        array = np.asarray(weights[name], np.float32)
        if array.ndim == 4:
            array = array.transpose(2, 3, 1, 0)
        if array.shape != shape.shape:
            raise ValueError(
                f"these are not the weights of FID's Inception-v3: {name} has the shape "
                f"{weights[name].shape}."
            )
        return jnp.asarray(array)

    variables: dict[str, Any] = jax.tree_util.tree_map_with_path(find, shapes)
    return variables

"""Convolutions in the form that is fast on the backend at hand, normalisation, and activations.

Shapes are `[batch, height, width, channels]`; kernels `[k, k, in, out]` with k = 3 or 4; the stride
is 2, so a convolution halves height and width and a transposed one doubles them.

Why the transposed convolution is written by hand: XLA on CPU takes 50 times longer for its weight
gradient than for its output (`benchmarks/conv_layers.py`; 64 channels, 16 px: 510 ms against 10).
The same numbers come from the weight gradient of the strided convolution it is the transpose of.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "leaky_relu": lambda x: jax.nn.leaky_relu(x, 0.2),
    "elu": jax.nn.elu,
    "silu": jax.nn.silu,
}

# He et al. 2015: keeps the scale of activations without relying on normalisation.
he_normal = nn.initializers.variance_scaling(2.0, "fan_in", "truncated_normal")


def strided_conv(x: Float[Array, "b h w i"], kernel: Float[Array, "k k i o"]) -> Float[Array, "b h2 w2 o"]:
    """Convolution with stride 2 and padding 1 (PyTorch's `Conv2d(k, stride=2, padding=1)`).

    Args:
      x: even height and width.
      kernel: k = 3 or 4.
    """
    pad = (1, kernel.shape[0] - 3)  # 3x3 never reads the last row of a symmetric padding
    return lax.conv_general_dilated(x, kernel, (2, 2), (pad, pad), dimension_numbers=_DIMENSIONS)


def _kernel_of_transpose(kernel: Array) -> Array:
    """The kernel `[k, k, o, i]` of the strided convolution that `transposed_conv` transposes."""
    return kernel[::-1, ::-1].swapaxes(2, 3)


def _transposed_as_dilated(x: Array, kernel: Array) -> Array:
    """The textbook form: a convolution over `x` with zeros put between its pixels."""
    pad = (kernel.shape[0] - 2, 2)
    return lax.conv_general_dilated(
        x, kernel, (1, 1), (pad, pad), lhs_dilation=(2, 2), dimension_numbers=_DIMENSIONS
    )


def _transposed_as_phases(x: Array, kernel: Array) -> Array:
    """The same numbers as one 2x2 convolution that gives the four output phases as channels.

    No zeros are multiplied and the convolution has stride 1, which CPU kernels like best.
    """
    if kernel.shape[0] == 3:
        kernel = jnp.pad(kernel, ((1, 0), (1, 0), (0, 0), (0, 0)))
    i, o = kernel.shape[2:]
    phases = kernel.reshape(2, 2, 2, 2, i, o)[:, ::-1, :, ::-1]
    phases = phases.transpose(0, 2, 4, 1, 3, 5).reshape(2, 2, i, 4 * o)
    y = lax.conv_general_dilated(x, phases, (1, 1), ((1, 1), (1, 1)), dimension_numbers=_DIMENSIONS)
    b, h, w = y.shape[:3]
    y = y.reshape(b, h, w, 2, 2, o).transpose(0, 1, 3, 2, 4, 5).reshape(b, 2 * h, 2 * w, o)
    return y[:, 1:-1, 1:-1]


@jax.custom_vjp
def transposed_conv(x: Float[Array, "b h w i"], kernel: Float[Array, "k k i o"]) -> Float[Array, "b h2 w2 o"]:
    """Transposed convolution with stride 2 (PyTorch's `ConvTranspose2d(4, 2, 1)`, `(3, 2, 1, 1)`).

    With k = 4 it equals `lax.conv_transpose(x, kernel, (2, 2), "SAME")`. Can be differentiated twice in
    reverse mode.
    """
    form = _transposed_as_phases if jax.default_backend() == "cpu" else _transposed_as_dilated
    return form(x, kernel)


def _transposed_conv_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return transposed_conv(x, kernel), (x, kernel)


def _transposed_conv_backward(saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, kernel = saved
    dx, pullback = jax.vjp(lambda k: strided_conv(g, _kernel_of_transpose(k)), kernel)
    return dx, pullback(x)[0]


transposed_conv.defvjp(_transposed_conv_forward, _transposed_conv_backward)


class StridedConv(nn.Module):
    """`strided_conv` with its kernel and bias: `[b, h, w, i] -> [b, h/2, w/2, features]`."""

    features: int
    kernel: int = 4
    use_bias: bool = True
    dtype: Any = jnp.float32
    operation: Callable[[Array, Array], Array] = strided_conv

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h2 w2 o"]:
        shape = (self.kernel, self.kernel, x.shape[-1], self.features)
        kernel = self.param("kernel", he_normal, shape, jnp.float32)
        y = self.operation(x.astype(self.dtype), kernel.astype(self.dtype))
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
            y = y + bias.astype(self.dtype)
        return y


class TransposedConv(StridedConv):
    """`transposed_conv` with its kernel and bias: `[b, h, w, i] -> [b, 2h, 2w, features]`."""

    operation: Callable[[Array, Array], Array] = transposed_conv


@jax.custom_jvp
def _inverse_sqrt(x: Array) -> Array:
    """`x ** -0.5`, with a derivative that lets XLA merge equal forward passes.

    With `lax.rsqrt`'s own derivative (its value divided by x) the compiler rewrites the forward pass of
    the player that is differentiated into another form than that of the player that is not, and computes the
    translations twice: a quarter of XGAN's step (`tests/training/test_step.py`).
    """
    return lax.rsqrt(x)


@_inverse_sqrt.defjvp
def _inverse_sqrt_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    y = _inverse_sqrt(*primals)
    return y, -0.5 * y * y * y * tangents[0]


class Norm(nn.Module):
    """Normalisation with a learnt scale and offset; statistics in float32 whatever the input's dtype.

    `kind`: "instance" (per picture and channel), "batch" (over all pictures of the call, on all
    devices; moving averages when `train` is False), "none".
    """

    kind: str
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*b c"], train: bool) -> Float[Array, "*b c"]:
        if self.kind == "none":
            return x
        if self.kind == "batch":
            return nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-5, dtype=self.dtype)(
                x
            )
        channels = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (channels,), jnp.float32)
        offset = self.param("bias", nn.initializers.zeros, (channels,), jnp.float32)
        x32 = x.astype(jnp.float32)
        mean = x32.mean((1, 2), keepdims=True)
        variance = jnp.square(x32 - mean).mean((1, 2), keepdims=True)
        y = (x32 - mean) * (_inverse_sqrt(variance + 1e-5) * scale) + offset
        return y.astype(self.dtype)


def dense(features: int, dtype: Any, name: str | None = None) -> nn.Dense:
    """A matrix product with bias, He-initialised."""
    return nn.Dense(features, dtype=dtype, kernel_init=he_normal, name=name)


def interleave(
    batches: list[Float[Array, "b ..."]],
) -> Float[Array, "n ..."]:
    """n batches as one, picture by picture: `[b, ...] * n -> [b * n, ...]`.

    Not a concatenation, because the batch is sharded over devices: interleaved, every picture stays on
    its device; concatenated, half of them would have to move.
    """
    if len(batches) == 1:
        return batches[0]
    stacked = jnp.stack(batches, 1)
    return stacked.reshape(-1, *stacked.shape[2:])


def deinterleave(x: Float[Array, "n ..."], parts: int) -> list[Float[Array, "b ..."]]:
    """The batches of which `interleave` made `x`."""
    if parts == 1:
        return [x]
    split = x.reshape(-1, parts, *x.shape[1:])
    return [split[:, i] for i in range(parts)]

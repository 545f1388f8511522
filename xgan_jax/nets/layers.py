"""Convolutions in the form that is fast on the backend at hand, normalisation, and activations.

Shapes are `[batch, height, width, channels]`; kernels `[k, k, in, out]` with k = 3 or 4; the stride
is 2, so a convolution halves height and width and a transposed one doubles them.

Which form of a convolution is fast is decided here and nowhere else, from `benchmarks/conv_layers.py`. Off
the CPU it is lax's own. On CPU, lax multiplies the zeros that it puts between pixels for the input gradient
(and for the transposed convolution, which is the same sum): four times the work. And XLA brings a
convolution into the form that its fast kernel wants (`_DIMENSIONS`) only outside of branches and loops;
inside, as the lazy R1 and methods of several stages are, gradients in lax's own form are 50 times slower. So
all convolutions here have that form to begin with.
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "leaky_relu": lambda x: jax.nn.leaky_relu(x, 0.2),
    "elu": jax.nn.elu,
    "silu": jax.nn.silu,
}

# He et al. 2015: keeps the scale of activations without relying on normalisation.
he_normal = nn.initializers.variance_scaling(2.0, "fan_in", "truncated_normal")
he_normal_transposed = nn.initializers.variance_scaling(
    2.0, "fan_in", "truncated_normal", in_axis=-1, out_axis=-2
)

normal_002 = nn.initializers.normal(0.02)  # DCGAN's (Radford et al. 2016), and of most GANs after it


def _lax_conv(x: Array, kernel: Array) -> Array:
    pad = (1, kernel.shape[0] - 3)  # 3x3 never reads the last row of a symmetric padding
    return lax.conv_general_dilated(x, kernel, (2, 2), (pad, pad), dimension_numbers=_DIMENSIONS)


def _conv_by_columns(x: Array, kernel: Array) -> Array:
    """`_lax_conv` as one matrix product over the 16 pixels that each output pixel sees."""
    kernel = _as_4x4(kernel)
    b, h, w, i = x.shape
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    x = x.reshape(b, h // 2 + 1, 2, w // 2 + 1, 2, i).transpose(0, 1, 3, 2, 4, 5)
    blocks = x.reshape(b, h // 2 + 1, w // 2 + 1, 4 * i)
    seen = [blocks[:, r : r + h // 2, c : c + w // 2] for r in (0, 1) for c in (0, 1)]
    weights = kernel.reshape(2, 2, 2, 2, i, -1).transpose(0, 2, 1, 3, 4, 5).reshape(16 * i, -1)
    return jnp.einsum("bhwk,ko->bhwo", jnp.concatenate(seen, -1), weights)


def _as_4x4(kernel: Array) -> Array:
    missing = 4 - kernel.shape[0]
    return jnp.pad(kernel, ((0, missing), (0, missing), (0, 0), (0, 0)))


def _input_by_lax(g: Array, kernel: Array) -> Array:
    """The textbook form: a convolution over `g` with zeros put between its pixels."""
    b, h, w, _ = g.shape
    x = jax.ShapeDtypeStruct((b, 2 * h, 2 * w, kernel.shape[2]), g.dtype)
    result: Array = jax.linear_transpose(lambda x: _lax_conv(x, kernel), x)(g)[0]
    return result


def _input_by_phases(g: Array, kernel: Array) -> Array:
    """The same numbers as four 2x2 convolutions with stride 1: even and odd rows, even and odd columns.

    Row 2q of the result sees rows q - 1 and q of `g` through rows 3 and 1 of the kernel, row 2q + 1 sees
    q and q + 1 through 2 and 0. No zeros are multiplied.
    """
    kernel = _as_4x4(kernel)
    phases = ((kernel[3::-2], (1, 0)), (kernel[2::-2], (0, 1)))
    b, h, w, _ = g.shape
    rows = []
    for of_row, pad_rows in phases:
        columns = [
            lax.conv_general_dilated(
                g,
                of_row[:, first::-2].swapaxes(2, 3),
                (1, 1),
                (pad_rows, pad_columns),
                dimension_numbers=_DIMENSIONS,
            )
            for first, pad_columns in ((3, (1, 0)), (2, (0, 1)))
        ]
        rows.append(jnp.stack(columns, 3))
    return jnp.stack(rows, 2).reshape(b, 2 * h, 2 * w, -1)


def _input_by_products(g: Array, kernel: Array) -> Array:
    """The same numbers as one matrix product that gives each pixel's 4x4 patch, and a sum of the patches."""
    kernel = _as_4x4(kernel)
    b, h, w, _ = g.shape
    i = kernel.shape[2]
    patches = jnp.einsum("bhwo,klio->bhwkli", g, kernel).reshape(b, h, w, 2, 2, 2, 2, i)
    total = jnp.zeros((), g.dtype)
    for r in (0, 1):
        for c in (0, 1):
            margins = ((0, 0), (r, 1 - r), (c, 1 - c), (0, 0), (0, 0), (0, 0))
            total = total + jnp.pad(patches[:, :, :, r, :, c], margins)
    x = total.transpose(0, 1, 3, 2, 4, 5).reshape(b, 2 * h + 2, 2 * w + 2, i)
    return x[:, 1:-1, 1:-1]


# On CPU: pictures, whose few channels starve a convolution's kernel, and patches that stay in the cache
# are faster as products.
_THIN = 4
_CACHED = 2**22  # numbers


@jax.custom_vjp
def strided_conv(x: Float[Array, "b h w i"], kernel: Float[Array, "k k i o"]) -> Float[Array, "b h2 w2 o"]:
    """Convolution with stride 2 and padding 1 (PyTorch's `Conv2d(k, stride=2, padding=1)`).

    With `input_gradient` and `kernel_gradient` it is closed under differentiation: the derivatives of each
    of the three are the other two, in the form chosen here, to any order in reverse mode.

    Args:
      x: even height and width.
      kernel: k = 3 or 4.
    """
    on_cpu = jax.default_backend() == "cpu"
    return (_conv_by_columns if on_cpu and x.shape[-1] <= _THIN else _lax_conv)(x, kernel)


@jax.custom_vjp
def input_gradient(g: Float[Array, "b h w o"], kernel: Float[Array, "k k i o"]) -> Float[Array, "b h2 w2 i"]:
    """The gradient of `(strided_conv(x, kernel) * g).sum()` by x."""
    if jax.default_backend() != "cpu":
        return _input_by_lax(g, kernel)
    b, h, w, _ = g.shape
    i = kernel.shape[2]
    by_products = i <= _THIN or b * h * w * 16 * i <= _CACHED
    return (_input_by_products if by_products else _input_by_phases)(g, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def kernel_gradient(x: Float[Array, "b h w i"], g: Float[Array, "b h2 w2 o"], k: int) -> Float[Array, "..."]:
    """The gradient of `(strided_conv(x, kernel) * g).sum()` by the kernel, `[k, k, i, o]`."""
    if jax.default_backend() != "cpu":
        kernel = jax.ShapeDtypeStruct((k, k, x.shape[-1], g.shape[-1]), x.dtype)
        result: Array = jax.linear_transpose(lambda kernel: _lax_conv(x, kernel), kernel)(g)[0]
        return result
    # A convolution of channels over pictures, with `g`, its pixels spread, for a kernel.
    by_channel = lax.conv_general_dilated(
        x.transpose(3, 1, 2, 0),
        g.transpose(1, 2, 0, 3),
        (1, 1),
        ((1, k - 3), (1, k - 3)),
        rhs_dilation=(2, 2),
        dimension_numbers=_DIMENSIONS,
    )
    return by_channel.transpose(1, 2, 0, 3)


Pair = tuple[Array, Array]


def _strided_conv_forward(x: Array, kernel: Array) -> tuple[Array, Pair]:
    return strided_conv(x, kernel), (x, kernel)


def _strided_conv_backward(saved: Pair, g: Array) -> Pair:
    x, kernel = saved
    return input_gradient(g, kernel), kernel_gradient(x, g, kernel.shape[0])


def _input_gradient_forward(g: Array, kernel: Array) -> tuple[Array, Pair]:
    return input_gradient(g, kernel), (g, kernel)


def _input_gradient_backward(saved: Pair, x: Array) -> Pair:
    g, kernel = saved
    return strided_conv(x, kernel), kernel_gradient(x, g, kernel.shape[0])


def _kernel_gradient_forward(x: Array, g: Array, k: int) -> tuple[Array, Pair]:
    return kernel_gradient(x, g, k), (x, g)


def _kernel_gradient_backward(k: int, saved: Pair, kernel: Array) -> Pair:
    x, g = saved
    return input_gradient(g, kernel), strided_conv(x, kernel)


strided_conv.defvjp(_strided_conv_forward, _strided_conv_backward)
input_gradient.defvjp(_input_gradient_forward, _input_gradient_backward)
kernel_gradient.defvjp(_kernel_gradient_forward, _kernel_gradient_backward)


def transposed_conv(x: Float[Array, "b h w i"], kernel: Float[Array, "k k o i"]) -> Float[Array, "b h2 w2 o"]:
    """Transposed convolution with stride 2 (PyTorch's `ConvTranspose2d(4, 2, 1)`, `(3, 2, 1, 1)`).

    `kernel` is, as in PyTorch, that of the convolution it transposes: output channels before input channels.
    With k = 4 this is `lax.conv_transpose(x, kernel, (2, 2), "SAME", transpose_kernel=True)`.
    """
    return input_gradient(x, kernel)


def resize_kernel(kernel: Float[Array, "3 3 o i"]) -> Float[Array, "4 4 o i"]:
    """The kernel with which `transposed_conv` doubles by nearest neighbour and then convolves with `kernel`.

    At the price of a transposed convolution, and without its checkerboards (Odena et al. 2016): even and odd
    pixels of a flat input come out equal. `kernel` has output channels before input channels, as there.
    """
    # Rows of the result, by which input row each is multiplied with: 2q + 1 with q + 1, 2q and 2q + 1 with q,
    # 2q with q - 1.
    rows = jnp.stack([kernel[2], kernel[1] + kernel[2], kernel[0] + kernel[1], kernel[0]])
    columns = [rows[:, 2], rows[:, 1] + rows[:, 2], rows[:, 0] + rows[:, 1], rows[:, 0]]
    return jnp.stack(columns, 1)


def spectral_norm(kernel: Float[Array, "*k o"], iterations: int = 32) -> Float[Array, "*k o"]:
    """`kernel` over its largest singular value, as a matrix of `o` columns (Miyato et al. 2018, eq. 8).

    The singular vector, which is not differentiated, is found anew in each call, by power iterations from a
    fixed start: there is no state to keep, and the value is right to a few thousandths.
    """
    m = kernel.reshape(-1, kernel.shape[-1])
    frozen = lax.stop_gradient(m)

    def iterate(_: Int[Array, ""], v: Array) -> Array:
        v = frozen.T @ (frozen @ v)
        return v / (jnp.linalg.norm(v) + 1e-30)

    v = lax.fori_loop(0, iterations, iterate, jnp.cos(jnp.arange(m.shape[1], dtype=m.dtype)))
    return kernel / (jnp.linalg.norm(m @ v) + 1e-12)


def double(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
    """Twice the height and width, by nearest neighbour."""
    return x.repeat(2, 1).repeat(2, 2)


class StridedConv(nn.Module):
    """`strided_conv` with its kernel and bias: `[b, h, w, i] -> [b, h/2, w/2, features]`.

    With `spectral` the kernel is divided by its largest singular value (`spectral_norm`).
    """

    features: int
    kernel: int = 4
    dtype: Any = jnp.float32
    kernel_init: nn.initializers.Initializer = he_normal
    spectral: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h2 w2 o"]:
        shape = (self.kernel, self.kernel, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        if self.spectral:
            kernel = spectral_norm(kernel)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        y = strided_conv(x.astype(self.dtype), kernel.astype(self.dtype))
        return y + bias.astype(self.dtype)


class TransposedConv(nn.Module):
    """`transposed_conv` with its kernel and bias: `[b, h, w, i] -> [b, 2h, 2w, features]`.

    With `resize` it is nearest-neighbour enlargement and a 3x3 convolution (`resize_kernel`).
    """

    features: int
    kernel: int = 4
    dtype: Any = jnp.float32
    kernel_init: nn.initializers.Initializer = he_normal_transposed
    resize: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h2 w2 o"]:
        side = 3 if self.resize else self.kernel
        kernel = self.param("kernel", self.kernel_init, (side, side, self.features, x.shape[-1]), jnp.float32)
        if self.resize:
            kernel = resize_kernel(kernel)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        y = transposed_conv(x.astype(self.dtype), kernel.astype(self.dtype))
        return y + bias.astype(self.dtype)


@jax.custom_vjp
def instance_norm(
    x: Float[Array, "b h w c"], scale: Float[Array, "c"], offset: Float[Array, "c"]
) -> Float[Array, "b h w c"]:
    """Each picture's channels to mean `offset` and deviation `scale`; float32 (Ulyanov et al. 2016).

    The gradient is written out: two sums and one pass over `x` and the gradient, where the automatic one
    makes twelve. And XLA recognises the forward pass of a player that
    is differentiated as that of one that is not, and computes it once (`tests/training/test_step.py`).
    """
    return _instance_norm_forward(x, scale, offset)[0]


def _instance_norm_forward(x: Array, scale: Array, offset: Array) -> tuple[Array, tuple[Array, ...]]:
    mean = x.mean((1, 2), keepdims=True)
    inverse = lax.rsqrt(jnp.square(x - mean).mean((1, 2), keepdims=True) + 1e-5)
    return (x - mean) * (inverse * scale) + offset, (x, mean, inverse, scale)


def _instance_norm_backward(saved: tuple[Array, ...], g: Array) -> tuple[Array, Array, Array]:
    x, mean, inverse, scale = saved
    pixels = x.shape[1] * x.shape[2]
    sum_g = g.sum((1, 2), keepdims=True)
    sum_gy = (g * (x - mean)).sum((1, 2), keepdims=True) * inverse
    slope = inverse * sum_gy / pixels
    dx = (inverse * scale) * (g - sum_g / pixels - (x - mean) * slope)
    return dx, sum_gy.sum((0, 1, 2)), sum_g.sum((0, 1, 2))


instance_norm.defvjp(_instance_norm_forward, _instance_norm_backward)


class Norm(nn.Module):
    """Normalisation with a learnt scale and offset; statistics in float32 whatever the input's dtype.

    `kind`: "instance" (per picture and channel), "batch" (over all pictures of the call, on all
    devices; moving averages when `train` is False), "none". Without `affine` an instance norm has no
    parameters.
    """

    kind: str
    dtype: Any = jnp.float32
    affine: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "*b c"], train: bool) -> Float[Array, "*b c"]:
        if self.kind == "none":
            return x
        if self.kind == "batch":
            return nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-5, dtype=self.dtype)(
                x
            )
        channels = x.shape[-1]
        if self.affine:
            scale = self.param("scale", nn.initializers.ones, (channels,), jnp.float32)
            offset = self.param("bias", nn.initializers.zeros, (channels,), jnp.float32)
        else:
            scale, offset = jnp.ones(channels), jnp.zeros(channels)
        return instance_norm(x.astype(jnp.float32), scale, offset).astype(self.dtype)


Padding = tuple[tuple[int, int], tuple[int, int]]


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def plain_conv(
    x: Float[Array, "b h w i"], kernel: Float[Array, "k l i o"], padding: Padding
) -> Float[Array, "b h2 w2 o"]:
    """Convolution with stride 1, and rows and columns of zeros around as `padding` says.

    Its derivatives, to any order in reverse mode, are such convolutions again: on CPU the form that is fast
    everywhere (see above).
    """
    return lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=_DIMENSIONS)


def _plain_conv_forward(x: Array, kernel: Array, padding: Padding) -> tuple[Array, Pair]:
    return plain_conv(x, kernel, padding), (x, kernel)


def _plain_conv_backward(padding: Padding, saved: Pair, g: Array) -> Pair:
    x, kernel = saved
    (top, bottom), (left, right) = padding
    rows, columns = kernel.shape[0] - 1, kernel.shape[1] - 1
    around = ((rows - top, rows - bottom), (columns - left, columns - right))
    dx = plain_conv(g, kernel[::-1, ::-1].swapaxes(2, 3), around)
    by_channel = plain_conv(x.transpose(3, 1, 2, 0), g.transpose(1, 2, 0, 3), padding)
    return dx, by_channel.transpose(1, 2, 0, 3)


plain_conv.defvjp(_plain_conv_forward, _plain_conv_backward)


def _for_flax(x: Array, kernel: Array, strides: Any, padding: Any, **options: Any) -> Array:
    """`plain_conv` where `nn.Conv` calls `lax.conv_general_dilated`; that itself off the CPU."""
    if jax.default_backend() != "cpu":
        return lax.conv_general_dilated(x, kernel, strides, padding, **options)
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], strides, padding)
    return plain_conv(x, kernel, tuple(map(tuple, padding)))


def conv(
    features: int,
    size: int,
    dtype: Any,
    padding: Any = "SAME",
    kernel_init: nn.initializers.Initializer = he_normal,
    bias: bool = True,
    name: str | None = None,
) -> nn.Conv:
    """A convolution with stride 1."""
    return nn.Conv(
        features,
        (size, size),
        padding=padding,
        use_bias=bias,
        dtype=dtype,
        kernel_init=kernel_init,
        conv_general_dilated=_for_flax,
        name=name,
    )


class PreactivationBlock(nn.Module):
    """A residual block, two 3x3 convolutions, activation first (He et al. 2016b).

    The second begins at zero, so that a block begins as the identity whatever the normalisation.
    """

    norm: str
    activation: str
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h w c"]:
        y = x
        for i, init in ((1, he_normal), (2, nn.initializers.zeros)):
            y = ACTIVATIONS[self.activation](Norm(self.norm, self.dtype, name=f"norm{i}")(y, train))
            y = conv(x.shape[-1], 3, self.dtype, kernel_init=init, name=f"conv{i}")(y)
        return x + y


def dense(
    features: int,
    dtype: Any,
    spectral: bool = False,
    kernel_init: nn.initializers.Initializer = he_normal,
    name: str | None = None,
) -> nn.Dense:
    """A matrix product with bias; with `spectral` its kernel has spectral norm 1."""

    def product(x: Array, kernel: Array, *how: Any, **options: Any) -> Array:
        return lax.dot_general(x, spectral_norm(kernel) if spectral else kernel, *how, **options)

    return nn.Dense(features, dtype=dtype, kernel_init=kernel_init, dot_general=product, name=name)


@jax.custom_vjp
def largest(x: Float[Array, "b h w c"]) -> Float[Array, "b c"]:
    """The largest value of each channel. Places that share it share its gradient, as of `x.max((1, 2))`.

    A compiler that computes `x` anew for the gradient may round it otherwise, so that no place equals the
    largest any more; `max`'s own gradient is then 0 / 0. Here it goes to those within 1e-6 of it.
    """
    return x.max((1, 2))


def _largest_forward(x: Array) -> tuple[Array, Pair]:
    found = x.max((1, 2))
    return found, (x, found)


def _largest_backward(saved: Pair, g: Array) -> tuple[Array]:
    x, found = saved
    found = found[:, None, None]
    equal, near = x >= found, x >= found - 1e-6 * jnp.abs(found)
    places = jnp.where(equal.any((1, 2), keepdims=True), equal, near).astype(x.dtype)
    shared = g / jnp.maximum(places.sum((1, 2)), 1)
    return (shared[:, None, None] * places,)


largest.defvjp(_largest_forward, _largest_backward)


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

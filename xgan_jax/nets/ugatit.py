"""U-GAT-IT's networks: attention by class activation maps, adaptive layer-instance normalisation.

Kim et al. 2020 (ICLR), "U-GAT-IT: Unsupervised Generative Attentional Networks with Adaptive Layer-Instance
Normalization". Where the authors' TensorFlow and PyTorch codes differ, these are the layers of the PyTorch
one, whose weights can be loaded (two maps a CAM, no biases, variance over n - 1), initialised as the paper
says.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from xgan_jax.nets.layers import ACTIVATIONS, Norm, double, largest, normal_002, spectral_norm
from xgan_jax.nets.resnet import reflect_pad

_EPSILON = 1e-5

conv = functools.partial(nn.Conv, padding="VALID", use_bias=False, kernel_init=normal_002)
fully_connected = functools.partial(nn.Dense, use_bias=False, kernel_init=normal_002)


def layer_instance_norm(
    x: Float[Array, "b h w c"],
    rho: Float[Array, "c"],
    gamma: Float[Array, "*b c"],
    beta: Float[Array, "*b c"],
) -> Float[Array, "b h w c"]:
    """AdaLIN (eq. 1): instance and layer normalisation mixed by `rho`, then scaled and shifted; float32.

    `gamma` and `beta` are one a picture (adaptive) or the same for all. `rho` = 1 is instance normalisation.
    """

    def normalised(axes: tuple[int, ...]) -> Array:
        return (x - x.mean(axes, keepdims=True)) * lax.rsqrt(x.var(axes, keepdims=True, ddof=1) + _EPSILON)

    mixed = rho * normalised((1, 2)) + (1 - rho) * normalised((1, 2, 3))
    if gamma.ndim == 2:
        gamma, beta = gamma[:, None, None], beta[:, None, None]
    return mixed * gamma + beta


class AdaLIN(nn.Module):
    """`layer_instance_norm` with scale and offset given; rho begins near 1 (section 2.1.1)."""

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], gamma: Float[Array, "b c"], beta: Float[Array, "b c"]
    ) -> Float[Array, "b h w c"]:
        rho = self.param("rho", nn.initializers.constant(0.9), (x.shape[-1],), jnp.float32)
        return layer_instance_norm(x.astype(jnp.float32), rho, gamma, beta).astype(x.dtype)


class LIN(nn.Module):
    """The same with a learnt scale and offset, in the decoder's enlarging layers; rho begins at 0."""

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        channels = (x.shape[-1],)
        rho = self.param("rho", nn.initializers.zeros, channels, jnp.float32)
        gamma = self.param("gamma", nn.initializers.ones, channels, jnp.float32)
        beta = self.param("beta", nn.initializers.zeros, channels, jnp.float32)
        return layer_instance_norm(x.astype(jnp.float32), rho, gamma, beta).astype(x.dtype)


def _instance_norm(x: Array) -> Array:
    return Norm("instance", x.dtype, affine=False)(x, True)


class Attention(nn.Module):
    """CAM (section 2.1.1): an auxiliary classifier's weights say which channels matter.

    `[b, h, w, c]` -> the attention features `[b, h, w, c]`, before their activation, and the classifier's two
    logits `[b, 2]`, of the channels' means and maxima. With `spectral` (in discriminators) the classifier's
    weights have spectral norm 1 where it classifies.
    """

    spectral: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> tuple[Float[Array, "b h w c"], Float[Array, "b 2"]]:
        channels = x.shape[-1]
        maps, logits = [], []
        for name, pooled in (("gap", x.mean((1, 2))), ("gmp", largest(x))):
            kernel = self.param(f"{name}_fc", normal_002, (channels, 1), jnp.float32)
            weights = spectral_norm(kernel) if self.spectral else kernel
            logits.append(pooled.astype(jnp.float32) @ weights)
            maps.append(x * kernel[:, 0].astype(self.dtype))
        mix = nn.Conv(channels, (1, 1), dtype=self.dtype, kernel_init=normal_002, name="conv1x1")
        return mix(jnp.concatenate(maps, -1)), jnp.concatenate(logits, -1)


def heatmap(features: Float[Array, "b h w c"]) -> Float[Array, "b h w"]:
    """Where attention is: the features' sum over channels."""
    return features.astype(jnp.float32).sum(-1)


class Generator(nn.Module):
    """`[b, s, s, 3]` in [-1, 1] to the translation `[b, s, s, 3]`, CAM's logits `[b, 2]`, and where it
    attends, `[b, s/4, s/4]` (table 4).

    `light` computes AdaLIN's scale and offset from the means of the attention features' channels, the full
    model from the features themselves: 10.6 and 279 million parameters at 256 px.
    """

    width: int = 64
    blocks: int = 4
    light: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b s s 3"]
    ) -> tuple[Float[Array, "b s s 3"], Float[Array, "b 2"], Float[Array, "b t t"]]:
        relu = jax.nn.relu
        deepest = 4 * self.width
        x = conv(self.width, (7, 7), dtype=self.dtype, name="stem")(reflect_pad(x.astype(self.dtype), 3))
        x = relu(_instance_norm(x))
        for i in (1, 2):
            down = conv(self.width << i, (3, 3), strides=2, dtype=self.dtype, name=f"down{i}")
            x = relu(_instance_norm(down(reflect_pad(x, 1))))
        for i in range(self.blocks):
            y = conv(deepest, (3, 3), dtype=self.dtype, name=f"block{i + 1}_conv1")(reflect_pad(x, 1))
            y = relu(_instance_norm(y))
            y = conv(deepest, (3, 3), dtype=self.dtype, name=f"block{i + 1}_conv2")(reflect_pad(y, 1))
            x = x + _instance_norm(y)
        x, logits = Attention(dtype=self.dtype, name="attention")(x)
        x = relu(x)
        attended = heatmap(x)
        # PyTorch flattens channels first: the same order, so that its weights fit.
        flat = x.mean((1, 2)) if self.light else x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1)
        for i in (1, 2):
            flat = relu(fully_connected(deepest, dtype=self.dtype, name=f"fc{i}")(flat))
        gamma = fully_connected(deepest, dtype=self.dtype, name="gamma")(flat).astype(jnp.float32)
        beta = fully_connected(deepest, dtype=self.dtype, name="beta")(flat).astype(jnp.float32)
        for i in range(self.blocks):
            y = conv(deepest, (3, 3), dtype=self.dtype, name=f"up_block{i + 1}_conv1")(reflect_pad(x, 1))
            y = relu(AdaLIN(name=f"up_block{i + 1}_norm1")(y, gamma, beta))
            y = conv(deepest, (3, 3), dtype=self.dtype, name=f"up_block{i + 1}_conv2")(reflect_pad(y, 1))
            x = x + AdaLIN(name=f"up_block{i + 1}_norm2")(y, gamma, beta)
        for i in (1, 2):
            x = reflect_pad(double(x), 1)
            x = conv(deepest >> i, (3, 3), dtype=self.dtype, name=f"up{i}")(x)
            x = relu(LIN(name=f"up{i}_norm")(x))
        x = conv(3, (7, 7), dtype=self.dtype, name="picture")(reflect_pad(x, 3))
        return jnp.tanh(x.astype(jnp.float32)), logits, attended


class SpectralConv(nn.Module):
    """A 4x4 convolution after one row of reflected border, its kernel of spectral norm 1."""

    features: int
    stride: int
    use_bias: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h2 w2 o"]:
        kernel = self.param("kernel", normal_002, (4, 4, x.shape[-1], self.features), jnp.float32)
        y = lax.conv_general_dilated(
            reflect_pad(x, 1).astype(self.dtype),
            spectral_norm(kernel).astype(self.dtype),
            (self.stride, self.stride),
            "VALID",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        if self.use_bias:
            y = y + self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32).astype(
                self.dtype
            )
        return y


class Discriminator(nn.Module):
    """`[b, s, s, 3]` to logits `[b, p, p]`, CAM's logits `[b, 2]`, where it attends `[b, q, q]` (table 5).

    `layers` - 2 convolutions with stride 2 and one with stride 1, doubling channels from `width` on: at
    256 px 5 layers see patches of 70 pixels (the local discriminator), 7 more than the whole picture (the
    global one).
    """

    layers: int
    width: int = 64
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b s s 3"]
    ) -> tuple[Float[Array, "b p p"], Float[Array, "b 2"], Float[Array, "b q q"]]:
        leaky = ACTIVATIONS["leaky_relu"]
        for i in range(self.layers - 1):
            stride = 2 if i < self.layers - 2 else 1
            x = leaky(SpectralConv(self.width << i, stride, dtype=self.dtype, name=f"conv{i + 1}")(x))
        x, cam = Attention(spectral=True, dtype=self.dtype, name="attention")(x)
        x = leaky(x)
        logits = SpectralConv(1, 1, use_bias=False, dtype=self.dtype, name="logits")(x)
        return logits[..., 0].astype(jnp.float32), cam, heatmap(x)

"""Twin-GAN's networks: every convolution shared, a domain in the normalisation alone (Li 2018).

They grow: a network of resolution `side` uses the layers from there down, and `fade` blends its finest
layers in. Sides are static, one program each; all parameters are there from the start.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from xgan_jax.nets.layers import ACTIVATIONS, conv, dense, double, normal_002

Fade = Float[Array, ""]  # of the finest layers: 0 (not there yet) to 1
Limits = tuple[Float[Array, ""], Float[Array, ""]]  # of the correction: r and d


def channels(side: int, width: float) -> int:
    """min(256, 4096 / side) times `width`: 256 up to 16x16, then halved at every enlargement."""
    return max(4, round(width * min(256, 4096 // side)))


def halve(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
    """Means of 2x2 pixels."""
    b, h, w, c = x.shape
    return x.reshape(b, h // 2, 2, w // 2, 2, c).mean((2, 4))


def blend(fine: Array, coarse: Array, fade: Fade) -> Array:
    """`fade` of the fine, the rest of the coarse."""
    return fade * fine + (1 - fade) * coarse


class BatchRenorm(nn.Module):
    """Batch normalisation whose training output is corrected towards the moving statistics (Ioffe 2017).

    The correction r, d is held within 1/r..r and -d..d (`limits`); at r = 1, d = 0 it is batch normalisation.
    Evaluation uses the moving statistics (decay 0.99), debiased as in the author's code: what is missing of
    their `weight` is, in training, the batch's own, so that a layer that is grown begins uncorrected. The
    output begins with mean `first_bias` and deviation `first_scale`.
    """

    first_scale: float = 1.0
    first_bias: float = 0.0

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], train: bool, limits: Limits | None = None
    ) -> Float[Array, "b h w c"]:
        shape = (x.shape[-1],)
        moving_mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        moving_var = self.variable("batch_stats", "var", jnp.zeros, shape)
        weight = self.variable("batch_stats", "weight", jnp.zeros, ())
        scale = self.param("scale", nn.initializers.constant(self.first_scale), shape, jnp.float32)
        bias = self.param("bias", nn.initializers.constant(self.first_bias), shape, jnp.float32)
        if not train:
            seen = jnp.where(weight.value > 0, weight.value, 1)
            var = jnp.where(weight.value > 0, moving_var.value / seen, 1)
            return (x - moving_mean.value / seen) / jnp.sqrt(var + 1e-3) * scale + bias
        x = x.astype(jnp.float32)
        mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
        expected = moving_mean.value + (1 - weight.value) * mean
        deviation = jnp.sqrt(moving_var.value + (1 - weight.value) * var + 1e-3)
        own = jnp.sqrt(var + 1e-3)
        y = (x - mean) / own
        if limits is not None:
            r_most, d_most = limits
            r = jnp.clip(own / deviation, 1 / r_most, r_most)
            d = jnp.clip((mean - expected) / deviation, -d_most, d_most)
            y = y * lax.stop_gradient(r) + lax.stop_gradient(d)
        if not self.is_initializing():
            moving_mean.value += 0.01 * (mean - moving_mean.value)
            moving_var.value += 0.01 * (var - moving_var.value)
            weight.value += 0.01 * (1 - weight.value)
        return y * scale + bias


class DomainNorm(nn.Module):
    """A `BatchRenorm` for every domain, under its name."""

    domains: tuple[str, ...]
    first_scale: float = 1.0
    first_bias: float = 0.0

    def setup(self) -> None:
        how = (self.first_scale, self.first_bias)
        self.of = {domain: BatchRenorm(*how, name=domain) for domain in self.domains}

    def __call__(self, x: Array, domain: str, train: bool, limits: Limits | None = None) -> Array:
        if self.is_initializing():
            for each in self.domains:
                self.of[each](x, train)
        return self.of[domain](x, train, limits)


class Layer(nn.Module):
    """Convolution without bias, the domain's normalisation, leaky ReLU, and pixels of unit length."""

    features: int
    domains: tuple[str, ...]
    kernel: int = 3
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, domain: str, train: bool, limits: Limits | None) -> Array:
        layer = conv(self.features, self.kernel, self.dtype, kernel_init=normal_002, bias=False, name="conv")
        x = layer(x)
        x = ACTIVATIONS["leaky_relu"](DomainNorm(self.domains, name="norm")(x, domain, train, limits))
        return x * lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + 1e-6)


class Encoder(nn.Module):
    """`[b, side, side, 3]` in [0, 1] to the latent `[b, 4, 4, 256]`, and the maps {8, ..., side} for skips.

    `side` is that of the picture, up to `size`. In a block of side h two convolutions, to the channels of h
    / 2, whose result is the skip of h, then means of 2x2.
    """

    domains: tuple[str, ...]
    size: int
    width: float = 1.0
    dtype: Any = jnp.float32

    def setup(self) -> None:
        sides = [4 << i for i in range(self.size.bit_length() - 2)]

        def layer(features: int, kernel: int = 3) -> Layer:
            return Layer(features, self.domains, kernel, self.dtype)

        self.from_rgb = {str(s): layer(channels(s, self.width), 1) for s in sides}
        self.first = {str(s): layer(channels(s, self.width)) for s in sides[1:]}
        self.second = {str(s): layer(channels(s // 2, self.width)) for s in sides[1:]}

    def __call__(
        self, x: Float[Array, "b s s 3"], domain: str, fade: Fade, train: bool, limits: Limits | None = None
    ) -> tuple[Float[Array, "b 4 4 c"], dict[int, Array]]:
        if self.is_initializing() and x.shape[1] > 4:
            self(halve(x), domain, fade, train, limits)  # all sides' parameters
        how = (domain, train, limits)
        top = side = x.shape[1]
        skips: dict[int, Array] = {}
        y = self.from_rgb[str(side)](x, *how)
        while side > 4:
            y = self.second[str(side)](self.first[str(side)](y, *how), *how)
            skips[side] = y
            y = halve(y)
            side //= 2
            if side == top // 2:
                y = blend(y, self.from_rgb[str(side)](halve(x), *how), fade)
        return y, skips


class Generator(nn.Module):
    """The latent and its skips to `[b, side, side, 3]`, in [0, 1] but for what it overshoots.

    At every side above 4 the map is doubled and the encoder's map of that side put beside it. The picture is
    a 1x1 convolution, and normalised for the domain as every layer. `condition`, where there is one, `[b,
    n]`, is put beside every pixel of the latent.
    """

    domains: tuple[str, ...]
    size: int
    width: float = 1.0
    dtype: Any = jnp.float32

    def setup(self) -> None:
        sides = [4 << i for i in range(self.size.bit_length() - 2)]

        def layer(side: int) -> Layer:
            return Layer(channels(side, self.width), self.domains, 3, self.dtype)

        self.first = {str(s): layer(s) for s in sides}
        self.second = {str(s): layer(s) for s in sides}
        self.to_rgb = {str(s): conv(3, 1, self.dtype, kernel_init=normal_002, bias=False) for s in sides}
        # As pictures in [0, 1] are: from 1 and 0 a rate of 1e-4 takes thousands of steps to get there.
        self.rgb_norm = {str(s): DomainNorm(self.domains, 0.25, 0.5) for s in sides}

    def __call__(
        self,
        z: Float[Array, "b 4 4 c"],
        skips: Mapping[int, Array],
        domain: str,
        fade: Fade,
        train: bool,
        limits: Limits | None = None,
        condition: Float[Array, "b n"] | None = None,
    ) -> Float[Array, "b s s 3"]:
        how = (domain, train, limits)

        def picture(x: Array, side: int) -> Array:
            return self.rgb_norm[str(side)](self.to_rgb[str(side)](x), *how).astype(jnp.float32)

        if condition is not None:
            spread = jnp.broadcast_to(condition[:, None, None], (*z.shape[:3], condition.shape[-1]))
            z = jnp.concatenate([z, spread.astype(z.dtype)], -1)
        top = max(skips, default=4)
        y = self.second["4"](self.first["4"](z, *how), *how)
        coarse, side = None, 4
        while side < top:
            if 2 * side == top or self.is_initializing():
                coarse = double(picture(y, side))
            side *= 2
            y = jnp.concatenate([double(y), skips[side]], -1)
            y = self.second[str(side)](self.first[str(side)](y, *how), *how)
        fine = picture(y, side)
        return fine if coarse is None else blend(fine, coarse, fade)


class Discriminator(nn.Module):
    """`[b, side, side, 3]` in [0, 1] to `[b]` logits: progressive growing's (Karras et al. 2018), no norms.

    Weights begin as He et al. have them: without norms the author's 0.02 leaves a new side's answers, and
    their gradients, at 1e-5.

    At 4x4 one more channel has the deviation over the batch, one number for all.
    """

    size: int
    width: float = 1.0
    dtype: Any = jnp.float32

    def setup(self) -> None:
        sides = [4 << i for i in range(self.size.bit_length() - 2)]

        def layer(features: int, kernel: int = 3) -> nn.Conv:
            return conv(features, kernel, self.dtype)

        self.from_rgb = {str(s): layer(channels(s, self.width), 1) for s in sides}
        self.first = {str(s): layer(channels(s, self.width)) for s in sides[1:]}
        self.second = {str(s): layer(channels(s // 2, self.width)) for s in sides[1:]}
        last = channels(4, self.width)
        self.last3 = layer(last)
        self.last4 = conv(last, 4, self.dtype, padding="VALID")
        self.logit = dense(1, self.dtype)

    def __call__(self, x: Float[Array, "b s s 3"], fade: Fade) -> Float[Array, "b"]:
        act = ACTIVATIONS["leaky_relu"]
        if self.is_initializing() and x.shape[1] > 4:
            self(halve(x), fade)
        top = side = x.shape[1]
        y = act(self.from_rgb[str(side)](x))
        while side > 4:
            y = halve(act(self.second[str(side)](act(self.first[str(side)](y)))))
            side //= 2
            if side == top // 2:
                y = blend(y, act(self.from_rgb[str(side)](halve(x))), fade)
        spread = jnp.sqrt(y.var(0) + 1e-8).mean()
        y = jnp.concatenate([y, jnp.broadcast_to(spread, (*y.shape[:3], 1)).astype(y.dtype)], -1)
        y = act(self.last4(act(self.last3(y))))
        return self.logit(y.reshape(len(y), -1))[:, 0].astype(jnp.float32)

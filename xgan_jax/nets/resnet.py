"""CycleGAN's networks: the residual generator and the PatchGAN discriminator (Zhu et al. 2017, appendix)."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from xgan_jax.nets import layers
from xgan_jax.nets.layers import ACTIVATIONS, Norm, StridedConv, TransposedConv, double, normal_002


def reflect_pad(x: Float[Array, "b h w c"], pad: int) -> Float[Array, "b h2 w2 c"]:
    """Mirrors `pad` rows and columns around the picture; the border itself is not repeated."""
    return jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="reflect")


# As CycleGAN initialises it, over a border that is already there.
conv = functools.partial(layers.conv, padding="VALID", kernel_init=normal_002)


class ReflectBlock(nn.Module):
    """A residual block, two reflect-padded 3x3 convolutions; nothing after the sum."""

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], _: None = None) -> tuple[Float[Array, "b h w c"], None]:
        y = conv(x.shape[-1], 3, self.dtype, name="conv1")(reflect_pad(x, 1))
        y = jax.nn.relu(Norm("instance", self.dtype, affine=False)(y, True))
        y = conv(x.shape[-1], 3, self.dtype, name="conv2")(reflect_pad(y, 1))
        return x + Norm("instance", self.dtype, affine=False)(y, True), None


class ResNetGenerator(nn.Module):
    """`[b, s, s, 3] -> [b, s, s, 3]` in [-1, 1]; s a multiple of 4.

    c7s1-64, d128, d256, R256 x `blocks`, u128, u64, c7s1-3 (times `width` / 64). Instance normalisation has
    no parameters. The residual blocks are one scanned block, whose parameters have a leading dimension
    `blocks`. `resize` enlarges by nearest neighbour and a 3x3 convolution where the paper has a transposed
    one, against checkerboards. What the residual blocks are given is the intermediate "encoded".
    """

    blocks: int = 9
    width: int = 64
    resize: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b s s c"]) -> Float[Array, "b s s 3"]:
        def act(x: Array) -> Array:
            return jax.nn.relu(Norm("instance", self.dtype, affine=False)(x, True))

        x = act(conv(self.width, 7, self.dtype, name="stem")(reflect_pad(x.astype(self.dtype), 3)))
        for i in (1, 2):
            x = act(StridedConv(self.width << i, 3, self.dtype, normal_002, name=f"down{i}")(x))
        self.sow("intermediates", "encoded", x)
        scanned = nn.scan(
            ReflectBlock,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            length=self.blocks,
            # As a loop it compiles in a fraction of the time, which on TPU is minutes; written out it runs
            # faster, and XLA counts all of its FLOPs.
            unroll=1 if jax.default_backend() == "tpu" else self.blocks,
        )
        x, _ = scanned(self.dtype, name="blocks")(x, None)
        for i in (1, 2):
            features = self.width << (2 - i)
            if self.resize:
                x = conv(features, 3, self.dtype, name=f"up{i}")(reflect_pad(double(x), 1))
            else:
                x = TransposedConv(features, 3, self.dtype, normal_002, name=f"up{i}")(x)
            x = act(x)
        x = conv(3, 7, self.dtype, name="picture")(reflect_pad(x, 3))
        return jnp.tanh(x.astype(jnp.float32))


class PatchDiscriminator(nn.Module):
    """`[b, s, s, c] -> [b, s/8 - 2, s/8 - 2]` float32 logits, each of a 70x70 patch, real towards 1.

    C64-C128-C256-C512 (times `width` / 64), leaky ReLU 0.2, the first without normalisation.
    """

    width: int = 64
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b s s c"]) -> Float[Array, "b p q"]:
        x = x.astype(self.dtype)
        for i in range(3):
            x = StridedConv(self.width << i, 4, self.dtype, normal_002, name=f"conv{i + 1}")(x)
            if i:
                x = Norm("instance", self.dtype, affine=False)(x, True)
            x = ACTIVATIONS["leaky_relu"](x)
        x = conv(self.width << 3, 4, self.dtype, padding=((1, 1), (1, 1)), name="conv4")(x)
        x = ACTIVATIONS["leaky_relu"](Norm("instance", self.dtype, affine=False)(x, True))
        x = conv(1, 4, self.dtype, padding=((1, 1), (1, 1)), name="logits")(x)
        return x[..., 0].astype(jnp.float32)

"""XGAN's decoder: shared from the embedding on, private towards the pixels."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from xgan_jax.nets.layers import (
    ACTIVATIONS,
    Norm,
    PreactivationBlock,
    TransposedConv,
    conv,
    deinterleave,
    he_normal,
    he_normal_transposed,
    interleave,
)


class UpStack(nn.Module):
    """Transposed convolutions with stride 2, normalised and activated; the last is bare if `pixels`.

    `[b, s, s, c] -> [b, s * 2**n, s * 2**n, channels[-1]]` with n = len(channels).
    """

    channels: tuple[int, ...]
    kernel: int
    norm: str
    activation: str
    dtype: Any
    resize: bool = False
    pixels: bool = False
    blocks: int = 0  # residual blocks before them
    kernel_init: nn.initializers.Initializer = he_normal_transposed

    @nn.compact
    def __call__(self, x: Float[Array, "b s s c"], train: bool) -> Float[Array, "b t t d"]:
        for i in range(self.blocks):
            x = PreactivationBlock(self.norm, self.activation, self.dtype, name=f"block{i + 1}")(x, train)
        for i, features in enumerate(self.channels):
            deconv = TransposedConv(
                features, self.kernel, self.dtype, self.kernel_init, self.resize, name=f"deconv{i + 1}"
            )
            x = deconv(x)
            if not (self.pixels and i + 1 == len(self.channels)):
                x = Norm(self.norm, self.dtype, name=f"norm{i + 1}")(x, train)
                x = ACTIVATIONS[self.activation](x)
        return x


class Decoder(nn.Module):
    """Embeddings to pictures, `[b, embedding_size] -> [b, size, size, 3]` in [-1, 1] (XGAN, table 1).

    deconv1 is a 4x4 transposed convolution of a 1x1 map, which is a matrix product; deconv1 and the
    8x8 layer are shared between domains, the larger ones are private. Channels at side r are
    max(32, 2048 / r) * width: 512, 256, 128, 64 at 64 px, then 3 and tanh.

    With `embedding_side` = r > 1 the embedding is a map of that side (see `Encoder`): deconv1 is then a 3x3
    convolution that keeps it, before `blocks` shared residual blocks and the layers from there on. Each
    domain's own part begins with `private_blocks`, at 8x8, or 16x16 where the embedding has that side. With
    `resize` every transposed convolution is an enlargement and a 3x3 convolution.
    """

    domains: tuple[str, ...]
    size: int = 64
    width: float = 1.0
    embedding_side: int = 1
    blocks: int = 0
    private_blocks: int = 0
    resize: bool = False
    kernel: int = 4
    norm: str = "instance"
    activation: str = "relu"
    dtype: Any = jnp.float32

    def setup(self) -> None:
        first = max(4, self.embedding_side)
        sides = [2 * first << i for i in range(self.size.bit_length()) if 2 * first << i <= self.size // 2]
        shared = tuple(self._channels(side) for side in sides if side < 16)
        private = tuple(self._channels(side) for side in sides if side >= 16)
        options = (self.kernel, self.norm, self.activation, self.dtype, self.resize)
        self.deconv1: nn.Module
        if self.embedding_side > 1:
            self.deconv1 = conv(self._channels(first), 3, self.dtype)
        else:
            # The table's deconv1: one bias a channel, so the product itself has none.
            self.deconv1 = nn.Dense(
                16 * self._channels(4), use_bias=False, dtype=self.dtype, kernel_init=he_normal
            )
            self.bias1 = self.param("bias1", nn.initializers.zeros, (self._channels(4),), jnp.float32)
        self.residual = [
            PreactivationBlock(self.norm, self.activation, self.dtype) for _ in range(self.blocks)
        ]
        self.norm1 = Norm(self.norm, self.dtype)
        self.shared = UpStack(shared, *options)
        self.private = {
            domain: UpStack((*private, 3), *options, pixels=True, blocks=self.private_blocks)
            for domain in self.domains
        }

    def _channels(self, side: int) -> int:
        return max(4, round(self.width * max(32, 2048 // side)))

    def __call__(
        self,
        z: dict[str, Float[Array, "b e"]],
        pairs: tuple[tuple[str, str], ...],
        train: bool = False,
    ) -> dict[tuple[str, str], Float[Array, "b s s 3"]]:
        """Decodes, for every (source, target) in `pairs`, the embedding `z[source]` as `target`."""
        sources = list(z)
        x = interleave(list(z.values()))
        if self.embedding_side > 1:
            x = self.deconv1(x.reshape(x.shape[0], self.embedding_side, self.embedding_side, -1))
        else:
            x = self.deconv1(x)
            x = x.reshape(x.shape[0], 4, 4, -1) + self.bias1.astype(self.dtype)
        for block in self.residual:
            x = block(x, train)
        x = ACTIVATIONS[self.activation](self.norm1(x, train))
        features = dict(zip(sources, deinterleave(self.shared(x, train), len(sources)), strict=True))
        pictures = {}
        for target in self.domains:
            wanted = [source for source, to in pairs if to == target]
            if wanted:
                x = self.private[target](interleave([features[source] for source in wanted]), train)
                x = jnp.tanh(x.astype(jnp.float32))
                for source, picture in zip(wanted, deinterleave(x, len(wanted)), strict=True):
                    pictures[source, target] = picture
        return pictures

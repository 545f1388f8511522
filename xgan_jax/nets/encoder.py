"""XGAN's encoder: one network for all domains, private at first, shared towards the embedding."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from xgan_jax.nets.layers import (
    ACTIVATIONS,
    Norm,
    PreactivationBlock,
    StridedConv,
    conv,
    deinterleave,
    dense,
    interleave,
)


class DownStack(nn.Module):
    """Strided convolutions, each with normalisation and activation.

    `[b, s, s, c] -> [b, s / 2**n, s / 2**n, channels[-1]]` with n = len(channels).
    """

    channels: tuple[int, ...]
    kernel: int
    norm: str
    activation: str
    dtype: Any
    blocks: int = 0  # residual blocks behind them

    @nn.compact
    def __call__(self, x: Float[Array, "b s s c"], train: bool) -> Float[Array, "b t t d"]:
        for i, features in enumerate(self.channels):
            x = StridedConv(features, self.kernel, dtype=self.dtype, name=f"conv{i + 1}")(x)
            x = Norm(self.norm, self.dtype, name=f"norm{i + 1}")(x, train)
            x = ACTIVATIONS[self.activation](x)
        for i in range(self.blocks):
            x = PreactivationBlock(self.norm, self.activation, self.dtype, name=f"block{i + 1}")(x, train)
        return x


class Encoder(nn.Module):
    """`{domain: [b, size, size, 3]} -> {domain: [b, embedding_size]}` (XGAN appendix, table 1).

    Convolutions with stride 2 down to 4x4. Those whose output is 16x16 or larger are private to a
    domain (parameters under the domain's name), those at 8x8 and 4x4 and the two fully connected
    layers are shared (under "shared"): at 64 px conv1-2 and conv3-4, FC1-2 of the table. Channels at
    side r are max(32, 1024 / r) * width: 32, 64, 128, 256 at 64 px. Pictures in [-1, 1]; the embedding
    is linear, un-normalised, float32.

    With `embedding_side` = r > 1 the convolutions stop at r x r, and the embedding is a map of that side,
    flattened: the place of things is kept where the paper's fully connected layers have to learn it. `blocks`
    residual blocks, shared, stand before it; `private_blocks` at 16x16, at the end of each domain's own part.
    """

    domains: tuple[str, ...]
    size: int = 64
    width: float = 1.0
    embedding_size: int = 1024
    embedding_side: int = 1
    blocks: int = 0
    private_blocks: int = 0
    kernel: int = 4
    norm: str = "instance"
    activation: str = "leaky_relu"
    dtype: Any = jnp.float32

    def setup(self) -> None:
        sides = [
            self.size >> i
            for i in range(1, self.size.bit_length())
            if self.size >> i >= max(4, self.embedding_side)
        ]
        private = tuple(self._channels(side) for side in sides if side >= 16)
        shared = tuple(self._channels(side) for side in sides if side < 16)
        options = (self.kernel, self.norm, self.activation, self.dtype)
        self.private = {
            domain: DownStack(private, *options, blocks=self.private_blocks) for domain in self.domains
        }
        self.shared = DownStack(shared, *options)
        self.residual = [
            PreactivationBlock(self.norm, self.activation, self.dtype) for _ in range(self.blocks)
        ]
        if self.embedding_side > 1:
            self.embedding = conv(self.embedding_size // self.embedding_side**2, 1, self.dtype)
        else:
            self.fc1 = dense(self.embedding_size, self.dtype)
            self.fc2 = dense(self.embedding_size, self.dtype)

    def _channels(self, side: int) -> int:
        return max(4, round(self.width * max(32, 1024 // side)))

    def __call__(
        self, images: dict[str, Float[Array, "b s s 3"]], train: bool = False
    ) -> dict[str, Float[Array, "b e"]]:
        x = interleave([self.private[domain](x, train) for domain, x in images.items()])
        x = self.shared(x, train)
        for block in self.residual:
            x = block(x, train)
        if self.embedding_side > 1:
            z = self.embedding(x)
        else:
            z = self.fc2(ACTIVATIONS[self.activation](self.fc1(x.reshape(x.shape[0], -1))))
        z = z.reshape(z.shape[0], -1).astype(jnp.float32)
        return dict(zip(images, deinterleave(z, len(images)), strict=True))

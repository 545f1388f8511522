"""The plain encoder-decoder: strided convolutions down, transposed ones up."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from xgan_jax.nets.decoder import UpStack
from xgan_jax.nets.encoder import DownStack


class EncoderDecoder(nn.Module):
    """`[b, s, s, 3] -> [b, s, s, 3]` in [-1, 1], through a map of an eighth of the side."""

    width: float = 1.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b s s 3"]) -> Float[Array, "b s s 3"]:
        channels = [max(4, round(self.width * c)) for c in (32, 64, 128)]
        options = {"kernel": 4, "norm": "none", "activation": "relu", "dtype": self.dtype}
        x = DownStack(tuple(channels), name="encoder", **options)(x, True)
        x = UpStack((channels[1], channels[0], 3), name="decoder", pixels=True, **options)(x, True)
        return jnp.tanh(x.astype(jnp.float32))

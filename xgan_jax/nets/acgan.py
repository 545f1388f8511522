"""The generator of the two-step method: noise and a class to a picture (Dong et al. 2017, as DCGAN's)."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from xgan_jax.nets.decoder import UpStack
from xgan_jax.nets.layers import ACTIVATIONS, Norm, dense, normal_002


class ConditionalGenerator(nn.Module):
    """`(z [b, latent], class [b]) -> [b, size, size, 3]` in [-1, 1].

    The class is an embedding of a few learnt numbers beside z; then a fully connected layer to 4x4 with 1024
    channels (times `width`) and transposed convolutions with half as many at each enlargement, batch
    normalisation and ReLU; weights begin at N(0, 0.02), the class at flax's own scale. Kernels are 4x4, where
    the authors have 5x5: they cover every pixel as often. With `resize` they enlarge by nearest neighbour and
    convolve 3x3.
    """

    classes: int
    size: int = 64
    class_embedding: int = 5
    width: float = 1.0
    resize: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, z: Float[Array, "b e"], of: Int[Array, "b"], train: bool = False
    ) -> Float[Array, "b s s 3"]:
        first = max(4, round(self.width * 1024))
        condition = nn.Embed(self.classes, self.class_embedding, name="class")(of)
        fc1 = dense(16 * first, self.dtype, kernel_init=normal_002, name="fc1")
        x = fc1(jnp.concatenate([z, condition], -1))
        x = x.reshape(len(z), 4, 4, first)
        x = ACTIVATIONS["relu"](Norm("batch", self.dtype, name="norm1")(x, train))
        channels = [max(4, first >> i) for i in range(1, self.size.bit_length() - 3)]
        how = ("batch", "relu", self.dtype, self.resize)
        x = UpStack((*channels, 3), 4, *how, pixels=True, kernel_init=normal_002, name="up")(x, train)
        return jnp.tanh(x.astype(jnp.float32))

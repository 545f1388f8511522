"""The adversaries: a discriminator for each target domain, and the classifier of embeddings."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Key

from xgan_jax.nets.layers import ACTIVATIONS, Norm, StridedConv, conv, dense, normal_002


class Discriminator(nn.Module):
    """`[b, size, size, 3] -> [b]` logits, real above zero (XGAN, table 1).

    Strided convolutions down to 4x4 with 16, then 32, 32, ... channels (times `width`), the first
    without normalisation; one fully connected logit, float32, no sigmoid.

    With `spectral` every layer's kernel is divided by its largest singular value (Miyato et al. 2018).
    """

    size: int = 64
    width: float = 1.0
    kernel: int = 4
    norm: str = "instance"
    activation: str = "leaky_relu"
    dtype: Any = jnp.float32
    spectral: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "b s s 3"]) -> Float[Array, "b"]:
        for i in range(self.size.bit_length() - 3):
            features = max(4, round(self.width * (16 if i == 0 else 32)))
            x = StridedConv(
                features, self.kernel, dtype=self.dtype, spectral=self.spectral, name=f"conv{i + 1}"
            )(x)
            if i > 0:
                # Batch statistics of the call itself: a discriminator is never used for evaluation.
                x = Norm(self.norm, self.dtype, name=f"norm{i + 1}")(x, True)
            x = ACTIVATIONS[self.activation](x)
        logits = dense(1, self.dtype, spectral=self.spectral, name="fc1")(x.reshape(x.shape[0], -1))
        return logits[:, 0].astype(jnp.float32)


class DCGANDiscriminator(nn.Module):
    """DCGAN's (Radford et al. 2016): `[b, size, size, 3] -> [b, outputs]` float32.

    Strided convolutions down to 4x4 with 64, 128, 256, 512, ... channels (times `width`) and batch
    normalisation, the first without, weights from N(0, 0.02); one fully connected layer. In training the
    statistics are the batch's.
    """

    outputs: int
    width: float = 1.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b s s 3"], train: bool = True) -> Float[Array, "b n"]:
        for i in range(x.shape[1].bit_length() - 3):
            features = max(4, round(self.width * (64 << i)))
            x = StridedConv(features, dtype=self.dtype, kernel_init=normal_002, name=f"conv{i + 1}")(x)
            if i > 0:
                x = Norm("batch", self.dtype, name=f"norm{i + 1}")(x, train)
            x = ACTIVATIONS["leaky_relu"](x)
        last = dense(self.outputs, self.dtype, kernel_init=normal_002, name="logits")
        return last(x.reshape(x.shape[0], -1)).astype(jnp.float32)


def differentiable_augmentation(x: Float[Array, "b s s 3"], key: Key[Array, ""]) -> Float[Array, "b s s 3"]:
    """DiffAugment (Zhao et al. 2020): brightness, saturation, contrast, a shift of an eighth of the side, and
    a square of half the side cut out, drawn for each picture; what leaves the picture is zero.

    For real and translated pictures alike, before the discriminator: it then cannot learn a small dataset by
    heart. Pictures in [-1, 1]; the result may leave that range.
    """
    b, s = x.shape[:2]
    colour, shift, cut = jax.random.split(key, 3)
    brightness, saturation, contrast = jax.random.uniform(colour, (3, b, 1, 1, 1))
    x = x + (brightness - 0.5)
    grey = x.mean(-1, keepdims=True)
    x = grey + (x - grey) * (2 * saturation)
    mean = x.mean((1, 2, 3), keepdims=True)
    x = mean + (x - mean) * (contrast + 0.5)
    most = s // 8
    padded = jnp.pad(x, ((0, 0), (most, most), (most, most), (0, 0)))
    places = jax.random.randint(shift, (b, 2), 0, 2 * most + 1)
    x = jax.vmap(lambda y, at: lax.dynamic_slice(y, (at[0], at[1], 0), (s, s, 3)))(padded, places)
    centre = jax.random.randint(cut, (b, 2, 1), 0, s)
    near = jnp.abs(jnp.arange(s) - centre) <= s // 4
    hole = near[:, 0, :, None] & near[:, 1, None, :]
    return jnp.where(hole[..., None], 0.0, x)


class DomainClassifier(nn.Module):
    """XGAN's c_dann: `[b, embedding_size] -> [n, domains]` logits, n = b.

    The paper gives no layers; three hidden ones of the embedding's size follow the XGAN-v2 port
    (1024-1024-1024, leaky ReLU). Each embedding is first brought to zero mean and unit variance over its
    dimensions (`normalise`): behind a gradient reversal the encoders could otherwise raise the
    classifier's loss without end by letting the embedding grow, and do (`docs/choices.md`).

    Of a map (`side` > 1) it sees each place with its surroundings, through 3x3 convolutions, and answers for
    each: n = b * side**2. A classifier of the whole map tells the domains' proportions apart without fail.
    """

    domains: int = 2
    features: int = 1024
    layers: int = 3
    normalise: bool = True
    dtype: Any = jnp.float32
    side: int = 1

    @nn.compact
    def __call__(self, z: Float[Array, "b e"]) -> Float[Array, "n d"]:
        if self.normalise:
            z = nn.LayerNorm(use_bias=False, use_scale=False, dtype=jnp.float32)(z)
        if self.side > 1:
            z = z.reshape(len(z), self.side, self.side, -1)
            for i in range(self.layers):
                layer = conv(self.features, 3, self.dtype, name=f"conv{i + 1}")
                z = ACTIVATIONS["leaky_relu"](layer(z))
            z = dense(self.domains, self.dtype, name="logits")(z).astype(jnp.float32)
            return z.reshape(-1, self.domains)
        for i in range(self.layers):
            z = ACTIVATIONS["leaky_relu"](dense(self.features, self.dtype, name=f"fc{i + 1}")(z))
        return dense(self.domains, self.dtype, name="logits")(z).astype(jnp.float32)

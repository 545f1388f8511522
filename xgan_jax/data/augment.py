"""Augmentation on the device, from the step's key: uint8 pictures in, floats in [-1, 1] out."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, UInt8

from xgan_jax.config import DataConfig


def to_float(images: UInt8[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """[0, 255] to [-1, 1]: `x / 127.5 - 1`."""
    return images.astype(jnp.float32) / 127.5 - 1.0


def to_uint8(images: Float[Array, "b h w c"]) -> UInt8[Array, "b h w c"]:
    """[-1, 1] to [0, 255], clipped and rounded: the inverse of `to_float`."""
    return jnp.clip(jnp.round((images + 1.0) * 127.5), 0, 255).astype(jnp.uint8)


def augment(
    images: Float[Array, "b h w 3"], key: Key[Array, ""], data: DataConfig
) -> Float[Array, "b h w 3"]:
    """Mirrors, shifts and recolours every picture by itself, as `data.flip/shift/colour` say.

    Flip: with probability 1/2. Shift: up to `shift` pixels each way, edge pixels repeated. Colour:
    brightness, contrast (about the picture's mean) and saturation (about its grey), each by a
    factor or offset drawn from within +-`colour`; the result is clipped to [-1, 1].
    """
    b, h, w, _ = images.shape
    k_flip, k_shift, k_colour = jax.random.split(key, 3)
    if data.flip:
        mirror = jax.random.bernoulli(k_flip, 0.5, (b, 1, 1, 1))
        images = jnp.where(mirror, images[:, :, ::-1], images)
    if data.shift:
        offsets = jax.random.randint(k_shift, (b, 2), -data.shift, data.shift + 1)
        rows = jnp.clip(jnp.arange(h) + offsets[:, :1], 0, h - 1)
        columns = jnp.clip(jnp.arange(w) + offsets[:, 1:], 0, w - 1)
        images = jax.vmap(lambda x, r, c: x[r][:, c])(images, rows, columns)
    if data.colour:
        amounts = jax.random.uniform(k_colour, (3, b, 1, 1, 1), minval=-data.colour, maxval=data.colour)
        brightness, contrast, saturation = amounts
        grey = images.mean(-1, keepdims=True)
        images = grey + (images - grey) * (1 + saturation)
        mean = images.mean((1, 2, 3), keepdims=True)
        images = mean + (images - mean) * (1 + contrast) + brightness
        images = jnp.clip(images, -1.0, 1.0)
    return images

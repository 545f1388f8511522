"""The network that evaluation reads pictures with: small, trained on the dataset at hand, never a player."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from xgan_jax.nets.layers import Norm, StridedConv, dense, largest


class Judge(nn.Module):
    """Features of a picture, and from them its domain and attributes.

    Strided convolutions down to 4x4 with 32, 64, 128, 256, ... channels, batch norm, ReLU; the features are
    the mean of the last map over its pixels, and its maximum. Each domain has a head for
    each of its attributes, `heads[domain][attribute]` = number of values; one more head tells domains apart.
    """

    size: int
    domains: tuple[str, ...]
    heads: Mapping[str, Mapping[str, int]]
    width: int = 32

    def setup(self) -> None:
        layers = self.size.bit_length() - 3
        self.convs = [StridedConv(min(256, self.width << i)) for i in range(layers)]
        self.norms = [Norm("batch") for _ in range(layers)]
        self.domain = dense(len(self.domains), jnp.float32)
        self.attributes = {
            f"{domain}_{attribute}": dense(values, jnp.float32)
            for domain in self.domains
            for attribute, values in self.heads[domain].items()
        }

    def features(self, x: Float[Array, "b s s 3"], train: bool = False) -> Float[Array, "b f"]:
        """Of pictures in [-1, 1]."""
        x = self.maps(x, train)[-1]
        return jnp.concatenate([x.mean((1, 2)), largest(x)], -1)

    def maps(self, x: Float[Array, "b s s 3"], train: bool = False) -> list[Float[Array, "b h w c"]]:
        """What each convolution gives, after ReLU."""
        found: list[Any] = []
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = jax.nn.relu(norm(conv(x), train))
            found.append(x)
        return found

    def __call__(
        self, images: dict[str, Float[Array, "b s s 3"]], train: bool = False
    ) -> tuple[dict[str, Float[Array, "b d"]], dict[str, dict[str, Float[Array, "b v"]]]]:
        """Logits of the domain, and of each attribute of the domain that pictures are taken for."""
        # All domains in one batch, so that batch statistics say nothing of the domain.
        x = jnp.concatenate(list(images.values()))
        features = jnp.split(self.features(x, train), len(images))
        domain: dict[str, Array] = {}
        attributes: dict[str, dict[str, Any]] = {}
        for name, f in zip(images, features, strict=True):
            domain[name] = self.domain(f)
            attributes[name] = {a: self.attributes[f"{name}_{a}"](f) for a in self.heads[name]}
        return domain, attributes

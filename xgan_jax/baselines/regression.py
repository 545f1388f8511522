"""Encoder-decoder regression: a network a direction, trained towards pictures it cannot know.

After Eki's second method (anime to human): the wanted picture is any one of the target domain, so the best
answer is their mean, and what the network leaves of its input is what it has not yet learnt to leave out.
The source gives no layers; these are the shallowest that see the whole face.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from xgan_jax.config import Config, number
from xgan_jax.method import Extra, Images, Method, Moment, Params, Terms
from xgan_jax.nets.encoder_decoder import EncoderDecoder


@dataclass
class Networks:
    """Three convolutions down, as many up."""

    width: float = number(1.0, above=0)  # times 32, 64, 128 channels


@dataclass
class Weights:
    """There is one loss."""


class Regression(Method):
    """A network for each direction."""

    def __init__(self, config: Config):
        super().__init__(config)
        self.network = EncoderDecoder(config.networks.width, self.dtype)
        self.players = {"generator": ("generator",)}

    def init(self, key: Key[Array, ""]) -> tuple[Params, Extra]:
        keys = jax.random.split(key, len(self.directions))
        networks = {
            f"{s}2{t}": self.network.init(k, self.blank())["params"]
            for (s, t), k in zip(self.directions, keys, strict=True)
        }
        return {"generator": networks}, {}

    def draw(self, params: Params, source: str, target: str, images: Images) -> Images:
        """What the direction's network makes of pictures."""
        picture = self.network.apply({"params": params["generator"][f"{source}2{target}"]}, images)
        assert isinstance(picture, jax.Array)  # and no state beside it: none is mutable
        return picture

    def generator_losses(self, now: Moment) -> Terms:
        """E (G_st(x) - y)^2 with any y of the target."""
        terms = {
            f"regression/{s}2{t}": jnp.square(self.draw(now.params, s, t, now.batch[s]) - now.batch[t]).mean()
            for s, t in self.directions
        }
        return Terms(terms, {}, {})

    def translate(self, params: Params, extra: Extra, images: Images, source: str, target: str) -> Images:
        return images if source == target else self.draw(params, source, target, images)


build = Regression

"""Encoder-decoder regression: a network a direction, trained towards pictures it cannot know.

After Eki's second method (anime to human): the wanted picture is any one of the target domain, so the best
answer is their mean, and what the network leaves of its input is what it has not yet learnt to leave out.
The source gives no layers; these are the shallowest that see the whole face.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key

from xgan_jax.config import Config
from xgan_jax.method import Extra, Images, Method, Params, Terms
from xgan_jax.nets.encoder_decoder import EncoderDecoder


@dataclass
class Networks:
    """Three convolutions down, as many up."""

    width: float = 1.0  # times 32, 64, 128 channels


@dataclass
class Weights:
    """There is one loss."""


def build(config: Config) -> Method:
    """A network for each direction between the domains of `config`.

    Raises:
      ValueError: the width is not above zero.
    """
    networks: Networks = config.networks
    if not 0 < networks.width < float("inf"):
        raise ValueError(f"config.networks.width is {networks.width}: use a number above zero.")
    domains = config.data.domains
    directions = [(s, t) for s in domains for t in domains if s != t]
    network = EncoderDecoder(networks.width, jnp.dtype(config.run.compute_dtype))

    def init(key: Key[Array, ""]) -> tuple[Params, Extra]:
        picture = jnp.zeros((1, config.data.size, config.data.size, 3))
        keys = jax.random.split(key, len(directions))
        return {
            "generator": {
                f"{s}2{t}": network.init(k, picture)["params"]
                for (s, t), k in zip(directions, keys, strict=True)
            }
        }, {}

    def generate(params: Params, source: str, target: str, images: Images) -> Images:
        picture = network.apply({"params": params["generator"][f"{source}2{target}"]}, images)
        assert isinstance(picture, jax.Array)  # and no state beside it: none is mutable
        return picture

    def losses(
        player: str,
        params: Params,
        extra: Extra,
        batch: dict[str, Images],
        key: Key[Array, ""],
        step: Int[Array, ""],
    ) -> Terms:
        terms = {
            f"regression/{s}2{t}": jnp.square(generate(params, s, t, batch[s]) - batch[t]).mean()
            for s, t in directions
        }
        return Terms(terms, {}, {})

    def translate(params: Params, extra: Extra, images: Images, source: str, target: str) -> Images:
        return images if source == target else generate(params, source, target, images)

    return Method(init, {"generator": ("generator",)}, losses, translate)

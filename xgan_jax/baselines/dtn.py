"""DTN: a generator on top of features that never change (Taigman, Polyak & Wolf 2016).

G = g(f(x)): f is a given network, whose features have unit length; only g and the discriminator learn. A
translation must have the features of what it was made from (f-constancy), and a picture of the target must
come out as it is. The paper translates one way; here every domain has its g and its discriminator, with the
same f.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float, Int, Key

from xgan_jax import losses
from xgan_jax.config import Config
from xgan_jax.method import Extra, Images, Method, Params, Terms, load_teacher
from xgan_jax.nets.decoder import Decoder
from xgan_jax.nets.discriminator import DCGANDiscriminator
from xgan_jax.nets.layers import deinterleave, interleave

TRANSLATED, PUT_THROUGH, REAL = range(3)  # what the discriminator tells apart


@dataclass
class Networks:
    """f, and the networks that learn."""

    teacher: str = "xgan_jax.readers.judge:as_teacher"  # f, see `method.load_teacher`
    embedding_size: int = 256  # its numbers
    width: float = 1.0  # multiplies the channels of g: 512, 256, ... as XGAN's decoder
    discriminator_width: float = 1.0
    resize: bool = False  # g enlarges by nearest neighbour and 3x3 convolutions


@dataclass
class Weights:
    """The weight of each loss: the paper's for faces (section 4)."""

    gan: float = 1.0
    constancy: float = 100.0
    identity: float = 1.0
    total_variation: float = 0.05


def build(config: Config) -> Method:
    """DTN as `config` describes it.

    Raises:
      ValueError: f does not load.
    """
    networks: Networks = config.networks
    weights: Weights = config.weights
    domains = tuple(config.data.domains)
    size = config.data.size
    dtype = jnp.dtype(config.run.compute_dtype)
    f_params, f = load_teacher(config)
    # g: XGAN's decoder is the paper's stack of transposed convolutions; batch normalisation and ReLU.
    g = {
        domain: Decoder((domain,), size, networks.width, resize=networks.resize, norm="batch", dtype=dtype)
        for domain in domains
    }
    discriminator = DCGANDiscriminator(3, networks.discriminator_width, dtype)

    def init(key: Key[Array, ""]) -> tuple[Params, Extra]:
        keys = iter(jax.random.split(key, 2 * len(domains)))
        z, picture = jnp.zeros((1, networks.embedding_size)), jnp.zeros((1, size, size, 3))
        of_g = {d: g[d].init(next(keys), {d: z}, ((d, d),)) for d in domains}
        params: Params = {
            "features": f_params,
            "generator": {d: of_g[d]["params"] for d in domains},
            "discriminator": {d: discriminator.init(next(keys), picture)["params"] for d in domains},
        }
        return params, {"generator": {d: of_g[d]["batch_stats"] for d in domains}}

    def unit(z: Float[Array, "b e"]) -> Float[Array, "b e"]:
        return z / jnp.sqrt(jnp.square(z).sum(-1, keepdims=True) + 1e-12)

    def features(params: Params, images: Images) -> Float[Array, "b e"]:
        # As DeepFace's, the paper's f: the weight of L_CONST is for features of this scale.
        return unit(f(lax.stop_gradient(params["features"]), images))

    def draw(
        params: Params, extra: Extra, target: str, z: Float[Array, "b e"], train: bool
    ) -> tuple[Images, Any]:
        """Pictures, and g's statistics after them."""
        variables = {
            "params": params["generator"][target],
            "batch_stats": extra["generator"][target],
        }
        asked: tuple[Any, ...] = ({target: z}, ((target, target),))
        if not train:
            made: Any = g[target].apply(variables, *asked)
            return made[target, target], None
        made, changed = g[target].apply(variables, *asked, train=True, mutable=["batch_stats"])
        return made[target, target], changed["batch_stats"]

    def translations(
        params: Params, extra: Extra, batch: dict[str, Images]
    ) -> tuple[dict[str, Array], dict[tuple[str, str], Images], dict[str, Any]]:
        """f of every picture, {(source, target): g of it}, and the statistics."""
        every = features(params, interleave([batch[d] for d in domains]))
        z = dict(zip(domains, deinterleave(every, len(domains)), strict=True))
        made, statistics = {}, {}
        for t in domains:
            pictures, statistics[t] = draw(params, extra, t, interleave([z[s] for s in domains]), True)
            for s, picture in zip(domains, deinterleave(pictures, len(domains)), strict=True):
                made[s, t] = picture
        return z, made, statistics

    def answer(params: Params, domain: str, images: Images, wanted: int) -> tuple[Array, Array]:
        """The cross-entropy of the discriminator's answer to `wanted`, and how often it is."""
        variables = {"params": params["discriminator"][domain]}
        logits: Any = discriminator.apply(variables, images, mutable=["batch_stats"])[0]
        labels = jnp.full(len(images), wanted)
        entropy = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
        return entropy, (logits.argmax(-1) == wanted).mean()

    def generator_losses(params: Params, extra: Extra, batch: dict[str, Images]) -> Terms:
        terms: dict[str, Array] = {}
        z, made, statistics = translations(params, extra, batch)
        for (s, t), picture in made.items():
            if weights.gan:  # both kinds of what it makes should pass for real (L_GANG)
                terms[f"gan/{s}2{t}"] = weights.gan * answer(params, t, picture, REAL)[0]
            if s == t:
                terms[f"identity/{t}"] = weights.identity * jnp.square(batch[t] - picture).mean()
                continue
            difference = jnp.square(lax.stop_gradient(z[s]) - features(params, picture)).mean()
            terms[f"constancy/{s}2{t}"] = weights.constancy * difference
            smooth = losses.total_variation(picture)
            terms[f"total_variation/{s}2{t}"] = weights.total_variation * smooth
        return Terms(terms, {}, {"generator": statistics})

    def discriminator_losses(params: Params, extra: Extra, batch: dict[str, Images]) -> Terms:
        terms: dict[str, Array] = {}
        measures: dict[str, Array] = {}
        _, made, _ = translations(params, extra, batch)
        for t in domains:
            total, right = answer(params, t, batch[t], REAL)
            accuracy = [right]
            for s in domains:
                wanted = PUT_THROUGH if s == t else TRANSLATED
                entropy, right = answer(params, t, lax.stop_gradient(made[s, t]), wanted)
                total += entropy
                accuracy.append(right)
            terms[f"discriminator/{t}"] = weights.gan * total
            measures[f"discriminator_accuracy/{t}"] = jnp.stack(accuracy).mean()
        return Terms(terms, measures, {})

    def all_losses(
        player: str,
        params: Params,
        extra: Extra,
        batch: dict[str, Images],
        key: Key[Array, ""],
        step: Int[Array, ""],
    ) -> Terms:
        play = discriminator_losses if player == "discriminator" else generator_losses
        return play(params, extra, batch)

    def generate(params: Params, extra: Extra, z: Float[Array, "b e"], target: str) -> Images:
        return draw(params, extra, target, unit(z), False)[0]

    def translate(params: Params, extra: Extra, images: Images, source: str, target: str) -> Images:
        return generate(params, extra, features(params, images), target)

    def embed(params: Params, extra: Extra, images: Images, domain: str) -> Float[Array, "b e"]:
        return features(params, images)

    players: dict[str, tuple[str, ...]] = {"generator": ("generator",)}
    if weights.gan:
        players["discriminator"] = ("discriminator",)
    return Method(init, players, all_losses, translate, embed, generate=generate)

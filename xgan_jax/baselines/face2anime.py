"""Face2Anime: CycleGAN, and XGAN's two ideas on top of it (Girkin & Streltsov's plan).

A domain-adversarial loss, least squares, on what the generators' encoder halves give, and a semantic loss:
a translation, encoded by the generator that leads back, is encoded as its source was. The plan adds one at a
time: a weight of zero leaves a term out, and with both at zero this is CycleGAN.

The plan's text has the encoders minimise what is the domain discriminator's own loss; here it minimises, and
they maximise, behind a gradient reversal.
"""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from xgan_jax import losses
from xgan_jax.baselines import cyclegan
from xgan_jax.config import Config
from xgan_jax.method import Extra, Images, Method, Params, Terms
from xgan_jax.nets.discriminator import DomainClassifier
from xgan_jax.nets.resnet import ResNetGenerator


@dataclass
class Networks(cyclegan.Networks):
    """CycleGAN's, and the domain discriminator's convolutions."""

    blocks: int = 6
    classifier_layers: int = 2


@dataclass
class Weights(cyclegan.Weights):
    """CycleGAN's, without its identity loss, and what is added."""

    identity: float = 0.0
    domain_adversarial: float = 1.0
    semantic: float = 1.0


def build(config: Config) -> Method:
    """Face2Anime as `config` describes it.

    Raises:
      ValueError: there are not two domains, or an angle channel is asked for.
    """
    networks: Networks = config.networks
    weights: Weights = config.weights
    if networks.angle:
        raise ValueError(
            f"config.networks.angle is {networks.angle!r}: Face2Anime has no angle channel; use "
            "configs/cyclegan_angle.py, or leave it empty."
        )
    base = cyclegan.build(config)
    first, second = config.data.domains
    directions = ((first, second), (second, first))
    size = config.data.size
    dtype = jnp.dtype(config.run.compute_dtype)
    generator = ResNetGenerator(networks.blocks, networks.width, networks.resize, dtype)
    side, channels = size // 4, networks.width << 2
    classifier = DomainClassifier(1, 64, networks.classifier_layers, True, dtype, side)

    def init(key: Key[Array, ""]) -> tuple[Params, Extra]:
        params, extra = base.init(key)
        if weights.domain_adversarial:
            z = jnp.zeros((1, side * side * channels))
            params["classifier"] = classifier.init(jax.random.fold_in(key, 1), z)["params"]
        return params, extra

    def encode(params: Params, source: str, target: str, images: Images) -> Float[Array, "b e"]:
        """What the residual blocks of the generator source -> target are given, flat."""
        variables = {"params": params["generator"][f"{source}2{target}"]}
        _, state = generator.apply(variables, images, mutable=["intermediates"])
        z: Any = state["intermediates"]["encoded"][0]
        return z.reshape(len(images), -1).astype(jnp.float32)

    def added(params: Params, extra: Extra, batch: dict[str, Images]) -> Terms:
        terms: dict[str, Array] = {}
        correct = []
        for i, (s, t) in enumerate(directions):
            z = encode(params, s, t, batch[s])
            if weights.domain_adversarial:
                seen = losses.reverse_gradient(z, jnp.ones(()))
                logits: Any = classifier.apply({"params": params["classifier"]}, seen)
                terms[f"domain_adversarial/{s}"] = weights.domain_adversarial * jnp.square(logits - i).mean()
                correct.append(((logits > 0.5) == i).mean())
            if weights.semantic:
                # The same numbers as the base's own translation: the compiler makes it once.
                fake = base.translate(params, extra, batch[s], s, t)
                error = losses.semantic(z, encode(params, t, s, fake))
                terms[f"semantic/{s}2{t}"] = weights.semantic * error
        return Terms(terms, {"classifier_accuracy": jnp.stack(correct).mean()} if correct else {}, {})

    def all_losses(
        player: str,
        params: Params,
        extra: Extra,
        batch: dict[str, Images],
        key: Key[Array, ""],
        step: Int[Array, ""],
    ) -> Terms:
        terms = base.losses(player, params, extra, batch, key, step)
        if player == "discriminator":
            return terms
        more = added(params, extra, batch)
        return Terms(terms.losses | more.losses, terms.measures | more.measures, terms.extra)

    def embed(params: Params, extra: Extra, images: Images, domain: str) -> Float[Array, "b e"]:
        return encode(params, domain, second if domain == first else first, images)

    players = dict(base.players)
    if weights.domain_adversarial:
        players["generator"] = ("generator", "classifier")
    return replace(base, init=init, players=players, losses=all_losses, embed=embed)

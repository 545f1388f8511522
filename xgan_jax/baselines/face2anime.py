"""Face2Anime: CycleGAN, and XGAN's two ideas on top of it (Girkin & Streltsov's plan).

A domain-adversarial loss, least squares, on what the generators' encoder halves give, and a semantic loss:
a translation, encoded by the generator that leads back, is encoded as its source was. The plan adds one at a
time: a weight of zero leaves a term out, and with both at zero this is CycleGAN.

The plan's text has the encoders minimise what is the domain discriminator's own loss; here it minimises, and
they maximise, behind a gradient reversal.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from xgan_jax import losses
from xgan_jax.baselines import cyclegan
from xgan_jax.config import Config, number, require
from xgan_jax.method import Embeddings, Extra, Images, Losses, Moment, Params, Terms, weighted
from xgan_jax.nets.discriminator import DomainClassifier


@dataclass
class Networks(cyclegan.Networks):
    """CycleGAN's, and the domain discriminator's convolutions."""

    blocks: int = number(6, least=1)
    classifier_layers: int = number(2, least=0)


@dataclass
class Weights(cyclegan.Weights):
    """CycleGAN's, without its identity loss, and what is added."""

    identity: float = 0.0
    domain_adversarial: float = 1.0
    semantic: float = 1.0


class Face2Anime(cyclegan.CycleGAN):
    """CycleGAN whose generators' encoder halves share an embedding, and a classifier of its domain."""

    weights: Weights

    def __init__(self, config: Config):
        super().__init__(config)
        n: Networks = config.networks
        layers, side = n.classifier_layers, self.size // 4
        self.classifier = DomainClassifier(1, 64, layers, True, self.dtype, side)
        self.embedding_size = side * side * (n.width << 2)
        if self.weights.domain_adversarial:
            self.players["generator"] = ("generator", "classifier")

    def init(self, key: Key[Array, ""]) -> tuple[Params, Extra]:
        params, extra = super().init(key)
        if self.weights.domain_adversarial:
            z = jnp.zeros((1, self.embedding_size))
            params["classifier"] = self.classifier.init(jax.random.fold_in(key, 1), z)["params"]
        return params, extra

    def encode(self, params: Params, source: str, target: str, images: Images) -> Embeddings:
        """e_s(x): what the residual blocks of the generator source -> target are given, flat."""
        variables = {"params": params["generator"][f"{source}2{target}"]}
        _, state = self.generator.apply(variables, images, mutable=["intermediates"])
        z: Any = state["intermediates"]["encoded"][0]
        return z.reshape(len(images), -1).astype(jnp.float32)

    def embed(self, params: Params, extra: Extra, images: Images, domain: str) -> Embeddings:
        other = self.second if domain == self.first else self.first
        return self.encode(params, domain, other, images)

    def generator_losses(self, now: Moment) -> Terms:
        seen, w = Seen(self, now), self.weights
        terms = weighted(
            seen,
            {
                self.gan: w.gan,
                self.cycle: w.cycle,
                self.identity: w.identity,
                self.domain_adversarial: w.domain_adversarial,
                self.semantic: w.semantic,
            },
        )
        return Terms(terms, self.classifier_accuracy(seen) if w.domain_adversarial else {}, {})

    def domain_adversarial(self, seen: "Seen") -> Losses:
        """L_dom = E (c(e_s(x)) - s)^2: the classifier minimises; the encoders, reversed, maximise."""
        return {
            f"domain_adversarial/{s}": jnp.square(seen.answers[s] - i).mean()
            for i, s in enumerate(self.domains)
        }

    def semantic(self, seen: "Seen") -> Losses:
        """L_sem = E |e_s(x) - e_t(G_st(x))|: a translation is encoded as its source was."""
        return {
            f"semantic/{s}2{t}": losses.semantic(
                seen.z[s], self.encode(seen.params, t, s, seen.translations[s, t])
            )
            for s, t in self.directions
        }

    def classifier_accuracy(self, seen: "Seen") -> Losses:
        """Chance is 1/2."""
        right = [((seen.answers[s] > 0.5) == i).mean() for i, s in enumerate(self.domains)]
        return {"classifier_accuracy": jnp.stack(right).mean()}


class Seen(cyclegan.Seen):
    """CycleGAN's, and what the added losses share."""

    model: Face2Anime

    @cached_property
    def z(self) -> dict[str, Embeddings]:
        """{domain: e_s(x)}."""
        return {s: self.model.encode(self.params, s, t, self.batch[s]) for s, t in self.model.directions}

    @cached_property
    def answers(self) -> dict[str, Array]:
        """{domain: the classifier's logits, `[n, 1]`, behind the gradient reversal}."""
        variables = {"params": self.params["classifier"]}
        reversed_ = {domain: losses.reverse_gradient(z, jnp.ones(())) for domain, z in self.z.items()}
        answers: dict[str, Any] = {d: self.model.classifier.apply(variables, z) for d, z in reversed_.items()}
        return answers


def build(config: Config) -> Face2Anime:
    """Face2Anime as `config` describes it.

    Raises:
      ValueError: there are not two domains, or an angle channel is asked for.
    """
    require(
        not config.networks.angle,
        f"config.networks.angle is {config.networks.angle!r}: Face2Anime has no angle channel; use "
        "configs/cyclegan_angle.py, or leave it empty.",
    )
    return Face2Anime(config)

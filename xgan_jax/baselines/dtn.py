"""DTN: a generator on top of features that never change (Taigman, Polyak & Wolf 2016).

G = g(f(x)): f is a given network, whose features have unit length; only g and the discriminator learn. A
translation must have the features of what it was made from (f-constancy), and a picture of the target must
come out as it is. The paper translates one way; here every domain has its g and its discriminator, with the
same f.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float, Key

from xgan_jax import losses, method
from xgan_jax.config import Config, number
from xgan_jax.method import (
    Direction,
    Embeddings,
    Extra,
    Images,
    Losses,
    Method,
    Moment,
    Params,
    Terms,
    apply,
    load_teacher,
    weighted,
)
from xgan_jax.nets.decoder import Decoder
from xgan_jax.nets.discriminator import DCGANDiscriminator
from xgan_jax.nets.layers import deinterleave, interleave

TRANSLATED, PUT_THROUGH, REAL = range(3)  # what the discriminator tells apart


@dataclass
class Networks:
    """f, and the networks that learn."""

    teacher: str = "xgan_jax.readers.judge:as_teacher"  # f, see `method.load_teacher`
    embedding_size: int = number(256, least=1)  # its numbers
    width: float = number(1.0, above=0)  # multiplies the channels of g: 512, 256, ... as XGAN's decoder
    discriminator_width: float = number(1.0, above=0)
    resize: bool = False  # g enlarges by nearest neighbour and 3x3 convolutions


@dataclass
class Weights:
    """The weight of each loss: the paper's for faces (section 4)."""

    gan: float = 1.0
    constancy: float = 100.0
    identity: float = 1.0
    total_variation: float = 0.05


def unit(z: Embeddings) -> Embeddings:
    """Of length 1. As DeepFace's, the paper's f: the weight of L_CONST is for features of this scale."""
    return z / jnp.sqrt(jnp.square(z).sum(-1, keepdims=True) + 1e-12)


class DTN(Method):
    """A frozen f; for each domain t a g_t, batch-normalised, and a discriminator D_t of three answers."""

    def __init__(self, config: Config):
        super().__init__(config)
        n: Networks = config.networks
        self.weights: Weights = config.weights
        self.f_params, self.f = load_teacher(config)
        self.embedding_size = n.embedding_size
        # XGAN's decoder is the paper's stack of transposed convolutions.
        self.g = {
            domain: Decoder((domain,), self.size, n.width, resize=n.resize, norm="batch", dtype=self.dtype)
            for domain in self.domains
        }
        self.discriminator = DCGANDiscriminator(3, n.discriminator_width, self.dtype)
        self.players = {"generator": ("generator",)}
        if self.weights.gan:
            self.players["discriminator"] = ("discriminator",)

    def init(self, key: Key[Array, ""]) -> tuple[Params, Extra]:
        keys = iter(jax.random.split(key, 2 * len(self.domains)))
        z = jnp.zeros((1, self.embedding_size))
        of_g = {d: self.g[d].init(next(keys), {d: z}, ((d, d),)) for d in self.domains}
        of_d = {d: self.discriminator.init(next(keys), self.blank())["params"] for d in self.domains}
        params: Params = {
            "features": self.f_params,
            "generator": {d: of_g[d]["params"] for d in self.domains},
            "discriminator": of_d,
        }
        return params, {"generator": {d: of_g[d]["batch_stats"] for d in self.domains}}

    def features(self, params: Params, images: Images) -> Embeddings:
        """f(x), of unit length."""
        return unit(self.f(lax.stop_gradient(params["features"]), images))

    def draw(
        self, params: Params, extra: Extra, target: str, z: Embeddings, train: bool = False
    ) -> tuple[Images, Any]:
        """g_target(z), and its statistics after it."""
        asked: tuple[Any, ...] = ({target: z}, ((target, target),))
        of_g, statistics = params["generator"][target], extra["generator"][target]
        made, statistics = apply(self.g[target], of_g, statistics, *asked, train=train)
        return made[target, target], statistics

    def answer(self, params: Params, domain: str, images: Images) -> Float[Array, "b 3"]:
        """D_domain's logits of TRANSLATED, PUT_THROUGH and REAL."""
        variables = {"params": params["discriminator"][domain]}
        logits: Array = self.discriminator.apply(variables, images, mutable=["batch_stats"])[0]
        return logits

    def embed(self, params: Params, extra: Extra, images: Images, domain: str) -> Embeddings:
        return self.features(params, images)

    def generate(self, params: Params, extra: Extra, z: Embeddings, target: str) -> Images:
        return self.draw(params, extra, target, unit(z))[0]

    def translate(self, params: Params, extra: Extra, images: Images, source: str, target: str) -> Images:
        return self.generate(params, extra, self.features(params, images), target)

    # What each player minimises.

    def generator_losses(self, now: Moment) -> Terms:
        seen, w = Seen(self, now), self.weights
        terms = weighted(
            seen,
            {
                self.gan: w.gan,
                self.constancy: w.constancy,
                self.identity: w.identity,
                self.total_variation: w.total_variation,
            },
        )
        return Terms(terms, {}, {"generator": seen.drawn[1]})

    def discriminator_losses(self, now: Moment) -> Terms:
        seen = Seen(self, now)
        terms = weighted(seen, {self.discriminator_gan: self.weights.gan})
        return Terms(terms, self.discriminator_accuracy(seen), {})

    # The losses.

    def gan(self, seen: "Seen") -> Losses:
        """L_GANG (eq. 4): both kinds of what g makes should pass for real."""
        return {
            f"gan/{s}2{t}": _answered(self.answer(seen.params, t, picture), REAL)
            for (s, t), picture in seen.pictures.items()
        }

    def constancy(self, seen: "Seen") -> Losses:
        """L_CONST = E d(f(x), f(g(f(x)))), squared (eq. 5): a translation has its source's features."""
        terms = {}
        for (s, t), picture in seen.translations.items():
            again = self.features(seen.params, picture)
            terms[f"constancy/{s}2{t}"] = jnp.square(lax.stop_gradient(seen.z[s]) - again).mean()
        return terms

    def identity(self, seen: "Seen") -> Losses:
        """L_TID = E d2(x, g(f(x))), squared (eq. 6): a picture of the target comes out as it is."""
        return {f"identity/{t}": jnp.square(seen.batch[t] - seen.pictures[t, t]).mean() for t in self.domains}

    def total_variation(self, seen: "Seen") -> Losses:
        """L_TV of the translations (eq. 7)."""
        return {
            f"total_variation/{s}2{t}": losses.total_variation(picture)
            for (s, t), picture in seen.translations.items()
        }

    def discriminator_gan(self, seen: "Seen") -> Losses:
        """L_D (eq. 3): translations, the target's own put through, and real pictures told apart."""
        terms = {}
        for t, answers in seen.answers.items():
            of_real, *of_made = (_answered(logits, wanted) for logits, wanted in answers)
            terms[f"discriminator/{t}"] = sum(of_made, of_real)
        return terms

    def discriminator_accuracy(self, seen: "Seen") -> Losses:
        """How often D_t is right; chance is 1/3."""
        found = {}
        for t, answers in seen.answers.items():
            right = [(logits.argmax(-1) == wanted).mean() for logits, wanted in answers]
            found[f"discriminator_accuracy/{t}"] = jnp.stack(right).mean()
        return found


def _answered(logits: Float[Array, "b 3"], wanted: int) -> Float[Array, ""]:
    """The cross-entropy of a discriminator's answers to `wanted`."""
    labels = jnp.full(len(logits), wanted)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


class Seen(method.Seen):
    """What the losses share: each is computed once, when it is first asked for."""

    model: DTN

    @cached_property
    def z(self) -> dict[str, Embeddings]:
        """{domain: f(x)}."""
        domains = self.model.domains
        every = self.model.features(self.params, interleave([self.batch[d] for d in domains]))
        return dict(zip(domains, deinterleave(every, len(domains)), strict=True))

    @cached_property
    def drawn(self) -> tuple[dict[Direction, Images], dict[str, Any]]:
        """{(source, target): g_t(f(x))}, of a domain to itself too, and the statistics of every g."""
        domains, made, statistics = self.model.domains, {}, {}
        for t in domains:
            z = interleave([self.z[s] for s in domains])
            pictures, statistics[t] = self.model.draw(self.params, self.extra, t, z, train=True)
            for s, picture in zip(domains, deinterleave(pictures, len(domains)), strict=True):
                made[s, t] = picture
        return made, statistics

    @property
    def pictures(self) -> dict[Direction, Images]:
        """{(source, target): g_t(f(x))}, of a domain to itself too."""
        return self.drawn[0]

    @property
    def translations(self) -> dict[Direction, Images]:
        """Those between different domains."""
        return {(s, t): picture for (s, t), picture in self.pictures.items() if s != t}

    @cached_property
    def answers(self) -> dict[str, list[tuple[Float[Array, "b 3"], int]]]:
        """{domain: its discriminator's logits, and the right answer: of real pictures, then of g's}."""
        found = {}
        for t in self.model.domains:
            found[t] = [(self.model.answer(self.params, t, self.batch[t]), REAL)]
            for s in self.model.domains:
                picture = lax.stop_gradient(self.pictures[s, t])
                wanted = PUT_THROUGH if s == t else TRANSLATED
                found[t].append((self.model.answer(self.params, t, picture), wanted))
        return found


build = DTN

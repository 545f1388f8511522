"""Two-step translation: a conditional GAN first, then an encoder into its latent (Dong et al. 2017).

Step one is an AC-GAN whose classes are the domains: what one z gives with one class and with another share
what z says. Step two learns, on generated pictures alone and with the generator as it is, to find z; a
picture is translated by drawing its z with another class. Both steps are one run: `encoder_start` is the
first of step two. There is no cycle, and any number of domains.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float, Int, Key

from xgan_jax import losses, method
from xgan_jax.config import Config, number, require
from xgan_jax.method import (
    Embeddings,
    Extra,
    Images,
    Losses,
    Method,
    Moment,
    Params,
    Terms,
    apply,
    weighted,
)
from xgan_jax.nets.acgan import ConditionalGenerator
from xgan_jax.nets.discriminator import DCGANDiscriminator
from xgan_jax.nets.layers import interleave


@dataclass
class Networks:
    """The authors' code, but for 4x4 kernels."""

    embedding_size: int = number(100, least=1)  # of z
    class_embedding: int = number(5, least=1)
    width: float = number(1.0, above=0)  # multiplies the generator's channels: 1024, 512, 256, 128
    # And those of discriminator and encoder: 64, 128, 256, 512.
    discriminator_width: float = number(1.0, above=0)
    resize: bool = False  # the generator enlarges by nearest neighbour and 3x3 convolutions


@dataclass
class Weights:
    """The weight of each loss, and when the second step begins."""

    gan: float = 1.0
    classes: float = 1.0  # AC-GAN's: real pictures (discriminator) and generated ones (generator) by domain
    # Gradient penalty of the discriminator, batch normalisation and all, on real pictures; not the authors'.
    r1: float = 0.0
    latent: float = 1.0  # the encoder's squared error of z
    encoder_start: int = 50_000


Answer = tuple[Float[Array, "b"], Float[Array, "b d"]]  # logits of being real, and of the domains

entropy = optax.softmax_cross_entropy_with_integer_labels


class TwoStep(Method):
    """A generator of (z, class), a discriminator that also tells classes, and an encoder to z."""

    def __init__(self, config: Config):
        super().__init__(config)
        n: Networks = config.networks
        self.weights: Weights = config.weights
        self.latent_size, classes = n.embedding_size, len(self.domains)
        self.generator = ConditionalGenerator(
            classes, self.size, n.class_embedding, n.width, n.resize, self.dtype
        )
        self.discriminator = DCGANDiscriminator(1 + classes, n.discriminator_width, self.dtype)
        self.encoder = DCGANDiscriminator(self.latent_size, n.discriminator_width, self.dtype)
        self.players = {name: (name,) for name in ("generator", "discriminator", "encoder")}

    def init(self, key: Key[Array, ""]) -> tuple[Params, Extra]:
        keys = jax.random.split(key, 3)
        z, of = jnp.zeros((1, self.latent_size)), jnp.zeros(1, jnp.int32)
        made = {
            "generator": self.generator.init(keys[0], z, of),
            "discriminator": self.discriminator.init(keys[1], self.blank()),
            "encoder": self.encoder.init(keys[2], self.blank()),
        }
        # Those of the discriminator are each call's own.
        statistics = {name: made[name]["batch_stats"] for name in ("generator", "encoder")}
        return {name: variables["params"] for name, variables in made.items()}, statistics

    def draw(
        self,
        params: Params,
        extra: Extra,
        z: Embeddings,
        of: Int[Array, "b"],
        train: bool = False,
    ) -> tuple[Images, Any]:
        """G(z, class), and the generator's statistics after it."""
        made: tuple[Images, Any] = apply(
            self.generator, params["generator"], extra["generator"], z, of, train=train
        )
        return made

    def discriminate(self, params: Params, images: Images) -> Answer:
        """What the discriminator says of pictures."""
        variables = {"params": params["discriminator"]}
        logits: Any = self.discriminator.apply(variables, images, mutable=["batch_stats"])[0]
        return logits[:, 0], logits[:, 1:]

    def encode(
        self, params: Params, extra: Extra, images: Images, train: bool = False
    ) -> tuple[Embeddings, Any]:
        """The z of pictures, and the encoder's statistics after them."""
        found: tuple[Embeddings, Any] = apply(
            self.encoder, params["encoder"], extra["encoder"], images, train=train
        )
        return found

    def embed(self, params: Params, extra: Extra, images: Images, domain: str) -> Embeddings:
        return self.encode(params, extra, images)[0]

    def generate(self, params: Params, extra: Extra, z: Embeddings, target: str) -> Images:
        return self.draw(params, extra, z, jnp.full(len(z), self.domains.index(target)))[0]

    def translate(self, params: Params, extra: Extra, images: Images, source: str, target: str) -> Images:
        return self.generate(params, extra, self.embed(params, extra, images, source), target)

    # What each player minimises, and when.

    def losses(self, player: str, now: Moment) -> Terms:
        """Of a player whose step it is not, zeros, and its statistics as they are."""

        def play() -> Terms:
            return super(TwoStep, self).losses(player, now)

        def rest() -> Terms:
            terms = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(play))
            return terms._replace(extra={name: now.extra[name] for name in terms.extra})

        first = now.step < self.weights.encoder_start
        terms: Terms = lax.cond(first if player != "encoder" else ~first, play, rest)
        return terms

    def generator_losses(self, now: Moment) -> Terms:
        seen, w = Seen(self, now), self.weights
        terms = weighted(seen, {self.gan: w.gan, self.classes: w.classes})
        return Terms(terms, {}, {"generator": seen.drawn[1]})

    def discriminator_losses(self, now: Moment) -> Terms:
        seen, w = Seen(self, now), self.weights
        terms = weighted(
            seen, {self.discriminator_gan: w.gan, self.discriminator_classes: w.classes, self.r1: w.r1}
        )
        return Terms(terms, self.discriminator_accuracy(seen), {})

    def encoder_losses(self, now: Moment) -> Terms:
        seen = Seen(self, now)
        terms = weighted(seen, {self.latent: self.weights.latent})
        return Terms(terms, {}, {"encoder": seen.found[1]})

    # The losses of step one.

    def gan(self, seen: "Seen") -> Losses:
        """L_S for the generator (Odena et al. 2017, eq. 2): what it draws looks real."""
        return {"gan": losses.gan_generator(seen.answer[0], "ns")}

    def classes(self, seen: "Seen") -> Losses:
        """L_C for the generator (eq. 3): what it draws of a class is taken for it."""
        return {"classes/generator": entropy(seen.answer[1], seen.of).mean()}

    def discriminator_gan(self, seen: "Seen") -> Losses:
        """L_S for the discriminator (eq. 2): real pictures from drawn ones."""
        of_fake, of_real = seen.answers
        return {"discriminator": losses.gan_discriminator(of_real[0], of_fake[0], "ns")}

    def discriminator_classes(self, seen: "Seen") -> Losses:
        """L_C for the discriminator (eq. 3): real pictures by their domain."""
        _, (_, logits) = seen.answers
        which = jnp.arange(len(seen.real)) % len(self.domains)
        return {"classes/discriminator": entropy(logits, which).mean()}

    def r1(self, seen: "Seen") -> Losses:
        """R1 (Mescheder et al. 2018, eq. 9) of the logit of being real."""
        return {"r1": losses.r1(lambda x: self.discriminate(seen.params, x)[0], seen.real)}

    def discriminator_accuracy(self, seen: "Seen") -> Losses:
        """How often it is right about what is real; chance is 1/2."""
        (fake, _), (real, _) = seen.answers
        return {"discriminator_accuracy": jnp.stack([(real > 0).mean(), (fake < 0).mean()]).mean()}

    # And of step two.

    def latent(self, seen: "Seen") -> Losses:
        """E ||e(G(z, class)) - z||^2 a number: the encoder finds the z of what is drawn."""
        return {"latent": jnp.square(seen.found[0] - seen.z).mean()}


class Seen(method.Seen):
    """What the losses share: each is computed once, when it is first asked for."""

    model: TwoStep

    def __init__(self, model: TwoStep, now: Moment):
        super().__init__(model, now)
        # As many z for every domain as it has pictures.
        n, classes = len(now.batch[model.domains[0]]), len(model.domains)
        self.z = jax.random.normal(now.key, (n * classes, model.latent_size))
        self.of = jnp.arange(n * classes) % classes

    @cached_property
    def drawn(self) -> tuple[Images, Any]:
        """G(z, class), and the generator's statistics after it."""
        return self.model.draw(self.params, self.extra, self.z, self.of, train=True)

    @cached_property
    def real(self) -> Images:
        """The pictures of all domains."""
        return interleave([self.batch[domain] for domain in self.model.domains])

    @cached_property
    def answer(self) -> Answer:
        """Of the discriminator to drawn pictures, for the generator's losses."""
        return self.model.discriminate(self.params, self.drawn[0])

    @cached_property
    def answers(self) -> tuple[Answer, Answer]:
        """Of the discriminator, for its own losses, to drawn and to real pictures."""
        judge = self.model.discriminate
        return judge(self.params, lax.stop_gradient(self.drawn[0])), judge(self.params, self.real)

    @cached_property
    def found(self) -> tuple[Embeddings, Any]:
        """e(G(z, class)) with the generator at rest, and the encoder's statistics after it."""
        fake, _ = self.model.draw(self.params, self.extra, self.z, self.of)
        return self.model.encode(self.params, self.extra, lax.stop_gradient(fake), train=True)


def build(config: Config) -> TwoStep:
    """The two-step method as `config` describes it.

    Raises:
      ValueError: the second step would begin after the run's end.
    """
    start, steps = config.weights.encoder_start, config.run.steps
    require(
        start < steps,
        f"config.weights.encoder_start is {start}, but the run ends after config.run.steps = {steps}: the "
        "encoder needs steps of its own.",
    )
    return TwoStep(config)

"""Two-step translation: a conditional GAN first, then an encoder into its latent (Dong et al. 2017).

Step one is an AC-GAN whose classes are the domains: what one z gives with one class and with another share
what z says. Step two learns, on generated pictures alone and with the generator as it is, to find z; a
picture is translated by drawing its z with another class. Both steps are one run: `encoder_start` is the
first of step two. There is no cycle, and any number of domains.
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
from xgan_jax.method import Extra, Images, Method, Params, Terms
from xgan_jax.nets.acgan import ConditionalGenerator
from xgan_jax.nets.discriminator import DCGANDiscriminator
from xgan_jax.nets.layers import interleave


@dataclass
class Networks:
    """The authors' code, but for 4x4 kernels."""

    embedding_size: int = 100  # of z
    class_embedding: int = 5
    width: float = 1.0  # multiplies the generator's channels: 1024, 512, 256, 128
    discriminator_width: float = 1.0  # and those of discriminator and encoder: 64, 128, 256, 512
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


def build(config: Config) -> Method:
    """The two-step method as `config` describes it.

    Raises:
      ValueError: the second step would begin after the run's end.
    """
    networks: Networks = config.networks
    weights: Weights = config.weights
    if not weights.encoder_start < config.run.steps:
        raise ValueError(
            f"config.weights.encoder_start is {weights.encoder_start}, but the run ends after "
            f"config.run.steps = {config.run.steps}: the encoder needs steps of its own."
        )
    domains = tuple(config.data.domains)
    size, latent = config.data.size, networks.embedding_size
    dtype = jnp.dtype(config.run.compute_dtype)
    generator = ConditionalGenerator(
        len(domains), size, networks.class_embedding, networks.width, networks.resize, dtype
    )
    discriminator = DCGANDiscriminator(1 + len(domains), networks.discriminator_width, dtype)
    encoder = DCGANDiscriminator(latent, networks.discriminator_width, dtype)

    def init(key: Key[Array, ""]) -> tuple[Params, Extra]:
        keys = jax.random.split(key, 3)
        picture = jnp.zeros((1, size, size, 3))
        of = {
            "generator": generator.init(keys[0], jnp.zeros((1, latent)), jnp.zeros(1, jnp.int32)),
            "discriminator": discriminator.init(keys[1], picture),
            "encoder": encoder.init(keys[2], picture),
        }
        # Those of the discriminator are each call's own.
        extra = {name: of[name]["batch_stats"] for name in ("generator", "encoder")}
        return {name: variables["params"] for name, variables in of.items()}, extra

    def draw(params: Params, extra: Extra, z: Array, of: Array, train: bool) -> tuple[Images, Any]:
        """Pictures, and the generator's statistics after them."""
        variables = {"params": params["generator"], "batch_stats": extra["generator"]}
        if not train:
            return generator.apply(variables, z, of), None  # type: ignore[return-value]
        made, changed = generator.apply(variables, z, of, train=True, mutable=["batch_stats"])
        return made, changed["batch_stats"]

    def discriminate(params: Params, images: Images) -> tuple[Float[Array, "b"], Float[Array, "b d"]]:
        """Logits of being real, and of the domains."""
        variables = {"params": params["discriminator"]}
        logits: Any = discriminator.apply(variables, images, mutable=["batch_stats"])[0]
        return logits[:, 0], logits[:, 1:]

    def drawn(key: Key[Array, ""], n: int) -> tuple[Float[Array, "m e"], Int[Array, "m"]]:
        """n random z for every domain."""
        z = jax.random.normal(key, (n * len(domains), latent))
        return z, jnp.arange(n * len(domains)) % len(domains)

    entropy = optax.softmax_cross_entropy_with_integer_labels

    def generator_losses(params: Params, extra: Extra, n: int, key: Key[Array, ""]) -> Terms:
        z, of = drawn(key, n)
        fake, statistics = draw(params, extra, z, of, True)
        real_logits, class_logits = discriminate(params, fake)
        terms = {
            "gan": weights.gan * losses.gan_generator(real_logits, "ns"),
            "classes/generator": weights.classes * entropy(class_logits, of).mean(),
        }
        return Terms(terms, {}, {"generator": statistics})

    def discriminator_losses(
        params: Params, extra: Extra, batch: dict[str, Images], n: int, key: Key[Array, ""]
    ) -> Terms:
        fake = lax.stop_gradient(draw(params, extra, *drawn(key, n), True)[0])
        of_fake, _ = discriminate(params, fake)
        real = interleave([batch[domain] for domain in domains])
        of_real, class_logits = discriminate(params, real)
        which = jnp.arange(len(real)) % len(domains)
        terms = {
            "discriminator": weights.gan * losses.gan_discriminator(of_real, of_fake, "ns"),
            "classes/discriminator": weights.classes * entropy(class_logits, which).mean(),
        }
        if weights.r1:
            terms["r1"] = weights.r1 * losses.r1(lambda x: discriminate(params, x)[0], real)
        right = jnp.stack([(of_real > 0).mean(), (of_fake < 0).mean()]).mean()
        return Terms(terms, {"discriminator_accuracy": right}, {})

    def encoder_losses(params: Params, extra: Extra, n: int, key: Key[Array, ""]) -> Terms:
        z, of = drawn(key, n)
        fake = lax.stop_gradient(draw(params, extra, z, of, False)[0])
        variables = {"params": params["encoder"], "batch_stats": extra["encoder"]}
        found, changed = encoder.apply(variables, fake, train=True, mutable=["batch_stats"])
        error = jnp.square(found - z).mean()
        return Terms({"latent": weights.latent * error}, {}, {"encoder": changed["batch_stats"]})

    def all_losses(
        player: str,
        params: Params,
        extra: Extra,
        batch: dict[str, Images],
        key: Key[Array, ""],
        step: Int[Array, ""],
    ) -> Terms:
        n = len(batch[domains[0]])

        def play() -> Terms:
            if player == "generator":
                return generator_losses(params, extra, n, key)
            if player == "discriminator":
                return discriminator_losses(params, extra, batch, n, key)
            return encoder_losses(params, extra, n, key)

        def rest() -> Terms:
            """Not this player's step: no loss, and its statistics as they are."""
            terms = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(play))
            return terms._replace(extra={name: extra[name] for name in terms.extra})

        first = step < weights.encoder_start
        result: Terms = lax.cond(first if player != "encoder" else ~first, play, rest)
        return result

    def embed(params: Params, extra: Extra, images: Images, domain: str) -> Float[Array, "b e"]:
        variables = {"params": params["encoder"], "batch_stats": extra["encoder"]}
        z: Any = encoder.apply(variables, images, train=False)
        return z

    def generate(params: Params, extra: Extra, z: Float[Array, "b e"], target: str) -> Images:
        return draw(params, extra, z, jnp.full(len(z), domains.index(target)), False)[0]

    def translate(params: Params, extra: Extra, images: Images, source: str, target: str) -> Images:
        return generate(params, extra, embed(params, extra, images, source), target)

    players = {"generator": ("generator",), "discriminator": ("discriminator",), "encoder": ("encoder",)}
    return Method(init, players, all_losses, translate, embed, generate=generate)

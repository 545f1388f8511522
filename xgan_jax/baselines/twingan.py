"""Twin-GAN: one encoder, one generator, and a domain in the normalisation alone (Li 2018, arXiv 1809.00946).

As the author's TensorFlow code has it: progressive growing with skips from encoder to generator,
domain-specific batch renormalisation in both, an auto-encoding and a translation in every direction, DRAGAN.
Growth is a function of the step, so a run is one run: a phase of `growth_steps` at 4x4, then at every side
one that fades it in and one that holds it; the last has no end.

A picture of the last domain can be given as a reference (`Networks.reference`): a frozen network's numbers
of it stand beside the latent, and a translation should have them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Key

from xgan_jax import losses
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
    load_frozen,
    weighted,
)
from xgan_jax.nets.layers import double
from xgan_jax.nets.twingan import Discriminator, Encoder, Generator, Limits, blend, halve

# The correction of batch renormalisation within a phase: (share of the phase, r, d). The author's steps, of a
# phase of 37,500.
_RENORM = ((0.0, 1.1, 0.1), (10 / 37.5, 1.5, 0.3), (20 / 37.5, 2.0, 0.5), (30 / 37.5, 4.0, 1.0))


@dataclass
class Networks:
    """Channels are 256 up to 16x16 and halved at every enlargement, times `width`."""

    width: float = number(1.0, above=0)
    discriminator_width: float = number(1.0, above=0)
    reference: str = ""  # "package.module:function" of a network of references, see `method.load_frozen`


@dataclass
class Weights:
    """The weight of each loss, and the length of a phase."""

    reconstruction: float = 1.0  # the author's "cycle": a picture through its own domain
    gan: float = 1.0
    gan_reconstruction: float = 1.0  # of reconstructions, from 64 px on
    semantic: float = 0.1
    gradient_penalty: float = 0.25
    reference: float = 1.0
    growth_steps: int = number(37_500, least=1)  # 300,000 pictures in batches of 8


def growth(step: Int[Array, ""], steps: int, last: int) -> tuple[Int[Array, ""], Float[Array, ""], Limits]:
    """Where a run is at `step`: enlargements of 4x4 (up to `last`), fade of the newest, and limits."""
    phase = jnp.minimum(step // steps, 2 * last)
    within = (step - phase * steps) / steps
    fade = jnp.where(phase % 2 == 1, within, 1.0)
    shares, r, d = (jnp.array(column) for column in zip(*_RENORM, strict=True))
    now = (shares <= within).sum() - 1
    return (phase + 1) // 2, fade, (r[now], d[now])


def dragan(
    discriminate: Callable[[Images], Float[Array, "b"]], real: Images, key: Key[Array, ""]
) -> Float[Array, ""]:
    """(|gradient| - 1)² at x + a * deviation / 2 * U[-1, 1], a in U[0, 1] (DRAGAN, Kodali et al. 2017).

    The deviation is that of the batch; the author's code takes the variance for it.
    """
    k_where, k_far = jax.random.split(key)
    noise = jax.random.uniform(k_where, real.shape, minval=-1)
    far = jax.random.uniform(k_far, (len(real), 1, 1, 1))
    near = real + far * 0.5 * real.std() * noise
    gradient = jax.grad(lambda x: discriminate(x).sum())(near)
    return jnp.square(jnp.sqrt(jnp.square(gradient).sum((1, 2, 3)) + 1e-12) - 1).mean()


def mixed(tree: Any, domains: tuple[str, ...], source: str, target: str, amount: Any) -> Any:
    """`tree` with what belongs to `target` replaced by (1 - amount) of `source`'s and `amount` of its own."""
    if not isinstance(tree, Mapping):
        return tree
    if set(tree) == set(domains):
        of_both = jax.tree.map(lambda s, t: (1 - amount) * s + amount * t, tree[source], tree[target])
        return {**tree, target: of_both}
    return {name: mixed(part, domains, source, target, amount) for name, part in tree.items()}


Encoded = tuple[Array, dict[int, Array]]  # the latent, and the maps that the generator is handed


class TwinGAN(Method):
    """One encoder and one generator for all domains, and a discriminator D_t for each.

    Their layers grow with the step: `last` enlargements of 4x4 make the whole side.
    """

    def __init__(self, config: Config):
        super().__init__(config)
        n: Networks = config.networks
        self.weights: Weights = config.weights
        self.last = self.size.bit_length() - 3
        self.encoder = Encoder(self.domains, self.size, n.width, self.dtype)
        self.generator = Generator(self.domains, self.size, n.width, self.dtype)
        self.discriminator = Discriminator(self.size, n.discriminator_width, self.dtype)
        self.reference, self.numbers = None, 0
        if n.reference:
            self.reference = load_frozen(config, "reference")
            params, f = self.reference
            self.numbers = jax.eval_shape(f, params, self.blank()).shape[-1]
        self.players = {"generator": ("encoder", "generator"), "discriminator": ("discriminator",)}

    def delays(self) -> dict[str, tuple[int, int]]:
        steps = self.weights.growth_steps
        return {"weights.growth_steps": (steps, (2 * self.last - 1) * steps)}  # the last enlargement

    def init(self, key: Key[Array, ""]) -> tuple[Params, Extra]:
        keys = jax.random.split(key, 2 + len(self.domains))
        first, picture, whole = self.domains[0], self.blank(), jnp.ones(())
        of_encoder = self.encoder.init(keys[0], picture, first, whole, True)
        z, skips = self.encoder.apply(of_encoder, picture, first, whole, False)
        condition = jnp.zeros((1, self.numbers)) if self.numbers else None
        of_generator = self.generator.init(keys[1], z, skips, first, whole, True, condition=condition)
        params: Params = {
            "encoder": of_encoder["params"],
            "generator": of_generator["params"],
            "discriminator": {
                d: self.discriminator.init(k, picture, whole)["params"]
                for d, k in zip(self.domains, keys[2:], strict=True)
            },
        }
        if self.reference:
            params["reference"], _ = self.reference
        statistics = {"encoder": of_encoder["batch_stats"], "generator": of_generator["batch_stats"]}
        return params, {**statistics, "step": jnp.int32(0)}

    def discriminate(
        self, params: Params, domain: str, images: Images, fade: Float[Array, ""]
    ) -> Float[Array, "b"]:
        """D_domain's logits."""
        logits: Any = self.discriminator.apply({"params": params["discriminator"][domain]}, images, fade)
        return logits

    def enlarged(self, images: Images) -> Float[Array, "b t t c"]:
        """To the whole side, by repeating pixels."""
        times = self.size // images.shape[1]
        return images.repeat(times, 1).repeat(times, 2)

    def conditions(self, params: Params, images: Images) -> Float[Array, "b n"]:
        """The numbers of references, pictures in [0, 1] of any side."""
        assert self.reference is not None
        _, f = self.reference
        numbers: Array = f(lax.stop_gradient(params["reference"]), 2 * self.enlarged(images) - 1)
        return numbers

    def shrunk(self, batch: dict[str, Images], k: int, fade: Float[Array, ""]) -> dict[str, Array]:
        """In [0, 1], at 4 << k pixels; what is faded in is faded into real pictures too."""
        small: dict[str, Array] = {d: (x + 1) / 2 for d, x in batch.items()}
        for _ in range(self.last - k):
            small = {d: halve(x) for d, x in small.items()}
        return {d: blend(x, double(halve(x)), fade) for d, x in small.items()} if k else small

    # What each player minimises, at the side where the run is.

    def losses(self, player: str, now: Moment) -> Terms:
        """Of the networks as they have grown: one branch for each side."""
        k, fade, limits = growth(now.step, self.weights.growth_steps, self.last)
        play = {"generator": self.generator_at, "discriminator": self.discriminator_at}[player]

        def at(k: int) -> Terms:
            small = self.shrunk(now.batch, k, fade)
            return play(Seen(Pass(self, now.params, now.extra, fade, limits), small, now.key))

        terms: Terms = lax.switch(k, [partial(at, k) for k in range(self.last + 1)])
        if player == "discriminator":
            return terms
        measures = {"growth/side": 4.0 * 2**k, "growth/fade": fade}
        return Terms(terms.losses, measures, terms.extra | {"step": now.step})

    def generator_at(self, seen: "Seen") -> Terms:
        w = self.weights
        terms = weighted(
            seen,
            {
                self.reconstruction: w.reconstruction,
                self.gan: w.gan,
                self.gan_reconstruction: w.gan_reconstruction,
                self.semantic: w.semantic,
                self.references_followed: w.reference if self.numbers else 0.0,
            },
        )
        _ = seen.again  # statistics move with translations, whatever L_sem weighs
        return Terms(terms, {}, seen.networks.statistics)

    def discriminator_at(self, seen: "Seen") -> Terms:
        penalty = self.weights.gradient_penalty
        terms = weighted(seen, {self.discriminator_gan: 1.0, self.gradient_penalty: penalty})
        return Terms(terms, self.discriminator_accuracy(seen), {})

    # The losses.

    def reconstruction(self, seen: "Seen") -> Losses:
        """E |x - G_s(E_s(x))|: a picture through its own domain."""
        return {
            f"reconstruction/{t}": jnp.abs(seen.batch[t] - seen.pictures[t, t]).mean() for t in self.domains
        }

    def gan(self, seen: "Seen") -> Losses:
        """The cross-entropy of translations to real (Goodfellow et al. 2014)."""
        return {f"gan/{s}2{t}": seen.passing(s, t) for s, t in self.directions}

    def gan_reconstruction(self, seen: "Seen") -> Losses:
        """The same of reconstructions, from 64 px on."""
        return {
            f"gan/{t}2{t}": seen.passing(t, t) if seen.side >= 64 else jnp.zeros(()) for t in self.domains
        }

    def semantic(self, seen: "Seen") -> Losses:
        """E |E_s(x) - E_t(G_t(E_s(x)))|: a translation has its source's latent."""
        return {
            f"semantic/{s}2{t}": jnp.abs(seen.z[s] - again).mean() for (s, t), again in seen.again.items()
        }

    def references_followed(self, seen: "Seen") -> Losses:
        """E |f(G_t(E_s(x), f(y))) - f(y)| over those that have a reference y."""
        assert seen.references is not None
        terms, target = {}, self.domains[-1]
        for s in self.domains[:-1]:
            picture = seen.pictures[s, target]
            found = self.conditions(seen.networks.params, picture)
            difference = jnp.abs(found - seen.references).mean(-1)
            referred = seen.referred
            terms[f"reference/{s}2{target}"] = (referred * difference).sum() / referred.sum()
        return terms

    def discriminator_gan(self, seen: "Seen") -> Losses:
        """The cross-entropy of real pictures to real and of all that is drawn to drawn, weighted as for the
        generator."""
        terms = {}
        for t in self.domains:
            total = jnp.zeros(())
            for s, fake in seen.fakes[t].items():
                weight = self.weights.gan if s != t else self.weights.gan_reconstruction
                total += weight * losses.gan_discriminator(seen.reals[t], fake, "ns")
            terms[f"discriminator/{t}"] = total
        return terms

    def gradient_penalty(self, seen: "Seen") -> Losses:
        """DRAGAN's, near real pictures."""
        return {
            f"gradient_penalty/{t}": dragan(
                partial(seen.judge, t), seen.batch[t], jax.random.fold_in(seen.key, i)
            )
            for i, t in enumerate(self.domains)
        }

    def discriminator_accuracy(self, seen: "Seen") -> Losses:
        """How often each discriminator is right, over real pictures and each kind of drawn ones alike."""
        found = {}
        for t in self.domains:
            right = [(seen.reals[t] > 0).mean(), *((fake < 0).mean() for fake in seen.fakes[t].values())]
            found[f"discriminator_accuracy/{t}"] = jnp.stack(right).mean()
        return found

    # A trained run.

    def at_rest(
        self,
        params: Params,
        extra: Extra,
        images: Images,
        source: str,
        use: Callable[["Pass", Encoded, Array | None], Array],
        reference: Images | None = None,
    ) -> Array:
        """What `use` makes of encoded pictures and the reference's numbers, at the side where the run is."""
        k, fade, _ = growth(extra["step"], self.weights.growth_steps, self.last)

        def at(k: int) -> Array:
            networks = Pass(self, params, extra, fade, None)
            condition = None
            if reference is not None:
                condition = self.conditions(params, self.shrunk({source: reference}, k, fade)[source])
            small = self.shrunk({source: images}, k, fade)[source]
            return use(networks, networks.encode(small, source), condition)

        result: Array = lax.switch(k, [partial(at, k) for k in range(self.last + 1)])
        return result

    def translate(
        self,
        params: Params,
        extra: Extra,
        images: Images,
        source: str,
        target: str,
        reference: Images | None = None,
    ) -> Images:
        def use(networks: Pass, encoded: Encoded, condition: Array | None) -> Images:
            picture = networks.generate(encoded, target, condition)
            return self.enlarged(jnp.clip(picture, 0, 1)) * 2 - 1

        return self.at_rest(params, extra, images, source, use, reference)

    def mix(
        self, params: Params, extra: Extra, images: Images, source: str, target: str, amount: Any
    ) -> Images:
        of_both = partial(mixed, domains=self.domains, source=source, target=target, amount=amount)
        params = params | {"generator": of_both(params["generator"])}
        extra = extra | {"generator": of_both(extra["generator"])}
        return self.translate(params, extra, images, source, target)

    def embed(self, params: Params, extra: Extra, images: Images, domain: str) -> Embeddings:
        def flat(_: Pass, encoded: Encoded, __: Array | None) -> Embeddings:
            return encoded[0].reshape(len(images), -1)

        return self.at_rest(params, extra, images, domain, flat)


class FollowingTwinGAN(TwinGAN):
    """Twin-GAN that learnt references."""

    def translate_like(
        self, params: Params, extra: Extra, images: Images, reference: Images, source: str, target: str
    ) -> Images:
        if target != self.domains[-1]:
            raise ValueError(f"references are of {self.domains[-1]}: {target} has none.")
        return self.translate(params, extra, images, source, target, reference)


class Pass:
    """The networks at one moment of a run; in training the statistics move with every call."""

    def __init__(
        self, model: TwinGAN, params: Params, extra: Extra, fade: Float[Array, ""], limits: Limits | None
    ):
        """`limits`: of the correction, in training; None at rest."""
        self.model, self.params, self.fade, self.limits = model, params, fade, limits
        self.statistics: Extra = {name: extra[name] for name in ("encoder", "generator")}

    def encode(self, images: Images, domain: str) -> Encoded:
        """Of pictures in [0, 1]."""
        encoded: Encoded = self._apply("encoder", images, domain)
        return encoded

    def generate(self, encoded: Encoded, domain: str, condition: Array | None = None) -> Images:
        """Pictures, about [0, 1], of the side that was encoded."""
        z, skips = encoded
        if self.model.numbers and condition is None:
            condition = jnp.zeros((len(z), self.model.numbers))
        images: Images = self._apply("generator", z, skips, domain, condition=condition)
        return images

    def _apply(self, name: str, *inputs: Any, **options: Any) -> Any:
        network = {"encoder": self.model.encoder, "generator": self.model.generator}[name]
        variables = {"params": self.params[name], "batch_stats": self.statistics[name]}
        if self.limits is None:
            return network.apply(variables, *inputs, self.fade, False, None, **options)
        result, changed = network.apply(
            variables, *inputs, self.fade, True, self.limits, mutable=["batch_stats"], **options
        )
        self.statistics[name] = changed["batch_stats"]
        return result


class Seen:
    """What the losses of a step share: each is computed once, when it is first asked for."""

    def __init__(self, networks: Pass, batch: dict[str, Images], key: Key[Array, ""]):
        """`batch`: in [0, 1], at the side where the run is."""
        self.networks, self.batch, self.key = networks, batch, key
        self.model = networks.model
        last = batch[self.model.domains[-1]]
        self.side = last.shape[1]
        # Every second picture follows a reference.
        self.referred = 1.0 - jnp.arange(len(last)) % 2

    @cached_property
    def encoded(self) -> dict[str, Encoded]:
        """{domain: latent and maps of its pictures}."""
        return {domain: self.networks.encode(x, domain) for domain, x in self.batch.items()}

    @property
    def z(self) -> dict[str, Array]:
        """{domain: E_s(x)}."""
        return {domain: z for domain, (z, _) in self.encoded.items()}

    @cached_property
    def references(self) -> Float[Array, "b n"] | None:
        """The last domain's, zeros for pictures without; None where the method has none."""
        if not self.model.numbers:
            return None
        numbers = self.model.conditions(self.networks.params, self.batch[self.model.domains[-1]])
        return numbers * self.referred[:, None]

    @cached_property
    def pictures(self) -> dict[Direction, Images]:
        """{(source, target): G_t(E_s(x))}, of a domain to itself too."""
        encoded, references, domains = self.encoded, self.references, self.model.domains
        return {
            (s, t): self.networks.generate(encoded[s], t, references if t == domains[-1] else None)
            for s in domains
            for t in domains
        }

    @cached_property
    def again(self) -> dict[Direction, Array]:
        """{(source, target): E_t of the translation}; it moves the statistics, too."""
        pictures = self.pictures
        return {(s, t): self.networks.encode(pictures[s, t], t)[0] for s, t in self.model.directions}

    def judge(self, domain: str, images: Images) -> Float[Array, "b"]:
        """D_domain's logits."""
        return self.model.discriminate(self.networks.params, domain, images, self.networks.fade)

    def passing(self, source: str, target: str) -> Float[Array, ""]:
        """The cross-entropy of what is drawn to real."""
        return losses.gan_generator(self.judge(target, self.pictures[source, target]), "ns")

    @cached_property
    def reals(self) -> dict[str, Float[Array, "b"]]:
        """{domain: its discriminator's logits of real pictures}."""
        return {t: self.judge(t, self.batch[t]) for t in self.model.domains}

    @cached_property
    def fakes(self) -> dict[str, dict[str, Float[Array, "b"]]]:
        """{target: {source: its discriminator's logits of what is drawn}}, of those that are to be judged."""
        w, domains = self.model.weights, self.model.domains
        own = w.gan_reconstruction if self.side >= 64 else 0.0
        return {
            t: {
                s: self.judge(t, lax.stop_gradient(self.pictures[s, t]))
                for s in domains
                if (own if s == t else w.gan)
            }
            for t in domains
        }


def build(config: Config) -> TwinGAN:
    """Twin-GAN as `config` describes it; with `networks.reference` it can follow pictures.

    Raises:
      ValueError: the network of references does not load.
    """
    return FollowingTwinGAN(config) if config.networks.reference else TwinGAN(config)

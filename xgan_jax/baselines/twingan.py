"""Twin-GAN: one encoder, one generator, and a domain in the normalisation alone (Li 2018, arXiv 1809.00946).

As the author's TensorFlow code has it: progressive growing with skips from encoder to generator,
domain-specific batch renormalisation in both, an auto-encoding and a translation in every direction, DRAGAN.
Growth is a function of the step, so a run is one run: a phase of `growth_steps` at 4x4, then at every side
one that fades it in and one that holds it; the last has no end.

A picture of the last domain can be given as a reference (`Networks.reference`): a frozen network's numbers
of it stand beside the latent, and a translation should have them.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Key

from xgan_jax import losses
from xgan_jax.config import Config
from xgan_jax.method import Extra, Images, Method, Params, Terms, load_frozen
from xgan_jax.nets.layers import double
from xgan_jax.nets.twingan import Discriminator, Encoder, Generator, Limits, blend, halve

# The correction of batch renormalisation within a phase: (share of the phase, r, d). The author's steps, of a
# phase of 37,500.
_RENORM = ((0.0, 1.1, 0.1), (10 / 37.5, 1.5, 0.3), (20 / 37.5, 2.0, 0.5), (30 / 37.5, 4.0, 1.0))


@dataclass
class Networks:
    """Channels are 256 up to 16x16 and halved at every enlargement, times `width`."""

    width: float = 1.0
    discriminator_width: float = 1.0
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
    growth_steps: int = 37_500  # 300,000 pictures in batches of 8


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


def build(config: Config) -> Method:
    """Twin-GAN as `config` describes it.

    Raises:
      ValueError: a phase has no steps, or the network of references does not load.
    """
    networks: Networks = config.networks
    weights: Weights = config.weights
    domains = tuple(config.data.domains)
    size = config.data.size
    dtype = jnp.dtype(config.run.compute_dtype)
    if weights.growth_steps < 1:
        raise ValueError(f"config.weights.growth_steps is {weights.growth_steps}: use one or more.")
    last = size.bit_length() - 3
    encoder = Encoder(domains, size, networks.width, dtype)
    generator = Generator(domains, size, networks.width, dtype)
    discriminator = Discriminator(size, networks.discriminator_width, dtype)
    f_params, f, numbers = None, None, 0
    if networks.reference:
        f_params, f = load_frozen(config, "reference")
        picture = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
        numbers = jax.eval_shape(f, f_params, picture).shape[-1]

    def init(key: Key[Array, ""]) -> tuple[Params, Extra]:
        keys = jax.random.split(key, 2 + len(domains))
        picture, whole = jnp.zeros((1, size, size, 3)), jnp.ones(())
        of_encoder = encoder.init(keys[0], picture, domains[0], whole, True)
        z, skips = encoder.apply(of_encoder, picture, domains[0], whole, False)
        condition = jnp.zeros((1, numbers)) if numbers else None
        of_generator = generator.init(keys[1], z, skips, domains[0], whole, True, condition=condition)
        params: Params = {
            "encoder": of_encoder["params"],
            "generator": of_generator["params"],
            "discriminator": {
                d: discriminator.init(k, picture, whole)["params"]
                for d, k in zip(domains, keys[2:], strict=True)
            },
        }
        if networks.reference:
            params["reference"] = f_params
        statistics = {"encoder": of_encoder["batch_stats"], "generator": of_generator["batch_stats"]}
        return params, {**statistics, "step": jnp.int32(0)}

    def discriminate(params: Params, domain: str, images: Images, fade: Array) -> Float[Array, "b"]:
        logits: Any = discriminator.apply({"params": params["discriminator"][domain]}, images, fade)
        return logits

    def enlarged(images: Images) -> Float[Array, "b t t c"]:
        return images.repeat(size // images.shape[1], 1).repeat(size // images.shape[1], 2)

    def conditions(params: Params, images: Images) -> Float[Array, "b n"]:
        assert f is not None
        return f(lax.stop_gradient(params["reference"]), 2 * enlarged(images) - 1)

    class Pass:
        """The networks at one moment of a run; in training the statistics move with every call."""

        def __init__(self, params: Params, extra: Extra, fade: Array, limits: Limits | None):
            self.params, self.fade, self.limits = params, fade, limits
            self.statistics = {"encoder": extra["encoder"], "generator": extra["generator"]}

        def _apply(self, name: str, *inputs: Any) -> Any:
            network = {"encoder": encoder, "generator": generator}[name]
            variables = {"params": self.params[name], "batch_stats": self.statistics[name]}
            if self.limits is None:
                return network.apply(variables, *inputs[:-1], self.fade, False, None, *inputs[-1])
            result, changed = network.apply(
                variables, *inputs[:-1], self.fade, True, self.limits, *inputs[-1], mutable=["batch_stats"]
            )
            self.statistics[name] = changed["batch_stats"]
            return result

        def encode(self, images: Images, domain: str) -> tuple[Array, dict[int, Array]]:
            z, skips = self._apply("encoder", images, domain, ())
            return z, skips

        def generate(self, encoded: tuple[Array, Any], domain: str, condition: Array | None = None) -> Images:
            z, skips = encoded
            if numbers and condition is None:
                condition = jnp.zeros((len(z), numbers))
            images: Images = self._apply("generator", z, skips, domain, (condition,))
            return images

    def shrunk(batch: dict[str, Images], k: int, fade: Array) -> dict[str, Array]:
        """In [0, 1], at 4 << k pixels; what is faded in is faded into real pictures too."""
        small: dict[str, Array] = {d: (x + 1) / 2 for d, x in batch.items()}
        for _ in range(last - k):
            small = {d: halve(x) for d, x in small.items()}
        return {d: blend(x, double(halve(x)), fade) for d, x in small.items()} if k else small

    def referring(n: int) -> Float[Array, "n"]:
        return 1.0 - jnp.arange(n) % 2

    def translations(
        now: Pass, batch: dict[str, Images]
    ) -> tuple[dict[str, Array], dict[tuple[str, str], Images], Array | None]:
        """Latents, {(source, target): picture}, and the last domain's references: every second picture has
        one, zeros stand for the others'."""
        encoded = {d: now.encode(batch[d], d) for d in domains}
        c = None
        if numbers:
            referred = referring(len(batch[domains[-1]]))
            c = conditions(now.params, batch[domains[-1]]) * referred[:, None]
        pictures = {
            (s, t): now.generate(encoded[s], t, c if t == domains[-1] else None)
            for s in domains
            for t in domains
        }
        return {d: z for d, (z, _) in encoded.items()}, pictures, c

    def generator_losses(now: Pass, batch: dict[str, Images]) -> dict[str, Array]:
        side = batch[domains[0]].shape[1]
        terms: dict[str, Array] = {}
        z, pictures, c = translations(now, batch)
        for (s, t), picture in pictures.items():
            if s == t:
                terms[f"reconstruction/{t}"] = weights.reconstruction * jnp.abs(batch[t] - picture).mean()
            weight = weights.gan if s != t else weights.gan_reconstruction * (side >= 64)
            terms[f"gan/{s}2{t}"] = jnp.zeros(())
            if weight:
                logits = discriminate(now.params, t, picture, now.fade)
                terms[f"gan/{s}2{t}"] = weight * losses.gan_generator(logits, "ns")
            if s != t:
                again, _ = now.encode(picture, t)
                terms[f"semantic/{s}2{t}"] = weights.semantic * jnp.abs(z[s] - again).mean()
                if c is not None and t == domains[-1]:
                    difference = jnp.abs(conditions(now.params, picture) - c).mean(-1)
                    referred = referring(len(picture))
                    terms[f"reference/{s}2{t}"] = (
                        weights.reference * (referred * difference).sum() / referred.sum()
                    )
        return terms

    def discriminator_losses(
        now: Pass, batch: dict[str, Images], key: Key[Array, ""]
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        terms: dict[str, Array] = {}
        measures: dict[str, Array] = {}
        _, pictures, _ = translations(now, batch)
        for i, t in enumerate(domains):
            judge = functools.partial(discriminate, now.params, t, fade=now.fade)
            real = judge(batch[t])
            right = [(real > 0).mean()]
            total = jnp.zeros(())
            for s in domains:
                weight = weights.gan if s != t else weights.gan_reconstruction * (batch[t].shape[1] >= 64)
                if weight:
                    fake = judge(lax.stop_gradient(pictures[s, t]))
                    total += weight * losses.gan_discriminator(real, fake, "ns")
                    right.append((fake < 0).mean())
            terms[f"discriminator/{t}"] = total
            penalty = dragan(judge, batch[t], jax.random.fold_in(key, i))
            terms[f"gradient_penalty/{t}"] = weights.gradient_penalty * penalty
            measures[f"discriminator_accuracy/{t}"] = jnp.stack(right).mean()
        return terms, measures

    def all_losses(
        player: str,
        params: Params,
        extra: Extra,
        batch: dict[str, Images],
        key: Key[Array, ""],
        step: Int[Array, ""],
    ) -> Terms:
        k, fade, limits = growth(step, weights.growth_steps, last)

        def at(k: int) -> Terms:
            small = shrunk(batch, k, fade)
            now = Pass(params, extra, fade, limits)
            if player == "discriminator":
                return Terms(*discriminator_losses(now, small, key), {})
            return Terms(generator_losses(now, small), {}, now.statistics)

        terms: Terms = lax.switch(k, [functools.partial(at, k) for k in range(last + 1)])
        if player == "discriminator":
            return terms
        measures = {"growth/side": 4.0 * 2**k, "growth/fade": fade}
        return Terms(terms.losses, measures, terms.extra | {"step": step})

    def at_rest(
        params: Params,
        extra: Extra,
        images: Images,
        source: str,
        use: Callable[[Pass, Any, Array | None], Array],
        reference: Images | None = None,
    ) -> Array:
        """What `use` makes of encoded pictures and the reference's numbers, at the side where the run is."""
        k, fade, _ = growth(extra["step"], weights.growth_steps, last)

        def at(k: int) -> Array:
            now = Pass(params, extra, fade, None)
            condition = None
            if reference is not None:
                condition = conditions(params, shrunk({source: reference}, k, fade)[source])
            return use(now, now.encode(shrunk({source: images}, k, fade)[source], source), condition)

        result: Array = lax.switch(k, [functools.partial(at, k) for k in range(last + 1)])
        return result

    def translate(
        params: Params,
        extra: Extra,
        images: Images,
        source: str,
        target: str,
        reference: Images | None = None,
    ) -> Images:
        def use(now: Pass, encoded: Any, condition: Array | None) -> Images:
            return enlarged(jnp.clip(now.generate(encoded, target, condition), 0, 1)) * 2 - 1

        return at_rest(params, extra, images, source, use, reference)

    def translate_like(
        params: Params, extra: Extra, images: Images, reference: Images, source: str, target: str
    ) -> Images:
        if target != domains[-1]:
            raise ValueError(f"references are of {domains[-1]}: {target} has none.")
        return translate(params, extra, images, source, target, reference)

    def mix(params: Params, extra: Extra, images: Images, source: str, target: str, amount: Any) -> Images:
        params = params | {"generator": mixed(params["generator"], domains, source, target, amount)}
        extra = extra | {"generator": mixed(extra["generator"], domains, source, target, amount)}
        return translate(params, extra, images, source, target)

    def embed(params: Params, extra: Extra, images: Images, domain: str) -> Float[Array, "b e"]:
        return at_rest(
            params, extra, images, domain, lambda _, encoded, __: encoded[0].reshape(len(images), -1)
        )

    players = {"generator": ("encoder", "generator"), "discriminator": ("discriminator",)}
    return Method(
        init,
        players,
        all_losses,
        translate,
        embed,
        translate_like=translate_like if numbers else None,
        mix=mix,
    )

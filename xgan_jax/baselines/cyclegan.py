"""CycleGAN: two generators, one a direction, held together by the round trip (Zhu et al. 2017).

As the authors' PyTorch code has it: least-squares GAN, a pool of past translations for the discriminators,
identity loss. Generators and discriminators move at once; that is the authors' order too, whose
discriminators see the translations made before the generators' update.

With `Networks.angle` the generators are told how far the face is tilted, as a fourth channel: what Eki's
third method set out to do. A frozen network reads the angle off the picture; on the way back a translation
carries its source's. The plan's channel holds one number everywhere, which the instance normalisation behind
the first convolution takes off again without a trace; so it is a ramp that rises along the tilted face.
"""

from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Key

from xgan_jax import losses, method
from xgan_jax.config import Config, number
from xgan_jax.method import (
    Direction,
    Extra,
    Images,
    Losses,
    Method,
    Moment,
    Params,
    Terms,
    load_frozen,
    two_domains,
    weighted,
)
from xgan_jax.nets.layers import deinterleave, interleave
from xgan_jax.nets.resnet import PatchDiscriminator, ResNetGenerator


@dataclass
class Networks:
    """Appendix 7.2: 9 residual blocks from 256 px on, 6 below."""

    blocks: int = number(9, least=1)
    width: int = number(64, least=1)
    discriminator_width: int = number(64, least=1)
    angle: str = ""  # "package.module:function" of a network of angles, see `method.load_frozen`
    resize: bool = False  # enlarge by nearest neighbour and convolution, against checkerboards


@dataclass
class Weights:
    """The weight of each loss; zero costs nothing."""

    gan: float = 1.0
    cycle: float = 10.0
    identity: float = 5.0  # the authors' code: half of the cycle's
    pool: int = 50  # past translations a discriminator may be shown; 0 is none


Pool = dict[str, Array]  # images [pool, s, s, 3], count int32


def from_pool(pool: Pool, images: Images, key: Key[Array, ""]) -> tuple[Images, Pool]:
    """What the discriminator is shown in place of `images`, and the pool after it (section 4).

    Picture by picture: while the pool is not full it is stored and shown; then with probability 1/2 it is
    shown, and else takes the place of a random stored one, which is shown.
    """
    size = pool["images"].shape[0]

    def one(pool: Pool, given: tuple[Array, Array]) -> tuple[Pool, Array]:
        image, key = given
        coin, place = jax.random.split(key)
        filling = pool["count"] < size
        random_place = jax.random.randint(place, (), 0, size)
        index = jnp.where(filling, pool["count"], random_place)
        swap = jax.random.bernoulli(coin)
        shown = jnp.where(filling | ~swap, image, pool["images"][index])
        kept = jnp.where(filling | swap, image, pool["images"][index])
        images = lax.dynamic_update_index_in_dim(pool["images"], kept, index, 0)
        return {"images": images, "count": jnp.minimum(pool["count"] + 1, size)}, shown

    keys = jax.random.split(key, images.shape[0])
    pool, shown = lax.scan(one, pool, (images, keys))
    return shown, pool


def ramp(degrees: Float[Array, "b"], size: int) -> Float[Array, "b s s 1"]:
    """How far down the face each pixel is, for faces tilted clockwise by `degrees`: -1 to 1 when upright."""
    at = jnp.linspace(-1, 1, size)
    angle = jnp.radians(degrees)[:, None, None, None]
    return jnp.cos(angle) * at[:, None, None] - jnp.sin(angle) * at[None, :, None]


class CycleGAN(Method):
    """Generators G_st and G_ts, and a patch discriminator D_t for each domain."""

    def __init__(self, config: Config):
        super().__init__(config)
        self.first, self.second = two_domains(config, "CycleGAN needs")
        n: Networks = config.networks
        w: Weights = config.weights
        self.weights = w
        self.generator = ResNetGenerator(n.blocks, n.width, n.resize, self.dtype)
        self.discriminator = PatchDiscriminator(n.discriminator_width, self.dtype)
        self.angle = load_frozen(config, "angle") if n.angle else None
        self.players = {"generator": ("generator",)}
        if w.gan:
            self.players["discriminator"] = ("discriminator",)

    def init(self, key: Key[Array, ""]) -> tuple[Params, Extra]:
        keys = jax.random.split(key, 4)
        given = self.blank(4 if self.angle else 3)
        params: Params = {
            "generator": {
                f"{s}2{t}": self.generator.init(k, given)["params"]
                for (s, t), k in zip(self.directions, keys[:2], strict=True)
            }
        }
        extra: Extra = {}
        if self.angle:
            params["angle"], _ = self.angle
        if self.weights.gan:
            params["discriminator"] = {
                t: self.discriminator.init(k, self.blank())["params"]
                for (_, t), k in zip(self.directions, keys[2:], strict=True)
            }
        if self.weights.gan and self.weights.pool:
            shape = (self.weights.pool, self.size, self.size, 3)
            extra["pool"] = {
                t: {"images": jnp.zeros(shape), "count": jnp.int32(0)} for _, t in self.directions
            }
        return params, extra

    def generate_from(
        self, params: Params, source: str, target: str, images: Images, tilted_as: Images | None = None
    ) -> Images:
        """G_st(x); the angle, where there is one, is that of `tilted_as` (default `images`)."""
        if self.angle:
            _, read = self.angle
            frozen = lax.stop_gradient(params["angle"])
            degrees = lax.stop_gradient(read(frozen, images if tilted_as is None else tilted_as))
            images = jnp.concatenate([images, ramp(degrees, images.shape[1])], -1)
        picture = self.generator.apply({"params": params["generator"][f"{source}2{target}"]}, images)
        assert isinstance(picture, jax.Array)  # and no state beside it: none is mutable
        return picture

    def discriminate(self, params: Params, domain: str, images: Images) -> Float[Array, "b p q"]:
        """D_domain's logits, one a patch."""
        logits = self.discriminator.apply({"params": params["discriminator"][domain]}, images)
        assert isinstance(logits, jax.Array)
        return logits

    def translate(self, params: Params, extra: Extra, images: Images, source: str, target: str) -> Images:
        if source == target:  # what the generator into this domain leaves of its own pictures
            source = self.second if target == self.first else self.first
        return self.generate_from(params, source, target, images)

    # What each player minimises.

    def generator_losses(self, now: Moment) -> Terms:
        w = self.weights
        terms = weighted(Seen(self, now), {self.gan: w.gan, self.cycle: w.cycle, self.identity: w.identity})
        return Terms(terms, {}, {})

    def discriminator_losses(self, now: Moment) -> Terms:
        seen = Seen(self, now)
        terms = weighted(seen, {self.discriminator_gan: self.weights.gan})
        pools = seen.shown[1]
        return Terms(terms, self.discriminator_accuracy(seen), {"pool": pools} if pools else {})

    # The losses.

    def gan(self, seen: "Seen") -> Losses:
        """E (D_t(G_st(x)) - 1)^2 (section 4): translations look like the target domain."""
        return {
            f"gan/{s}2{t}": losses.gan_generator(
                self.discriminate(seen.params, t, seen.translations[s, t]), "lsgan"
            )
            for s, t in self.directions
        }

    def cycle(self, seen: "Seen") -> Losses:
        """E |x - G_ts(G_st(x))| (eq. 2)."""
        return {
            f"cycle/{s}2{t}": losses.cycle(
                seen.batch[s],
                self.generate_from(seen.params, t, s, seen.translations[s, t], tilted_as=seen.batch[s]),
            )
            for s, t in self.directions
        }

    def identity(self, seen: "Seen") -> Losses:
        """E |x_t - G_st(x_t)| (section 5.2): a picture already of the target stays as it is."""
        return {
            f"identity/{s}2{t}": losses.identity(seen.batch[t], seen.same[s, t]) for s, t in self.directions
        }

    def discriminator_gan(self, seen: "Seen") -> Losses:
        """E [(D_t(x_t) - 1)^2 + D_t(shown)^2] / 2 (section 4): real pictures from past translations."""
        return {
            f"discriminator/{s}2{t}": losses.gan_discriminator(*seen.logits[t], "lsgan")
            for s, t in self.directions
        }

    def discriminator_accuracy(self, seen: "Seen") -> Losses:
        """How often each discriminator is right about a patch; chance is 1/2."""
        found = {}
        for t, (real, fake) in seen.logits.items():
            right = jnp.stack([(real > 0.5).mean(), (fake < 0.5).mean()])
            found[f"discriminator_accuracy/{t}"] = right.mean()
        return found


class Seen(method.Seen):
    """What the losses share: each is computed once, when it is first asked for."""

    model: CycleGAN

    @cached_property
    def _drawn(self) -> dict[Direction, list[Images]]:
        """Translations, and with the identity loss what the same generator makes of the target's own."""
        model, drawn = self.model, {}
        for s, t in model.directions:
            given = [self.batch[s], self.batch[t]] if model.weights.identity else [self.batch[s]]
            pictures = model.generate_from(self.params, s, t, interleave(given))
            drawn[s, t] = deinterleave(pictures, len(given))
        return drawn

    @property
    def translations(self) -> dict[Direction, Images]:
        """{(source, target): G_st(x)}."""
        return {direction: drawn[0] for direction, drawn in self._drawn.items()}

    @property
    def same(self) -> dict[Direction, Images]:
        """{(source, target): G_st(x_t)}, with the identity loss."""
        return {direction: drawn[1] for direction, drawn in self._drawn.items()}

    @cached_property
    def shown(self) -> tuple[dict[str, Images], dict[str, Pool]]:
        """What the discriminators are shown for translations into {target}, and the pools after it."""
        shown, pools = {}, {}
        for i, (s, t) in enumerate(self.model.directions):
            shown[t] = lax.stop_gradient(self.translations[s, t])
            if self.model.weights.pool:
                key = jax.random.fold_in(self.key, i)
                shown[t], pools[t] = from_pool(self.extra["pool"][t], shown[t], key)
        return shown, pools

    @cached_property
    def logits(self) -> dict[str, tuple[Float[Array, "b p q"], Float[Array, "b p q"]]]:
        """{domain: its discriminator's of real pictures, and of those it is shown}."""
        judge = self.model.discriminate
        return {
            t: (judge(self.params, t, self.batch[t]), judge(self.params, t, self.shown[0][t]))
            for _, t in self.model.directions
        }


build = CycleGAN

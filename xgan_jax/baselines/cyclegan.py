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

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Key

from xgan_jax import losses
from xgan_jax.config import Config
from xgan_jax.method import Extra, Images, Method, Params, Terms, load_frozen
from xgan_jax.nets.layers import deinterleave, interleave
from xgan_jax.nets.resnet import PatchDiscriminator, ResNetGenerator


@dataclass
class Networks:
    """Appendix 7.2: 9 residual blocks from 256 px on, 6 below."""

    blocks: int = 9
    width: int = 64
    discriminator_width: int = 64
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


def build(config: Config) -> Method:
    """CycleGAN as `config` describes it.

    Raises:
      ValueError: there are not two domains, or the network of angles does not load.
    """
    networks: Networks = config.networks
    weights: Weights = config.weights
    if len(config.data.domains) != 2:
        raise ValueError(f"config.data.domains is {config.data.domains}: CycleGAN needs two domains.")
    first, second = config.data.domains
    directions = ((first, second), (second, first))
    size = config.data.size
    dtype = jnp.dtype(config.run.compute_dtype)
    generator = ResNetGenerator(networks.blocks, networks.width, networks.resize, dtype)
    discriminator = PatchDiscriminator(networks.discriminator_width, dtype)
    angle_params, angle = load_frozen(config, "angle") if networks.angle else (None, None)

    def init(key: Key[Array, ""]) -> tuple[Params, Extra]:
        keys = jax.random.split(key, 4)
        picture = jnp.zeros((1, size, size, 3))
        given = jnp.zeros((1, size, size, 4 if networks.angle else 3))
        params: Params = {
            "generator": {
                f"{s}2{t}": generator.init(k, given)["params"]
                for (s, t), k in zip(directions, keys[:2], strict=True)
            }
        }
        if networks.angle:
            params["angle"] = angle_params
        extra: Extra = {}
        if weights.gan:
            params["discriminator"] = {
                t: discriminator.init(k, picture)["params"]
                for (_, t), k in zip(directions, keys[2:], strict=True)
            }
            if weights.pool:
                shape = (weights.pool, size, size, 3)
                extra["pool"] = {
                    t: {"images": jnp.zeros(shape), "count": jnp.int32(0)} for _, t in directions
                }
        return params, extra

    def generate(
        params: Params, source: str, target: str, images: Images, tilted_as: Images | None = None
    ) -> Images:
        """Pictures of `target`; the angle, where there is one, is that of `tilted_as` (default `images`)."""
        if angle is not None:
            frozen = lax.stop_gradient(params["angle"])
            degrees = lax.stop_gradient(angle(frozen, images if tilted_as is None else tilted_as))
            images = jnp.concatenate([images, ramp(degrees, images.shape[1])], -1)
        picture = generator.apply({"params": params["generator"][f"{source}2{target}"]}, images)
        assert isinstance(picture, jax.Array)  # and no state beside it: none is mutable
        return picture

    def discriminate(params: Params, domain: str, images: Images) -> Float[Array, "b p q"]:
        logits = discriminator.apply({"params": params["discriminator"][domain]}, images)
        assert isinstance(logits, jax.Array)
        return logits

    def translations(params: Params, batch: dict[str, Images]) -> dict[str, tuple[Images, Images | None]]:
        """{target: (translation, what the same generator makes of a picture already there)}."""
        made: dict[str, tuple[Images, Images | None]] = {}
        for s, t in directions:
            if weights.identity:
                both = generate(params, s, t, interleave([batch[s], batch[t]]))
                fake, same = deinterleave(both, 2)
                made[t] = fake, same
            else:
                made[t] = generate(params, s, t, batch[s]), None
        return made

    def generator_losses(params: Params, batch: dict[str, Images]) -> Terms:
        terms: dict[str, Array] = {}
        made = translations(params, batch)
        for s, t in directions:
            fake, same = made[t]
            if weights.gan:
                logits = discriminate(params, t, fake)
                terms[f"gan/{s}2{t}"] = weights.gan * losses.gan_generator(logits, "lsgan")
            if weights.cycle:
                back = generate(params, t, s, fake, tilted_as=batch[s])
                terms[f"cycle/{s}2{t}"] = weights.cycle * losses.cycle(batch[s], back)
            if same is not None:
                terms[f"identity/{s}2{t}"] = weights.identity * losses.identity(batch[t], same)
        return Terms(terms, {}, {})

    def discriminator_losses(
        params: Params, extra: Extra, batch: dict[str, Images], key: Key[Array, ""]
    ) -> Terms:
        terms: dict[str, Array] = {}
        measures: dict[str, Array] = {}
        made = translations(params, batch)
        pools: dict[str, Pool] = {}
        for i, (s, t) in enumerate(directions):
            fake = lax.stop_gradient(made[t][0])
            if weights.pool:
                fake, pools[t] = from_pool(extra["pool"][t], fake, jax.random.fold_in(key, i))
            real_logits, fake_logits = discriminate(params, t, batch[t]), discriminate(params, t, fake)
            loss = losses.gan_discriminator(real_logits, fake_logits, "lsgan")
            terms[f"discriminator/{s}2{t}"] = weights.gan * loss
            right = jnp.stack([(real_logits > 0.5).mean(), (fake_logits < 0.5).mean()])
            measures[f"discriminator_accuracy/{t}"] = right.mean()
        return Terms(terms, measures, {"pool": pools} if pools else {})

    def all_losses(
        player: str,
        params: Params,
        extra: Extra,
        batch: dict[str, Images],
        key: Key[Array, ""],
        step: Int[Array, ""],
    ) -> Terms:
        if player == "discriminator":
            return discriminator_losses(params, extra, batch, key)
        return generator_losses(params, batch)

    def translate(params: Params, extra: Extra, images: Images, source: str, target: str) -> Images:
        if source == target:  # what the generator into this domain leaves of its own pictures
            source = second if target == first else first
        return generate(params, source, target, images)

    players: dict[str, tuple[str, ...]] = {"generator": ("generator",)}
    if weights.gan:
        players["discriminator"] = ("discriminator",)
    return Method(init, players, all_losses, translate)

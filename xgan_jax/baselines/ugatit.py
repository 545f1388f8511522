"""U-GAT-IT: two generators and four discriminators that attend where the domains differ (Kim et al. 2020).

CycleGAN's losses, an auxiliary classifier in every network (CAM), and normalisation that the picture itself
chooses (AdaLIN). Generators and discriminators move at once, on the same batch; the authors move the
discriminators first.
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float, Int, Key

from xgan_jax import losses
from xgan_jax.config import Config
from xgan_jax.method import Extra, Images, Method, Params, Terms
from xgan_jax.nets.layers import deinterleave, interleave
from xgan_jax.nets.ugatit import Discriminator, Generator


@dataclass
class Networks:
    """Tables 4 and 5. The discriminators' depth follows the picture: 7 and 5 layers at 256 px, 5 and 3 at
    64."""

    blocks: int = 4  # residual blocks before the attention, and as many after it
    width: int = 64
    discriminator_width: int = 64
    light: bool = False  # AdaLIN's scale and offset from channel means: 11 million parameters for 279


@dataclass
class Weights:
    """The weight of each loss (section 2.2)."""

    gan: float = 1.0
    cycle: float = 10.0
    identity: float = 10.0
    cam: float = 1000.0
    decay: float = 1e-4  # of all kernels, as a gradient, so it passes through Adam


Judgement = list[tuple[Array, Array]]  # for the local and the global discriminator: its logits, CAM's


def build(config: Config) -> Method:
    """U-GAT-IT as `config` describes it.

    Raises:
      ValueError: there are not two domains.
    """
    networks: Networks = config.networks
    weights: Weights = config.weights
    if len(config.data.domains) != 2:
        raise ValueError(f"config.data.domains is {config.data.domains}: U-GAT-IT needs two domains.")
    first, second = config.data.domains
    directions = ((first, second), (second, first))
    size = config.data.size
    dtype = jnp.dtype(config.run.compute_dtype)
    generator = Generator(networks.width, networks.blocks, networks.light, dtype)
    deepest = int(math.log2(size)) - 1
    discriminators = {
        name: Discriminator(layers, networks.discriminator_width, dtype)
        for name, layers in (("local", deepest - 2), ("global", deepest))
    }

    def init(key: Key[Array, ""]) -> tuple[Params, Extra]:
        keys = iter(jax.random.split(key, 6))
        picture = jnp.zeros((1, size, size, 3))
        params: Params = {
            "generator": {f"{s}2{t}": generator.init(next(keys), picture)["params"] for s, t in directions},
            "discriminator": {
                f"{name}_{t}": network.init(next(keys), picture)["params"]
                for _, t in directions
                for name, network in discriminators.items()
            },
        }
        return params, {}

    def generate(params: Params, source: str, target: str, images: Images) -> tuple[Images, Array, Array]:
        """The translation, CAM's logits, where it attends."""
        variables = {"params": params["generator"][f"{source}2{target}"]}
        made: tuple[Images, Array, Array] = generator.apply(variables, images)  # type: ignore[assignment]
        return made

    def judge(params: Params, domain: str, images: Images) -> Judgement:
        found: Judgement = []
        for name, network in discriminators.items():
            variables = {"params": params["discriminator"][f"{name}_{domain}"]}
            logits, cam, _ = network.apply(variables, images)  # type: ignore[misc]
            found.append((logits, cam))
        return found

    def translations(params: Params, batch: dict[str, Images]) -> dict[str, tuple[Images, Images, Array]]:
        """{target: (translation, what the same generator makes of a picture already there, CAM's loss)}."""
        made = {}
        for s, t in directions:
            both, cam, _ = generate(params, s, t, interleave([batch[s], batch[t]]))
            fake, same = deinterleave(both, 2)
            of_source, of_target = deinterleave(cam, 2)
            entropy = optax.sigmoid_binary_cross_entropy
            error = entropy(of_source, jnp.ones_like(of_source)).mean()
            error += entropy(of_target, jnp.zeros_like(of_target)).mean()
            made[t] = fake, same, error
        return made

    def squares(judgement: Judgement, wanted: float) -> Float[Array, ""]:
        return sum((jnp.square(x - wanted).mean() for pair in judgement for x in pair), jnp.zeros(()))

    def generator_losses(params: Params, batch: dict[str, Images]) -> Terms:
        terms: dict[str, Array] = {}
        made = translations(params, batch)
        for s, t in directions:
            fake, same, cam = made[t]
            terms[f"gan/{s}2{t}"] = weights.gan * squares(judge(params, t, fake), 1.0)
            back, _, _ = generate(params, t, s, fake)
            terms[f"cycle/{s}2{t}"] = weights.cycle * losses.cycle(batch[s], back)
            terms[f"identity/{s}2{t}"] = weights.identity * losses.identity(batch[t], same)
            terms[f"cam/{s}2{t}"] = weights.cam * cam
        terms["decay/generator"] = losses.weight_decay(params["generator"], weights.decay)
        return Terms(terms, {}, {})

    def discriminator_losses(params: Params, batch: dict[str, Images]) -> Terms:
        terms: dict[str, Array] = {}
        measures: dict[str, Array] = {}
        made = translations(params, batch)
        for s, t in directions:
            real, fake = judge(params, t, batch[t]), judge(params, t, lax.stop_gradient(made[t][0]))
            terms[f"discriminator/{s}2{t}"] = weights.gan * (squares(real, 1.0) + squares(fake, 0.0))
            right = [(x > 0.5).mean() for x, _ in real] + [(x < 0.5).mean() for x, _ in fake]
            measures[f"discriminator_accuracy/{t}"] = jnp.stack(right).mean()
        terms["decay/discriminator"] = losses.weight_decay(params["discriminator"], weights.decay)
        return Terms(terms, measures, {})

    def all_losses(
        player: str,
        params: Params,
        extra: Extra,
        batch: dict[str, Images],
        key: Key[Array, ""],
        step: Int[Array, ""],
    ) -> Terms:
        if player == "discriminator":
            return discriminator_losses(params, batch)
        return generator_losses(params, batch)

    def project(params: Params) -> Params:
        """Rho stays between layer and instance normalisation (eq. 1)."""

        def clipped(path: tuple[jax.tree_util.DictKey, ...], x: Array) -> Array:
            return jnp.clip(x, 0.0, 1.0) if path[-1].key == "rho" else x

        return params | {"generator": jax.tree_util.tree_map_with_path(clipped, params["generator"])}

    def of_direction(source: str, target: str) -> tuple[str, str]:
        """Of a domain to itself: the generator into it, and what it leaves of its own pictures."""
        return (second if target == first else first, target) if source == target else (source, target)

    def translate(params: Params, extra: Extra, images: Images, source: str, target: str) -> Images:
        return generate(params, *of_direction(source, target), images)[0]

    def attend(
        params: Params, extra: Extra, images: Images, source: str, target: str
    ) -> Float[Array, "b h w"]:
        return generate(params, *of_direction(source, target), images)[2]

    players = {"generator": ("generator",), "discriminator": ("discriminator",)}
    return Method(init, players, all_losses, translate, project=project, attend=attend)

"""U-GAT-IT: two generators and four discriminators that attend where the domains differ (Kim et al. 2020).

CycleGAN's losses, an auxiliary classifier in every network (CAM), and normalisation that the picture itself
chooses (AdaLIN). Generators and discriminators move at once, on the same batch; the authors move the
discriminators first.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
import optax
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
    two_domains,
    weighted,
)
from xgan_jax.nets.layers import deinterleave, interleave
from xgan_jax.nets.ugatit import Discriminator, Generator


@dataclass
class Networks:
    """Tables 4 and 5. The discriminators' depth follows the picture: 7 and 5 layers at 256 px, 5 and 3 at
    64."""

    blocks: int = number(4, least=1)  # residual blocks before the attention, and as many after it
    width: int = number(64, least=1)
    discriminator_width: int = number(64, least=1)
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


def squares(judgement: Judgement, wanted: float) -> Float[Array, ""]:
    """The squared distance of all logits, CAM's too, to `wanted`: least-squares GAN."""
    return sum((jnp.square(x - wanted).mean() for pair in judgement for x in pair), jnp.zeros(()))


class UGATIT(Method):
    """Generators G_st and G_ts; a local and a global discriminator for each domain."""

    def __init__(self, config: Config):
        super().__init__(config)
        self.first, self.second = two_domains(config, "U-GAT-IT needs")
        n: Networks = config.networks
        self.weights: Weights = config.weights
        self.generator = Generator(n.width, n.blocks, n.light, self.dtype)
        deepest = int(math.log2(self.size)) - 1
        self.discriminators = {
            name: Discriminator(layers, n.discriminator_width, self.dtype)
            for name, layers in (("local", deepest - 2), ("global", deepest))
        }
        self.players = {"generator": ("generator",), "discriminator": ("discriminator",)}

    def init(self, key: Key[Array, ""]) -> tuple[Params, Extra]:
        keys = iter(jax.random.split(key, 6))
        picture = self.blank()
        params: Params = {
            "generator": {
                f"{s}2{t}": self.generator.init(next(keys), picture)["params"] for s, t in self.directions
            },
            "discriminator": {
                f"{name}_{t}": network.init(next(keys), picture)["params"]
                for _, t in self.directions
                for name, network in self.discriminators.items()
            },
        }
        return params, {}

    def draw(
        self, params: Params, source: str, target: str, images: Images
    ) -> tuple[Images, Float[Array, "b 2"], Float[Array, "b h w"]]:
        """The translation, CAM's logits, where it attends."""
        variables = {"params": params["generator"][f"{source}2{target}"]}
        made: tuple[Array, Array, Array] = self.generator.apply(variables, images)  # type: ignore[assignment]
        return made

    def judge(self, params: Params, domain: str, images: Images) -> Judgement:
        """What the domain's two discriminators say."""
        found: Judgement = []
        for name, network in self.discriminators.items():
            variables = {"params": params["discriminator"][f"{name}_{domain}"]}
            logits, cam, _ = network.apply(variables, images)  # type: ignore[misc]
            found.append((logits, cam))
        return found

    def project(self, params: Params) -> Params:
        """Rho stays between layer and instance normalisation (eq. 1)."""

        def clipped(path: tuple[jax.tree_util.DictKey, ...], x: Array) -> Array:
            return jnp.clip(x, 0.0, 1.0) if path[-1].key == "rho" else x

        return params | {"generator": jax.tree_util.tree_map_with_path(clipped, params["generator"])}

    def leading(self, source: str, target: str) -> Direction:
        """The generator to take. Of a domain to itself the one into it, for what it leaves of its own."""
        if source == target:
            source = self.second if target == self.first else self.first
        return source, target

    def translate(self, params: Params, extra: Extra, images: Images, source: str, target: str) -> Images:
        return self.draw(params, *self.leading(source, target), images)[0]

    def attend(
        self, params: Params, extra: Extra, images: Images, source: str, target: str
    ) -> Float[Array, "b h w"]:
        return self.draw(params, *self.leading(source, target), images)[2]

    # What each player minimises.

    def generator_losses(self, now: Moment) -> Terms:
        w = self.weights
        losses_of = {self.gan: w.gan, self.cycle: w.cycle, self.identity: w.identity, self.cam: w.cam}
        return Terms(weighted(Seen(self, now), {**losses_of, self.generator_decay: w.decay}), {}, {})

    def discriminator_losses(self, now: Moment) -> Terms:
        seen, w = Seen(self, now), self.weights
        terms = weighted(seen, {self.discriminator_gan: w.gan, self.discriminator_decay: w.decay})
        return Terms(terms, self.discriminator_accuracy(seen), {})

    # The losses.

    def gan(self, seen: "Seen") -> Losses:
        """L_lsgan (eq. 5): translations, and what CAM sees of them, look like the target."""
        return {
            f"gan/{s}2{t}": squares(self.judge(seen.params, t, seen.drawn[s, t].translation), 1.0)
            for s, t in self.directions
        }

    def cycle(self, seen: "Seen") -> Losses:
        """L_cycle = E |x - G_ts(G_st(x))| (eq. 6)."""
        return {
            f"cycle/{s}2{t}": losses.cycle(
                seen.batch[s], self.draw(seen.params, t, s, seen.drawn[s, t].translation)[0]
            )
            for s, t in self.directions
        }

    def identity(self, seen: "Seen") -> Losses:
        """L_identity = E |x_t - G_st(x_t)| (eq. 7)."""
        return {
            f"identity/{s}2{t}": losses.identity(seen.batch[t], seen.drawn[s, t].same)
            for s, t in self.directions
        }

    def cam(self, seen: "Seen") -> Losses:
        """L_cam (eq. 8): the generator's own classifier tells its source from pictures of the target."""
        terms = {}
        entropy = optax.sigmoid_binary_cross_entropy
        for s, t in self.directions:
            of_source, of_target = seen.drawn[s, t].cam
            error = entropy(of_source, jnp.ones_like(of_source)).mean()
            error += entropy(of_target, jnp.zeros_like(of_target)).mean()
            terms[f"cam/{s}2{t}"] = error
        return terms

    def generator_decay(self, seen: "Seen") -> Losses:
        """Half the squared length of the generators' kernels."""
        return {"decay/generator": losses.weight_decay(seen.params["generator"])}

    def discriminator_gan(self, seen: "Seen") -> Losses:
        """L_lsgan and CAM's (eqs. 5 and 9) for the discriminators."""
        terms = {}
        for s, t in self.directions:
            real, fake = seen.judged[s, t]
            terms[f"discriminator/{s}2{t}"] = squares(real, 1.0) + squares(fake, 0.0)
        return terms

    def discriminator_decay(self, seen: "Seen") -> Losses:
        """Half the squared length of the discriminators' kernels."""
        return {"decay/discriminator": losses.weight_decay(seen.params["discriminator"])}

    def discriminator_accuracy(self, seen: "Seen") -> Losses:
        """How often the domain's two discriminators are right about a patch; chance is 1/2."""
        found = {}
        for (_, t), (real, fake) in seen.judged.items():
            right = [(x > 0.5).mean() for x, _ in real] + [(x < 0.5).mean() for x, _ in fake]
            found[f"discriminator_accuracy/{t}"] = jnp.stack(right).mean()
        return found


@dataclass(frozen=True)
class Drawn:
    """What a generator makes of the source's pictures and of the target's own, and CAM's logits of both."""

    translation: Images
    same: Images
    cam: tuple[Float[Array, "b 2"], Float[Array, "b 2"]]


class Seen(method.Seen):
    """What the losses share: each is computed once, when it is first asked for."""

    model: UGATIT

    @cached_property
    def drawn(self) -> dict[Direction, Drawn]:
        """{(source, target): what G_st makes}."""
        found = {}
        for s, t in self.model.directions:
            both = interleave([self.batch[s], self.batch[t]])
            pictures, cam, _ = self.model.draw(self.params, s, t, both)
            translation, same = deinterleave(pictures, 2)
            of_source, of_target = deinterleave(cam, 2)
            found[s, t] = Drawn(translation, same, (of_source, of_target))
        return found

    @cached_property
    def judged(self) -> dict[Direction, tuple[Judgement, Judgement]]:
        """{(source, target): the target's discriminators on real pictures and on translations}."""
        judge = self.model.judge
        return {
            (s, t): (
                judge(self.params, t, self.batch[t]),
                judge(self.params, t, lax.stop_gradient(self.drawn[s, t].translation)),
            )
            for s, t in self.model.directions
        }


build = UGATIT

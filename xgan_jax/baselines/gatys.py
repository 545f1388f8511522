"""Style transfer: no network is trained, the picture itself is (Gatys, Ecker & Bethge 2016).

A translation is the picture whose maps in a frozen network are those of the source, and whose Gram matrices
are those of the target domain: colours and texture change, shapes do not. The lower anchor of what is called
translation. A domain's style is the mean Gram matrix over its pictures where the paper has one painting's;
"training" is taking that mean.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float, Key

from xgan_jax.config import Config, number
from xgan_jax.method import Extra, Images, Method, Moment, Params, Terms, load_frozen

Gram = Float[Array, "c c"]
Maps = Float[Array, "b h w c"]


@dataclass
class Networks:
    """The frozen network: the judge's maps, or those of VGG-19 ("xgan_jax.readers.features:vgg19")."""

    features: str = "xgan_jax.readers.judge:as_maps"
    weights_file: str = ""  # torchvision's VGG-19


@dataclass
class Weights:
    """The weight of each loss, and the descent."""

    content: float = 1.0
    style: float = 1000.0
    iterations: int = 100
    # Adam's, where the paper has L-BFGS, whose line search would tie a batch together.
    rate: float = number(0.05, above=0)


def gram(maps: Maps) -> Float[Array, "b c c"]:
    """Products of channels, the mean over pixels (equation 3 over the map's size)."""
    return jnp.einsum("bhwc,bhwd->bcd", maps, maps) / (maps.shape[1] * maps.shape[2])


class StyleTransfer(Method):
    """A frozen network; the domains' mean Gram matrices, and of how many batches, are extra state."""

    def __init__(self, config: Config):
        super().__init__(config)
        self.weights: Weights = config.weights
        self.frozen, self.features = load_frozen(config, "features")
        self.players = {"style": ()}

    def init(self, key: Key[Array, ""]) -> tuple[Params, Extra]:
        _, maps = jax.eval_shape(self.features, self.frozen, self.blank())
        styles = {d: [jnp.zeros((m.shape[-1], m.shape[-1])) for m in maps] for d in self.domains}
        return {"features": self.frozen}, {"style": styles, "count": jnp.zeros(())}

    def content(self, at: Maps, wanted: Maps) -> Float[Array, "b"]:
        """Equation 1 for every picture, over the map's size, so that resolutions weigh alike."""
        return 0.5 * jnp.square(at - wanted).mean((1, 2)).sum(-1)

    def style(self, maps: list[Array], style: list[Gram]) -> Float[Array, "b"]:
        """Equation 5 with equal weights of the layers, for every picture."""
        errors = [
            jnp.square(gram(m) - s).sum((1, 2)) / (4 * s.shape[0] ** 2)
            for m, s in zip(maps, style, strict=True)
        ]
        return sum(errors, jnp.zeros(())) / len(errors)

    def style_losses(self, now: Moment) -> Terms:
        """How far pictures are from the mean style of their domain, which takes them in."""
        terms, styles = {}, {}
        count = now.extra["count"] + 1
        for domain in self.domains:
            _, maps = self.features(now.params["features"], now.batch[domain])
            style = now.extra["style"][domain]
            terms[f"style/{domain}"] = self.style(maps, style).mean()
            styles[domain] = [
                mean + (gram(m).mean(0) - mean) / count for mean, m in zip(style, maps, strict=True)
            ]
        return Terms(terms, {}, {"style": styles, "count": count})

    def translate(self, params: Params, extra: Extra, images: Images, source: str, target: str) -> Images:
        """The descent from the picture itself (equation 7)."""
        if source == target:
            return images
        w, wanted = self.weights, extra["style"][target]
        content, _ = self.features(params["features"], images)
        optimizer = optax.adam(w.rate)

        def total(x: Images) -> Float[Array, ""]:
            at, maps = self.features(params["features"], x)
            return (w.content * self.content(at, content) + w.style * self.style(maps, wanted)).sum()

        def descend(_: Array, state: tuple[Images, optax.OptState]) -> tuple[Images, optax.OptState]:
            x, moments = state
            updates, moments = optimizer.update(jax.grad(total)(x), moments)
            return jnp.clip(x + updates, -1, 1), moments

        x, _ = lax.fori_loop(0, w.iterations, descend, (images, optimizer.init(images)))
        return x


build = StyleTransfer

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
from jaxtyping import Array, Float, Int, Key

from xgan_jax.config import Config
from xgan_jax.method import Extra, Images, Method, Params, Terms, load_frozen


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
    rate: float = 0.05  # Adam's, where the paper has L-BFGS, whose line search would tie a batch together


def gram(maps: Float[Array, "b h w c"]) -> Float[Array, "b c c"]:
    """Products of channels, the mean over pixels (equation 3 over the map's size)."""
    return jnp.einsum("bhwc,bhwd->bcd", maps, maps) / (maps.shape[1] * maps.shape[2])


def build(config: Config) -> Method:
    """Style transfer as `config` describes it.

    Raises:
      ValueError: the frozen network does not load.
    """
    weights: Weights = config.weights
    domains = tuple(config.data.domains)
    size = config.data.size
    frozen, features = load_frozen(config, "features")

    def init(key: Key[Array, ""]) -> tuple[Params, Extra]:
        picture = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
        _, maps = jax.eval_shape(features, frozen, picture)
        styles = {d: [jnp.zeros((m.shape[-1], m.shape[-1])) for m in maps] for d in domains}
        return {"features": frozen}, {"style": styles, "count": jnp.zeros(())}

    def distance(maps: list[Array], style: list[Array]) -> Float[Array, "b"]:
        """Equation 5 with equal weights of the layers, for every picture."""
        errors = [
            jnp.square(gram(m) - s).sum((1, 2)) / (4 * s.shape[0] ** 2)
            for m, s in zip(maps, style, strict=True)
        ]
        return sum(errors, jnp.zeros(())) / len(errors)

    def losses(
        player: str,
        params: Params,
        extra: Extra,
        batch: dict[str, Images],
        key: Key[Array, ""],
        step: Int[Array, ""],
    ) -> Terms:
        """How far pictures are from the mean style of their domain, which takes them in."""
        terms, styles = {}, {}
        count = extra["count"] + 1
        for domain in domains:
            _, maps = features(params["features"], batch[domain])
            terms[f"style/{domain}"] = distance(maps, extra["style"][domain]).mean()
            styles[domain] = [
                mean + (gram(m).mean(0) - mean) / count
                for mean, m in zip(extra["style"][domain], maps, strict=True)
            ]
        return Terms(terms, {}, {"style": styles, "count": count})

    def translate(params: Params, extra: Extra, images: Images, source: str, target: str) -> Images:
        if source == target:
            return images
        content, _ = features(params["features"], images)
        optimizer = optax.adam(weights.rate)

        def total(x: Images) -> Float[Array, ""]:
            at, maps = features(params["features"], x)
            # Equation 1 over the map's size, so that resolutions weigh alike.
            kept = 0.5 * jnp.square(at - content).mean((1, 2)).sum(-1)
            styled = distance(maps, extra["style"][target])
            return (weights.content * kept + weights.style * styled).sum()

        def descend(_: Array, state: tuple[Images, optax.OptState]) -> tuple[Images, optax.OptState]:
            x, moments = state
            updates, moments = optimizer.update(jax.grad(total)(x), moments)
            return jnp.clip(x + updates, -1, 1), moments

        x, _ = lax.fori_loop(0, weights.iterations, descend, (images, optimizer.init(images)))
        return x

    return Method(init, {"style": ()}, losses, translate)

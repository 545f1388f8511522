"""Mean difference vector: the simplest translation there is, one picture added to every picture.

After Eki's first method (anime to human): V is the difference of the domains' mean pictures, and anime + V
is the translation. His rule, V <- V + rate * (mean of one batch - mean of the other), has no fixed point;
here V is the running mean of the batches' differences, exact after every step. Nothing is learnt by descent.
"""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Int, Key

from xgan_jax.config import Config
from xgan_jax.method import Extra, Images, Method, Params, Terms


@dataclass
class Networks:
    """There is none, but the vector."""


@dataclass
class Weights:
    """There is one number to watch: how far a batch's difference is from the mean."""


def build(config: Config) -> Method:
    """The mean difference between the two domains of `config`.

    Raises:
      ValueError: there are not two domains.
    """
    if len(config.data.domains) != 2:
        raise ValueError(f"config.data.domains is {config.data.domains}: a difference is of two domains.")
    first, second = config.data.domains
    size = config.data.size

    def init(key: Key[Array, ""]) -> tuple[Params, Extra]:
        return {}, {"vector": jnp.zeros((size, size, 3)), "count": jnp.zeros(())}

    def losses(
        player: str,
        params: Params,
        extra: Extra,
        batch: dict[str, Images],
        key: Key[Array, ""],
        step: Int[Array, ""],
    ) -> Terms:
        off = batch[second].mean(0) - batch[first].mean(0) - extra["vector"]
        count = extra["count"] + 1
        mean = {"vector": extra["vector"] + off / count, "count": count}
        return Terms({"difference": jnp.square(off).mean()}, {}, mean)

    def translate(params: Params, extra: Extra, images: Images, source: str, target: str) -> Images:
        if source == target:
            return images
        sign = 1 if (source, target) == (first, second) else -1
        return jnp.clip(images + sign * extra["vector"], -1, 1)

    return Method(init, {"mean": ()}, losses, translate)

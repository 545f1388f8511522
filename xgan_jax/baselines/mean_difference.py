"""Mean difference vector: the simplest translation there is, one picture added to every picture.

After Eki's first method (anime to human): V is the difference of the domains' mean pictures, and anime + V
is the translation. His rule, V <- V + rate * (mean of one batch - mean of the other), has no fixed point;
here V is the running mean of the batches' differences, exact after every step. Nothing is learnt by descent.
"""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Key

from xgan_jax.config import Config
from xgan_jax.method import Extra, Images, Method, Moment, Params, Terms, two_domains


@dataclass
class Networks:
    """There is none, but the vector."""


@dataclass
class Weights:
    """There is one number to watch: how far a batch's difference is from the mean."""


class MeanDifference(Method):
    """The vector, and how many batches it is the mean of, are extra state."""

    def __init__(self, config: Config):
        super().__init__(config)
        self.first, self.second = two_domains(config, "a difference is of")
        self.players = {"mean": ()}

    def init(self, key: Key[Array, ""]) -> tuple[Params, Extra]:
        return {}, {"vector": self.blank()[0], "count": jnp.zeros(())}

    def mean_losses(self, now: Moment) -> Terms:
        """How far the batch's difference is from the mean so far, which takes it in."""
        off = now.batch[self.second].mean(0) - now.batch[self.first].mean(0) - now.extra["vector"]
        count = now.extra["count"] + 1
        mean = {"vector": now.extra["vector"] + off / count, "count": count}
        return Terms({"difference": jnp.square(off).mean()}, {}, mean)

    def translate(self, params: Params, extra: Extra, images: Images, source: str, target: str) -> Images:
        if source == target:
            return images
        sign = 1 if (source, target) == (self.first, self.second) else -1
        return jnp.clip(images + sign * extra["vector"], -1, 1)


build = MeanDifference

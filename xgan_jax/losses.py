"""The losses as pure functions of arrays; every one returns a float32 scalar, a mean over the batch.

Pictures are `[b, h, w, 3]` in [-1, 1], embeddings `[b, e]`, logits unbounded. Sources: XGAN (Royer et
al. 2017, section 3), DANN (Ganin et al. 2016), CycleGAN (Zhu et al. 2017), DTN (Taigman et al. 2016).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float, Int

Scalar = Float[Array, ""]


def reconstruction(x: Float[Array, "b h w c"], y: Float[Array, "b h w c"], distance: str = "mse") -> Scalar:
    """L_rec between a picture and its reconstruction (XGAN eq. 1).

    `distance`: "l2norm" is the paper's 2-norm of a picture's error, averaged over the batch; "mse" and
    "l1" are means over pixels, which most implementations use. For an error of 0.1 at 64 px they are
    11, 0.01 and 0.1: weights do not carry over.

    Raises:
      ValueError: unknown distance.
    """
    error = x.astype(jnp.float32) - y.astype(jnp.float32)
    if distance == "mse":
        return jnp.square(error).mean()
    if distance == "l1":
        return jnp.abs(error).mean()
    if distance == "l2norm":
        # The small constant keeps the gradient finite at a perfect reconstruction.
        return jnp.sqrt(jnp.square(error).sum((1, 2, 3)) + 1e-12).mean()
    raise ValueError(f"reconstruction distance {distance!r} is unknown: use mse, l1 or l2norm.")


def semantic(z: Float[Array, "b e"], z_translated: Float[Array, "b e"], distance: str = "l1") -> Scalar:
    """L_sem between a picture's embedding and its translation's (XGAN eq. 4).

    `distance`: "l1" is the mean over embedding dimensions, "l1_sum" their sum, "l2" the 2-norm.

    Raises:
      ValueError: unknown distance.
    """
    error = z - z_translated
    if distance == "l1":
        return jnp.abs(error).mean()
    if distance == "l1_sum":
        return jnp.abs(error).sum(-1).mean()
    if distance == "l2":
        return jnp.sqrt(jnp.square(error).sum(-1) + 1e-12).mean()
    raise ValueError(f"semantic distance {distance!r} is unknown: use l1, l1_sum or l2.")


def standardise(z: Float[Array, "b e"], like: Float[Array, "b e"]) -> Float[Array, "b e"]:
    """`z` divided by the mean standard deviation that `like` has over the batch.

    Without it L_sem can be driven to zero by shrinking the embedding. The scale is not differentiated:
    it must not become a way to lower the loss either.
    """
    return z / lax.stop_gradient(like.std(0).mean() + 1e-6)


def semantic_contrastive(
    z: Float[Array, "b e"], z_translated: Float[Array, "b e"], places: int = 1, temperature: float = 0.1
) -> Scalar:
    """L_sem as a question: which embedding of the batch is a translation's? (InfoNCE, Oord et al. 2018)

    Cross-entropy of picking every translated embedding's own source, by cosine after the batch's mean is
    taken off, among the embeddings of all pictures; of a map, with `places` places, among all places of all
    pictures (the patches of CUT, Park et al. 2020, eq. 3). What tells pictures apart counts, however few
    numbers it takes.
    """
    z, z_translated = (x.reshape(x.shape[0] * places, -1) for x in (z, z_translated))
    mean = lax.stop_gradient(z.mean(0))

    def unit(x: Array) -> Array:
        x = x - mean
        return x * lax.rsqrt(jnp.square(x).sum(-1, keepdims=True) + 1e-6)

    logits = unit(z_translated) @ unit(z).T / temperature
    return optax.softmax_cross_entropy_with_integer_labels(logits, jnp.arange(len(logits))).mean()


@jax.custom_vjp
def reverse_gradient(x: Float[Array, "*b"], strength: Scalar) -> Float[Array, "*b"]:
    """Gradient reversal: the identity whose gradient is multiplied by `-strength` (DANN eq. 18)."""
    return x


def _reverse_gradient_forward(x: Array, strength: Array) -> tuple[Array, Array]:
    return x, strength


def _reverse_gradient_backward(strength: Array, g: Array) -> tuple[Array, Array]:
    return -strength.astype(g.dtype) * g, jnp.zeros_like(strength)


reverse_gradient.defvjp(_reverse_gradient_forward, _reverse_gradient_backward)


def ramp(step: Int[Array, ""], start: int, steps: int) -> Scalar:
    """DANN's schedule from 0 to 1, `2 / (1 + exp(-10 p)) - 1` (section 5.2.2).

    p grows from 0 at step `start` to 1 at `start + steps`. With `steps` = 0 it is 1 from `start` on.
    """
    since = step.astype(jnp.float32) - start
    if steps == 0:
        return jnp.where(since >= 0, 1.0, 0.0)
    p = jnp.clip(since / steps, 0.0, 1.0)
    return 2.0 / (1.0 + jnp.exp(-10.0 * p)) - 1.0


def domain_adversarial(logits: Float[Array, "b d"], domain: int) -> Scalar:
    """Cross-entropy of the domain classifier for embeddings of domain number `domain` (XGAN eq. 2).

    Reverse the gradient of the embeddings before the classifier: it minimises, the encoders maximise.
    """
    labels = jnp.full(logits.shape[:1], domain)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def domain_confusion(logits: Float[Array, "b d"]) -> Scalar:
    """Cross-entropy of the classifier's answer to "all domains alike" (Tzeng et al. 2015, eq. 4).

    For the encoders, in the place of gradient reversal: where the classifier is sure, the reversed gradient
    vanishes, and this one is the steepest.
    """
    return -jax.nn.log_softmax(logits).mean()


def gan_discriminator(real: Float[Array, "*b"], fake: Float[Array, "*b"], form: str = "lsgan") -> Scalar:
    """What the discriminator minimises, from its logits for real and translated pictures.

    `form`: "ns" is the cross-entropy of XGAN eq. 5 (Goodfellow et al. 2014), "lsgan" least squares to
    1 and 0 (Mao et al. 2017), halved as in CycleGAN, "hinge" (Lim & Ye 2017).

    Raises:
      ValueError: unknown form.
    """
    if form == "ns":
        return jax.nn.softplus(-real).mean() + jax.nn.softplus(fake).mean()
    if form == "lsgan":
        return 0.5 * (jnp.square(real - 1).mean() + jnp.square(fake).mean())
    if form == "hinge":
        return jax.nn.relu(1 - real).mean() + jax.nn.relu(1 + fake).mean()
    raise ValueError(f"GAN form {form!r} is unknown: use ns, lsgan or hinge.")


def gan_generator(fake: Float[Array, "*b"], form: str = "lsgan") -> Scalar:
    """What the generator minimises, from the logits of its translations; forms as above.

    Raises:
      ValueError: unknown form.
    """
    if form == "ns":
        return jax.nn.softplus(-fake).mean()
    if form == "lsgan":
        return jnp.square(fake - 1).mean()
    if form == "hinge":
        return -fake.mean()
    raise ValueError(f"GAN form {form!r} is unknown: use ns, lsgan or hinge.")


def r1(discriminate: Callable[[Array], Float[Array, "b"]], real: Float[Array, "b h w c"]) -> Scalar:
    """R1, half the squared length of the logit's gradient at real pictures (Mescheder et al. 2018, eq. 9).

    It keeps a discriminator that is ahead from being steep, so that its gradient still says something.
    """
    gradient = jax.grad(lambda x: discriminate(x).sum())(real)
    return 0.5 * jnp.square(gradient).sum((1, 2, 3)).mean()


def teacher(z: Float[Array, "b e"], target: Float[Array, "b e"]) -> Scalar:
    """L_teach: L1 between an embedding and a frozen network's (XGAN eq. 6)."""
    return jnp.abs(z - lax.stop_gradient(target)).mean()


def agreement(found: Float[Array, "b v"], wanted: Float[Array, "b v"]) -> Scalar:
    """Cross-entropy of what is read from drawn pictures to what was read from their sources.

    Both are log-probabilities of an attribute's values; the gradient goes into `found` alone. At its least it
    is the entropy of `wanted`, not 0.
    """
    return -(jnp.exp(lax.stop_gradient(wanted)) * found).sum(-1).mean()


def cycle(x: Float[Array, "b h w c"], round_trip: Float[Array, "b h w c"]) -> Scalar:
    """L1 between a picture and its round trip through the other domain (CycleGAN eq. 2)."""
    return jnp.abs(x - round_trip).mean()


def identity(x: Float[Array, "b h w c"], same: Float[Array, "b h w c"]) -> Scalar:
    """L1 between a picture and its "translation" into the domain it is from (CycleGAN 5.2)."""
    return jnp.abs(x - same).mean()


def total_variation(x: Float[Array, "b h w c"]) -> Scalar:
    """Mean length of the colour gradient, `sqrt(dx² + dy²)` (DTN eq. 7 with B = 1, per pixel)."""
    x = x.astype(jnp.float32)
    dx = x[:, :-1, 1:] - x[:, :-1, :-1]
    dy = x[:, 1:, :-1] - x[:, :-1, :-1]
    return jnp.sqrt(jnp.square(dx) + jnp.square(dy) + 1e-12).mean()


def weight_decay(params: Any) -> Scalar:
    """Half the squared length of all kernels (of two dimensions or more).

    Its gradient is the kernel: with a weight it is Adam's coupled weight decay.
    """
    squares = [jnp.square(x).sum() for x in jax.tree.leaves(params) if x.ndim > 1]
    return 0.5 * sum(squares, jnp.zeros(()))

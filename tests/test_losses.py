"""Every loss against numbers worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xgan_jax import losses


def test_reconstruction_distances() -> None:
    x = jnp.zeros((2, 2, 2, 3))
    y = x.at[0].set(0.5).at[1].set(-1.0)
    assert float(losses.reconstruction(x, y, "mse")) == pytest.approx((0.25 + 1) / 2)
    assert float(losses.reconstruction(x, y, "l1")) == pytest.approx((0.5 + 1) / 2)
    # 12 numbers a picture: the 2-norm of a picture's error, not squared, then the mean over pictures.
    assert float(losses.reconstruction(x, y, "l2norm")) == pytest.approx((0.5 + 1) / 2 * 12**0.5, rel=1e-5)
    gradient = jax.grad(lambda y: losses.reconstruction(x, y, "l2norm"))(x)
    assert np.isfinite(gradient).all()
    with pytest.raises(ValueError, match="use mse, l1 or l2norm"):
        losses.reconstruction(x, y, "l3")


def test_semantic_distances() -> None:
    a, b = jnp.zeros((2, 4)), jnp.array([[1.0, 1, 1, 1], [0, 0, 0, 2]])
    assert float(losses.semantic(a, b, "l1")) == pytest.approx(0.75)
    assert float(losses.semantic(a, b, "l1_sum")) == pytest.approx(3)
    assert float(losses.semantic(a, b, "l2")) == pytest.approx(2, rel=1e-5)
    with pytest.raises(ValueError, match="use l1, l1_sum or l2"):
        losses.semantic(a, b, "cosine")


def test_standardised_embeddings_cannot_be_shrunk() -> None:
    z, other = jax.random.normal(jax.random.key(0), (2, 8, 5))

    def loss(scale):
        a, b = scale * z, scale * other
        return losses.semantic(losses.standardise(a, a), losses.standardise(b, a))

    assert float(loss(1.0)) == pytest.approx(float(loss(0.01)), rel=1e-3)
    # The scale itself has no gradient: what remains is that of the plain loss over a constant.
    plain = jax.grad(lambda a: losses.semantic(a, other))(z) / (z.std(0).mean() + 1e-6)
    ours = jax.grad(lambda a: losses.semantic(losses.standardise(a, a), losses.standardise(other, a)))(z)
    np.testing.assert_allclose(ours, plain, rtol=1e-5)


def test_the_semantic_choice() -> None:
    """Two pictures of two places with two numbers each; the mean of the sources is zero."""
    z = jnp.array([[1.0, 0, 0, 1], [-1, 0, 0, -1]])  # places (1, 0), (0, 1), (-1, 0), (0, -1)
    moved = 5 * z  # only directions count
    same = np.exp(10.0) / (np.exp(10.0) + 2 + np.exp(-10.0))  # cosines 1, 0, 0, -1 over 0.1
    assert float(losses.semantic_contrastive(z, moved, places=2)) == pytest.approx(-np.log(same), abs=1e-5)
    swapped = moved[::-1]
    other = np.exp(-10.0) / (np.exp(10.0) + 2 + np.exp(-10.0))
    assert float(losses.semantic_contrastive(z, swapped, places=2)) == pytest.approx(-np.log(other), rel=1e-4)
    # As a whole the pictures are opposite: one place each.
    whole = float(losses.semantic_contrastive(z, moved))
    assert whole == pytest.approx(np.log1p(np.exp(-20.0)), abs=1e-6)
    both = jax.grad(losses.semantic_contrastive, (0, 1))(z, swapped)
    assert all(np.isfinite(g).all() and jnp.abs(g).max() > 0 for g in both)


def test_gradient_reversal() -> None:
    x = jnp.arange(3.0)
    value, pullback = jax.vjp(lambda x: losses.reverse_gradient(x, jnp.float32(0.3)), x)
    np.testing.assert_array_equal(value, x)
    np.testing.assert_allclose(pullback(jnp.ones(3))[0], -0.3 * np.ones(3), rtol=1e-6)


def test_reversal_equals_two_objectives() -> None:
    """One loss behind a reversal is: the classifier minimises, the encoder minimises the negative."""
    z0 = jax.random.normal(jax.random.key(0), (6, 4))
    encoder = jax.random.normal(jax.random.key(1), (4, 4))
    classifier = jax.random.normal(jax.random.key(2), (4, 2))
    strength = jnp.float32(0.7)

    def cross_entropy(encoder, classifier):
        return losses.domain_adversarial(jnp.tanh(z0 @ encoder) @ classifier, 1)

    def reversed_loss(encoder, classifier):
        z = losses.reverse_gradient(jnp.tanh(z0 @ encoder), strength)
        return losses.domain_adversarial(z @ classifier, 1)

    ours = jax.grad(reversed_loss, (0, 1))(encoder, classifier)
    for_encoder = jax.grad(lambda e: -strength * cross_entropy(e, jax.lax.stop_gradient(classifier)))(encoder)
    for_classifier = jax.grad(lambda c: cross_entropy(jax.lax.stop_gradient(encoder), c))(classifier)
    np.testing.assert_allclose(ours[0], for_encoder, rtol=1e-5)
    np.testing.assert_allclose(ours[1], for_classifier, rtol=1e-5)


def test_ramp_is_danns() -> None:
    step = lambda n: jnp.int32(n)  # noqa: E731
    assert float(losses.ramp(step(0), 0, 0)) == 1
    assert float(losses.ramp(step(9), 10, 0)) == 0
    assert float(losses.ramp(step(10), 10, 100)) == 0
    assert float(losses.ramp(step(60), 10, 100)) == pytest.approx(2 / (1 + np.exp(-5)) - 1)
    assert float(losses.ramp(step(500), 10, 100)) == pytest.approx(2 / (1 + np.exp(-10)) - 1)


def test_domain_adversarial_is_cross_entropy() -> None:
    logits = jnp.array([[0.0, 0.0], [2.0, 0.0]])
    expected = (np.log(2) + np.log(1 + np.exp(-2))) / 2
    assert float(losses.domain_adversarial(logits, 0)) == pytest.approx(expected)
    assert float(losses.domain_adversarial(logits, 1)) == pytest.approx(expected + 1)


@pytest.mark.parametrize(
    ("form", "discriminator", "generator"),
    [
        ("ns", np.log1p(np.exp(-2.0)) + np.log1p(np.exp(-1.0)), np.log1p(np.exp(1.0))),
        ("lsgan", 0.5 * (1 + 1), 4.0),
        ("hinge", 0.0, 1.0),
    ],
)
def test_gan_forms(form: str, discriminator: float, generator: float) -> None:
    real, fake = jnp.array([2.0]), jnp.array([-1.0])
    assert float(losses.gan_discriminator(real, fake, form)) == pytest.approx(discriminator)
    assert float(losses.gan_generator(fake, form)) == pytest.approx(generator)
    # The sides pull apart: the discriminator lowers fake logits, the generator raises them.
    start = jnp.array([0.1])
    assert jax.grad(lambda f: losses.gan_discriminator(real, f, form))(start) > 0
    assert jax.grad(lambda f: losses.gan_generator(f, form))(start) < 0
    with pytest.raises(ValueError, match="use ns, lsgan or hinge"):
        losses.gan_generator(fake, "wgan")


def test_pixel_losses() -> None:
    x = jnp.zeros((1, 3, 3, 1))
    assert float(losses.cycle(x, x + 0.5)) == pytest.approx(0.5)
    assert float(losses.identity(x, x - 0.25)) == pytest.approx(0.25)
    slope = jnp.broadcast_to(jnp.arange(3.0)[None, None, :, None] * 3, (1, 3, 3, 1))
    slope = slope + jnp.arange(3.0)[None, :, None, None] * 4
    assert float(losses.total_variation(slope)) == pytest.approx(5)
    assert float(losses.total_variation(x)) == pytest.approx(0, abs=1e-5)


def test_teacher_moves_only_the_embedding() -> None:
    z, target = jnp.zeros((2, 3)), jnp.ones((2, 3))
    assert float(losses.teacher(z, target)) == 1
    assert np.abs(jax.grad(losses.teacher, 1)(z, target)).max() == 0
    assert np.abs(jax.grad(losses.teacher, 0)(z, target)).max() > 0


def test_agreement_is_cross_entropy_with_what_was_read_of_the_source() -> None:
    found, wanted = (
        jnp.log(jnp.array([[0.5, 0.5], [0.9, 0.1]])),
        jnp.log(jnp.array([[0.2, 0.8], [1.0, 1e-9]])),
    )
    expected = (np.log(2) - np.log(0.9)) / 2
    assert float(losses.agreement(found, wanted)) == pytest.approx(expected, abs=1e-5)
    assert np.abs(jax.grad(losses.agreement, 1)(found, wanted)).max() == 0
    assert np.abs(jax.grad(losses.agreement, 0)(found, wanted)).max() > 0


def test_r1_is_half_the_squared_gradient() -> None:
    real = jax.random.normal(jax.random.key(0), (3, 4, 4, 3))
    slope = jax.random.normal(jax.random.key(1), (4, 4, 3))
    linear = losses.r1(lambda x: (x * slope).sum((1, 2, 3)), real)
    assert float(linear) == pytest.approx(0.5 * float((slope**2).sum()), rel=1e-5)
    # Of 3 pictures the last alone is steep: a mean over pictures, not the gradient of a mean.
    steep = jnp.array([0.0, 0.0, 1.0])
    one = losses.r1(lambda x: steep * (x * slope).sum((1, 2, 3)), real)
    assert float(one) == pytest.approx(float(linear) / 3, rel=1e-5)


def test_weight_decay_is_adams_coupled_one() -> None:
    params = {"kernel": jnp.array([[1.0, -2.0]]), "bias": jnp.array([3.0])}
    assert 0.1 * losses.weight_decay(params) == pytest.approx(0.5 * 0.1 * 5)
    gradient = jax.grad(lambda p: 0.1 * losses.weight_decay(p))(params)
    np.testing.assert_allclose(gradient["kernel"], 0.1 * params["kernel"])
    assert gradient["bias"] == 0

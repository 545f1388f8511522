"""The two-step method: its terms by hand, and who learns in which step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xgan_jax import method as methods
from xgan_jax.baselines.acgan import Networks, Weights
from xgan_jax.config import Config, DataConfig, RunConfig
from xgan_jax.method import Moment
from xgan_jax.nets.acgan import ConditionalGenerator
from xgan_jax.nets.discriminator import DCGANDiscriminator

KEY = jax.random.key(0)
DOMAINS = ("face", "anime", "sketch")


def tiny(**weights) -> Config:
    return Config(
        method="baselines.acgan",
        networks=Networks(embedding_size=8, width=1 / 64, discriminator_width=1 / 16),
        weights=Weights(**{"encoder_start": 10} | weights),
        data=DataConfig(path="none", size=32, domains=DOMAINS),
        run=RunConfig(steps=20),
    )


@pytest.fixture(scope="module")
def played():
    """The method, its parameters, a batch, and {step: {player: (gradients, terms)}}."""
    method = methods.load(tiny(r1=5.0))
    params, extra = jax.jit(method.init)(KEY)
    keys = jax.random.split(jax.random.key(7), len(DOMAINS))
    images = {d: jax.random.uniform(k, (4, 32, 32, 3), minval=-1) for d, k in zip(DOMAINS, keys, strict=True)}

    @jax.jit
    def play(params, step):
        def total(params, player):
            terms = method.losses(player, Moment(params, extra, images, KEY, step))
            return sum(terms.losses.values()), terms

        return {p: jax.grad(total, has_aux=True)(params, p) for p in method.players}

    return method, params, extra, images, {step: play(params, jnp.int32(step)) for step in (9, 10)}


def largest(tree) -> float:
    return max(float(jnp.abs(x).max()) for x in jax.tree.leaves(tree))


def test_first_the_gan_then_the_encoder(played) -> None:
    method, _, extra, _, steps = played
    for step, active in ((9, {"generator", "discriminator"}), (10, {"encoder"})):
        for player, (network,) in method.players.items():
            gradients, terms = steps[step][player]
            assert (largest(gradients[network]) > 0) == (player in active), (step, player)
            if player != "generator":
                assert largest(gradients["generator"]) == 0, "what it is shown is detached"
            assert all((value > 0) == (player in active) for value in terms.losses.values())
            changed = jax.tree.map(lambda a, b: a - b, terms.extra, {k: extra[k] for k in terms.extra})
            if terms.extra:
                assert (largest(changed) > 0) == (player in active), "resting statistics rest"


def test_terms_by_hand(played) -> None:
    _, params, extra, images, steps = played
    z = jax.random.normal(KEY, (12, 8))
    of = jnp.arange(12) % 3
    generator = ConditionalGenerator(3, 32, width=1 / 64)
    variables = {"params": params["generator"], "batch_stats": extra["generator"]}
    fake, _ = generator.apply(variables, z, of, train=True, mutable=["batch_stats"])

    def judged(x):
        network = DCGANDiscriminator(4, 1 / 16)
        logits = network.apply({"params": params["discriminator"]}, x, mutable=["batch_stats"])[0]
        return logits[:, 0], jax.nn.log_softmax(logits[:, 1:])

    of_fake, classes_of_fake = judged(fake)
    real = jnp.stack([images[d] for d in DOMAINS], 1).reshape(12, 32, 32, 3)
    of_real, classes_of_real = judged(real)
    quiet = generator.apply(variables, z, of)
    encoder = DCGANDiscriminator(8, 1 / 16)
    encoder_variables = {"params": params["encoder"], "batch_stats": extra["encoder"]}
    found, _ = encoder.apply(encoder_variables, quiet, train=True, mutable=["batch_stats"])
    rows = jnp.arange(12)
    slopes = jax.grad(lambda x: judged(x)[0].sum())(real)
    expected = {
        (9, "generator", "gan"): jax.nn.softplus(-of_fake).mean(),
        (9, "generator", "classes/generator"): -classes_of_fake[rows, of].mean(),
        (9, "discriminator", "discriminator"): (jax.nn.softplus(-of_real) + jax.nn.softplus(of_fake)).mean(),
        (9, "discriminator", "classes/discriminator"): -classes_of_real[rows, of].mean(),
        (9, "discriminator", "r1"): 2.5 * jnp.square(slopes).sum((1, 2, 3)).mean(),
        (10, "encoder", "latent"): jnp.square(found - z).mean(),
    }
    for (step, player, term), value in expected.items():
        assert float(steps[step][player][1].losses[term]) == pytest.approx(float(value), rel=1e-4), term


def test_the_class_is_switched(played) -> None:
    method, params, extra, images, _ = played
    x = images["face"]
    z = method.embed(params, extra, x, "face")
    assert z.shape == (4, 8)
    np.testing.assert_array_equal(z, method.embed(params, extra, x, "anime"))
    anime, sketch = (method.translate(params, extra, x, "face", d) for d in ("anime", "sketch"))
    assert anime.shape == x.shape and jnp.abs(anime).max() <= 1
    assert jnp.abs(anime - sketch).max() > 0


def test_enlarging_in_place_of_transposed_convolutions() -> None:
    generator = ConditionalGenerator(3, 32, width=1 / 64, resize=True)
    params = jax.eval_shape(generator.init, KEY, jnp.zeros((2, 8)), jnp.zeros(2, jnp.int32))["params"]
    assert {layer["kernel"].shape[:2] for name, layer in params["up"].items() if "conv" in name} == {(3, 3)}
    config = tiny()
    config.networks.resize = True
    built, _ = methods.abstract_init(methods.load(config))
    assert jax.tree.map(jnp.shape, built["generator"]) == jax.tree.map(jnp.shape, params)


def test_an_encoder_without_steps_is_refused() -> None:
    with pytest.raises(ValueError, match=r"encoder_start is 20, but the run ends after config"):
        methods.load(tiny(encoder_start=20))

"""DTN: a frozen f, a discriminator of three answers, and its terms by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xgan_jax import losses
from xgan_jax import method as methods
from xgan_jax.baselines.dtn import PUT_THROUGH, REAL, TRANSLATED, Networks, Weights
from xgan_jax.config import Config, DataConfig
from xgan_jax.method import Moment
from xgan_jax.nets.discriminator import DCGANDiscriminator

KEY = jax.random.key(0)
DOMAINS = ("face", "anime")


def projection(config: Config):
    """f: a fixed linear map."""
    shape = (config.data.size**2 * 3, config.networks.embedding_size)
    return 0.02 * jax.random.normal(KEY, shape), lambda p, x: x.reshape(len(x), -1) @ p


def tiny(**weights) -> Config:
    return Config(
        method="baselines.dtn",
        networks=Networks(f"{__name__}:projection", 16, width=0.0625, discriminator_width=0.0625),
        weights=Weights(**weights),
        data=DataConfig(path="none", size=32),
    )


def batch(n: int = 4):
    keys = jax.random.split(jax.random.key(7), 2)
    return {d: jax.random.uniform(k, (n, 32, 32, 3), minval=-1) for d, k in zip(DOMAINS, keys, strict=True)}


@pytest.mark.slow  # half a minute of compiling
def test_terms_by_hand_and_who_learns() -> None:
    method = methods.load(tiny())
    params, extra = jax.jit(method.init)(KEY)
    images = batch()

    @jax.jit
    def both(params):
        def total(params, player):
            terms = method.losses(player, Moment(params, extra, images, KEY, jnp.int32(0)))
            return sum(terms.losses.values()), terms

        return {p: jax.grad(total, has_aux=True)(params, p) for p in method.players}

    result = both(params)
    gradients, terms = result["generator"]
    assert set(terms.losses) == {
        *(f"gan/{s}2{t}" for s in DOMAINS for t in DOMAINS),
        *(f"identity/{t}" for t in DOMAINS),
        *(f"{name}/{d}" for name in ("constancy", "total_variation") for d in ("face2anime", "anime2face")),
    }
    assert (gradients["features"] == 0).all() and not any("features" in n for n in method.players.values())
    assert all(jnp.abs(x).max() > 0 for x in jax.tree.leaves(gradients["generator"]))

    # In training g normalises by the batch, both domains' pictures in one call: the same pictures come from a
    # g in evaluation whose statistics are those of the call.
    after = {"generator": terms.extra["generator"]}
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), after, extra)
    assert min(jax.tree.leaves(moved)) > 0, "the running statistics move"
    statistics = jax.tree.map(lambda old, new: (new - 0.9 * old) / 0.1, extra, after)
    made = {(s, t): method.translate(params, statistics, images[s], s, t) for s in DOMAINS for t in DOMAINS}

    def entropy(domain, x, wanted):
        variables = {"params": params["discriminator"][domain]}
        logits = DCGANDiscriminator(3, 0.0625).apply(variables, x, mutable=["batch_stats"])[0]
        return float(-jax.nn.log_softmax(logits)[:, wanted].mean())

    def f(x):
        z = x.reshape(len(x), -1) @ params["features"]
        return z / jnp.linalg.norm(z, axis=-1, keepdims=True)

    fake, same = made["face", "anime"], made["anime", "anime"]
    expected = {
        "gan/face2anime": entropy("anime", fake, REAL),
        "gan/anime2anime": entropy("anime", same, REAL),
        "identity/anime": float(jnp.square(same - images["anime"]).mean()),
        "constancy/face2anime": 100 * float(jnp.square(f(fake) - f(images["face"])).mean()),
        "total_variation/face2anime": 0.05 * float(losses.total_variation(fake)),
    }
    for name, value in expected.items():
        assert float(terms.losses[name]) == pytest.approx(value, rel=2e-3), name
    gradients, terms = result["discriminator"]
    assert all((x == 0).all() for x in jax.tree.leaves(gradients["generator"])), "fakes are detached"
    assert float(terms.losses["discriminator/anime"]) == pytest.approx(
        entropy("anime", images["anime"], REAL)
        + entropy("anime", same, PUT_THROUGH)
        + entropy("anime", fake, TRANSLATED),
        rel=2e-3,
    )


def test_one_f_for_all_domains() -> None:
    method = methods.load(tiny(gan=0.0))
    assert list(method.players) == ["generator"]
    params, extra = jax.jit(method.init)(KEY)
    x = batch()["face"]
    np.testing.assert_array_equal(
        method.embed(params, extra, x, "face"), method.embed(params, extra, x, "anime")
    )


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match=r"config.weights.constancy is -1.0: use zero or more"):
        methods.load(tiny(constancy=-1.0))
    config = tiny()
    config.networks.teacher = "nowhere:f"
    with pytest.raises(ValueError, match=r"config.networks.teacher is 'nowhere:f', which does not load"):
        methods.load(config)

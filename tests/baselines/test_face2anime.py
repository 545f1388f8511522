"""Face2Anime: CycleGAN where its additions are off, and the additions by hand."""

import jax
import jax.numpy as jnp
import pytest

from xgan_jax import method as methods
from xgan_jax.baselines import cyclegan
from xgan_jax.baselines.face2anime import Networks, Weights
from xgan_jax.config import Config, DataConfig
from xgan_jax.method import Moment

KEY = jax.random.key(0)


def tiny(**weights) -> Config:
    return Config(
        method="baselines.face2anime",
        networks=Networks(blocks=1, width=4, discriminator_width=4),
        weights=Weights(**weights),
        data=DataConfig(path="none", size=32),
    )


def played(method, params, extra, images):
    """{player: (gradients, terms)}."""

    def total(params, player):
        terms = method.losses(player, Moment(params, extra, images, KEY, jnp.int32(0)))
        return sum(terms.losses.values()), terms

    return jax.jit(lambda params: {p: jax.grad(total, has_aux=True)(params, p) for p in method.players})(
        params
    )


@pytest.mark.slow  # half a minute of compilation
def test_terms_by_hand_over_cyclegan() -> None:
    keys = jax.random.split(jax.random.key(7), 2)
    images = {
        d: jax.random.uniform(k, (2, 32, 32, 3), minval=-1)
        for d, k in zip(("face", "anime"), keys, strict=True)
    }
    method = methods.load(tiny())
    params, extra = jax.jit(method.init)(KEY)
    result = played(method, params, extra, images)
    gradients, terms = result["generator"]

    plain = Config("baselines.cyclegan", cyclegan.Networks(1, 4, 4), cyclegan.Weights(identity=0.0))
    plain.data = tiny().data
    base = methods.load(plain)
    of_base = {name: x for name, x in params.items() if name != "classifier"}
    expected = played(base, of_base, extra, images)
    for player in ("generator", "discriminator"):
        for name, value in expected[player][1].losses.items():
            assert float(result[player][1].losses[name]) == pytest.approx(float(value), rel=1e-4), name
    added = set(terms.losses) - set(expected["generator"][1].losses)
    assert added == {
        *(f"domain_adversarial/{d}" for d in ("face", "anime")),
        *(f"semantic/{d}" for d in ("face2anime", "anime2face")),
    }

    z = method.embed(params, extra, images["face"], "face")
    assert z.shape == (2, 8 * 8 * 16)
    fake = method.translate(params, extra, images["face"], "face", "anime")
    back = method.embed(params, extra, fake, "anime")
    assert float(terms.losses["semantic/face2anime"]) == pytest.approx(
        float(jnp.abs(z - back).mean()), rel=1e-3
    )
    # Least squares to 0 (face) and 1 (anime): the classifier minimises, the encoders maximise.
    stepped = params | {
        "classifier": jax.tree.map(lambda p, g: p - 1e-3 * g, params["classifier"], gradients["classifier"])
    }

    def adversarial(params):
        terms = method.losses("generator", Moment(params, extra, images, KEY, jnp.int32(0))).losses
        return sum(float(terms[f"domain_adversarial/{d}"]) for d in ("face", "anime"))

    assert adversarial(stepped) < adversarial(params)
    alone = methods.load(tiny(gan=0.0, cycle=0.0, semantic=0.0))
    reversed_gradient = played(alone, params, extra, images)["generator"][0]["generator"]
    moved = params | {
        "generator": jax.tree.map(lambda p, g: p - 1e-3 * g, params["generator"], reversed_gradient)
    }
    assert adversarial(moved) > adversarial(params)

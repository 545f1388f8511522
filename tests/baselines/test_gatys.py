"""Style transfer: Gram matrices, the mean style, and what a translation trades."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xgan_jax import method as methods
from xgan_jax.baselines.gatys import Networks, Weights, gram
from xgan_jax.config import Config, DataConfig
from xgan_jax.method import Moment

KEY = jax.random.key(0)


def features(config: Config):
    """Content is the grey picture, style the colours and their half-size means."""

    def apply(params, x):
        halves = x.reshape(len(x), 16, 2, 16, 2, 3).mean((2, 4))
        return params * x.mean(-1, keepdims=True), [params * x, params * halves]

    return jnp.ones(()), apply


def tiny(**weights) -> Config:
    return Config(
        method="baselines.gatys",
        networks=Networks(f"{__name__}:features"),
        weights=Weights(**weights),
        data=DataConfig(path="none", size=32),
    )


def batch(key, n: int = 3):
    face, anime = (jax.random.uniform(k, (n, 32, 32, 3)) for k in jax.random.split(key))
    return {"face": face - 0.8, "anime": anime * jnp.array([1.0, 0.2, 0.2])}


def test_style_is_the_mean_gram_over_all_batches() -> None:
    method = methods.load(tiny())
    params, extra = method.init(KEY)
    batches = [batch(jax.random.key(i)) for i in range(3)]
    for images in batches:
        terms = method.losses("style", Moment(params, extra, images, KEY, jnp.int32(0)))
        extra = extra | terms.extra
    every = np.concatenate([images["anime"] for images in batches]).reshape(9, -1, 3)
    expected = np.einsum("npc,npd->cd", every, every) / (9 * 32 * 32)
    np.testing.assert_allclose(extra["style"]["anime"][0], expected, atol=1e-6)
    assert method.players == {"style": ()}


def test_a_translation_takes_the_style_and_keeps_the_content() -> None:
    method = methods.load(tiny(content=1.0, style=100.0, iterations=60))
    params, extra = method.init(KEY)
    images = batch(KEY)
    extra = extra | method.losses("style", Moment(params, extra, images, KEY, jnp.int32(0))).extra
    made = jax.jit(lambda x: method.translate(params, extra, x, "face", "anime"))(images["face"])
    assert jnp.abs(made).max() <= 1

    def to_style(x):
        return float(jnp.abs(gram(x) - extra["style"]["anime"][0]).mean())

    assert to_style(made) < 0.2 * to_style(images["face"])
    rigid = methods.load(tiny(content=1.0, style=0.0, iterations=5))
    same = rigid.translate(params, extra, images["face"], "face", "anime")
    np.testing.assert_allclose(same.mean(-1), images["face"].mean(-1), atol=0.05)
    np.testing.assert_array_equal(
        method.translate(params, extra, images["face"], "face", "face"), images["face"]
    )
    one = method.translate(params, extra, images["face"][:1], "face", "anime")
    # A picture's translation is its own, but for rounding that Adam makes large.
    assert jnp.abs(one - made[:1]).mean() < 0.02 < 0.1 < jnp.abs(made[0] - made[1]).mean()


def test_what_does_not_load_is_refused() -> None:
    config = tiny()
    config.networks = Networks("xgan_jax.readers.features:vgg19", "nowhere.pth")
    with pytest.raises(
        ValueError, match=r"config\.networks\.weights_file is 'nowhere\.pth', which is no file"
    ):
        methods.load(config)

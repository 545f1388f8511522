"""CycleGAN: its networks to the parameter, its pool, and who moves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xgan_jax import method as methods
from xgan_jax.baselines.cyclegan import Networks, Weights, from_pool, ramp
from xgan_jax.config import Config, DataConfig
from xgan_jax.method import Moment
from xgan_jax.nets.resnet import PatchDiscriminator, ResNetGenerator, reflect_pad

KEY = jax.random.key(0)


def tiny(**weights) -> Config:
    return Config(
        method="baselines.cyclegan",
        networks=Networks(blocks=2, width=4, discriminator_width=4),
        weights=Weights(**({"pool": 3} | weights)),
        data=DataConfig(path="none", size=32),
    )


def batch(n: int = 2):
    keys = jax.random.split(jax.random.key(7), 2)
    return {
        d: jax.random.uniform(k, (n, 32, 32, 3), minval=-1)
        for d, k in zip(("face", "anime"), keys, strict=True)
    }


def count(network, size: int = 256) -> int:
    x = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    return sum(x.size for x in jax.tree.leaves(jax.eval_shape(network.init, KEY, x)))


@pytest.mark.parametrize("resize", [False, True])
def test_parameters_are_those_of_the_authors(resize: bool) -> None:
    assert count(ResNetGenerator(9, resize=resize)) == 11_378_179
    assert count(ResNetGenerator(6, resize=resize)) == 11_378_179 - 3 * 2 * (9 * 256 * 256 + 256)
    assert count(PatchDiscriminator()) == 2_764_737


def test_shapes() -> None:
    x = jnp.zeros((1, 256, 256, 3))
    logits = jax.eval_shape(lambda: PatchDiscriminator().init_with_output(KEY, x)[0])
    assert logits.shape == (1, 30, 30)
    y = jax.eval_shape(lambda: ResNetGenerator(1).init_with_output(KEY, x)[0])
    assert y.shape == x.shape


def test_reflection_leaves_the_border_out() -> None:
    x = jnp.arange(4.0).reshape(1, 1, 4, 1).repeat(4, 1)
    np.testing.assert_array_equal(reflect_pad(x, 2)[0, 0, :, 0], [2, 1, 0, 1, 2, 3, 2, 1])


def test_residual_blocks_differ_and_nothing_follows_their_sum() -> None:
    network = ResNetGenerator(3, 4)
    params = network.init(KEY, jnp.zeros((1, 16, 16, 3)))["params"]
    kernels = params["blocks"]["conv1"]["kernel"]
    assert kernels.shape == (3, 3, 3, 16, 16) and (kernels[0] != kernels[1]).all()


def test_pool() -> None:
    """Filled in order; full, half of the pictures are exchanged for stored ones, of any place."""
    size = 5
    pool = {"images": jnp.zeros((size, 1, 1, 3)), "count": jnp.int32(0)}
    step = jax.jit(from_pool)
    numbered = jnp.arange(1.0, 2001.0)[:, None, None, None].repeat(3, -1)
    shown, pool = step(pool, numbered[:3], KEY)
    np.testing.assert_array_equal(shown, numbered[:3])
    shown, pool = step(pool, numbered[3:7], KEY)  # fills up in the middle of a batch
    np.testing.assert_array_equal(shown[:2], numbered[3:5])
    assert pool["count"] == size
    stored = {float(x) for x in pool["images"][:, 0, 0, 0]}
    shown, pool = step(pool, numbered[7:], jax.random.key(1))
    old = np.asarray(shown[:, 0, 0, 0] != numbered[7:, 0, 0, 0])
    assert 0.45 < old.mean() < 0.55
    # Nothing is lost or doubled: what was stored and given is what was shown and is stored.
    given = stored | {float(x) for x in numbered[7:, 0, 0, 0]}
    after = [*map(float, shown[:, 0, 0, 0]), *map(float, pool["images"][:, 0, 0, 0])]
    assert len(after) == len(set(after)) and set(after) == given
    ages = np.asarray(numbered[7:, 0, 0, 0] - shown[:, 0, 0, 0])[old][20:]
    assert 7 < ages.mean() < 14, "a picture waits 2 * size pictures on average"


def test_terms_players_and_the_pool_in_the_extra_state() -> None:
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
        f"{name}/{d}" for name in ("gan", "cycle", "identity") for d in ("face2anime", "anime2face")
    }
    largest = {n: max(float(jnp.abs(x).max()) for x in jax.tree.leaves(gradients[n])) for n in gradients}
    assert largest["generator"] > 0
    gradients, terms = result["discriminator"]
    assert all((x == 0).all() for x in jax.tree.leaves(gradients["generator"])), "fakes are detached"
    assert all(jnp.abs(x).max() > 0 for d in gradients["discriminator"].values() for x in jax.tree.leaves(d))
    fake = method.translate(params, extra, images["face"], "face", "anime")
    np.testing.assert_allclose(terms.extra["pool"]["anime"]["images"][:2], fake, atol=1e-4)
    assert terms.extra["pool"]["face"]["count"] == 2


def test_losses_by_hand() -> None:
    """L = LSGAN + 10 cycle + 5 identity, from the method's own translations."""
    method = methods.load(tiny())
    params, extra = jax.jit(method.init)(KEY)
    images = batch()
    terms = method.losses("generator", Moment(params, extra, images, KEY, jnp.int32(0))).losses

    def f2a(x):
        return method.translate(params, extra, x, "face", "anime")

    def a2f(x):
        return method.translate(params, extra, x, "anime", "face")

    face, anime = images["face"], images["anime"]
    np.testing.assert_allclose(
        terms["cycle/face2anime"], 10 * jnp.abs(a2f(f2a(face)) - face).mean(), rtol=1e-3
    )
    np.testing.assert_allclose(
        terms["identity/face2anime"], 5 * jnp.abs(f2a(anime) - anime).mean(), rtol=1e-3
    )
    same = method.translate(params, extra, anime, "anime", "anime")
    np.testing.assert_allclose(same, f2a(anime), atol=1e-6)


def test_zero_weights_and_bad_values() -> None:
    method = methods.load(tiny(identity=0.0, pool=0))
    params, extra = methods.abstract_init(method)
    terms = jax.eval_shape(
        lambda p: method.losses("generator", Moment(p, extra, batch(), KEY, jnp.int32(0))).losses, params
    )
    assert not any("identity" in name for name in terms) and extra == {}
    assert methods.load(tiny(gan=0.0)).players == {"generator": ("generator",)}
    with pytest.raises(ValueError, match=r"config.weights.cycle is -1"):
        methods.load(tiny(cycle=-1.0))
    three = tiny()
    three.data.domains = ("a", "b", "c")
    with pytest.raises(ValueError, match="needs two domains"):
        methods.load(three)


def angle(config: Config):
    """The angle is a picture's mean, times 45 degrees."""
    return jnp.float32(45), lambda p, x: p * x.mean((1, 2, 3))


def test_the_angle_of_the_source_goes_both_ways() -> None:
    config = tiny(identity=0.0)
    config.networks.angle = f"{__name__}:angle"
    method = methods.load(config)
    params, extra = jax.jit(method.init)(KEY)
    assert "angle" not in {n for networks in method.players.values() for n in networks}
    images = batch()

    def generate(direction, x, tilted_as):
        channel = ramp(45 * tilted_as.mean((1, 2, 3)), 32)
        variables = {"params": params["generator"][direction]}
        return ResNetGenerator(2, 4).apply(variables, jnp.concatenate([x, channel], -1))

    flat = ramp(jnp.array([0.0, 90.0]), 3)[..., 0]
    np.testing.assert_allclose(flat[0], [[-1] * 3, [0] * 3, [1] * 3], atol=1e-6)
    np.testing.assert_allclose(flat[1], [[1, 0, -1]] * 3, atol=1e-6)

    x = images["face"]
    fake = generate("face2anime", x, x)
    np.testing.assert_allclose(method.translate(params, extra, x, "face", "anime"), fake, atol=1e-6)
    assert jnp.abs(fake - generate("face2anime", x, x + 0.5)).max() > 1e-4, "and it matters"
    terms = method.losses("generator", Moment(params, extra, images, KEY, jnp.int32(0))).losses
    back = generate("anime2face", fake, x)
    assert float(terms["cycle/face2anime"]) == pytest.approx(10 * float(jnp.abs(back - x).mean()), rel=1e-4)

"""Twin-GAN: growth, the norms of domains, its terms by hand, mixing and references."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xgan_jax import method as methods
from xgan_jax.baselines.twingan import Networks, Weights, dragan, growth, mixed
from xgan_jax.config import Config, DataConfig
from xgan_jax.method import Moment
from xgan_jax.nets.layers import double
from xgan_jax.nets.twingan import BatchRenorm, Discriminator, Encoder, Generator, channels, halve

KEY = jax.random.key(0)
DOMAINS = ("face", "anime")


def test_channels_are_the_codes() -> None:
    assert [channels(4 << i, 1.0) for i in range(7)] == [256, 256, 256, 128, 64, 32, 16]


def test_the_codes_sides() -> None:
    """At 256 px: the author's spatial latent, skips and channels."""
    x, one = jnp.zeros((1, 256, 256, 3)), jnp.float32(1.0)

    def shapes(key):
        encoder, generator = Encoder(DOMAINS, 256), Generator(DOMAINS, 256)
        variables = encoder.init(key, x, "face", one, True)
        z, skips = encoder.apply(variables, x, "face", one, False)
        of_generator = generator.init(key, z, skips, "anime", one, True)
        picture = generator.apply(of_generator, z, skips, "anime", one, False)
        of_discriminator = Discriminator(256).init(key, x, one)
        return z, skips, picture, of_generator["params"], of_discriminator["params"]

    z, skips, picture, of_generator, of_discriminator = jax.eval_shape(shapes, KEY)
    assert z.shape == (1, 4, 4, 256) and picture.shape == x.shape
    skip_channels = {8: 256, 16: 256, 32: 256, 64: 128, 128: 64, 256: 32}
    assert {side: skip.shape for side, skip in skips.items()} == {
        side: (1, side, side, n) for side, n in skip_channels.items()
    }
    # A block reads the map below, doubled, and the skip, as wide.
    read = {side: of_generator[f"first_{side}"]["conv"]["kernel"].shape for side in skips}
    assert read == {side: (3, 3, 2 * n, channels(side, 1.0)) for side, n in skip_channels.items()}
    assert of_discriminator["last3"]["kernel"].shape == (3, 3, 257, 256)
    assert of_discriminator["last4"]["kernel"].shape == (4, 4, 256, 256)


def test_growth_is_a_function_of_the_step() -> None:
    """Phases of 100 steps to 16 px: 4 held, 8 fading, 8 held, 16 fading, 16 held for good."""
    expected = {
        0: (0, 1.0),
        99: (0, 1.0),
        100: (1, 0.0),
        150: (1, 0.5),
        200: (1, 1.0),
        299: (1, 1.0),
        300: (2, 0.0),
        399: (2, 0.99),
        400: (2, 1.0),
        10_000: (2, 1.0),
    }
    for step, (k, fade) in expected.items():
        found = growth(jnp.int32(step), 100, 2)
        assert (int(found[0]), float(found[1])) == (k, pytest.approx(fade)), step
    # The correction widens within every phase, and stays wide in the last.
    r = {step: float(growth(jnp.int32(step), 100, 2)[2][0]) for step in (100, 130, 160, 190, 200, 5000)}
    assert r == pytest.approx({100: 1.1, 130: 1.5, 160: 2.0, 190: 4.0, 200: 1.1, 5000: 4.0})


def test_batch_renorm() -> None:
    x = 3 + 2 * jax.random.normal(KEY, (8, 4, 4, 5))
    norm = BatchRenorm()
    variables = norm.init(KEY, x, True)
    none = (jnp.float32(1.0), jnp.float32(0.0))
    plain, moved = norm.apply(variables, x, True, none, mutable=["batch_stats"])
    np.testing.assert_allclose(plain.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(plain.std((0, 1, 2)), 1, atol=1e-3)
    np.testing.assert_allclose(moved["batch_stats"]["mean"], 0.01 * x.mean((0, 1, 2)), rtol=1e-5)
    # New, it expects what it sees: no correction in training, and the one batch's statistics in evaluation.
    free = (jnp.float32(1e6), jnp.float32(1e6))
    renormed, _ = norm.apply(variables, x, True, free, mutable=["batch_stats"])
    np.testing.assert_allclose(renormed, plain, atol=1e-5)
    np.testing.assert_allclose(norm.apply({**variables, **moved}, x, False), plain, atol=1e-4)
    # Later, a batch that is unlike the ones before is corrected to what evaluation makes of it.
    step = jax.jit(lambda now: norm.apply(now, x, True, none, mutable=["batch_stats"])[1])
    for _ in range(2000):
        moved = step({**variables, **moved})
    variables, other = {**variables, **moved}, 5 - 3 * x
    renormed, _ = norm.apply(variables, other, True, free, mutable=["batch_stats"])
    np.testing.assert_allclose(renormed, norm.apply(variables, other, False), atol=1e-3)
    assert float(jnp.abs(renormed).mean()) > 2


def test_dragan_of_a_plane_is_its_slope() -> None:
    slope = jnp.zeros((4, 4, 3)).at[0, 0, 0].set(3.0)
    x = jax.random.uniform(KEY, (5, 4, 4, 3))
    assert float(dragan(lambda x: (x * slope).sum((1, 2, 3)), x, KEY)) == pytest.approx(4.0, rel=1e-5)


def reference(config: Config):
    """Numbers of a picture: its mean colour."""
    return jnp.ones(()), lambda p, x: p * x.mean((1, 2))


def tiny(**networks) -> Config:
    return Config(
        method="baselines.twingan",
        networks=Networks(width=1 / 64, discriminator_width=1 / 64, **networks),
        weights=Weights(growth_steps=10),
        data=DataConfig(path="none", size=32),
    )


@pytest.fixture(scope="module")
def trained():
    """A method with references, parameters, statistics with domains of their own, and a batch."""
    method = methods.load(tiny(reference=f"{__name__}:reference"))
    params, extra = jax.jit(method.init)(KEY)
    rng = np.random.default_rng(0)
    for name in ("encoder", "generator"):
        params[name] = jax.tree.map(
            lambda x: jnp.asarray(x + 0.1 * rng.standard_normal(x.shape, np.float32)), params[name]
        )
    keys = jax.random.split(jax.random.key(7), 2)
    images = {d: jax.random.uniform(k, (2, 32, 32, 3), minval=-1) for d, k in zip(DOMAINS, keys, strict=True)}
    return method, params, extra, images


@pytest.mark.slow
def test_all_sides_have_their_parameters(trained) -> None:
    _, params, extra, _ = trained
    assert set(params["encoder"]) == {
        *(f"from_rgb_{s}" for s in (4, 8, 16, 32)),
        *(f"{n}_{s}" for n in ("first", "second") for s in (8, 16, 32)),
    }
    norm = params["generator"]["first_16"]["norm"]
    assert set(norm) == set(DOMAINS) and set(extra["generator"]["first_16"]["norm"]) == set(DOMAINS)
    assert norm["face"]["scale"].shape == (4,)
    assert "kernel" in params["generator"]["first_16"]["conv"], "convolutions are shared"


@pytest.mark.slow  # compiles the losses of every side for both players
def test_only_the_layers_of_the_side_learn(trained) -> None:
    method, params, extra, images = trained

    @jax.jit
    def gradients(params, step):
        def total(params, player):
            terms = method.losses(player, Moment(params, extra, images, KEY, step))
            return sum(terms.losses.values()), terms

        return {p: jax.grad(total, has_aux=True)(params, p) for p in method.players}

    def learns(tree) -> bool:
        return any(float(jnp.abs(x).max()) > 0 for x in jax.tree.leaves(tree))

    for step, sides in ((5, {4}), (15, {4, 8}), (25, {8}), (65, {32})):
        found = gradients(params, jnp.int32(step))
        for network, gradient in (
            ("encoder", found["generator"][0]["encoder"]),
            *(("discriminator", found["discriminator"][0]["discriminator"][d]) for d in DOMAINS),
        ):
            reads = {s for s in (4, 8, 16, 32) if learns(gradient[f"from_rgb_{s}"])}
            assert reads == sides, (step, network)
        draws = {s for s in (4, 8, 16, 32) if learns(found["generator"][0]["generator"][f"to_rgb_{s}"])}
        assert draws == sides
        assert not learns(found["discriminator"][0]["generator"]), "fakes are detached"
        assert not learns(found["generator"][0]["reference"])
        assert float(found["generator"][1].measures["growth/side"]) == max(sides)
    # At 32 px reconstructions are not judged; at 64 they are.
    terms = found["generator"][1].losses
    assert terms["gan/face2face"] == 0 < terms["gan/face2anime"]
    assert set(terms) == {
        *(f"reconstruction/{d}" for d in DOMAINS),
        *(f"gan/{s}2{t}" for s in DOMAINS for t in DOMAINS),
        *(f"semantic/{d}" for d in ("face2anime", "anime2face")),
        "reference/face2anime",
    }


@pytest.mark.slow
def test_terms_by_hand(trained) -> None:
    """At step 25: 8 px, held. Training statistics, references of half the anime batch."""
    method, params, extra, images = trained
    _, fade, limits = growth(jnp.int32(25), 10, 3)
    small = {d: halve(halve((x + 1) / 2)) for d, x in images.items()}
    encoder, generator = Encoder(DOMAINS, 32, 1 / 64), Generator(DOMAINS, 32, 1 / 64)

    def encode(x, domain):
        variables = {"params": params["encoder"], "batch_stats": extra["encoder"]}
        return encoder.apply(variables, x, domain, fade, True, limits, mutable=["batch_stats"])[0]

    def generate(encoded, domain, c):
        variables = {"params": params["generator"], "batch_stats": extra["generator"]}
        how = (domain, fade, True, limits, c)
        return generator.apply(variables, *encoded, *how, mutable=["batch_stats"])[0]

    c = double(double(2 * small["anime"] - 1)).mean((1, 2)).at[1].set(0)  # every second has none
    z = encode(small["face"], "face")
    same, fake = generate(z, "face", jnp.zeros((2, 3))), generate(z, "anime", c)
    logits = Discriminator(32, 1 / 64).apply({"params": params["discriminator"]["anime"]}, fake, fade)
    terms = method.losses("generator", Moment(params, extra, images, KEY, jnp.int32(25))).losses
    expected = {
        "reconstruction/face": jnp.abs(same - small["face"]).mean(),
        "gan/face2anime": jax.nn.softplus(-logits).mean(),
        "semantic/face2anime": 0.1 * jnp.abs(z[0] - encode(fake, "anime")[0]).mean(),
        "reference/face2anime": jnp.abs((2 * fake[0] - 1).mean((0, 1)) - c[0]).mean(),
    }
    # Statistics move from call to call, and the correction with them: a little.
    for name, value in expected.items():
        assert float(terms[name]) == pytest.approx(float(value), rel=0.02), name


@pytest.mark.slow
def test_translations_mixtures_and_references(trained) -> None:
    method, params, extra, images = trained
    x = images["face"]
    grown = extra | {"step": jnp.int32(1000)}
    made = method.translate(params, grown, x, "face", "anime")
    assert made.shape == x.shape and jnp.abs(made).max() <= 1
    young = method.translate(params, extra, x, "face", "anime")
    np.testing.assert_array_equal(young, young[:, ::8, ::8].repeat(8, 1).repeat(8, 2))  # 4 px, enlarged
    # While a side fades in, pictures are blended as they were in training.
    half = jnp.float32(0.5)
    fading = extra | {"step": jnp.int32(55)}  # 32 px, of phases of 10 steps
    encoder = Encoder(DOMAINS, 32, 1 / 64)
    variables = {"params": params["encoder"], "batch_stats": extra["encoder"]}
    sharp = (x + 1) / 2
    of_blended, of_sharp = (
        encoder.apply(variables, picture, "face", half, False)[0].reshape(2, -1)
        for picture in (0.5 * sharp + 0.5 * double(halve(sharp)), sharp)
    )
    found = method.embed(params, fading, x, "face")
    np.testing.assert_allclose(found, of_blended, atol=1e-5)
    assert jnp.abs(of_sharp - of_blended).max() > 1e-3
    assert method.embed(params, grown, x, "face").shape == (2, 4 * 4 * 4)
    np.testing.assert_allclose(method.mix(params, grown, x, "face", "anime", 1.0), made, atol=1e-5)
    np.testing.assert_allclose(
        method.mix(params, grown, x, "face", "anime", 0.0),
        method.translate(params, grown, x, "face", "face"),
        atol=1e-5,
    )
    red = jnp.broadcast_to(jnp.array([1.0, -1.0, -1.0]), x.shape)
    like = method.translate_like(params, grown, x, red, "face", "anime")
    assert jnp.abs(like - made).max() > 1e-3
    with pytest.raises(ValueError, match="references are of anime: face has none"):
        method.translate_like(params, grown, images["anime"], red, "anime", "face")


def test_mixed_touches_the_target_alone() -> None:
    tree = {"norm": {"face": {"scale": 1.0}, "anime": {"scale": 3.0}}, "kernel": 5.0}
    assert mixed(tree, DOMAINS, "face", "anime", 0.25) == {
        "norm": {"face": {"scale": 1.0}, "anime": {"scale": 1.5}},
        "kernel": 5.0,
    }


def test_a_phase_has_steps() -> None:
    config = tiny()
    config.weights.growth_steps = 0
    with pytest.raises(ValueError, match=r"config\.weights\.growth_steps is 0: use 1 or more"):
        methods.load(config)

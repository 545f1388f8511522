"""XGAN's table, number by number (parameters with biases, without normalisation, width 1)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xgan_jax.nets.decoder import Decoder
from xgan_jax.nets.discriminator import Discriminator, DomainClassifier
from xgan_jax.nets.encoder import Encoder
from xgan_jax.nets.layers import PreactivationBlock

DOMAINS = ("face", "anime")


def shapes(module, *inputs):
    return jax.eval_shape(lambda: module.init(jax.random.key(0), *inputs))["params"]


def count(tree) -> int:
    return sum(x.size for x in jax.tree.leaves(tree))


def images(size: int, batch: int = 2):
    return {domain: jnp.zeros((batch, size, size, 3)) for domain in DOMAINS}


@pytest.mark.parametrize(
    ("kernel", "private_encoder", "shared_encoder", "shared_decoder", "private_decoder", "discriminator"),
    [
        (4, 34_400, 5_900_672, 10_486_528, 658_627, 42_353),
        (3, 19_392, 5_613_952, 9_569_024, 370_563, 24_097),
    ],
)
def test_parameter_counts(
    kernel: int,
    private_encoder: int,
    shared_encoder: int,
    shared_decoder: int,
    private_decoder: int,
    discriminator: int,
) -> None:
    encoder = shapes(Encoder(DOMAINS, kernel=kernel, norm="none"), images(64))
    for domain in DOMAINS:
        assert count(encoder[f"private_{domain}"]) == private_encoder
    assert count(encoder) == 2 * private_encoder + shared_encoder
    z = {domain: jnp.zeros((1, 1024)) for domain in DOMAINS}
    pairs = (("face", "face"), ("anime", "anime"))
    decoder = shapes(Decoder(DOMAINS, kernel=kernel, norm="none"), z, pairs)
    for domain in DOMAINS:
        assert count(decoder[f"private_{domain}"]) == private_decoder
    assert count(decoder) == 2 * private_decoder + shared_decoder
    assert count(shapes(Discriminator(kernel=kernel, norm="none"), images(64)["face"])) == discriminator


def test_layer_shapes_are_the_tables() -> None:
    encoder = shapes(Encoder(DOMAINS, norm="none"), images(64))
    assert [encoder["private_face"][f"conv{i}"]["kernel"].shape for i in (1, 2)] == [
        (4, 4, 3, 32),
        (4, 4, 32, 64),
    ]
    assert [encoder["shared"][f"conv{i}"]["kernel"].shape for i in (1, 2)] == [
        (4, 4, 64, 128),
        (4, 4, 128, 256),
    ]
    assert encoder["fc1"]["kernel"].shape == (4096, 1024)
    assert encoder["fc2"]["kernel"].shape == (1024, 1024)
    decoder = shapes(
        Decoder(DOMAINS, norm="none"), {"face": jnp.zeros((1, 1024))}, (("face", "face"), ("face", "anime"))
    )
    assert decoder["deconv1"]["kernel"].shape == (1024, 4 * 4 * 512)
    assert decoder["shared"]["deconv1"]["kernel"].shape == (4, 4, 256, 512)
    assert [decoder["private_anime"][f"deconv{i}"]["kernel"].shape for i in (1, 2, 3)] == [
        (4, 4, 128, 256),
        (4, 4, 64, 128),
        (4, 4, 3, 64),
    ]


@pytest.mark.parametrize("size", [32, 64, 128, 256])
@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
def test_every_size_encodes_and_decodes(size: int, norm: str) -> None:
    encoder = Encoder(DOMAINS, size, 0.25, 64, norm=norm)
    decoder = Decoder(DOMAINS, size, 0.25, norm=norm)
    pairs = (("face", "face"), ("face", "anime"))

    def run():
        variables = encoder.init(jax.random.key(0), images(size))
        z = encoder.apply(variables, images(size), False)
        variables = decoder.init(jax.random.key(0), z, pairs)
        return z, decoder.apply(variables, z, pairs, False)

    z, pictures = jax.eval_shape(run)
    assert z["anime"].shape == (2, 64)
    assert {pair: x.shape for pair, x in pictures.items()} == dict.fromkeys(pairs, (2, size, size, 3))
    logits = jax.eval_shape(
        lambda: Discriminator(size, norm=norm).init_with_output(jax.random.key(0), images(size)["face"])[0]
    )
    assert logits.shape == (2,)


@pytest.mark.parametrize("side", [4, 8, 16])
def test_an_embedding_that_is_a_map_keeps_places(side: int) -> None:
    """No fully connected layer, and what changes at a place of the picture changes it there."""
    encoder = Encoder(DOMAINS, 64, 0.25, 4 * side**2, side, blocks=1, norm="none")
    decoder = Decoder(DOMAINS, 64, 0.25, side, blocks=1, norm="none")
    x = {"face": jax.random.normal(jax.random.key(0), (1, 64, 64, 3))}
    variables = encoder.init(jax.random.key(1), images(64))
    z = encoder.apply(variables, x)
    assert z["face"].shape == (1, 4 * side**2)
    assert not any(name.startswith("fc") for name in variables["params"])
    corner = {"face": x["face"].at[:, :4, :4].add(1.0)}
    change = np.abs(encoder.apply(variables, corner)["face"] - z["face"]).reshape(side, side, 4).max(-1)
    assert change[0, 0] > 0 and np.all(change[-1] == 0) and np.all(change[:, -1] == 0)
    pairs = (("face", "anime"),)
    picture, variables = decoder.init_with_output(jax.random.key(2), z, pairs)
    assert picture["face", "anime"].shape == (1, 64, 64, 3)
    moved = {"face": z["face"].at[:, :4].add(1.0)}  # the map's first place
    difference = np.abs(decoder.apply(variables, moved, pairs)["face", "anime"] - picture["face", "anime"])
    assert difference[0, 0, 0].max() > 0 and np.all(difference[0, -1, -1] == 0)


def test_a_residual_block_begins_as_the_identity() -> None:
    x = jax.random.normal(jax.random.key(0), (2, 8, 8, 4))
    y, variables = PreactivationBlock("none", "relu", jnp.float32).init_with_output(
        jax.random.key(1), x, True
    )
    np.testing.assert_array_equal(x, y)
    assert count(variables["params"]) == 2 * (9 * 4 * 4 + 4)


@pytest.mark.parametrize("side", [1, 16])
def test_private_blocks_belong_to_a_domain(side: int) -> None:
    encoder = Encoder(DOMAINS, 64, 0.25, 16 * 4 * side, side, private_blocks=2, norm="none")
    params = shapes(encoder, images(64))
    for domain in DOMAINS:
        own = params[f"private_{domain}"]
        assert (
            own["block1"]["conv1"]["kernel"].shape == own["block2"]["conv2"]["kernel"].shape == (3, 3, 16, 16)
        )
    decoder = Decoder(DOMAINS, 64, 0.25, side, private_blocks=1, norm="none")
    z = {domain: jnp.zeros((1, 16 * 4 * side)) for domain in DOMAINS}
    params = shapes(decoder, z, (("face", "face"), ("anime", "anime")))
    channels = 2048 // max(side, 8) // 4
    for domain in DOMAINS:
        assert params[f"private_{domain}"]["block1"]["conv1"]["kernel"].shape == (3, 3, channels, channels)


def test_only_the_pairs_asked_for_are_decoded() -> None:
    decoder = Decoder(DOMAINS, 32, 0.25)
    z = {domain: jax.random.normal(jax.random.key(i), (2, 16)) for i, domain in enumerate(DOMAINS)}
    every = tuple((s, t) for s in DOMAINS for t in DOMAINS)
    variables = decoder.init(jax.random.key(0), z, every)
    all_pictures = decoder.apply(variables, z, every)
    one = decoder.apply(variables, {"anime": z["anime"]}, (("anime", "face"),))
    assert list(one) == [("anime", "face")]
    np.testing.assert_allclose(one["anime", "face"], all_pictures["anime", "face"], atol=1e-5)


def test_bfloat16_keeps_parameters_and_results_float32() -> None:
    encoder = Encoder(DOMAINS, 32, 0.25, 16, dtype=jnp.bfloat16)
    variables = encoder.init(jax.random.key(0), images(32))
    assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    assert encoder.apply(variables, images(32))["face"].dtype == jnp.float32


def test_classifier_does_not_see_the_scale_of_an_embedding() -> None:
    classifier = DomainClassifier(2, 16, 1)
    z = jax.random.normal(jax.random.key(0), (4, 16))
    variables = classifier.init(jax.random.key(1), z)
    np.testing.assert_allclose(
        classifier.apply(variables, z), classifier.apply(variables, 1000 * z), rtol=1e-4, atol=1e-5
    )
    free = DomainClassifier(2, 16, 1, normalise=False)
    assert np.abs(free.apply(variables, z) - free.apply(variables, 1000 * z)).max() > 1


def test_a_map_is_classified_place_by_place() -> None:
    classifier = DomainClassifier(2, 8, 1, normalise=False, side=8)
    z = jax.random.normal(jax.random.key(0), (3, 8 * 8 * 4))
    logits, variables = classifier.init_with_output(jax.random.key(1), z)
    assert logits.shape == (3 * 64, 2)
    changed = classifier.apply(variables, z.at[1, :4].add(1.0))  # the first place of the second map
    difference = np.abs(changed - logits).max(-1).reshape(3, 8, 8)
    assert difference[1, :2, :2].min() > 0
    assert difference.sum() == pytest.approx(difference[1, :2, :2].sum())


def test_a_spectral_discriminator_does_not_see_the_scale_of_its_kernels() -> None:
    x = jax.random.normal(jax.random.key(0), (4, 32, 32, 3))
    discriminator = Discriminator(32, norm="none", spectral=True)
    logits, variables = discriminator.init_with_output(jax.random.key(1), x)
    larger = jax.tree.map(lambda w: 10 * w if w.ndim > 1 else w, variables)
    np.testing.assert_allclose(discriminator.apply(larger, x), logits, rtol=1e-4)

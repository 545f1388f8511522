"""XGAN's wiring, and a test for every bug found in other implementations (named in the docstrings)."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from xgan_jax import method as methods
from xgan_jax.config import Config, DataConfig, RunConfig
from xgan_jax.data.augment import to_float
from xgan_jax.data.synthetic import HAIR_COLOURS, draw, sample_attributes
from xgan_jax.method import Moment
from xgan_jax.runs.state import owned
from xgan_jax.xgan import Networks, Seen, Weights

KEY = jax.random.key(0)
STEP = jnp.int32(0)


def tiny(domains=("face", "anime"), **changes) -> Config:
    config = Config(
        method="xgan",
        networks=Networks(width=0.125, discriminator_width=0.25, embedding_size=32, classifier_layers=1),
        weights=Weights(),
        data=DataConfig(path="none", size=32, domains=domains),
        run=RunConfig(batch_size=4),
    )
    for name, value in changes.items():
        section = config.networks if hasattr(config.networks, name) else config.weights
        setattr(section, name, value)
    return config


def pictures(domains=("face", "anime"), size: int = 32, n: int = 4):
    keys = jax.random.split(jax.random.key(7), len(domains))
    return {
        d: jax.random.uniform(k, (n, size, size, 3), minval=-1.0) for d, k in zip(domains, keys, strict=True)
    }


class Built:
    """A method with its parameters."""

    def __init__(self, config: Config):
        self.config = config
        self.method = methods.load(config)
        self.params, self.extra = jax.jit(self.method.init)(KEY)
        self.batch = pictures(config.data.domains, config.data.size)

    def terms(self, player="generator", params=None, batch=None):
        now = Moment(params or self.params, self.extra, batch or self.batch, KEY, STEP)
        return self.method.losses(player, now)

    def gradient(self, term: str, player="generator"):
        def of(params):
            found = self.terms(player, params).losses
            return sum(value for name, value in found.items() if name.startswith(term))

        return jax.grad(of)(self.params)


@pytest.fixture(scope="module")
def xgan() -> Built:
    return Built(tiny())


def size_of(tree) -> float:
    return max((float(jnp.abs(x).max()) for x in jax.tree.leaves(tree)), default=0.0)


def test_the_papers_terms_and_players(xgan: Built) -> None:
    assert set(xgan.terms().losses) == {
        "reconstruction/face",
        "reconstruction/anime",
        "domain_adversarial/face",
        "domain_adversarial/anime",
        "semantic/face2anime",
        "semantic/anime2face",
        "gan/face2anime",
        "gan/anime2face",
    }
    assert set(xgan.terms("discriminator").losses) == {"discriminator/face2anime", "discriminator/anime2face"}
    assert xgan.method.players == {
        "generator": ("encoder", "decoder", "classifier"),
        "discriminator": ("discriminator",),
    }


def test_translate_is_the_other_decoder_on_the_own_encoder(xgan: Built) -> None:
    face = xgan.batch["face"]
    m, p, e = xgan.method, xgan.params, xgan.extra
    translated = m.translate(p, e, face, "face", "anime")
    assert translated.shape == face.shape and translated.dtype == jnp.float32
    swapped = {
        **p,
        "encoder": p["encoder"] | {"private_anime": p["encoder"]["private_face"]},
        "decoder": p["decoder"] | {"private_face": p["decoder"]["private_anime"]},
    }
    np.testing.assert_allclose(m.translate(swapped, e, face, "anime", "face"), translated, atol=1e-6)


def test_swapping_domains_swaps_losses(xgan: Built) -> None:
    p = xgan.params

    def exchange(tree):
        a, b = tree["private_face"], tree["private_anime"]
        return tree | {"private_face": b, "private_anime": a}

    logits = p["classifier"]["logits"]
    mirrored = {
        "encoder": exchange(p["encoder"]),
        "decoder": exchange(p["decoder"]),
        "classifier": p["classifier"]
        | {"logits": {"kernel": logits["kernel"][:, ::-1], "bias": logits["bias"][::-1]}},
        "discriminator": {"face": p["discriminator"]["anime"], "anime": p["discriminator"]["face"]},
    }
    batch = {"face": xgan.batch["anime"], "anime": xgan.batch["face"]}
    names = {"face": "anime", "anime": "face", "face2anime": "anime2face", "anime2face": "face2anime"}
    for player in ("generator", "discriminator"):
        one, other = xgan.terms(player).losses, xgan.terms(player, mirrored, batch).losses
        for name, value in one.items():
            term, _, which = name.partition("/")
            np.testing.assert_allclose(other[f"{term}/{names[which]}"], value, rtol=1e-4)


# --- Who is moved by which term --------------------------------------------------------------------------


def test_each_term_moves_what_the_paper_says(xgan: Built) -> None:
    g = xgan.gradient("reconstruction/face")
    assert size_of(g["encoder"]["private_face"]) > 0 and size_of(g["decoder"]["private_face"]) > 0
    assert size_of(g["encoder"]["private_anime"]) == size_of(g["decoder"]["private_anime"]) == 0
    assert size_of(g["classifier"]) == size_of(g["discriminator"]) == 0

    g = xgan.gradient("domain_adversarial")
    assert size_of(g["encoder"]) > 0 and size_of(g["classifier"]) > 0
    assert size_of(g["decoder"]) == 0

    # Through the decoder of the translated picture and both encoders.
    g = xgan.gradient("semantic/face2anime")
    for part in (g["encoder"]["private_face"], g["encoder"]["private_anime"], g["decoder"]["private_anime"]):
        assert size_of(part) > 0
    assert size_of(g["decoder"]["private_face"]) == 0

    g = xgan.gradient("gan/face2anime")
    assert size_of(g["encoder"]["private_face"]) > 0 and size_of(g["decoder"]["private_anime"]) > 0
    assert size_of(g["encoder"]["private_anime"]) == size_of(g["decoder"]["private_face"]) == 0

    g = xgan.gradient("discriminator", "discriminator")
    assert size_of(g["discriminator"]["face"]) > 0 and size_of(g["discriminator"]["anime"]) > 0
    assert size_of(owned(g, ("encoder", "decoder", "classifier"))["decoder"]) == 0, (
        "D's gradient stops at its input"
    )


def test_detached_semantic_target() -> None:
    """With `semantic_detach` the source's encoder is moved through the translation only."""
    plain, detached = Built(tiny()), Built(tiny(semantic_detach=True))
    a = plain.gradient("semantic/face2anime")["encoder"]["private_face"]
    b = detached.gradient("semantic/face2anime")["encoder"]["private_face"]
    assert size_of(jax.tree.map(jnp.subtract, a, b)) > 0
    assert plain.terms().losses["semantic/face2anime"] == detached.terms().losses["semantic/face2anime"]


def test_reversal_makes_the_encoders_maximise(xgan: Built) -> None:
    """ID2223, rogeralmato v1: no gradient reversal. After a step of each along its own gradient the
    classifier's loss falls for the classifier and rises for the encoders."""
    g = xgan.gradient("domain_adversarial")

    def loss(params):
        found = xgan.terms(params=params).losses
        return float(sum(v for n, v in found.items() if n.startswith("domain_adversarial")))

    def moved(network):
        return xgan.params | {
            network: jax.tree.map(lambda p, d: p - 1e-3 * d, xgan.params[network], g[network])
        }

    assert loss(moved("classifier")) < loss(xgan.params) < loss(moved("encoder"))


# --- Bugs of other implementations -----------------------------------------------------------------------


def test_confusion_moves_each_player_its_own_way() -> None:
    """The encoder towards an unsure classifier, the classifier towards the right answer."""
    built = Built(tiny(domain_form="confusion"))
    terms = built.terms().losses
    assert terms["confusion/face"] >= np.log(2) - 1e-6  # least where both domains get a half
    for term, moved in (("confusion/face", {"encoder"}), ("domain_adversarial/face", {"classifier"})):
        gradient = jax.grad(lambda p, term=term: built.terms("generator", p).losses[term])(built.params)
        assert {name for name, tree in gradient.items() if size_of(tree) > 0} == moved


def test_discriminator_learns_that_fakes_are_fake(xgan: Built) -> None:
    """ID2223: fakes labelled 1 in the discriminator's loss, so it never learns them. Trained alone
    it must separate real from translated pictures."""
    optimizer = optax.adam(3e-3)
    params, state = xgan.params["discriminator"], optimizer.init(xgan.params["discriminator"])

    @jax.jit
    def step(params, state):
        def loss(d):
            terms = xgan.terms("discriminator", xgan.params | {"discriminator": d})
            return sum(terms.losses.values()), terms.measures

        gradient, measures = jax.grad(loss, has_aux=True)(params)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, updates), state, measures

    for _ in range(60):
        params, state, measures = step(params, state)
    assert all(float(measures[f"discriminator_accuracy/{d}"]) == 1 for d in ("face", "anime"))


def test_domains_have_different_labels(xgan: Built) -> None:
    """ID2223: both domains labelled 1. A classifier that always says "face" is right for one only."""
    logits = xgan.params["classifier"]["logits"]
    always = {"kernel": 0 * logits["kernel"], "bias": jnp.array([10.0, 0.0])}
    params = xgan.params | {"classifier": xgan.params["classifier"] | {"logits": always}}
    found = xgan.terms(params=params).losses
    assert float(found["domain_adversarial/face"]) < 0.01
    assert float(found["domain_adversarial/anime"]) > 9


def test_embedding_is_not_squeezed(xgan: Built) -> None:
    """ID2223: softmax on the 1024-vector. Ours has both signs, no fixed sum, and grows with its weights."""
    z = xgan.method.embed(xgan.params, xgan.extra, xgan.batch["face"], "face")
    assert float(z.min()) < 0 < float(z.max())
    assert float(z.sum(-1).std()) > 1e-3
    fc2 = jax.tree.map(lambda x: 5 * x, xgan.params["encoder"]["fc2"])
    params = xgan.params | {"encoder": xgan.params["encoder"] | {"fc2": fc2}}
    np.testing.assert_allclose(
        xgan.method.embed(params, xgan.extra, xgan.batch["face"], "face"), 5 * z, rtol=1e-4, atol=1e-4
    )


def test_logits_are_squashed_once() -> None:
    """ID2223: a sigmoid inside the discriminator and another in its loss. With the fully connected layer
    scaled up the non-saturating loss must grow in proportion: no sigmoid can."""
    built = Built(tiny(gan_form="ns"))
    fc1 = built.params["discriminator"]["anime"]["fc1"]
    losses = []
    for scale in (100.0, 200.0):
        anime = built.params["discriminator"]["anime"] | {"fc1": jax.tree.map(lambda x, s=scale: s * x, fc1)}
        params = built.params | {"discriminator": built.params["discriminator"] | {"anime": anime}}
        losses.append(float(built.terms("discriminator", params).losses["discriminator/face2anime"]))
    assert losses[1] == pytest.approx(2 * losses[0], rel=0.1) and losses[1] > 2


def test_each_direction_has_a_discriminator_of_its_own(xgan: Built) -> None:
    """ID2223: the same discriminator for both domains."""
    g = xgan.gradient("discriminator/face2anime", "discriminator")["discriminator"]
    assert size_of(g["anime"]) > 0 and size_of(g["face"]) == 0


def test_pictures_have_both_signs_and_the_right_scale(xgan: Built) -> None:
    """ID2223: final ReLU, no scaling to [-1, 1], BGR."""
    x = xgan.method.translate(xgan.params, xgan.extra, xgan.batch["face"], "face", "anime")
    assert -1 <= float(x.min()) < 0 < float(x.max()) <= 1
    last = xgan.params["decoder"]["private_anime"]
    name = max(last, key=lambda n: int(n[-1]) if n.startswith("deconv") else 0)
    for sign in (-1, 1):
        pushed = last | {name: last[name] | {"bias": jnp.full(3, sign * 20.0)}}
        params = xgan.params | {"decoder": xgan.params["decoder"] | {"private_anime": pushed}}
        y = xgan.method.translate(params, xgan.extra, xgan.batch["face"], "face", "anime")
        np.testing.assert_allclose(y, sign, atol=1e-3)
    ends = to_float(jnp.array([0, 255], jnp.uint8)[None, :, None, None])
    np.testing.assert_allclose(ends.ravel(), [-1, 1])
    red = to_float(jnp.zeros((1, 1, 1, 3), jnp.uint8).at[..., 0].set(255))
    np.testing.assert_allclose(red.ravel(), [1, -1, -1])


def test_classifier_says_something_and_is_trained(xgan: Built) -> None:
    """rogeralmato v1: softmax over one unit is the constant 1; the classifier is in no optimiser."""
    exchanged = {"face": xgan.batch["anime"], "anime": xgan.batch["face"]}
    a, b = (xgan.terms(batch=x).losses["domain_adversarial/face"] for x in (xgan.batch, exchanged))
    assert float(a) != float(b)
    assert "classifier" in xgan.method.players["generator"]
    assert size_of(xgan.gradient("domain_adversarial")["classifier"]["logits"]) > 0


def test_generator_receives_the_gan_term(xgan: Built) -> None:
    """rogeralmato v1: the generator never gets it."""
    for direction, decoder in (("face2anime", "private_anime"), ("anime2face", "private_face")):
        assert size_of(xgan.gradient(f"gan/{direction}")["decoder"][decoder]) > 0


def test_semantic_loss_in_both_directions(xgan: Built) -> None:
    """rogeralmato v1: one direction only."""
    for direction in ("face2anime", "anime2face"):
        assert float(xgan.terms().losses[f"semantic/{direction}"]) > 0


def test_decoder_starts_at_4x4_and_ends_with_a_deconvolution() -> None:
    """rogeralmato v1: one octave too many, made good by a 1x1 last layer."""
    method = methods.load(Config(method="xgan", networks=Networks(), weights=Weights()))
    params, _ = methods.abstract_init(method)
    assert params["decoder"]["deconv1"]["kernel"].shape == (1024, 4 * 4 * 512)
    assert params["decoder"]["private_anime"]["deconv3"]["kernel"].shape[:2] == (4, 4)


def test_shared_layers_are_one(xgan: Built) -> None:
    """XGAN-v2 port: fresh layers in every call, so nothing was shared. There is one copy in the tree,
    and changing it changes both domains; a private layer changes one."""
    names = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(xgan.params)]
    assert len(names) == len(set(names))
    assert [n for n in names if "encoder" in n and "fc1" in n and "kernel" in n] == [
        "['encoder']['fc1']['kernel']"
    ]

    def embeddings(encoder):
        params = xgan.params | {"encoder": encoder}
        return [xgan.method.embed(params, xgan.extra, xgan.batch[d], d) for d in ("face", "anime")]

    encoder = xgan.params["encoder"]
    before = embeddings(encoder)
    for part, changes in (("shared", (True, True)), ("private_face", (True, False))):
        moved = encoder | {part: jax.tree.map(lambda x: x + 0.1, encoder[part])}
        after = embeddings(moved)
        assert tuple(size_of(a - b) > 0 for a, b in zip(after, before, strict=True)) == changes


def test_networks_are_not_affine(xgan: Built) -> None:
    """amemetov: no nonlinearities at all. An affine map would send the middle to the middle."""
    built = Built(tiny(norm="none"))
    x, y = built.batch["face"], built.batch["anime"]

    def embed(images):
        return built.method.embed(built.params, built.extra, images, "face")

    assert size_of(embed((x + y) / 2) - (embed(x) + embed(y)) / 2) > 0.01


# --- Every loss alone, by its equation -------------------------------------------------------------------


@pytest.fixture(scope="module")
def alone():
    """XGAN with a teacher and a reader, what its losses see, and what the equations are written in."""
    config = tiny(
        reader=f"{__name__}:brightness_reader",
        norm="none",
        attributes=1.0,
        cycle=1.0,
        identity=1.0,
        r1_every=2,
    )
    config.weights.teacher, config.networks.teacher = 1.0, f"{__name__}:mean_teacher"
    built = Built(config)
    now = Moment(built.params, built.extra, built.batch, KEY, STEP + 1)  # R1's step
    return built.method, Seen(built.method, now)


def mean_teacher(config: Config):
    """The picture's mean, as often as an embedding is long."""
    size = config.networks.embedding_size
    return {"one": jnp.ones(())}, lambda p, x: p["one"] * x.mean((1, 2, 3))[:, None].repeat(size, 1)


def cross_entropy(logits, label: int):
    return -jax.nn.log_softmax(logits)[:, label].mean()


EQUATIONS = {
    "reconstruction": lambda m, x, z, y: {
        f"reconstruction/{s}": jnp.sqrt(jnp.square(x[s] - y[s, s]).sum((1, 2, 3))).mean() for s in x
    },
    "domain_adversarial": lambda m, x, z, y: {
        f"domain_adversarial/{s}": cross_entropy(m.classify(m.seen.params, z[s]), i) for i, s in enumerate(x)
    },
    "confusion": lambda m, x, z, y: {
        f"confusion/{s}": sum(cross_entropy(m.classify(m.seen.params, z[s]), i) for i in range(2)) / 2
        for s in x
    },
    "semantic": lambda m, x, z, y: {
        f"semantic/{s}2{t}": jnp.abs(z[s] - encoded(m, t, y[s, t])).mean() / (z[s].std(0).mean() + 1e-6)
        for s, t in m.directions
    },
    "gan": lambda m, x, z, y: {
        f"gan/{s}2{t}": jnp.square(judged(m, t, y[s, t]) - 1).mean() for s, t in m.directions
    },
    "contrastive": lambda m, x, z, y: {
        f"contrastive/{s}2{t}": choice(z[s], encoded(m, t, y[s, t])) for s, t in m.directions
    },
    "attributes": lambda m, x, z, y: {
        f"attributes/{s if s == t else f'{s}2{t}'}": -(
            jnp.exp(brightness(x[s], None)) * brightness(y[s, t], KEY)
        )
        .sum(-1)
        .mean()
        for s in x
        for t in x
    },
    "teacher": lambda m, x, z, y: {
        "teacher/face": jnp.abs(z["face"] - x["face"].mean((1, 2, 3))[:, None]).mean()
    },
    "cycle": lambda m, x, z, y: {
        f"cycle/{s}2{t}": jnp.abs(x[s] - decoded(m, s, encoded(m, t, y[s, t]))).mean()
        for s, t in m.directions
    },
    "identity": lambda m, x, z, y: {
        f"identity/{s}2{t}": jnp.abs(x[t] - decoded(m, t, encoded(m, s, x[t]))).mean()
        for s, t in m.directions
    },
    "total_variation": lambda m, x, z, y: {
        f"total_variation/{s}2{t}": jnp.sqrt(
            jnp.square(y[s, t][:, :-1, 1:] - y[s, t][:, :-1, :-1])
            + jnp.square(y[s, t][:, 1:, :-1] - y[s, t][:, :-1, :-1])
        ).mean()
        for s, t in m.directions
    },
    "discriminator_gan": lambda m, x, z, y: {
        f"discriminator/{s}2{t}": 0.5
        * (jnp.square(judged(m, t, x[t]) - 1).mean() + jnp.square(judged(m, t, y[s, t])).mean())
        for s, t in m.directions
    },
    "r1": lambda m, x, z, y: {
        f"r1/{t}": 2
        * 0.5
        * jnp.square(jax.grad(lambda a, t=t: judged(m, t, a).sum())(x[t])).sum((1, 2, 3)).mean()
        for t in x
    },
}


def choice(z, translated):
    """Of InfoNCE at temperature 0.1: the own source among the batch's, by cosine about the mean."""
    a, b = (x - z.mean(0) for x in (translated, z))
    cosines = (a @ b.T) / jnp.linalg.norm(a, axis=1)[:, None] / jnp.linalg.norm(b, axis=1)[None]
    return -jnp.diag(jax.nn.log_softmax(cosines / 0.1)).mean()


def brightness(images, key):
    params, read = brightness_reader(tiny())
    return read(params, images, "face", key)["bright"]


def encoded(m, domain: str, images):
    return m.embed(m.seen.params, m.seen.extra, images, domain)


def decoded(m, domain: str, z):
    return m.generate(m.seen.params, m.seen.extra, z, domain)


def judged(m, domain: str, images):
    return m.discriminate(m.seen.params, domain, images, KEY)


@pytest.mark.parametrize("name", EQUATIONS)
def test_a_loss_alone_is_its_equation(alone, name: str) -> None:
    method, seen = alone
    method.seen = seen
    found = getattr(method, name)(seen)
    z = {s: encoded(method, s, x) for s, x in seen.batch.items()}
    y = {(s, t): decoded(method, t, z[s]) for s in seen.batch for t in seen.batch}
    expected = EQUATIONS[name](method, seen.batch, z, y)
    assert set(found) == set(expected)
    for term, value in expected.items():
        assert float(value) > 0
        assert float(found[term]) == pytest.approx(float(value), rel=1e-3), term


def test_what_no_loss_asks_for_is_not_computed(alone) -> None:
    method, seen = alone
    fresh = Seen(method, Moment(seen.params, seen.extra, seen.batch, KEY, STEP))
    method.domain_adversarial(fresh)
    assert "encoded" in vars(fresh) and "decoded" not in vars(fresh)
    method.reconstruction(fresh)
    assert "decoded" in vars(fresh)
    assert not {"z_translated", "returned", "same", "of_reals", "of_fakes"} & set(vars(fresh))


# --- What labels name ----------------------------------------------------------------------------------


def brightness_reader(config: Config):
    """Whether a picture is bright; with a key, as if it were brighter by 0.1."""

    def read(params, images, domain, key=None):
        bright = params["scale"] * (images.mean((1, 2, 3)) + (0.1 if key is not None else 0.0))
        return {"bright": jax.nn.log_softmax(jnp.stack([bright, -bright], -1))}

    return {"scale": np.float32(5.0)}, read


def test_what_is_read_of_a_picture_is_asked_of_its_translation() -> None:
    config = tiny(reader=f"{__name__}:brightness_reader", norm="none", attributes=2.0)
    built = Built(config)
    assert "reader" not in built.params, "a checkpoint translates without it"
    faces = built.batch["face"]
    anime = built.method.translate(built.params, built.extra, faces, "face", "anime")
    params, read = brightness_reader(config)
    wanted, found = read(params, faces, "face")["bright"], read(params, anime, "anime", KEY)["bright"]
    expected = float(-2.0 * (np.exp(wanted) * found).sum(-1).mean())
    terms = built.terms().losses
    assert float(terms["attributes/face2anime"]) == pytest.approx(expected, rel=1e-4)
    # Reconstructions are read too.
    drawn = built.method.translate(built.params, built.extra, faces, "face", "face")
    expected = float(-2.0 * (np.exp(wanted) * read(params, drawn, "face", KEY)["bright"]).sum(-1).mean())
    assert float(terms["attributes/face"]) == pytest.approx(expected, rel=1e-4)
    g = built.gradient("attributes/face2anime")
    assert size_of(g["encoder"]["private_face"]) > 0 and size_of(g["decoder"]["private_anime"]) > 0
    for part in (g["encoder"]["private_anime"], g["decoder"]["private_face"], g["discriminator"]):
        assert size_of(part) == 0


def test_translating_needs_no_reader() -> None:
    """A run translates where its dataset, from which the reader was learnt, is not at hand."""
    built = Built(tiny(reader="nowhere:nothing", attributes=1.0))
    built.method.translate(built.params, built.extra, built.batch["face"], "face", "anime")
    with pytest.raises(ValueError, match=r"config.networks.reader is 'nowhere:nothing', which does not load"):
        built.terms()


# --- Teacher -------------------------------------------------------------------------------------------


def small_teacher(config: Config):
    """A linear map of drawn faces to 32 numbers, trained for a few steps to tell hair colours."""
    rng = np.random.default_rng(0)
    people = [sample_attributes(rng) for _ in range(150)]
    x = np.stack([draw(a, "face", config.data.size, i) for i, a in enumerate(people)])
    x = (x / 127.5 - 1).astype(np.float32).reshape(len(x), -1)
    labels = jnp.array([HAIR_COLOURS.index(a.hair) for a in people])
    e = config.networks.embedding_size
    keys = jax.random.split(jax.random.key(1), 2)
    params = {
        "w": 0.02 * jax.random.normal(keys[0], (x.shape[1], e)),
        "head": 0.1 * jax.random.normal(keys[1], (e, len(HAIR_COLOURS))),
    }

    def loss(p):
        logits = jnp.tanh(x @ p["w"]) @ p["head"]
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    optimizer = optax.adam(3e-3)
    state = optimizer.init(params)
    step = jax.jit(jax.value_and_grad(loss))
    first = None
    for _ in range(40):
        value, gradient = step(params)
        first = first or float(value)
        updates, state = optimizer.update(gradient, state)
        params = optax.apply_updates(params, updates)
    assert float(value) < 0.7 * first, "the teacher has learnt something"
    return params, lambda p, images: jnp.tanh(images.reshape(len(images), -1) @ p["w"])


def test_teacher_moves_only_the_faces_encoder_and_stays_frozen() -> None:
    """The paper: L_teach updates e1 and the shared encoder; nothing moves the teacher."""
    built = Built(tiny(teacher=f"{__name__}:small_teacher"))
    assert "teacher" not in built.params, "weight zero: not even loaded"
    config = tiny(teacher=f"{__name__}:small_teacher")
    config.weights.teacher = 1.0
    built = Built(config)
    assert "teacher" not in {n for networks in built.method.players.values() for n in networks}
    g = built.gradient("teacher")
    assert size_of(g["encoder"]["private_face"]) > 0 and size_of(g["encoder"]["shared"]) > 0
    for part in (
        g["encoder"]["private_anime"],
        g["decoder"],
        g["classifier"],
        g["discriminator"],
        g["teacher"],
    ):
        assert size_of(part) == 0
    # Trained for it, the embedding comes to agree with the teacher.
    optimizer = optax.adam(1e-3)
    encoder, state = built.params["encoder"], optimizer.init(built.params["encoder"])

    @jax.jit
    def step(encoder, state):
        def loss(e):
            return built.terms(params=built.params | {"encoder": e}).losses["teacher/face"]

        value, gradient = jax.value_and_grad(loss)(encoder)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(encoder, updates), state, value

    values = []
    for _ in range(80):
        encoder, state, value = step(encoder, state)
        values.append(float(value))
    assert values[-1] < 0.5 * values[0]


# --- Switches ------------------------------------------------------------------------------------------


def flops(config: Config) -> float:
    built = Built(config)

    def both(params, batch):
        total = 0.0
        for player in built.method.players:
            total += sum(
                built.method.losses(player, Moment(params, built.extra, batch, KEY, STEP)).losses.values()
            )
        return total

    gradient = jax.jit(jax.grad(both))
    return gradient.lower(built.params, built.batch).compile().cost_analysis()["flops"]


@pytest.mark.slow
def test_a_weight_of_zero_costs_nothing() -> None:
    """Neither the term, nor its network, nor its arithmetic."""
    full = flops(tiny())
    without = {}
    for name in ("reconstruction", "domain_adversarial", "semantic", "gan"):
        built = Built(tiny(**{name: 0.0}))
        terms = {t for p in built.method.players for t in built.terms(p).losses}
        assert not [t for t in terms if t.startswith((name + "/", "discriminator" if name == "gan" else "-"))]
        without[name] = flops(tiny(**{name: 0.0}))
        assert without[name] < full
    assert set(Built(tiny(gan=0.0)).params) == {"encoder", "decoder", "classifier"}
    assert set(Built(tiny(domain_adversarial=0.0)).params) == {"encoder", "decoder", "discriminator"}
    # Without a use for translations none are made: an auto-encoder costs less than half.
    assert flops(tiny(semantic=0.0, gan=0.0)) < 0.6 * full


@pytest.mark.parametrize(
    "changes",
    [
        {
            "reconstruction_distance": "mse",
            "norm": "batch",
            "semantic_distance": "l1_sum",
            "semantic_standardise": False,
            "activation": "elu",
            "gan_form": "hinge",
            "domain_form": "confusion",
        },
        {
            "reconstruction_distance": "l1",
            "norm": "none",
            "kernel": 3,
            "semantic_distance": "l2",
            "decoder_activation": "silu",
            "gan_form": "ns",
            "gan_directions": "forward",
            "classifier_normalise": False,
        },
        {
            "cycle": 10.0,
            "identity": 5.0,
            "total_variation": 0.1,
            "ramp_steps": 10,
            "discriminator_spectral": True,
        },
        {
            "embedding_side": 4,
            "blocks": 1,
            "private_blocks": 1,
            "resize": True,
            "norm": "none",
            "contrastive": 1.0,
        },
        {"embedding_side": 8, "embedding_size": 64, "discriminator_augment": True, "r1": 1.0, "r1_every": 1},
    ],
)
def test_every_switch_gives_finite_losses_and_gradients(changes) -> None:
    built = Built(tiny(**changes))
    for player, networks in built.method.players.items():
        terms = built.terms(player)
        assert all(np.isfinite(v) for v in terms.losses.values())
        gradient = jax.grad(lambda p, player=player: sum(built.terms(player, p).losses.values()))(
            built.params
        )
        assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradient))
        assert all(size_of(gradient[n]) > 0 for n in networks)
    if changes.get("gan_directions") == "forward":
        assert set(built.params["discriminator"]) == {"anime"}
    if "cycle" in changes:
        assert {"cycle/face2anime", "identity/anime2face", "total_variation/face2anime"} <= set(
            built.terms().losses
        )
    if changes.get("norm") == "batch":
        assert set(built.terms().extra) == {"encoder", "decoder"} == set(built.extra)


def test_r1_is_lazy_and_as_strong() -> None:
    """Zero but at every r1_every-th step, there r1_every times as strong; of the discriminators alone."""
    built, every = Built(tiny(r1=3.0, r1_every=4)), Built(tiny(r1=3.0, r1_every=1))

    @functools.partial(jax.jit, static_argnums=0)
    def terms(built, step):
        def total(params):
            result = built.method.losses(
                "discriminator", Moment(params, built.extra, built.batch, KEY, step)
            ).losses
            penalty = {name: value for name, value in result.items() if name.startswith("r1/")}
            return sum(penalty.values()), penalty

        return jax.grad(total, has_aux=True)(built.params)

    lazy = [terms(built, jnp.int32(i)) for i in range(8)]
    gradient, penalty = terms(every, jnp.int32(0))
    assert set(penalty) == {"r1/face", "r1/anime"} and min(penalty.values()) > 0
    for i, (g, p) in enumerate(lazy):
        if i in (3, 7):
            assert float(p["r1/face"]) == pytest.approx(4 * float(penalty["r1/face"]), rel=1e-4)
            for a, b in zip(jax.tree.leaves(g), jax.tree.leaves(gradient), strict=True):
                np.testing.assert_allclose(a, 4 * b, rtol=1e-3, atol=1e-5)
        else:
            assert p["r1/face"] == 0 and all((x == 0).all() for x in jax.tree.leaves(g))
    assert optax.tree.norm(gradient["discriminator"]) > 0
    assert all(optax.tree.norm(gradient[n]) == 0 for n in gradient if n != "discriminator")


def test_three_domains() -> None:
    built = Built(tiny(domains=("face", "anime", "cat"), cycle=1.0, identity=1.0))
    found = built.terms().losses
    assert {n for n in found if n.startswith("semantic")} == {
        f"semantic/{s}2{t}" for s in ("face", "anime", "cat") for t in ("face", "anime", "cat") if s != t
    }
    assert {n for n in found if n.startswith("domain_adversarial")} == {
        f"domain_adversarial/{d}" for d in ("face", "anime", "cat")
    }
    assert built.params["classifier"]["logits"]["bias"].shape == (3,)
    assert all(np.isfinite(v) for v in found.values())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kernel": 5}, r"config.networks.kernel is 5: use 3 or 4"),
        ({"norm": "layer"}, r"config.networks.norm is 'layer': use instance, batch or none"),
        ({"embedding_side": 2}, r"config.networks.embedding_side is 2: use 1, 4, 8 or 16"),
        ({"embedding_side": 16}, r"at most a quarter of config.data.size"),
        (
            {"embedding_side": 8, "embedding_size": 100},
            r"embedding_size is 100, which a map of 8 x 8 cannot share equally: use a multiple",
        ),
        ({"blocks": -1}, r"config.networks.blocks is -1: use zero or more"),
        ({"gan_form": "wgan"}, r"config.weights.gan_form is 'wgan'"),
        ({"semantic": -1.0}, r"config.weights.semantic is -1.0: use zero or more"),
        (
            {"teacher": "nowhere:nothing"},
            r"config.networks.teacher is 'nowhere:nothing', which does not load",
        ),
    ],
)
def test_bad_values_are_one_sentence(changes, message: str) -> None:
    config = tiny(**changes)
    if "teacher" in changes:
        config = dataclasses.replace(config, weights=Weights(teacher=1.0))
        config.networks.teacher = changes["teacher"]
    with pytest.raises(ValueError, match=message):
        methods.load(config)

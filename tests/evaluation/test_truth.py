"""Measures against known counterparts."""

import dataclasses

import numpy as np
import pytest

from xgan_jax.data import synthetic
from xgan_jax.evaluation import truth


@pytest.fixture(scope="module")
def labels() -> dict[str, list]:
    rng = np.random.default_rng(0)
    people = [synthetic.sample_attributes(rng, "face") for _ in range(12)]
    return {f.name: [getattr(p, f.name) for p in people] for f in dataclasses.fields(synthetic.Attributes)}


def test_counterparts_show_the_labels_in_the_other_style(labels: dict[str, list]) -> None:
    anime = truth.counterparts(labels, "anime", 32)
    face = truth.counterparts(labels, "face", 32)
    assert anime is not None and face is not None and anime.shape == face.shape == (12, 32, 32, 3)
    first = synthetic.Attributes(**{name: values[0] for name, values in labels.items()})
    same = synthetic.draw(first, "anime", 32, seed=5)
    # The same person but for what is no attribute; another person differs more.
    assert truth.l1(anime[:1], same[None])[0] < 0.5 * truth.l1(anime[1:2], same[None])[0]
    np.testing.assert_array_equal(anime, truth.counterparts(labels, "anime", 32))


def test_no_counterparts_where_they_cannot_be_known(labels: dict[str, list]) -> None:
    assert truth.counterparts(labels, "cat", 32) is None
    assert truth.counterparts({"hair": labels["hair"]}, "anime", 32) is None


def test_perfect_translations_are_found_and_equal_ones_are_not(labels: dict[str, list]) -> None:
    anime = truth.counterparts(labels, "anime", 32)
    assert anime is not None
    perfect = truth.retrieval(truth.ranks(truth.pixel_distances(anime, anime)), 12)
    assert (perfect.top1, perfect.top5, perfect.mean_reciprocal_rank) == (1.0, 1.0, 1.0)
    collapsed = np.broadcast_to(anime[:1], anime.shape)
    found = truth.retrieval(truth.ranks(truth.pixel_distances(collapsed, anime)), 12)
    assert found.top1 == pytest.approx(1 / 12)
    # All distances equal: every tie is lost.
    assert (truth.ranks(np.zeros((5, 5))) == 5).all()


def test_ranks_count_the_nearer_candidates() -> None:
    distances = np.array([[3.0, 1.0, 2.0], [0.5, 0.4, 9.0], [1.0, 2.0, 1.5]])
    assert truth.ranks(distances).tolist() == [3, 1, 2]


def test_ssim_and_l1() -> None:
    rng = np.random.default_rng(0)
    a = rng.integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    np.testing.assert_allclose(truth.ssim(a, a), 1.0)
    np.testing.assert_allclose(truth.l1(a, a), 0.0)
    noise = np.clip(a.astype(int) + rng.integers(-40, 41, a.shape), 0, 255).astype(np.uint8)
    other = rng.integers(0, 256, a.shape, dtype=np.uint8)
    assert (truth.ssim(a, noise) < 0.99).all() and (truth.ssim(a, noise) > truth.ssim(a, other)).all()
    # Two flat pictures: only the luminance term is left.
    black, grey = np.zeros((1, 32, 32, 3), np.uint8), np.full((1, 32, 32, 3), 100, np.uint8)
    c1 = (0.01 * 255) ** 2
    assert truth.ssim(black, grey)[0] == pytest.approx(c1 / (100**2 + c1))
    assert truth.l1(black, grey)[0] == pytest.approx(100 / 255)

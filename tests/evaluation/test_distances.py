"""Distances between sets of features, against closed forms."""

import numpy as np
import pytest

from xgan_jax.evaluation import distances


def normal(n: int, d: int, seed: int, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d)) + shift


def test_kid_of_one_distribution_is_zero_within_its_spread_and_grows_with_the_distance() -> None:
    a = normal(1000, 8, 0)
    same = distances.kid(a, normal(1000, 8, 1))
    near, far = distances.kid(a, normal(1000, 8, 2, 0.3)), distances.kid(a, normal(1000, 8, 3, 1.0))
    assert abs(same.mean) < 3 * same.deviation
    assert 3 * same.deviation < near.mean < far.mean


def test_kid_is_unbiased() -> None:
    """Over many small subsets of equal distributions it averages to zero; the biased estimate would not."""
    values = [
        distances.kid(normal(20, 4, 2 * i), normal(20, 4, 2 * i + 1), subsets=1, subset_size=20).mean
        for i in range(400)
    ]
    assert abs(np.mean(values)) < 3 * np.std(values) / 20
    # For comparison, what the diagonal adds: 2 / n * E[(x.x / d + 1)^3] is about 1.
    assert np.std(values) / 20 < 0.1


def test_kid_is_reproducible_and_checks_its_subsets() -> None:
    a, b = normal(50, 4, 0), normal(40, 4, 1)
    assert distances.kid(a, b) == distances.kid(a, b)
    with pytest.raises(ValueError, match="needs as many pictures on both sides; there are 40"):
        distances.kid(a, b, subset_size=41)
    with pytest.raises(ValueError, match="KID over subsets"):
        distances.kid(a[:3], b)


def test_fid_of_normal_distributions() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5000, 3))
    x = (x - x.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False)).T)  # exactly unit
    y = x * [1.0, 2.0, 3.0] + [1.0, 0.0, 0.0]
    assert distances.fid(x, y) == pytest.approx(1 + 0 + 1 + 4, rel=1e-9)  # |mean|^2 + sum (sigma - 1)^2
    assert distances.fid(x, x) == pytest.approx(0, abs=1e-9)


def test_fid_of_few_pictures_is_refused_unless_forced() -> None:
    a, b = normal(100, 4, 0), normal(2100, 4, 1)
    with pytest.raises(ValueError, match=r"FID of 100 pictures .* use KID, or force it"):
        distances.fid(a, b)
    assert distances.fid(a, b, force=True) > 0


def test_squared_distances() -> None:
    a, b = normal(5, 3, 0), normal(7, 3, 1)
    expected = np.square(a[:, None] - b[None]).sum(-1)
    np.testing.assert_allclose(distances.squared_distances(a, b), expected)


def test_manifold_tells_missing_modes_from_unreal_pictures() -> None:
    both = np.concatenate([normal(200, 2, 0), normal(200, 2, 1, 20.0)])
    full = np.concatenate([normal(200, 2, 2), normal(200, 2, 3, 20.0)])
    half = normal(400, 2, 4)
    unreal = np.concatenate([normal(200, 2, 5), normal(200, 2, 6, 50.0)])
    good, dropped, wrong = (distances.manifold(both, x) for x in (full, half, unreal))
    assert good.precision > 0.9 and good.recall > 0.9 and good.coverage > 0.9 and 0.8 < good.density < 1.2
    assert dropped.precision > 0.9 and dropped.recall < 0.6 and dropped.coverage < 0.6
    assert wrong.precision < 0.6 and wrong.density < 0.6
    with pytest.raises(ValueError, match="no 5th neighbour"):
        distances.manifold(both, full[:5])

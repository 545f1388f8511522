"""How far apart two sets of pictures are, from their features `[n, d]` alone; NumPy, float64.

KID (Bińkowski et al. 2018), FID (Heusel et al. 2017), precision and recall (Kynkäänniemi et al. 2019),
density and coverage (Naeem et al. 2020); and how well several sets mix. KID and FID are those of
torch-fidelity on the same features, to 1e-6 (`tests/evaluation/test_torch_fidelity.py`).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Num

Features = Num[np.ndarray, "_ d"]

# With fewer pictures than features (Inception: 2,048) a covariance is singular and FID says little.
FID_MINIMUM = 2048


class Spread(NamedTuple):
    """Mean and standard deviation over subsets."""

    mean: float
    deviation: float


def _mmd(a: Float[np.ndarray, "m d"], b: Float[np.ndarray, "m d"]) -> float:
    """Unbiased squared maximum mean discrepancy under the kernel `(x.y / d + 1)**3`."""
    m, d = a.shape
    within = 0.0
    for x in (a, b):
        kernel = (x @ x.T / d + 1.0) ** 3
        within += (kernel.sum() - np.trace(kernel)) / (m * (m - 1))
    across = ((a @ b.T / d + 1.0) ** 3).mean()
    return float(within - 2.0 * across)


def kid(
    a: Features, b: Features, *, subsets: int = 100, subset_size: int | None = None, seed: int = 2020
) -> Spread:
    """Kernel inception distance (times 1; papers often print it times 100).

    The mean over random subsets of the unbiased estimate, so it may fall below zero for equal distributions.

    Args:
      subset_size: pictures of each side in a subset; None: half of the smaller set, at most 1,000.

    Raises:
      ValueError: a set is smaller than `subset_size`, or too small for any.
    """
    smaller = min(len(a), len(b))
    size = min(1000, smaller // 2) if subset_size is None else subset_size
    if size < 2 or size > smaller:
        raise ValueError(
            f"KID over subsets of {size} needs as many pictures on both sides; there are {smaller}."
        )
    a, b = a.astype(np.float64), b.astype(np.float64)
    rng = np.random.RandomState(seed)  # torch-fidelity's generator: the same subsets
    values = []
    for _ in range(subsets):
        x = a[rng.choice(len(a), size, replace=False)]
        y = b[rng.choice(len(b), size, replace=False)]
        values.append(_mmd(x, y))
    return Spread(float(np.mean(values)), float(np.std(values)))


def check_fid_count(pictures: int) -> None:
    """Refuses an FID of too few.

    Raises:
      ValueError: `pictures`, the smaller side's number, is under 2,048.
    """
    if pictures < FID_MINIMUM:
        raise ValueError(
            f"FID of {pictures} pictures mostly measures how few they are ({FID_MINIMUM:,} is the least): "
            "use KID, or force it."
        )


def fid(a: Features, b: Features, *, force: bool = False) -> float:
    """Fréchet distance between normal distributions of the same means and covariances.

    Raises:
      ValueError: fewer than 2,048 pictures on a side, unless `force`.
    """
    if not force:
        check_fid_count(min(len(a), len(b)))
    a, b = a.astype(np.float64), b.astype(np.float64)
    s, t = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    # The eigenvalues of s t are those of the symmetric root(s) t root(s), which are real and not negative.
    values, vectors = np.linalg.eigh(np.atleast_2d(s))
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    product = np.linalg.eigvalsh(root @ np.atleast_2d(t) @ root)
    mean = np.square(a.mean(0) - b.mean(0)).sum()
    return float(
        mean
        + np.trace(np.atleast_2d(s))
        + np.trace(np.atleast_2d(t))
        - 2 * np.sqrt(np.clip(product, 0, None)).sum()
    )


def squared_distances(a: Features, b: Features) -> Float[np.ndarray, "_ _"]:
    """Between every row of `a` and every row of `b`."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    d = np.square(a).sum(1)[:, None] + np.square(b).sum(1)[None] - 2.0 * (a @ b.T)
    return np.clip(d, 0.0, None)


def nearest(a: Features, b: Features, count: int) -> Int[np.ndarray, "_ k"]:
    """For every row of `a` the numbers of the rows of `b` that are nearest to it, the nearest first."""
    return np.argsort(squared_distances(a, b))[:, :count]


def _radii(x: Features, k: int) -> Float[np.ndarray, "n"]:
    """Squared distance of every row to its k-th nearest other row."""
    if len(x) <= k:
        raise ValueError(f"{len(x)} pictures have no {k}th neighbour: use more.")
    return np.partition(squared_distances(x, x), k, axis=1)[:, k]  # itself is at place 0


class Manifold(NamedTuple):
    """Precision: share of translations inside the real manifold; recall: share of reals inside that of the
    translations. Density and coverage: the same questions, less easily fooled by outliers."""

    precision: float
    recall: float
    density: float
    coverage: float


def manifold(real: Features, translated: Features, *, neighbours: int = 5) -> Manifold:
    """Precision, recall, density and coverage over balls that reach to the k-th neighbour.

    Raises:
      ValueError: not more than `neighbours` pictures on a side.
    """
    across = squared_distances(real, translated)
    of_real, of_translated = _radii(real, neighbours), _radii(translated, neighbours)
    inside: Bool[np.ndarray, "r t"] = across < of_real[:, None]
    return Manifold(
        precision=float(inside.any(0).mean()),
        recall=float((across < of_translated[None]).any(1).mean()),
        density=float(inside.sum(0).mean() / neighbours),
        coverage=float((across.min(1) < of_real).mean()),
    )


def mixing(parts: Sequence[Features], *, neighbours: int = 10) -> float:
    """Share of rows of other parts among every row's nearest, over the share that chance gives: 1 where parts
    are mixed, 0 where they lie apart."""
    everything = np.concatenate(list(parts))
    of = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    d = squared_distances(everything, everything)
    np.fill_diagonal(d, np.inf)
    nearest = np.argpartition(d, neighbours, axis=1)[:, :neighbours]
    other = of[nearest] != of[:, None]
    expected = np.array([(of != i).sum() / (len(of) - 1) for i in range(len(parts))])[of]
    return float((other.mean(1) / expected).mean())


def separability(parts: Sequence[Features]) -> float:
    """Accuracy of a linear classifier of the part, ridge regression on one half of the rows, on the other
    half; chance is 1 / parts."""
    everything = np.concatenate(list(parts))
    of = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    standard = (everything - everything.mean(0)) / (everything.std(0) + 1e-6)
    order = np.random.default_rng(0).permutation(len(of))
    fit, check = order[::2], order[1::2]
    x, y = standard[fit], np.eye(len(parts))[of[fit]]
    ridge = len(fit) * 0.1
    weights = x.T @ np.linalg.solve(x @ x.T + ridge * np.eye(len(fit)), y - y.mean(0))
    answers = (standard[check] @ weights + y.mean(0)).argmax(1)
    return float((answers == of[check]).mean())

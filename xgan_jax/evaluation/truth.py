"""Measures against the true counterpart, which the embedded data can draw for every test picture."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, get_type_hints

import numpy as np
from jaxtyping import Float, Int, UInt8
from scipy.ndimage import gaussian_filter

from xgan_jax.data import synthetic

Pictures = UInt8[np.ndarray, "_ s s 3"]


def known(columns: Mapping[str, Sequence[Any]], target: str) -> bool:
    """Whether these labels say what their pictures look like in the style `target`."""
    return target in synthetic.STYLES and set(get_type_hints(synthetic.Attributes)) <= set(columns)


def counterparts(columns: Mapping[str, Sequence[Any]], target: str, size: int) -> Pictures | None:
    """What every picture with these labels looks like in the style `target`; None where it cannot be known.

    What is no attribute (light, noise, clothes) is drawn from seeds of its own.
    """
    if not known(columns, target):
        return None
    types = get_type_hints(synthetic.Attributes)
    rows = zip(*(columns[name] for name in types), strict=True)
    people = [
        synthetic.Attributes(**{n: t(v) for (n, t), v in zip(types.items(), row, strict=True)})
        for row in rows
    ]
    return np.stack(
        [
            synthetic.draw(person, target, size, synthetic.picture_seed(0, f"counterpart {target}", i))
            for i, person in enumerate(people)
        ]
    )


@dataclasses.dataclass(frozen=True)
class Retrieval:
    """Shares of translations whose true counterpart is the nearest, or among the five nearest, of
    `candidates`; and the mean of one over its rank."""

    top1: float
    top5: float
    mean_reciprocal_rank: float
    candidates: int


def retrieval(ranks: Int[np.ndarray, "n"], candidates: int) -> Retrieval:
    """From each translation's rank of its counterpart, 1 the nearest."""
    return Retrieval(
        float((ranks == 1).mean()), float((ranks <= 5).mean()), float((1.0 / ranks).mean()), candidates
    )


def ranks(distances: Float[np.ndarray, "n n"]) -> Int[np.ndarray, "n"]:
    """1 + the candidates at least as near as the true one, which has the row's own number: a tie is lost, so
    translations that are all alike do not win."""
    own = np.diag(distances)[:, None]
    return (distances <= own).sum(1).astype(np.int64)


def pixel_distances(a: Pictures, b: Pictures) -> Float[np.ndarray, "_ _"]:
    """Mean squared difference between every picture of `a` and every one of `b`, in [-1, 1] units."""
    x = a.reshape(len(a), -1).astype(np.float64) / 127.5
    y = b.reshape(len(b), -1).astype(np.float64) / 127.5
    d = np.square(x).sum(1)[:, None] + np.square(y).sum(1)[None] - 2.0 * (x @ y.T)
    return np.clip(d, 0.0, None) / x.shape[1]


def l1(a: Pictures, b: Pictures) -> Float[np.ndarray, "n"]:
    """Mean absolute difference of each pair, pictures in [0, 1]."""
    return np.abs(a.astype(np.float64) - b).mean((1, 2, 3)) / 255.0


def ssim(a: Pictures, b: Pictures) -> Float[np.ndarray, "n"]:
    """Structural similarity of each pair (Wang et al. 2004): a Gaussian of 1.5 px, mean over channels."""
    x, y = a.astype(np.float64), b.astype(np.float64)

    def smooth(z: np.ndarray) -> np.ndarray:
        # Radius 5: the 11x11 window of the paper.
        return np.asarray(gaussian_filter(z, (0, 1.5, 1.5, 0), radius=(0, 5, 5, 0)))

    mx, my = smooth(x), smooth(y)
    vx, vy, cov = smooth(x * x) - mx * mx, smooth(y * y) - my * my, smooth(x * y) - mx * my
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    value = ((2 * mx * my + c1) * (2 * cov + c2)) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    return np.asarray(value.mean((1, 2, 3)))

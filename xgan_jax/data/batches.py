"""Any number of pictures through a compiled function."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt8

from xgan_jax.progress import tracked


def in_batches(
    function: Callable[[UInt8[np.ndarray, "b s s c"]], Any],
    pictures: UInt8[np.ndarray, "n s s c"],
    batch_size: int,
) -> Any:
    """What `function` makes of all pictures (or pairs of them, six channels): arrays, or a tree of arrays,
    `[n, ...]` in NumPy.

    Every call has `batch_size` pictures, the last filled up with black ones, so that one program is compiled.
    """
    parts = []
    starts = range(0, len(pictures), batch_size)
    for start in tracked(starts, len(starts), "going through pictures", "batches"):
        part = pictures[start : start + batch_size]
        filled = np.concatenate([part, np.zeros((batch_size - len(part), *part.shape[1:]), np.uint8)])
        result = jax.device_get(function(filled))
        parts.append(jax.tree.map(lambda x, n=part.shape[0]: x[:n], result))
    return jax.tree.map(lambda *x: np.concatenate(x), *parts)

"""Feature networks, in whose features sets of pictures are compared."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float, UInt8

from xgan_jax.evaluation.batches import in_batches
from xgan_jax.nets import inception as network
from xgan_jax.torch_weights import read_torch


@dataclass(frozen=True)
class FeatureNetwork:
    """`apply`: uint8 pictures `[n, s, s, 3]` to features `[n, d]`. `name` tells weights apart, too."""

    name: str
    apply: Callable[[UInt8[np.ndarray, "n s s 3"]], Float[np.ndarray, "n d"]]


def inception(path: str | os.PathLike[str], batch: int = 32) -> FeatureNetwork:
    """FID's Inception-v3 with the weights of PyTorch's file (the same in pytorch-fid and torch-fidelity).

    Raises:
      FileNotFoundError, ValueError: `path` is not such a file.
    """
    variables = network.from_torch(read_torch(path))
    apply = jax.jit(network.Inception().apply)

    digest = hashlib.blake2b(Path(path).read_bytes(), digest_size=6).hexdigest()
    return FeatureNetwork(
        f"inception-{digest}", lambda pictures: in_batches(lambda x: apply(variables, x), pictures, batch)
    )

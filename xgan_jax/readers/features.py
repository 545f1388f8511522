"""Feature networks, in whose features sets of pictures are compared."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, UInt8

from xgan_jax.config import Config
from xgan_jax.data.batches import in_batches
from xgan_jax.nets import from_torch, vgg
from xgan_jax.nets import inception as network
from xgan_jax.torch_weights import read_state


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
    variables = network.from_torch(read_state(path))
    apply = jax.jit(network.Inception().apply)

    digest = hashlib.blake2b(Path(path).read_bytes(), digest_size=6).hexdigest()
    return FeatureNetwork(
        f"inception-{digest}", lambda pictures: in_batches(lambda x: apply(variables, x), pictures, batch)
    )


def vgg19(config: Config) -> tuple[Any, Any]:
    """VGG-19's maps for style transfer, weights of torchvision's file `config.networks.weights_file`.

    For `config.networks.features = "xgan_jax.readers.features:vgg19"`.

    Returns:
      (params, apply): `apply(params, images [b, s, s, 3] in [-1, 1]) -> (content, [style, ...])`, conv4_2 and
      the first convolution of each block (Gatys et al. 2016, section 3).

    Raises:
      ValueError: there is no such file, or it is another network's.
    """
    path = config.networks.weights_file
    if not Path(path).is_file():
        raise ValueError(f"config.networks.weights_file is {path!r}, which is no file")
    params = from_torch.vgg19(read_state(path))

    def apply(params: Any, images: Float[Array, "b s s 3"]) -> tuple[Array, list[Array]]:
        maps: Any = vgg.VGG19().apply({"params": params}, images)
        return maps[vgg.CONTENT], [maps[name] for name in vgg.STYLE]

    return params, apply

"""VGG-19 as Gatys et al. use it: convolutions, and average pooling where it was trained with maxima."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from xgan_jax.nets.layers import conv

BLOCKS = ((64, 64), (128, 128), (256, 256, 256, 256), (512, 512, 512, 512), (512,))
CONTENT = "conv4_2"
STYLE = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
_MEAN, _STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])  # of torchvision's weights


class VGG19(nn.Module):
    """`[b, s, s, 3]` in [-1, 1] to `{"conv1_1": [b, s, s, 64], ..., "conv5_1": [b, s/16, s/16, 512]}`, the
    maps after ReLU (Simonyan & Zisserman 2015). s is a multiple of 16."""

    @nn.compact
    def __call__(self, x: Float[Array, "b s s 3"]) -> dict[str, Float[Array, "b h w c"]]:
        x = ((x + 1) / 2 - _MEAN) / _STD
        maps: dict[str, Any] = {}
        for i, block in enumerate(BLOCKS, 1):
            if i > 1:
                x = nn.avg_pool(x, (2, 2), (2, 2))
            for j, features in enumerate(block, 1):
                name = f"conv{i}_{j}"
                x = maps[name] = jax.nn.relu(conv(features, 3, jnp.float32, name=name)(x))
        return maps

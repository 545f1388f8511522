"""Our Inception, KID and FID are those of torch-fidelity."""

import sys
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import jax
import numpy as np
import pytest

from xgan_jax.evaluation import distances
from xgan_jax.readers.features import inception

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module", autouse=True)
def without_torchvision() -> None:
    """torch-fidelity imports torchvision, for other networks; its builds seldom fit the PyTorch there is."""
    for name in ("", ".transforms", ".transforms.functional", ".datasets", ".models"):
        sys.modules.setdefault(f"torchvision{name}", MagicMock())


def random_inception(path: Path) -> Any:
    """torch-fidelity's extractor with weights that keep features alive, which are saved to `path`."""
    import torch
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Shapes(FeatureExtractorInceptionV3):
        def load_state_dict(self, *_: Any) -> None: ...

    torch.save({}, path)
    shapes = Shapes("shapes", ["2048"], feature_extractor_weights_path=str(path)).state_dict()
    torch.manual_seed(0)
    state = {}
    for name, tensor in shapes.items():
        if name.endswith("conv.weight"):
            state[name] = torch.randn(tensor.shape) * (2.0 / tensor[0].numel()) ** 0.5
        elif name.endswith(("bn.weight", "running_var")):
            state[name] = torch.rand(tensor.shape) + 0.5
        elif tensor.is_floating_point():
            state[name] = 0.2 * torch.randn(tensor.shape)
        else:
            state[name] = tensor
    torch.save(state, path)
    return FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=str(path))


@pytest.mark.parametrize("size", [64, 299, 333])
def test_inception_parity(size: int, tmp_path: Path) -> None:
    import torch

    theirs = random_inception(tmp_path / "weights.pth")
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (3, size // 8, size // 8, 3), dtype=np.uint8)
    pictures = np.array(
        jax.image.resize(small.astype(np.float32), (3, size, size, 3), "linear").clip(0, 255), np.uint8
    )
    expected = theirs(torch.from_numpy(pictures).permute(0, 3, 1, 2))[0].numpy()
    found = inception(tmp_path / "weights.pth", batch=2).apply(pictures)
    assert expected.std() > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_kid_and_fid_parity() -> None:
    import torch
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torch_fidelity.metric_kid import kid_features_to_metric

    rng = np.random.default_rng(1)
    a = rng.standard_normal((600, 40)) @ rng.standard_normal((40, 40))
    b = 0.3 + rng.standard_normal((500, 40)) @ rng.standard_normal((40, 40))
    theirs = kid_features_to_metric(
        torch.from_numpy(a), torch.from_numpy(b), kid_subsets=20, kid_subset_size=100, verbose=False
    )
    ours = distances.kid(a, b, subsets=20, subset_size=100)
    assert ours.mean == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-6)
    assert ours.deviation == pytest.approx(theirs["kernel_inception_distance_std"], rel=1e-6)
    statistics = [fid_features_to_statistics(torch.from_numpy(x)) for x in (a, b)]
    fid = fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert distances.fid(a, b, force=True) == pytest.approx(fid, rel=1e-6)

"""PyTorch's weight files are read without PyTorch (tests/fixtures/write_with_torch.py wrote some)."""

import pickle
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from xgan_jax.torch_weights import read_torch

FIXTURES = Path(__file__).parent / "fixtures"


def expected() -> dict[str, Any]:
    """Arrays of several types and layouts, nested containers and numbers."""
    counted = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    return {
        "weight": counted,
        "part": counted[:, 1:, ::2].copy(),  # saved as a view of the same storage
        "transposed": counted.transpose(2, 0, 1).copy(),
        "half": np.array([0.5, -2.0], np.float16),
        "steps": np.array(7, np.int64),
        "flags": np.array([True, False]),
        "empty": np.zeros((0, 3), np.float32),
        "nested": {"list": [np.array([1, 2], np.int32), 3], "text": "x", "none": None},
    }


def assert_same(found: Any, wanted: Any) -> None:
    assert type(found) is type(wanted) or isinstance(found, type(wanted))
    if isinstance(wanted, dict):
        assert list(found) == list(wanted)
        for key in wanted:
            assert_same(found[key], wanted[key])
    elif isinstance(wanted, list):
        for a, b in zip(found, wanted, strict=True):
            assert_same(a, b)
    elif isinstance(wanted, np.ndarray):
        assert found.dtype == wanted.dtype
        np.testing.assert_array_equal(found, wanted)
    else:
        assert found == wanted


@pytest.mark.parametrize("name", ["torch_zip.pth", "torch_legacy.pth"])
def test_reads_both_formats(name: str) -> None:
    assert_same(read_torch(FIXTURES / name), expected())


@pytest.mark.parametrize("name", ["torch_zip.pth", "torch_legacy.pth"])
@pytest.mark.parametrize("part", [0.0, 0.3, 0.9])
def test_a_cut_file_is_refused_in_one_sentence(name: str, part: float, tmp_path: Path) -> None:
    data = (FIXTURES / name).read_bytes()
    cut = tmp_path / name
    cut.write_bytes(data[: int(part * len(data))])
    with pytest.raises(ValueError, match="is no weight file of PyTorch that can be read here"):
        read_torch(cut)


def test_a_file_cannot_run_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "done",)

    path = tmp_path / "evil.pth"
    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ValueError, match="it holds a pathlib"):
        read_torch(path)
    assert not (tmp_path / "done").exists()


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_torch(tmp_path / "none.pth")


@pytest.mark.torch
@pytest.mark.parametrize("zipped", [True, False])
def test_reads_what_the_installed_pytorch_writes(zipped: bool, tmp_path: Path) -> None:
    import torch

    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)).to(torch.bfloat16)
    path = tmp_path / "network.pth"
    torch.save({"net": network.state_dict()}, path, _use_new_zipfile_serialization=zipped)
    found = read_torch(path)["net"]
    assert list(found) == list(network.state_dict())
    for name, tensor in network.state_dict().items():
        array = found[name]
        assert array.dtype == (np.int64 if name.endswith("tracked") else ml_dtypes.bfloat16)
        np.testing.assert_array_equal(array.astype(np.float32), tensor.float().numpy())

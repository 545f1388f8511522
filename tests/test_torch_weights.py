"""PyTorch's weight files are read without PyTorch (tests/fixtures/write_with_torch.py wrote some)."""

import io
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch_files

from xgan_jax.torch_weights import read_state, read_torch

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


@pytest.mark.parametrize(
    "data, sentence",
    [
        (b"", "it is empty"),
        (b"<!DOCTYPE html>", "it is a web page, so the download failed"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (bytes(257) + b"ustar" + bytes(300), "tar archive"),
        (b'\x10\0\0\0\0\0\0\0{"a": 1}', "safetensors"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"hello", "does not begin as such a file does"),
    ],
)
def test_what_is_no_weight_file_is_named(data: bytes, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=rf"weights\.pth is no weight file of PyTorch .*{sentence}"):
        read_torch(path)


def zipped(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(f"a/{name.replace('_', '.')}", data)
    return file.getvalue()


@pytest.mark.parametrize(
    "data, sentence",
    [
        (zipped(x_npy=b"1"), r"it is a zip of a/x\.npy"),
        (zipped(data_pkl=pickle.dumps(1), constants_pkl=b""), "TorchScript"),
        (zipped(data_pkl=bytes(10**6)), "its parts are packed"),
        (zipped(data_pkl=b"\x80\x02]r\xff\xff\xff\xff.")[:-3], "its end is missing"),
        (zipped(data_pkl=b"\x80\x02]r\xff\xff\xff\xff."), "it numbers more objects than it can hold"),
    ],
)
def test_a_zip_that_is_none_of_pytorch(data: bytes, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=sentence):
        read_torch(path)


@pytest.mark.parametrize("save", [torch_files.save, torch_files.save_legacy])
def test_the_one_state_dict_is_found(save: Any, tmp_path: Path) -> None:
    layers = {"conv.weight": np.ones((2, 3), np.float16), "conv.bias": np.arange(2, dtype=np.int64)}
    wrapped = {f"module.{name}": x for name, x in layers.items()}
    for tree in (layers, wrapped, {"epoch": 3, "model": {"state_dict": wrapped}, "optimizer": {"m": layers}}):
        state = read_state(save(tree, tmp_path / "x.pth"))
        assert list(state) == list(layers) and state["conv.weight"].dtype == np.float32
        np.testing.assert_array_equal(state["conv.bias"], [0, 1])
    with pytest.raises(ValueError, match=r"x\.pth holds D, G: one network's state dict is needed"):
        read_state(save({"G": layers, "D": layers}, tmp_path / "x.pth"))
    with pytest.raises(ValueError, match="holds no arrays by name"):
        read_state(save({"epoch": 3}, tmp_path / "x.pth"))


@pytest.mark.parametrize(
    "size, stride, sentence",
    [
        (b"K\x02K\x02", b"J\xfe\xff\xff\xffK\x02", "reaches past the end"),  # (-2, 2)
        (b"K\x02K\x02", b"K\x02K\x02", "reaches past the end"),
        (b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f", b"K\0K\0", "unpacks to far more than its size"),
    ],
)
def test_views_stay_inside_their_storage(size: bytes, stride: bytes, sentence: str, tmp_path: Path) -> None:
    """A stride of the file's own could read the memory of this program, or repeat a number without end."""
    with zipfile.ZipFile(
        torch_files.save({"x": np.zeros((2, 2), np.float32)}, tmp_path / "x.pth")
    ) as archive:
        pickled = archive.read("archive/data.pkl")
    was = b"K\x02K\x02\x86q\x08K\x02K\x01\x86"
    assert pickled.count(was) == 1
    with zipfile.ZipFile(tmp_path / "x.pth", "w") as archive:
        archive.writestr("archive/data.pkl", pickled.replace(was, size + b"\x86q\x08" + stride + b"\x86"))
        archive.writestr("archive/data/0", bytes(16))
    with pytest.raises(ValueError, match=sentence):
        read_torch(tmp_path / "x.pth")


_MUTATE = """
import encodings.cp437  # zipfile would import it later, which the hook would see
import random, resource, sys, threading
from pathlib import Path
from xgan_jax.torch_weights import read_torch
resource.setrlimit(resource.RLIMIT_AS, (2 * 2**30, 2 * 2**30))
ran = []
bad = ("os.system", "subprocess.Popen", "exec")
sys.addaudithook(lambda name, given: ran.append((name, str(given[0]))) if name in bad else None)
folder, refused = Path(sys.argv[1]), 0
for path in sorted(Path(sys.argv[2]).glob("torch_*.pth")):
    good = path.read_bytes()
    for seed in range(300):
        rng, data = random.Random(seed), bytearray(good)
        for _ in range(rng.choice((1, 1, 4, 30))):
            data[rng.randrange(len(data))] = rng.choice((0, 255, rng.randrange(256)))
        if seed % 5 == 0:
            del data[rng.randrange(len(data)):]
        (folder / "x.pth").write_bytes(data)
        try:
            read_torch(folder / "x.pth")
        except ValueError as error:
            assert "\\n" not in str(error) and "is no weight file" in str(error), error
            refused += 1
# The process's own peak: ru_maxrss is that of the parent, where it was higher.
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(refused, int(peak.split()[1]) // 1024, ran)
"""


def test_mutated_files_are_read_or_refused(tmp_path: Path) -> None:
    """600 of them, in a process of 2 GiB: nothing else is raised, nothing is run, and memory stays small."""
    done = subprocess.run(
        [sys.executable, "-c", _MUTATE, str(tmp_path), str(FIXTURES)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    refused, mebibytes, ran = done.stdout.split(maxsplit=2)
    assert int(refused) > 300 and int(mebibytes) < 300 and ran.strip() == "[]"


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

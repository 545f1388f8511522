"""Reads the weight files of PyTorch without PyTorch: both of its formats, and nothing but arrays in them.

Whatever is in a file, none of it is executed, and reading takes a few times its size of memory at most.
"""

import collections
import io
import os
import pickle
import pickletools
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

_MAGIC = 0x1950A86A20F9469CFC6C  # first in files before PyTorch 1.6
_STORAGES: dict[str, Any] = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}
# What people take for a weight file of PyTorch: where it shows, and what it is.
_OTHERS = (
    (0, b"\x89HDF", "it is an HDF5 file, as Keras writes"),
    (0, b"\x93NUMPY", "it is an array of NumPy"),
    (0, b"version https://git-lfs", "it is Git LFS's pointer to the file, which `git lfs pull` fetches"),
    (0, b"<", "it is a web page, so the download failed"),
    (0, b"\x1f\x8b", "it is packed with gzip: unpack it first"),
    (0, b"7z\xbc\xaf", "it is packed with 7z: unpack it first"),
    (0, b"Rar!", "it is packed with rar: unpack it first"),
    (257, b"ustar", "it is a tar archive, as PyTorch 0.1 wrote, or one to unpack"),
    (8, b"{", "it is a file of safetensors"),
)
_TENSORFLOW = re.compile(r"\.ckpt\b|\.index$|\.meta$|\.data-\d+-of-\d+$|\.pb$|^checkpoint$")


@dataclass(frozen=True, slots=True)
class _Storage:
    """Numbers, which may come later in the file, by the file's name for them."""

    key: Any
    dtype: Any


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A view of a storage."""

    storage: Any
    offset: Any
    size: Any
    stride: Any


@dataclass(frozen=True, slots=True)
class _Callable:
    """A function that a file may call, but not change, as it could what has attributes."""

    function: Callable[..., Any]

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)


_KNOWN: dict[tuple[str, str], Any] = {
    ("torch._utils", "_rebuild_tensor"): _Callable(lambda *view: _Tensor(*view[:4])),
    ("torch._utils", "_rebuild_tensor_v2"): _Callable(lambda *view: _Tensor(*view[:4])),
    ("torch._utils", "_rebuild_parameter"): _Callable(lambda data, *_: data),
    ("torch", "device"): _Callable(lambda *_: None),
    ("torch", "Size"): tuple,
    ("collections", "OrderedDict"): collections.OrderedDict,
    **{("torch", name): name for name in _STORAGES},
}


class _Unpickler(pickle.Unpickler):
    """Knows tensors, containers and numbers; refuses everything else, so a file cannot run code."""

    def __init__(self, file: io.BytesIO):
        _check_memo(file)
        super().__init__(file, encoding="latin1")
        self.storages: dict[Any, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _KNOWN:
            raise pickle.UnpicklingError(f"it holds a {module}.{name}, which is more than arrays")
        return _KNOWN[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        kind, storage, key = pid[:3]
        if kind != "storage":
            raise pickle.UnpicklingError(f"it refers to a {kind}")
        if len(pid) > 5 and pid[5] is not None:
            raise pickle.UnpicklingError("it holds views of storages, which PyTorch no longer writes")
        return self.storages.setdefault(key, _Storage(key, np.dtype(_STORAGES[storage])))


def _check_memo(file: io.BytesIO) -> None:
    """Python's unpickler makes room for as many objects as the largest number that a file gives to one."""
    start = file.tell()
    room = file.getbuffer().nbytes
    for code, number, _ in pickletools.genops(file):
        if code.name in ("PUT", "BINPUT", "LONG_BINPUT") and not 0 <= int(number or 0) <= room:
            raise pickle.UnpicklingError("it numbers more objects than it can hold")
    file.seek(start)


class _Arrays:
    """Makes arrays of what was unpickled, of no more bytes together than `most`: views may repeat a storage,
    and containers each other."""

    def __init__(self, numbers: Callable[[_Storage], np.ndarray], most: int):
        self._numbers, self._left = numbers, most

    def of(self, tree: Any) -> Any:
        """`tree` with arrays in the place of its tensors."""
        self._spend(1)
        if isinstance(tree, _Tensor):
            return self._array(tree)
        if isinstance(tree, dict):
            return {key: self.of(value) for key, value in tree.items()}
        if isinstance(tree, (list, tuple)):
            return type(tree)(self.of(value) for value in tree)
        return tree

    def _array(self, tensor: _Tensor) -> np.ndarray:
        size, stride = tuple(tensor.size), tuple(tensor.stride)
        numbers = self._numbers(tensor.storage)[tensor.offset :]
        last = sum((n - 1) * s for n, s in zip(size, stride, strict=True))
        if min((tensor.offset, *size, *stride)) < 0 or (0 not in size and last >= len(numbers)):
            raise pickle.UnpicklingError("an array reaches past the end of its storage")
        self._spend(int(np.prod(size, dtype=object)) * numbers.itemsize)
        strides = [s * numbers.itemsize for s in stride]
        return np.lib.stride_tricks.as_strided(numbers, size, strides).copy()

    def _spend(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise pickle.UnpicklingError("it unpacks to far more than its size")


def _read_zip(data: bytes) -> Any:
    if not zipfile.is_zipfile(io.BytesIO(data)):
        raise pickle.UnpicklingError("its end is missing, so the download or copy was cut short")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
        root = next((name.removesuffix("data.pkl") for name in names if name.endswith("/data.pkl")), None)
        if root is None:
            raise pickle.UnpicklingError(f"it is a zip of {', '.join(names[:3]) or 'nothing'}")
        if f"{root}constants.pkl" in names:
            raise pickle.UnpicklingError("it is a program of TorchScript")
        if sum(member.file_size for member in archive.infolist()) > len(data):
            raise pickle.UnpicklingError("its parts are packed, which those of PyTorch are not")
        if f"{root}byteorder" in names and archive.read(f"{root}byteorder") != b"little":
            raise pickle.UnpicklingError("its numbers are big-endian")
        tree = _Unpickler(io.BytesIO(archive.read(f"{root}data.pkl"))).load()
        storages: dict[_Storage, np.ndarray] = {}

        def numbers(storage: _Storage) -> np.ndarray:
            if storage not in storages:
                storages[storage] = np.frombuffer(archive.read(f"{root}data/{storage.key}"), storage.dtype)
            return storages[storage]

        return _Arrays(numbers, 4 * len(data) + 2**20).of(tree)


def _read_legacy(data: bytes) -> Any:
    file = io.BytesIO(data)
    if _Unpickler(file).load() != _MAGIC:
        raise pickle.UnpicklingError("it does not begin as such a file does")
    for _ in ("protocol", "system"):
        _Unpickler(file).load()
    unpickler = _Unpickler(file)
    tree = unpickler.load()
    storages: dict[_Storage, np.ndarray] = {}
    for key in _Unpickler(file).load():
        storage = unpickler.storages[key]
        count = int.from_bytes(file.read(8), "little")
        if count * storage.dtype.itemsize > len(data) - file.tell():
            raise pickle.UnpicklingError("it ends in the middle of an array")
        storages[storage] = np.frombuffer(data, storage.dtype, count, file.tell())
        file.seek(count * storage.dtype.itemsize, os.SEEK_CUR)
    return _Arrays(storages.__getitem__, 4 * len(data) + 2**20).of(tree)


def _something_else(path: Path, head: bytes) -> str | None:
    """What a file that begins so is, where it is not PyTorch's."""
    if not head:
        return "it is empty"
    for place, mark, what in _OTHERS:
        if head[place : place + len(mark)] == mark:
            return what
    if _TENSORFLOW.search(path.name):
        return "it is TensorFlow's by its name"
    return None if head.startswith((b"PK", b"\x80")) else "it does not begin as such a file does"


def read_torch(path: str | os.PathLike[str]) -> Any:
    """What `torch.save` wrote: a state dict as {name: array}, or dicts and lists of them.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is no such file, is damaged, or holds more than arrays, containers and numbers.
    """
    path = Path(path)
    if not path.is_file():
        what = "is no file" if path.exists() else "does not exist"
        raise FileNotFoundError(f"{path} {what}: give a weight file that PyTorch saved.")
    with path.open("rb") as file:
        head = file.read(512)
        other = _something_else(path, head)
        data = head if other else head + file.read()
    try:
        if other:
            raise pickle.UnpicklingError(other)
        return _read_zip(data) if head.startswith(b"PK") else _read_legacy(data)
    except Exception as error:  # damaged bytes meet every error that the libraries below have
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"{path} is no weight file of PyTorch that can be read here ({reason}): save it again with "
            "torch.save(model.state_dict(), FILE)."
        ) from error


def read_state(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The one state dict in a file, {name: array}; see `state_of`.

    Raises:
      FileNotFoundError, ValueError: as `read_torch` and `state_of`.
    """
    return state_of(read_torch(path), path)


def state_of(tree: Any, path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The one state dict in what `path` holds, under whatever keys; half precision as float32, names without
    the prefixes of DataParallel and torch.compile.

    Raises:
      ValueError: there is none, or several.
    """
    found = dict(_states(tree, ""))
    networks = {where: state for where, state in found.items() if "optim" not in where.lower()}
    if len(networks) != 1:
        there = ", ".join(sorted(networks)[:6]) or "no arrays by name"
        raise ValueError(f"{path} holds {there}: one network's state dict is needed.")
    (state,) = networks.values()
    return {re.sub(r"^(module\.|_orig_mod\.)+", "", name): _whole(x) for name, x in state.items()}


def _states(tree: Any, where: str) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Every dict that has arrays by name, by the keys that lead there."""
    if not isinstance(tree, Mapping):
        return
    arrays = {name: x for name, x in tree.items() if isinstance(name, str) and isinstance(x, np.ndarray)}
    if arrays:
        yield where or "its layers", arrays
    for key, value in tree.items():
        yield from _states(value, f"{where}.{key}" if where else str(key))


def _whole(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float32) if x.dtype in (np.float16, ml_dtypes.bfloat16, np.float64) else x

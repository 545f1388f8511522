"""Reads the weight files of PyTorch without PyTorch: both of its formats, and nothing but arrays in them."""

import collections
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

_MAGIC = 0x1950A86A20F9469CFC6C  # first in files before PyTorch 1.6
_STORAGES = {
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


class _Tensor:
    """A view of a storage whose numbers may come later in the file."""

    def __init__(self, storage: list[Any], offset: int, size: tuple[int, ...], stride: tuple[int, ...]):
        self.storage, self.offset, self.size, self.stride = storage, offset, size, stride

    def numpy(self) -> np.ndarray:
        numbers = self.storage[0][self.offset :]
        strides = [s * numbers.itemsize for s in self.stride]
        last = sum((n - 1) * s for n, s in zip(self.size, self.stride, strict=True))
        if 0 not in self.size and not 0 <= last < len(numbers):
            raise pickle.UnpicklingError("an array reaches past the end of its storage")
        return np.lib.stride_tricks.as_strided(numbers, self.size, strides).copy()


def _tensor(storage: list[Any], offset: int, size: Any, stride: Any, *_: Any) -> _Tensor:
    return _Tensor(storage, offset, tuple(size), tuple(stride))


class _Unpickler(pickle.Unpickler):
    """Knows tensors, containers and numbers; refuses everything else, so a file cannot run code."""

    def __init__(self, file: Any, load: Callable[[tuple[Any, ...]], list[Any]]):
        super().__init__(file, encoding="latin1")
        self._load = load

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch._utils" and name in ("_rebuild_tensor", "_rebuild_tensor_v2"):
            return _tensor
        if module == "torch._utils" and name == "_rebuild_parameter":
            return lambda data, *_: data
        if module == "torch" and name in _STORAGES:
            return np.dtype(_STORAGES[name])
        if module == "torch" and name == "device":
            return lambda *_: None
        if (module, name) == ("torch", "Size"):
            return tuple
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        raise pickle.UnpicklingError(f"it holds a {module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        return self._load(pid)


def _read_zip(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        root = next((name.removesuffix("data.pkl") for name in names if name.endswith("/data.pkl")), None)
        if root is None:
            raise pickle.UnpicklingError("it holds no data.pkl")
        if f"{root}byteorder" in names and archive.read(f"{root}byteorder") != b"little":
            raise pickle.UnpicklingError("its numbers are big-endian")
        storages: dict[str, list[Any]] = {}

        def load(pid: tuple[Any, ...]) -> list[Any]:
            _, dtype, key = pid[:3]
            if key not in storages:
                storages[key] = [np.frombuffer(archive.read(f"{root}data/{key}"), dtype)]
            return storages[key]

        with archive.open(f"{root}data.pkl") as file:
            return _Unpickler(file, load).load()


def _read_legacy(path: Path) -> Any:
    with path.open("rb") as file:
        storages: dict[str, tuple[Any, list[Any]]] = {}

        def load(pid: tuple[Any, ...]) -> list[Any]:
            _, dtype, key = pid[:3]
            if len(pid) > 5 and pid[5] is not None:
                raise pickle.UnpicklingError("it holds views of storages, which PyTorch no longer writes")
            return storages.setdefault(key, (dtype, []))[1]

        if _Unpickler(file, load).load() != _MAGIC:
            raise pickle.UnpicklingError("it does not begin as such a file does")
        for _ in ("protocol", "system"):
            _Unpickler(file, load).load()
        result = _Unpickler(file, load).load()
        for key in _Unpickler(file, load).load():
            dtype, storage = storages[key]
            count = int.from_bytes(file.read(8), "little")
            data = file.read(count * dtype.itemsize)
            if len(data) != count * dtype.itemsize:
                raise pickle.UnpicklingError("it ends in the middle of an array")
            storage.append(np.frombuffer(data, dtype))
        return result


def _to_numpy(tree: Any) -> Any:
    if isinstance(tree, _Tensor):
        return tree.numpy()
    if isinstance(tree, dict):
        return {key: _to_numpy(value) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(_to_numpy(value) for value in tree)
    return tree


def read_torch(path: str | os.PathLike[str]) -> Any:
    """What `torch.save` wrote: a state dict as {name: array}, or dicts and lists of them.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is no such file, is damaged, or holds more than arrays, containers and numbers.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: give a weight file that PyTorch saved.")
    try:
        return _to_numpy(_read_zip(path) if zipfile.is_zipfile(path) else _read_legacy(path))
    except (
        pickle.UnpicklingError,
        EOFError,
        KeyError,
        IndexError,
        AttributeError,
        zipfile.BadZipFile,
    ) as error:
        raise ValueError(
            f"{path} is no weight file of PyTorch that can be read here ({error}): save it again with "
            "torch.save(model.state_dict(), FILE)."
        ) from error

"""Weight files as PyTorch writes them, written without PyTorch."""

import io
import pickle
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

_MAGIC = 0x1950A86A20F9469CFC6C
_STORAGES = {"float32": "FloatStorage", "float16": "HalfStorage", "int64": "LongStorage"}


def _rebuild_tensor_v2(*view: Any) -> None: ...


class _Tensor:
    """Pickled as PyTorch's are: a call of `torch._utils._rebuild_tensor_v2`."""

    def __init__(self, array: np.ndarray):
        self.array = np.ascontiguousarray(array)

    def __reduce__(self) -> Any:
        stride = tuple(s // self.array.itemsize for s in self.array.strides)
        return _rebuild_tensor_v2, (_Storage(self.array), 0, self.array.shape, stride, False, {})


class _Storage:
    def __init__(self, array: np.ndarray):
        self.array = array


class _Pickler(pickle.Pickler):
    """Keeps the numbers out of the pickle, in `storages`."""

    def __init__(self, file: Any):
        super().__init__(file, protocol=2)
        self.storages: list[np.ndarray] = []

    def persistent_id(self, thing: Any) -> Any:
        if not isinstance(thing, _Storage):
            return None
        self.storages.append(thing.array)
        kind = getattr(sys.modules["torch"], _STORAGES[str(thing.array.dtype)])
        return "storage", kind, str(len(self.storages) - 1), "cpu", thing.array.size


@contextmanager
def _named_as_torch() -> Iterator[None]:
    """pickle asks whether what it names is there."""
    names = ("torch", "torch._utils")
    before = {name: sys.modules.get(name) for name in names}
    torch, utils = (ModuleType(name) for name in names)
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    torch._utils = utils
    for name in _STORAGES.values():
        setattr(torch, name, type(name, (), {"__module__": "torch"}))
    _rebuild_tensor_v2.__module__ = "torch._utils"
    sys.modules |= {"torch": torch, "torch._utils": utils}
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def _tensors(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _tensors(value) for key, value in tree.items()}
    return _Tensor(tree) if isinstance(tree, np.ndarray) else tree


def _pickled(tree: Any) -> tuple[bytes, list[np.ndarray]]:
    file = io.BytesIO()
    with _named_as_torch():
        pickler = _Pickler(file)
        pickler.dump(_tensors(tree))
    return file.getvalue(), pickler.storages


def save(tree: Any, path: Path) -> Path:
    """`torch.save(tree, path)`, of dicts and arrays."""
    data, storages = _pickled(tree)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/byteorder", "little")
        for i, array in enumerate(storages):
            archive.writestr(f"archive/data/{i}", array.tobytes())
    return path


def save_legacy(tree: Any, path: Path) -> Path:
    """As PyTorch before 1.6 did."""
    data, storages = _pickled(tree)
    parts = [pickle.dumps(_MAGIC, 2), pickle.dumps(1001, 2), pickle.dumps({"little_endian": True}, 2), data]
    parts.append(pickle.dumps([str(i) for i in range(len(storages))], 2))
    parts += [len(array.reshape(-1)).to_bytes(8, "little") + array.tobytes() for array in storages]
    path.write_bytes(b"".join(parts))
    return path


def cyclegan_generator(width: int = 4, blocks: int = 2, dtype: str = "float32") -> dict[str, np.ndarray]:
    """The state dict of pytorch-CycleGAN-and-pix2pix's ResnetGenerator, of small random numbers."""
    rng = np.random.default_rng(0)

    def layer(name: str, *shape: int, out: int) -> dict[str, np.ndarray]:
        kernel = rng.normal(0, 0.1, shape).astype(dtype)
        return {f"model.{name}.weight": kernel, f"model.{name}.bias": np.zeros(out, dtype)}

    deep = 4 * width
    state = layer("1", width, 3, 7, 7, out=width)
    state |= layer("4", 2 * width, width, 3, 3, out=2 * width) | layer("7", deep, 2 * width, 3, 3, out=deep)
    for i in range(10, 10 + blocks):
        state |= layer(f"{i}.conv_block.1", deep, deep, 3, 3, out=deep)
        state |= layer(f"{i}.conv_block.5", deep, deep, 3, 3, out=deep)
    end = 10 + blocks
    state |= layer(f"{end}", deep, 2 * width, 3, 3, out=2 * width)
    state |= layer(f"{end + 3}", 2 * width, width, 3, 3, out=width)
    return state | layer(f"{end + 7}", 3, width, 7, 7, out=3)

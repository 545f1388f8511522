"""TFRecord files read at random and written, and `tf.train.Example`, all without TensorFlow.

A record is: length (uint64), masked CRC32C of the length (uint32), payload, masked CRC32C of the payload;
all little-endian. A file has no index, so one is made on opening by hopping from header to header.
"""

import os
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, SupportsIndex

import google_crc32c
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from jaxtyping import Int64

_HEADER = struct.Struct("<QI")
_CRC = struct.Struct("<I")

Value = bytes | str | int | float | Sequence[bytes | str | int | float]


class CorruptRecordError(ValueError):
    """A record's length or payload does not match its checksum, or the file ends inside a record."""


def masked_crc32c(data: bytes) -> int:
    """The checksum TFRecords store: CRC32C, rotated by 15 bits, plus a constant, modulo 2^32."""
    crc: int = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


class TFRecordWriter:
    """Writes one file, record by record; a context manager.

    with TFRecordWriter("pictures.tfrecord") as writer:
        writer.write(payload)
    """

    def __init__(self, path: str | os.PathLike[str]):
        self._file = Path(path).open("wb")  # noqa: SIM115 (closed by close or __exit__)

    def write(self, payload: bytes) -> None:
        """Appends one record."""
        length = struct.pack("<Q", len(payload))
        self._file.write(length + _CRC.pack(masked_crc32c(length)))
        self._file.write(payload)
        self._file.write(_CRC.pack(masked_crc32c(payload)))

    def close(self) -> None:
        """Flushes to the disk and closes."""
        if not self._file.closed:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()

    def __enter__(self) -> "TFRecordWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def read_index(path: str | os.PathLike[str]) -> Int64[np.ndarray, "n 2"]:
    """Offset and length, in bytes, of every payload in a file; reads the headers only.

    Raises:
      CorruptRecordError: a length does not match its checksum, or the file ends inside a record.
      FileNotFoundError: there is no such file.
    """
    path = Path(path)
    entries: list[tuple[int, int]] = []
    with path.open("rb", buffering=0) as file:
        end = os.fstat(file.fileno()).st_size
        at = 0
        while at < end:
            header = os.pread(file.fileno(), _HEADER.size, at)
            where = f"{path}: record {len(entries)} at byte {at}"
            if len(header) < _HEADER.size:
                raise CorruptRecordError(f"{where}: the file ends inside its header; prepare it again.")
            length, crc = _HEADER.unpack(header)
            if masked_crc32c(header[:8]) != crc:
                raise CorruptRecordError(
                    f"{where}: its length does not match its checksum (not a TFRecord file, or damaged); "
                    "prepare it again."
                )
            start = at + _HEADER.size
            if start + length + _CRC.size > end:
                raise CorruptRecordError(
                    f"{where}: the file ends inside the record ({end - start} of {length + 4} bytes); "
                    "prepare it again."
                )
            entries.append((start, length))
            at = start + length + _CRC.size
    return np.array(entries, np.int64).reshape(-1, 2)


class TFRecordSource:
    """The records of several shard files as one random-access sequence of payloads (bytes).

    A grain `RandomAccessDataSource`: `source[i]` is one positional read, checked against its CRC, safe
    from many threads; it can be pickled (files are opened again).
    """

    def __init__(self, paths: Sequence[str | os.PathLike[str]]):
        """Makes the index.

        Raises:
          ValueError: no paths. CorruptRecordError, FileNotFoundError: as `read_index`.
        """
        if not paths:
            raise ValueError("no TFRecord files were given.")
        self._paths = [os.fspath(path) for path in paths]
        indexes = [read_index(path) for path in self._paths]
        self._first = np.cumsum([0] + [len(index) for index in indexes])
        # Plain lists: a Python int from a list costs a fifth of one from an array.
        self._entries: list[tuple[int, int, int]] = [
            (shard, offset, length)
            for shard, index in enumerate(indexes)
            for offset, length in index.tolist()
        ]
        self._open()

    def _open(self) -> None:
        self._files = [Path(path).open("rb", buffering=0) for path in self._paths]  # noqa: SIM115
        self._descriptors = [file.fileno() for file in self._files]

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        del state["_files"], state["_descriptors"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"TFRecordSource({len(self)} records in {len(self._paths)} files of {self._paths[0]})"

    def __getitem__(self, index: SupportsIndex) -> bytes:
        """The payload of one record.

        Raises:
          IndexError: there is no such record.
          CorruptRecordError: it does not match its checksum, or the file has become shorter.
        """
        i = index.__index__()
        shard, offset, length = self._entries[i]
        data = os.pread(self._descriptors[shard], length + _CRC.size, offset)
        payload = data[:length]
        if len(data) < length + _CRC.size or masked_crc32c(payload) != _CRC.unpack(data[length:])[0]:
            raise CorruptRecordError(
                f"{self._paths[shard]}: record {i % len(self) - int(self._first[shard])} at byte "
                f"{offset - _HEADER.size}: its content does not match its checksum (or the file was "
                "changed while in use); prepare the dataset again."
            )
        return payload


def _example_class() -> Any:
    """The protobuf message `tf.train.Example`, under a package of our own: TensorFlow, imported in the
    same process, registers its own."""
    pool = descriptor_pool.DescriptorPool()
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="xgan", syntax="proto3")

    def message(name: str, *fields: tuple[Any, ...]) -> Any:
        entry = file.message_type.add(name=name)
        for number, (label, kind, title, type_name) in enumerate(fields, 1):
            entry.field.add(name=title, number=number, label=label, type=kind, type_name=type_name)
        return entry

    one, many = field.LABEL_OPTIONAL, field.LABEL_REPEATED
    message("BytesList", (many, field.TYPE_BYTES, "value", None))
    message("FloatList", (many, field.TYPE_FLOAT, "value", None))
    message("Int64List", (many, field.TYPE_INT64, "value", None))
    feature = message(
        "Feature",
        (one, field.TYPE_MESSAGE, "bytes_list", ".xgan.BytesList"),
        (one, field.TYPE_MESSAGE, "float_list", ".xgan.FloatList"),
        (one, field.TYPE_MESSAGE, "int64_list", ".xgan.Int64List"),
    )
    feature.oneof_decl.add(name="kind")
    for entry in feature.field:
        entry.oneof_index = 0
    features = message("Features", (many, field.TYPE_MESSAGE, "feature", ".xgan.Features.FeatureEntry"))
    pair = features.nested_type.add(name="FeatureEntry")
    pair.options.map_entry = True
    pair.field.add(name="key", number=1, label=one, type=field.TYPE_STRING)
    pair.field.add(name="value", number=2, label=one, type=field.TYPE_MESSAGE, type_name=".xgan.Feature")
    message("Example", (one, field.TYPE_MESSAGE, "features", ".xgan.Features"))
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("xgan.Example"))


_Example = _example_class()


def encode_example(features: Mapping[str, Value]) -> bytes:
    """`tf.train.Example` of bytes (text as UTF-8), ints or floats, or sequences of one of them.

    The same features always give the same bytes.

    Raises:
      TypeError: a value of another type, or an empty sequence (which has no type).
    """
    example = _Example()
    for name in sorted(features):
        value = features[name]
        single = isinstance(value, bytes | str | int | float | np.integer | np.floating)
        values: list[Any] = [value] if single else list(value)  # type: ignore[arg-type]
        feature = example.features.feature[name]
        if values and all(isinstance(v, bytes | str) for v in values):
            feature.bytes_list.value.extend(v.encode() if isinstance(v, str) else v for v in values)
        elif values and all(isinstance(v, int | np.integer) for v in values):
            feature.int64_list.value.extend(int(v) for v in values)
        elif values and all(isinstance(v, int | float | np.integer | np.floating) for v in values):
            feature.float_list.value.extend(float(v) for v in values)
        else:
            raise TypeError(f"feature {name!r} is not bytes, text, int, float or a sequence of one of them")
    data: bytes = example.SerializeToString(deterministic=True)
    return data


def decode_example(payload: bytes) -> dict[str, list[Any]]:
    """The features of a serialised `tf.train.Example`: {name: list of bytes, ints or floats}.

    Raises:
      ValueError: `payload` is not a serialised Example.
    """
    try:
        example = _Example.FromString(payload)
    except Exception as error:  # protobuf's DecodeError has no common base across its backends
        raise ValueError("a record is not a tf.train.Example") from error
    result: dict[str, list[Any]] = {}
    for name, feature in example.features.feature.items():
        kind = feature.WhichOneof("kind")
        result[name] = list(getattr(feature, kind).value) if kind else []
    return result

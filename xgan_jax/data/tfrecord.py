"""TFRecord files read at random and written, and `tf.train.Example`, all without TensorFlow.

A record is: length (uint64), masked CRC32C of the length (uint32), payload, masked CRC32C of the payload;
all little-endian. A file has no index, so one is made on opening by hopping from header to header.
"""

import hashlib
import os
import struct
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, SupportsIndex

import google_crc32c
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from jaxtyping import Int64

HEADER = struct.Struct("<QI")
_CRC = struct.Struct("<I")

Value = bytes | str | int | float | Sequence[bytes | str | int | float]


class CorruptRecordError(ValueError):
    """A record's length or payload does not match its checksum, or the file ends inside a record."""


def masked_crc32c(data: bytes) -> int:
    """The checksum TFRecords store: CRC32C, rotated by 15 bits, plus a constant, modulo 2^32."""
    return int(masked(google_crc32c.value(data)))


def masked(crc: Any) -> Any:
    """CRC32C as TFRecords store it; of an int, or of each of an array's uint32."""
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
      CorruptRecordError: the file is empty, a length does not match its checksum, or the file ends
        inside a record.
      FileNotFoundError: there is no such file.
    """
    with Path(path).open("rb", buffering=0) as file:
        return _index(file.fileno(), os.fspath(path))


def _index(descriptor: int, path: str) -> Int64[np.ndarray, "n 2"]:
    entries: list[tuple[int, int]] = []
    end = os.fstat(descriptor).st_size
    at = 0
    # `or`: a file of 0 bytes is no record file but an interrupted copy, and fails on its first header.
    while at < end or not entries:
        where = f"{path}: record {len(entries)} at byte {at}"
        header = os.pread(descriptor, HEADER.size, at)
        if len(header) < HEADER.size:
            raise CorruptRecordError(
                f"{where}: the file ends inside the record's header ({end - at} of {HEADER.size} bytes); "
                "copy or prepare it again."
            )
        length, crc = HEADER.unpack(header)
        if masked_crc32c(header[:8]) != crc:
            raise CorruptRecordError(
                f"{where}: the record's length does not match its checksum (damaged, compressed, or no "
                "TFRecord file); copy or prepare it again."
            )
        start = at + HEADER.size
        # Compared with the file before anything is read or allocated, however long it claims to be.
        if start + length + _CRC.size > end:
            raise CorruptRecordError(
                f"{where}: the file ends inside the record ({end - start} of {length + _CRC.size} bytes); "
                "copy or prepare it again."
            )
        entries.append((start, length))
        at = start + length + _CRC.size
    return np.array(entries, np.int64)


class TFRecordSource:
    """The records of several shard files as one random-access sequence of payloads (bytes).

    A grain `RandomAccessDataSource`: `source[i]` is one positional read, checked against its CRC, safe
    from many threads. It can be pickled: the files are then opened again and must not have changed.
    """

    def __init__(
        self, paths: Sequence[str | os.PathLike[str]], entries: Int64[np.ndarray, "n 3"] | None = None
    ):
        """Makes the index, unless `entries` are given: the number of the file, and offset and length of the
        payload in it, of each record (`salvage.entries`).

        Raises:
          ValueError: no paths. CorruptRecordError, FileNotFoundError: as `read_index`.
        """
        if not paths:
            raise ValueError("no TFRecord files were given.")
        self._paths = [os.fspath(path) for path in paths]
        self._open()
        self._stamps = [self._stamp(shard) for shard in range(len(self._paths))]
        self._entries = self._all_entries() if entries is None else entries

    def _all_entries(self) -> Int64[np.ndarray, "n 3"]:
        indexes = [_index(fd, path) for fd, path in zip(self._descriptors, self._paths, strict=True)]
        shards = np.repeat(np.arange(len(indexes)), [len(index) for index in indexes])
        return np.column_stack([shards, np.concatenate(indexes)])

    @property
    def lengths(self) -> list[int]:
        """Records in each file."""
        counts: list[int] = np.bincount(self._entries[:, 0], minlength=len(self._paths)).tolist()
        return counts

    def _open(self) -> None:
        self._descriptors: list[int] = []
        weakref.finalize(self, _close, self._descriptors)
        for path in self._paths:
            self._descriptors.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))

    def _stamp(self, shard: int) -> tuple[int, int]:
        """Size and time of change of a file, by which a rewritten one is told."""
        status = os.fstat(self._descriptors[shard])
        return status.st_size, status.st_mtime_ns

    def _changed(self, shard: int) -> CorruptRecordError | None:
        was, now = self._stamps[shard], self._stamp(shard)
        if was == now:
            return None
        return CorruptRecordError(
            f"{self._paths[shard]}: the file was changed after its index was made ({was[0]} bytes then, "
            f"{now[0]} now), so its records are not where they were; start again."
        )

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_descriptors"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()
        for shard in range(len(self._paths)):
            if error := self._changed(shard):
                raise error

    def __len__(self) -> int:
        return len(self._entries)

    def digest(self) -> str:
        """Of all records, in order: another where any is another, however they are cut into files.

        Made of their lengths and checksums, so no payload is read.
        """
        digest = hashlib.blake2b(digest_size=16)
        for shard, offset, length in self._entries.tolist():
            digest.update(struct.pack("<Q", length))
            digest.update(os.pread(self._descriptors[shard], _CRC.size, offset + length))
        return digest.hexdigest()

    def __repr__(self) -> str:
        return f"TFRecordSource({len(self)} records in {len(self._paths)} files of {self._paths[0]})"

    def __getitem__(self, index: SupportsIndex) -> bytes:
        """The payload of one record.

        Raises:
          IndexError: there is no such record.
          CorruptRecordError: it does not match its checksum, or the file was changed since it was opened.
        """
        i = index.__index__()
        shard, offset, length = self._entries[i].tolist()
        data = os.pread(self._descriptors[shard], length + _CRC.size, offset)
        payload = data[:length]
        if len(data) < length + _CRC.size or masked_crc32c(payload) != _CRC.unpack(data[length:])[0]:
            in_shard = self._entries[self._entries[:, 0] == shard, 1]
            record = np.unique(in_shard[in_shard < offset]).size
            raise self._changed(shard) or CorruptRecordError(
                f"{self._paths[shard]}: record {record} at byte {offset - HEADER.size}: the content does "
                "not match its checksum, the file is damaged; copy or prepare it again."
            )
        return payload


def _close(descriptors: list[int]) -> None:
    while descriptors:
        os.close(descriptors.pop())


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
            raise TypeError(f"feature {name!r} is not bytes, text, int, float or a sequence of one of them.")
    data: bytes = example.SerializeToString(deterministic=True)
    return data


def decode_example(payload: bytes) -> dict[str, list[Any]]:
    """The features of a serialised `tf.train.Example`: {name: list of bytes, ints or floats}.

    Raises:
      ValueError: `payload` is not a serialised Example.
    """
    result: dict[str, list[Any]] = {}
    for name, feature in _parse(payload).items():
        kind = feature.WhichOneof("kind")
        result[name] = list(getattr(feature, kind).value) if kind else []
    return result


def decode_bytes(payload: bytes, name: str) -> bytes:
    """The single bytes value of feature `name`: ten times faster than `decode_example` where a record
    has CelebA's forty labels.

    Raises:
      ValueError: `payload` is not a serialised Example, or has no such feature.
    """
    features = _parse(payload)
    values: Sequence[bytes] = features[name].bytes_list.value if name in features else ()
    if len(values) != 1:
        raise ValueError(f"a record has no single bytes feature {name!r}.")
    return values[0]


def _parse(payload: bytes) -> Mapping[str, Any]:
    """{name: protobuf message Feature}."""
    try:
        features: Mapping[str, Any] = _Example.FromString(payload).features.feature
    except DecodeError:
        raise ValueError("a record is not a tf.train.Example.") from None
    return features

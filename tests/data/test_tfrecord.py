"""TFRecords and `tf.train.Example`: ours, TensorFlow's, and damaged ones."""

import os
import pickle
import struct
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xgan_jax.data.tfrecord import (
    CorruptRecordError,
    TFRecordSource,
    TFRecordWriter,
    decode_bytes,
    decode_example,
    encode_example,
    masked_crc32c,
    read_index,
)

FIXTURE = Path(__file__).parents[1] / "fixtures" / "tensorflow.tfrecord"
PAYLOADS = [b"first", b"", b"the third record", bytes(range(40))]


def write(path: Path, payloads: list[bytes]) -> Path:
    with TFRecordWriter(path) as writer:
        for payload in payloads:
            writer.write(payload)
    return path


def read_all(path: Path) -> list[bytes]:
    source = TFRecordSource([path])
    return [source[i] for i in range(len(source))]


# Files that TensorFlow wrote.


def tensorflows_example(i: int) -> dict[str, list]:
    """What `fixtures/write_with_tensorflow.py` put into record i."""
    return {
        "image": [(np.arange(48) + i).astype(np.uint8).tobytes()],
        "name": [f"picture {i} é".encode()],
        "numbers": [i, -i, 2**40 + i],
        "weights": [0.5 * i, -1.25],
        "empty": [],
    }


def test_tensorflows_file_is_read() -> None:
    payloads = read_all(FIXTURE)
    assert [decode_example(payload) for payload in payloads] == [tensorflows_example(i) for i in range(5)]
    assert decode_bytes(payloads[3], "name") == "picture 3 é".encode()


def test_our_file_is_tensorflows_byte_for_byte(tmp_path: Path) -> None:
    payloads = read_all(FIXTURE)
    assert write(tmp_path / "a", payloads).read_bytes() == FIXTURE.read_bytes()
    # TensorFlow's records name a feature without any kind of value, which ours leave out: 11 bytes.
    nothing = b"\x0a\x09\x0a\x05empty\x12\x00"
    for i, payload in enumerate(payloads):
        example = tensorflows_example(i)
        del example["empty"]
        features = payload[payload.index(b"\x0a", 1) :]
        assert features.startswith(nothing)
        assert encode_example(example).endswith(features.removeprefix(nothing))


def test_checksum() -> None:
    # CRC32C of "123456789" is 0xE3069283; turned right by 15 bits that is 0x2507C60D.
    assert masked_crc32c(b"123456789") == 0x2507C60D + 0xA282EAD8


def test_the_digest_is_of_the_records_and_not_of_their_files(tmp_path: Path) -> None:
    one = TFRecordSource([write(tmp_path / "one", PAYLOADS)]).digest()
    parts = [write(tmp_path / "a", PAYLOADS[:3]), write(tmp_path / "b", PAYLOADS[3:])]
    assert TFRecordSource(parts).digest() == one
    others = [PAYLOADS[::-1], PAYLOADS[:-1], [b"fjrst", *PAYLOADS[1:]]]
    digests = {TFRecordSource([write(tmp_path / str(i), other)]).digest() for i, other in enumerate(others)}
    assert len(digests | {one}) == 4


# Examples.

VALUES = st.one_of(
    st.lists(st.binary(max_size=40), min_size=1, max_size=5),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=5),
    st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=5),
)


@given(st.dictionaries(st.text(max_size=8), VALUES, max_size=6))
def test_examples_round_trip(features: dict[str, list]) -> None:
    payload = encode_example(features)
    assert decode_example(payload) == features
    assert encode_example(dict(reversed(features.items()))) == payload
    for name, values in features.items():
        if len(values) == 1 and isinstance(values[0], bytes):
            assert decode_bytes(payload, name) == values[0]
        else:
            with pytest.raises(ValueError, match="no single bytes feature"):
                decode_bytes(payload, name)


def test_single_values_text_and_numpy() -> None:
    payload = encode_example({"a": "größe", "b": b"\xff", "c": 7, "d": 0.5, "e": np.int32(-3), "f": [1, 0.5]})
    assert decode_example(payload) == {
        "a": ["größe".encode()],
        "b": [b"\xff"],
        "c": [7],
        "d": [0.5],
        "e": [-3],
        "f": [1.0, 0.5],
    }


@pytest.mark.parametrize("value", [[], [b"a", 1], [None], [[1]], {"a": 1}])
def test_what_no_feature_can_hold(value: object) -> None:
    with pytest.raises(TypeError, match="'x'"):
        encode_example({"x": value})  # type: ignore[dict-item]


def test_bytes_that_are_no_example() -> None:
    for payload in (b"\xff" * 9, b"\x0a\x7fshort"):
        with pytest.raises(ValueError, match=r"not a tf\.train\.Example"):
            decode_example(payload)
    with pytest.raises(ValueError, match="no single bytes feature 'image'"):
        decode_bytes(encode_example({"other": b"x"}), "image")


# Files.


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=12))
def test_records_round_trip(tmp_path_factory: pytest.TempPathFactory, payloads: list[bytes]) -> None:
    path = write(tmp_path_factory.mktemp("records") / "a.tfrecord", payloads)
    assert read_all(path) == payloads
    offset = 0
    for (start, length), payload in zip(read_index(path).tolist(), payloads, strict=True):
        assert (start, length) == (offset + 12, len(payload))
        offset = start + length + 4
    assert offset == path.stat().st_size


def test_several_files_are_one_sequence(tmp_path: Path) -> None:
    paths = [write(tmp_path / str(n), [f"{n}:{i}".encode() for i in range(n)]) for n in (3, 1, 4)]
    source = TFRecordSource(paths)
    expected = [f"{n}:{i}".encode() for n in (3, 1, 4) for i in range(n)]
    assert len(source) == 8 and source.lengths == [3, 1, 4]
    assert [source[i] for i in range(8)] == expected
    assert source[np.int64(5)] == expected[5] and source[-1] == expected[-1]
    for i in (8, -9):
        with pytest.raises(IndexError):
            source[i]
    copy = pickle.loads(pickle.dumps(source))
    assert [copy[i] for i in range(8)] == expected
    with pytest.raises(ValueError, match="no TFRecord files"):
        TFRecordSource([])
    with pytest.raises(FileNotFoundError):
        TFRecordSource([*paths, tmp_path / "none"])


def test_many_threads_read_at_once(tmp_path: Path) -> None:
    payloads = [os.urandom(50 + i) for i in range(300)]
    source = TFRecordSource([write(tmp_path / "a", payloads)])
    order = np.random.default_rng(0).integers(0, 300, 3000).tolist()
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(source.__getitem__, order)) == [payloads[i] for i in order]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the open files are counted in Linux's /proc")
def test_files_are_closed(tmp_path: Path) -> None:
    path = write(tmp_path / "a", PAYLOADS)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        TFRecordSource([path, path])
    with pytest.raises(FileNotFoundError):
        TFRecordSource([path, tmp_path / "none"])
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_index_reads_no_payload(tmp_path: Path) -> None:
    length = struct.pack("<Q", 2**30)
    with (tmp_path / "sparse").open("wb") as file:
        for _ in range(3):
            file.write(length + struct.pack("<I", masked_crc32c(length)))
            file.seek(2**30 + 4, os.SEEK_CUR)
        file.truncate(file.tell())
    tracemalloc.start()
    index = read_index(tmp_path / "sparse")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert index[:, 1].tolist() == [2**30] * 3
    assert peak < 2**20


# Damage.


def header(length: int) -> bytes:
    data = struct.pack("<Q", length)
    return data + struct.pack("<I", masked_crc32c(data))


# The third record begins at byte 37: 12 of header, 16 of payload, 4 of checksum.
DAMAGE = {
    "empty file": (lambda b: b"", 0, 0, "0 of 12 bytes"),
    "length": (lambda b: flip(b, 37), 2, 37, "length does not match its checksum"),
    "length's checksum": (lambda b: flip(b, 37 + 8), 2, 37, "length does not match its checksum"),
    "payload": (lambda b: flip(b, 37 + 12), 2, 37, "content does not match its checksum"),
    "payload's checksum": (lambda b: flip(b, 37 + 28), 2, 37, "content does not match its checksum"),
    "cut in a header": (lambda b: b[: 37 + 7], 2, 37, "ends inside the record's header (7 of 12 bytes)"),
    "cut after a header": (lambda b: b[: 37 + 12], 2, 37, "ends inside the record (0 of 20 bytes)"),
    "cut in a payload": (lambda b: b[: 37 + 20], 2, 37, "ends inside the record (8 of 20 bytes)"),
    "cut in a checksum": (lambda b: b[: 37 + 31], 2, 37, "ends inside the record (19 of 20 bytes)"),
    "giant length": (lambda b: b[:37] + header(2**63) + b[49:], 2, 37, "ends inside the record"),
    "giant length, no checksum": (lambda b: b[:37] + b"\xff" * 12 + b[49:], 2, 37, "length does not match"),
    "bytes after the end": (lambda b: b + b"\0" * 5, 4, 125, "ends inside the record's header"),
    "zeros after the end": (lambda b: b + b"\0" * 50, 4, 125, "length does not match its checksum"),
    "no TFRecord file": (lambda b: b"PK\x03\x04" * 9, 0, 0, "no TFRecord file"),
}


def flip(data: bytes, at: int, bit: int = 3) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_reported_with_file_record_and_byte(tmp_path: Path, kind: str) -> None:
    damage, record, byte, reason = DAMAGE[kind]
    path = write(tmp_path / "face-train.tfrecord-00000-of-00001", PAYLOADS)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CorruptRecordError) as error:
        read_all(path)
    message = str(error.value)
    assert message.startswith(f"{path}: record {record} at byte {byte}: ")
    assert reason in message and "copy or prepare it again" in message


def test_damage_in_a_later_file_is_reported_where_it_is(tmp_path: Path) -> None:
    paths = [write(tmp_path / name, PAYLOADS) for name in ("a", "b")]
    paths[1].write_bytes(flip(paths[1].read_bytes(), 37 + 12))
    source = TFRecordSource(paths)
    for i in (6, -2):
        with pytest.raises(CorruptRecordError, match=rf"{paths[1]}: record 2 at byte 37: "):
            source[i]
    assert [source[i] for i in (0, 1, 2, 3, 4, 5, 7)] == [*PAYLOADS, *PAYLOADS[:2], PAYLOADS[3]]


def test_every_flipped_bit_and_every_cut_is_found(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole", PAYLOADS).read_bytes()
    path = tmp_path / "damaged"
    for at in range(len(whole)):
        for bit in range(8):
            path.write_bytes(flip(whole, at, bit))
            with pytest.raises(CorruptRecordError):
                read_all(path)
    ends = [sum(16 + len(payload) for payload in PAYLOADS[:n]) for n in range(1, len(PAYLOADS) + 1)]
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        if end in ends:  # a whole file with fewer records: the metadata's count tells
            assert read_all(path) == PAYLOADS[: ends.index(end) + 1]
        else:
            with pytest.raises(CorruptRecordError):
                read_all(path)


@pytest.mark.parametrize("records", [1, 9])
def test_a_file_rewritten_in_place(tmp_path: Path, records: int) -> None:
    path = write(tmp_path / "a", PAYLOADS)
    source = TFRecordSource([path])
    write(path, [b"other"] * records)
    with pytest.raises(CorruptRecordError, match=rf"{path}: the file was changed .*\(125 bytes then, "):
        source[2]


def test_a_file_replaced_is_read_as_it_was_opened_and_not_unpickled(tmp_path: Path) -> None:
    path = write(tmp_path / "a", PAYLOADS)
    source = TFRecordSource([path])
    pickled = pickle.dumps(source)
    os.replace(write(tmp_path / "b", [b"other"]), path)
    assert [source[i] for i in range(4)] == PAYLOADS
    with pytest.raises(CorruptRecordError, match=f"{path}: the file was changed after its index was made"):
        pickle.loads(pickled)

"""`data.skip_corrupt`: damaged records are counted exactly, and replaced so that others keep their number."""

import logging
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from xgan_jax.config import DataConfig
from xgan_jax.data import pipeline, salvage
from xgan_jax.data.tfrecord import CorruptRecordError, TFRecordSource, TFRecordWriter, masked_crc32c

COUNT = 20
PAYLOADS = [bytes([i]) * (90 + i % 3) for i in range(COUNT)]
STARTS = np.cumsum([0, *(16 + len(payload) for payload in PAYLOADS)]).tolist()


def write(path: Path, payloads: list[bytes] = PAYLOADS) -> Path:
    with TFRecordWriter(path) as writer:
        for payload in payloads:
            writer.write(payload)
    return path


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 8]) + data[at + 1 :]


def giant(data: bytes, record: int) -> bytes:
    """A length of 2^62 bytes, with the right checksum."""
    length = struct.pack("<Q", 2**62)
    header = length + struct.pack("<I", masked_crc32c(length))
    return data[: STARTS[record]] + header + data[STARTS[record] + 12 :]


# What is done to the file, and the records that it costs.
DAMAGE = {
    "payload": (lambda b: flipped(b, STARTS[3] + 40), {3}),
    "payload checksum": (lambda b: flipped(b, STARTS[4] - 1), {3}),
    "length": (lambda b: flipped(b, STARTS[3]), {3}),
    "length checksum": (lambda b: flipped(b, STARTS[3] + 9), {3}),
    "giant length": (lambda b: giant(b, 3), {3}),
    "first header": (lambda b: flipped(b, 1), {0}),
    "last header": (lambda b: flipped(b, STARTS[COUNT - 1] + 2), {COUNT - 1}),
    "two": (lambda b: flipped(flipped(b, STARTS[3]), STARTS[9] + 50), {3, 9}),
    "neighbours": (lambda b: flipped(flipped(b, STARTS[3]), STARTS[4]), {3, 4}),
    "a hole": (lambda b: b[: STARTS[5] + 30] + bytes(250) + b[STARTS[5] + 280 :], {5, 6, 7}),
    "cut in a record": (lambda b: b[: STARTS[15] + 50], set(range(15, COUNT))),
    "cut in a header": (lambda b: b[: STARTS[15] + 5], set(range(15, COUNT))),
    "cut between records": (lambda b: b[: STARTS[15]], set(range(15, COUNT))),
    "more behind": (lambda b: b + b"\0" * 1000, set()),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_what_damage_costs(tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    damage, lost = DAMAGE[kind]
    path = write(tmp_path / "face-train.tfrecord-00000-of-00001")
    path.write_bytes(damage(path.read_bytes()))
    source = TFRecordSource([path], salvage.entries({path: COUNT}))
    good = [i for i in range(COUNT) if i not in lost]
    following = [next((j for j in good if j >= i), good[0]) for i in range(COUNT)]
    assert [source[i] for i in range(COUNT)] == [PAYLOADS[i] for i in following]
    said = f"{path}: {len(lost)} of {COUNT} records are damaged and skipped"
    assert (said in caplog.text) == bool(lost)
    caplog.clear()
    salvage.entries({path: COUNT})
    assert not caplog.text, "it is said once"


def test_every_flipped_bit_costs_one_record(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole").read_bytes()
    path = tmp_path / "damaged"
    logging.disable()
    for at in range(0, len(whole), 7):
        path.write_bytes(flipped(whole, at))
        record = int(np.searchsorted(STARTS, at, side="right")) - 1
        index = salvage.whole_records.__wrapped__(str(path), COUNT, len(whole), 0)
        assert np.flatnonzero(index[:, 1] < 0).tolist() == [record], at
    logging.disable(logging.NOTSET)


def test_a_file_of_nothing_is_replaced_by_the_next(tmp_path: Path) -> None:
    paths = [write(tmp_path / name) for name in ("a", "b")]
    paths[0].write_bytes(b"")
    source = TFRecordSource(paths, salvage.entries(dict.fromkeys(paths, COUNT)))
    assert [source[i] for i in range(2 * COUNT)] == [PAYLOADS[0]] * COUNT + PAYLOADS
    paths[1].write_bytes(b"\0" * 100)
    with pytest.raises(CorruptRecordError, match=r"a: no record of the 2 files of this split is whole"):
        salvage.entries(dict.fromkeys(paths, COUNT))


def data(records: Path, **changes) -> DataConfig:
    return DataConfig(**({"path": str(records), "size": 32} | changes))


@pytest.fixture
def copy(records: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(records, tmp_path / "copy"))


def shard_of(copy: Path) -> Path:
    return next((copy / "anime").glob("*train*"))


def test_batches_keep_their_order_and_go_on_exactly(records: Path, copy: Path) -> None:
    """All pictures but the damaged are where they were; a state continues as without damage."""
    shard = shard_of(copy)
    index = salvage.whole_records(str(shard), 44, shard.stat().st_size, shard.stat().st_mtime_ns)
    shard.write_bytes(flipped(shard.read_bytes(), int(index[5, 0]) - 12))
    source = pipeline.open_pictures(data(records), "anime", "train").read(range(44))
    bad = {source[5].tobytes()}
    whole = pipeline.train_batches(data(records), batch_size=8, seed=0)
    skipping = pipeline.train_batches(data(copy, skip_corrupt=True), batch_size=8, seed=0)
    differ = 0
    for _ in range(11):
        a, b = next(whole), next(skipping)
        np.testing.assert_array_equal(a["face"], b["face"])
        for x, y in zip(a["anime"], b["anime"], strict=True):
            if x.tobytes() in bad:
                np.testing.assert_array_equal(y, source[6])
                differ += 1
            else:
                np.testing.assert_array_equal(x, y)
    assert differ == 2, "once an epoch"
    again = pipeline.train_batches(data(copy, skip_corrupt=True), batch_size=8, seed=0)
    again.set_state(skipping.get_state())
    np.testing.assert_array_equal(next(again)["anime"], next(skipping)["anime"])


def test_files_that_vanish_change_or_shrink_while_they_are_read(copy: Path) -> None:
    """What was opened is read on, or stops with one sentence: never with pictures of another place."""
    iterator = pipeline.train_batches(data(copy), batch_size=8, seed=0)
    before = next(iterator)
    shard = shard_of(copy)
    content = shard.read_bytes()
    shard.unlink()
    assert next(iterator).keys() == before.keys()
    shard.write_bytes(content)
    iterator = pipeline.train_batches(data(copy), batch_size=8, seed=0)
    next(iterator)
    os.truncate(shard, 2000)
    with pytest.raises(CorruptRecordError, match=r"the file was changed after its index was made .*2000 now"):
        for _ in range(20):
            next(iterator)


def test_memory_is_bounded_by_what_is_looked_at(tmp_path: Path) -> None:
    """A file of 40 MB, half of it one record by its length and the rest none, in under 30 MB."""
    path = tmp_path / "large"
    with path.open("wb") as file:
        length = struct.pack("<Q", 20_000_000)
        file.write(length + struct.pack("<I", masked_crc32c(length)))
        file.truncate(40_000_000)
    program = f"""if True:
        import resource
        from pathlib import Path
        from xgan_jax.data import salvage
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            salvage.entries({{Path({str(path)!r}): 3}})
        except ValueError as error:
            print(error)
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
    """
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    sentence, mb = ended.stdout.splitlines()
    assert "no record of the 1 files" in sentence and int(mb) < 30

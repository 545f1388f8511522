"""What is whole in a TFRecord file that is not: a flipped bit, a cut or a hole costs the records it hits."""

import functools
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import google_crc32c
import numpy as np
from jaxtyping import Int64, UInt8, UInt32

from xgan_jax.data.tfrecord import HEADER, CorruptRecordError, masked, masked_crc32c

LOST = (-1, -1)
_BLOCK = 1 << 20  # bytes that are looked at together


def entries(files: Mapping[Path, int]) -> Int64[np.ndarray, "n 3"]:
    """The records of {file: how many it had when it was written}: the number of the file, and offset and
    length of the payload in it. Instead of each that is damaged the next good one stands there (after the
    last, the first), so that the others keep their numbers.

    Raises:
      CorruptRecordError: all are damaged.
    """
    found = []
    for number, (path, count) in enumerate(files.items()):
        status = path.stat()
        index = whole_records(str(path), count, status.st_size, status.st_mtime_ns)
        found.append(np.column_stack([np.full(count, number), index]))
    every = np.concatenate(found)
    good = np.flatnonzero(every[:, 2] >= 0)
    if not good.size:
        raise CorruptRecordError(
            f"{next(iter(files))}: no record of the {len(files)} files of this split is whole; copy or "
            "prepare them again."
        )
    following = np.searchsorted(good, np.arange(len(every)))
    return every[good[following % good.size]]


@functools.cache
def whole_records(path: str, count: int, size: int, changed: int) -> Int64[np.ndarray, "{count} 2"]:
    """Offset and length of every payload of a file that had `count` records; `LOST` where one is damaged.

    All of the file is read. Where a length is damaged, the next header is looked for byte by byte, and what
    lies between counts for as many records as would fit, at the median length of the others. How many are
    lost is said, once. `size` (bytes) and `changed` (time, ns) tell a file from an older one at its path.
    """
    with open(path, "rb", buffering=0) as file:
        pieces = list(_pieces(file.fileno(), size))
    usual = float(np.median([length for _, length, whole in pieces if whole] or [size])) + HEADER.size + 4
    entries: list[tuple[int, int]] = []
    for offset, length, whole in pieces:
        lost = 1 if whole is False else max(1, round(length / usual))
        entries += [(offset, length)] if whole else [LOST] * lost
    entries = (entries + [LOST] * count)[:count]
    damaged = entries.count(LOST)
    if damaged:
        logging.getLogger(__name__).warning(
            "%s: %d of %d records are damaged and skipped; each is replaced by the next good one",
            path,
            damaged,
            count,
        )
    return np.array(entries, np.int64).reshape(count, 2)


def _pieces(descriptor: int, end: int) -> Iterator[tuple[int, int, bool | None]]:
    """The file from begin to end: (offset, length, True) for each payload that is whole, (..., False) for
    each that is not, (..., None) for what lies between a damaged header and the next that is none."""
    at = 0
    while at < end:
        length = _length_at(descriptor, at, end)
        if length is None:
            after = _next_header(descriptor, at + 1, end)
            yield at, after - at, None
            at = after
        else:
            start = at + HEADER.size
            yield start, length, _is_whole(descriptor, start, length)
            at = start + length + 4


def _length_at(descriptor: int, at: int, end: int) -> int | None:
    """The length that the header at `at` says, if its checksum is right and the file is as long."""
    header = os.pread(descriptor, HEADER.size, at)
    if len(header) < HEADER.size:
        return None
    length, crc = HEADER.unpack(header)
    fits = at + HEADER.size + length + 4 <= end
    return int(length) if fits and masked_crc32c(header[:8]) == crc else None


def _is_whole(descriptor: int, start: int, length: int) -> bool:
    """Whether a payload matches its checksum; a block at a time, for a length is but what a file says."""
    checksum = google_crc32c.Checksum()
    for at in range(start, start + length, _BLOCK):
        checksum.update(os.pread(descriptor, min(_BLOCK, start + length - at), at))
    found = masked(int.from_bytes(checksum.digest(), "big"))
    return bool(found == int.from_bytes(os.pread(descriptor, 4, start + length), "little"))


def _next_header(descriptor: int, at: int, end: int) -> int:
    """Where the first header at or after `at` begins; `end` where there is none."""
    while at < end:
        block = np.frombuffer(os.pread(descriptor, _BLOCK + HEADER.size - 1, at), np.uint8)
        for place in _headers(block):
            if _length_at(descriptor, at + place, end) is not None:
                return at + place
        at += _BLOCK
    return end


def _headers(block: UInt8[np.ndarray, "n"]) -> list[int]:
    """Where in a block twelve bytes are a length and its checksum."""
    n = max(0, len(block) - HEADER.size + 1)
    crc = np.full(n, 0xFFFFFFFF, np.uint32)
    for k in range(8):
        crc = _TABLE[(crc ^ block[k : k + n]) & 0xFF] ^ (crc >> 8)
    stored = sum((block[8 + k : 8 + k + n].astype(np.uint32) << (8 * k) for k in range(4)), np.uint32(0))
    places: list[int] = np.flatnonzero(masked(~crc) == stored).tolist()
    return places


def _table() -> UInt32[np.ndarray, "256"]:
    """CRC32C of each byte (Castagnoli's polynomial, reflected)."""
    crc = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        crc = np.where(crc & 1, (crc >> 1) ^ np.uint32(0x82F63B78), crc >> 1)
    return crc


_TABLE = _table()

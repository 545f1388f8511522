"""A domain's record files and what TFDS has to know of them, as TFDS 4.9 writes both."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from xgan_jax import __version__
from xgan_jax.data.tfrecord import TFRecordWriter, read_index

SHARD_BYTES = 64 * 2**20


class Shards:
    """One split's files of about `SHARD_BYTES`, named when their number is known; a context manager."""

    def __init__(self, folder: Path, domain: str, split: str) -> None:
        self._folder, self._stem = folder, f"{domain}-{split}.tfrecord"
        self._writer: TFRecordWriter | None = None
        self._room = 0
        self.lengths: list[int] = []  # records in each shard
        self.bytes = 0

    def __enter__(self) -> "Shards":
        return self

    def write(self, record: bytes) -> None:
        """Appends one record."""
        if self._writer is None or self._room < len(record):
            self._close()
            self._writer = TFRecordWriter(self._path(len(self.lengths)))
            self._room = SHARD_BYTES
            self.lengths.append(0)
        self._writer.write(record)
        self._room -= len(record)
        self.lengths[-1] += 1
        self.bytes += len(record)

    def __exit__(self, kind: Any, *_: object) -> None:
        self._close()
        if kind is None:
            for i, length in enumerate(self.lengths):
                if len(read_index(self._path(i))) != length:
                    raise OSError(
                        f"{self._path(i)} does not hold the {length} records written: check the disk."
                    )
                os.rename(self._path(i), self._path(i, len(self.lengths)))

    def _path(self, index: int, total: int = 0) -> Path:
        return self._folder / f"{self._stem}-{index:05d}-of-{total:05d}"

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def write_metadata(
    folder: Path,
    domain: str,
    splits: Mapping[str, Shards],
    columns: Mapping[str, str],
    size: int,
    encoding: str,
) -> None:
    """Writes dataset_info.json and features.json; `columns` is {label: "int64", "float32" or "text"}."""
    import tensorflow_datasets as tfds

    kinds = {"int64": np.int64, "float32": np.float32, "text": tfds.features.Text()}
    shape = (size, size, 3)
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Tensor(shape=shape, dtype=np.uint8, encoding="bytes")
            if encoding == "uint8"
            else tfds.features.Image(shape=shape, encoding_format=encoding),
            "file_name": tfds.features.Text(),
            **{name: kinds[kind] for name, kind in columns.items()},
        }
    )
    features.save_config(folder)
    info = {
        "name": domain,
        "version": "1.0.0",
        "description": f"Written by xgan prepare {__version__}.",
        "releaseNotes": {"1.0.0": "Initial release."},
        "fileFormat": "tfrecord",
        "splits": [
            {
                "name": split,
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
                "numBytes": str(shards.bytes),
                "shardLengths": [str(length) for length in shards.lengths],
            }
            for split, shards in splits.items()
        ],
    }
    (folder / "dataset_info.json").write_text(json.dumps(info, indent=2) + "\n")

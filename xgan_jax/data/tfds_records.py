"""A TFDS dataset that is already prepared on this machine, as a `sources.Source`; nothing is downloaded."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xgan_jax.data.columns import Value
from xgan_jax.data.contents import digest_of_all
from xgan_jax.data.labels import RESERVED
from xgan_jax.data.layout import SPLITS
from xgan_jax.data.matching import Matched
from xgan_jax.data.pictures import PictureError
from xgan_jax.data.tfrecord import TFRecordSource, decode_example


class TfdsRecords:
    """The pictures of the dataset `name`, or in the folder `name` of one; a picture is called "SPLIT/NUMBER".

    Raises:
      FileNotFoundError: it is not prepared.
      ValueError: TFDS does not know it, or it cannot be a domain: not one picture feature, or files of a
        format that is not read.
    """

    def __init__(self, name: str) -> None:
        import tensorflow_datasets as tfds

        data_dir = os.environ.get("TFDS_DATA_DIR") or os.path.expanduser("~/tensorflow_datasets")
        try:
            if os.path.isfile(os.path.join(name, "dataset_info.json")):
                builder = tfds.builder_from_directory(name)
            else:
                builder = tfds.builder(name, data_dir=data_dir)
        except tfds.core.DatasetNotFoundError:
            raise ValueError(f"TFDS knows no dataset {name!r}, and {data_dir} holds none.") from None
        splits = builder.info.splits
        if not splits:
            raise FileNotFoundError(
                f"tfds:{name} is not prepared in {data_dir}: prepare it once with `tfds build`, or set "
                "TFDS_DATA_DIR to where it is; nothing is downloaded here."
            )
        self.kind = f"TFDS {builder.info.full_name}"
        self.refused: list[tuple[str, str]] = []
        self.ignored: list[str] = []
        self.notes: list[str] = []
        self.split_notes = ["splits are the dataset's own"]
        self.tables: list[Matched] = []
        paths = {split: [os.fspath(path) for path in splits[split].filepaths] for split in splits}
        self._files = [path for split in sorted(paths) for path in paths[split]]
        self._records = {s: _records(builder.info.file_format.value, paths[s]) for s in splits}
        ours = {split: SPLITS.get(split, split) for split in splits}
        self.splits = {
            f"{split}/{i:08d}": ours[split] for split in splits for i in range(len(self._records[split]))
        }
        self.names = list(self.splits)
        if "test" not in ours.values():
            self.splits = {}
            self.split_notes = ["the dataset has no test split"]
        self._find_features(builder.info.features, tfds.features)
        self._info = Path(builder.data_dir, "dataset_info.json").read_bytes()

    def _find_features(self, features: Any, kinds: Any) -> None:
        self.columns: dict[str, str] = {}
        self._keys: dict[str, str] = {}
        images, dropped = [], []
        leaves = list(_leaves(features))
        last = Counter(key.rpartition("/")[2] for key, _ in leaves)
        for key, feature in leaves:
            label = key.rpartition("/")[2]
            label = label if last[label] == 1 else key.replace("/", "_")
            if isinstance(feature, kinds.Image) or (len(feature.shape) == 3 and feature.np_dtype == np.uint8):
                images.append((key, feature))
            elif isinstance(feature, kinds.Text):
                self.columns[label], self._keys[label] = "text", key
            elif feature.shape == () and np.issubdtype(feature.np_dtype, np.floating):
                self.columns[label], self._keys[label] = "float32", key
            elif feature.shape == () and np.dtype(feature.np_dtype).kind in "iub":
                self.columns[label], self._keys[label] = "int64", key
            else:
                dropped.append(key)
        if len(images) != 1:
            raise ValueError(
                f"{self.kind} has {len(images)} picture features, not one: it cannot be a domain."
            )
        self._image, feature = images[0]
        self._raw = None if isinstance(feature, kinds.Image) else tuple(feature.shape)
        for taken in RESERVED & set(self.columns):
            self._keys[f"source_{taken}"] = self._keys.pop(taken)
            self.columns[f"source_{taken}"] = self.columns.pop(taken)
        if dropped:
            self.notes.append(f"not kept: {', '.join(dropped)}")

    def load(self, name: str) -> tuple[bytes | np.ndarray, dict[str, Value]]:
        """As `Source.load`."""
        split, _, index = name.rpartition("/")
        try:
            example = decode_example(self._records[split][int(index)])
        except (ValueError, OSError) as error:
            raise PictureError(f"the record cannot be read: {error}") from None
        for key in (self._image, *self._keys.values()):
            if len(example.get(key, [])) != 1:
                raise PictureError(f"the record lacks the feature {key!r}")
        labels: dict[str, Value] = {}
        for label, key in self._keys.items():
            value = example[key][0]
            labels[label] = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        image = example[self._image][0]
        if not isinstance(image, bytes):
            raise PictureError("the record's picture is not stored as bytes")
        if self._raw is None:
            return image, labels
        if len(image) != int(np.prod(self._raw)) or self._raw[2] != 3:
            raise PictureError(f"the record holds {len(image)} bytes, not pixels of shape {self._raw}")
        return np.frombuffer(image, np.uint8).reshape(self._raw), labels

    def fingerprint(self) -> str:
        """As `Source.fingerprint`."""
        return hashlib.blake2b(self._info, digest_size=16).hexdigest()

    def contents(self) -> str:
        """As `Source.contents`."""
        return digest_of_all(self._files, _digest, self.kind)

    def values(self, label: str) -> None:
        """As `Source.values`."""


def _digest(path: str) -> bytes:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "blake2b").digest()


def _records(file_format: str, files: Sequence[str]) -> Any:
    """Random access to the serialized examples of one split."""
    if file_format == "tfrecord":
        return TFRecordSource(files)
    if file_format == "array_record":
        from array_record.python.array_record_data_source import ArrayRecordDataSource

        return ArrayRecordDataSource(files)
    raise ValueError(
        f"the dataset's files are of format {file_format}: only tfrecord and array_record are read."
    )


def _leaves(features: Any, prefix: str = "") -> Iterable[tuple[str, Any]]:
    """(key in the example, feature) of a nested FeaturesDict; TFDS joins the keys with a slash."""
    for key, feature in sorted(features.items()):
        if hasattr(feature, "items"):
            yield from _leaves(feature, f"{prefix}{key}/")
        else:
            yield prefix + key, feature

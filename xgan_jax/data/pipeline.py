"""Batches of unpaired pictures: indexes are shuffled, threads read whole batches at random.

    batch numbers -> this process's -> indexes, shuffled anew each epoch -> records -> pictures

Every domain is shuffled by itself, so pictures are paired by chance only. A batch is a function of its
number, so grain can prefetch out of order and resume anywhere, and there is one Python call a batch
instead of several a picture.
"""

import functools
import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grain
import numpy as np
import simplejpeg
from jaxtyping import Int32, Int64, Integer, UInt8

from xgan_jax.config import DataConfig
from xgan_jax.data import salvage
from xgan_jax.data.pictures import crop_resize, decode
from xgan_jax.data.tfrecord import TFRecordSource, decode_bytes, decode_example

Pictures = UInt8[np.ndarray, "n s s 3"]


def _domain_folder(data: DataConfig, domain: str) -> Path:
    """The folder with `domain`'s records: ours, or the newest version of a TFDS dataset.

    Raises:
      FileNotFoundError: there is none; the sentence says what there is.
      ValueError: a TFDS dataset of several configurations.
    """
    root = Path(data.path)
    if not root.is_dir():
        raise FileNotFoundError(
            f"config.data.path is {data.path}, which is not a folder: make it with `xgan prepare`."
        )
    folder = root / domain
    if (folder / "features.json").is_file():
        return folder
    # TFDS writes NAME/VERSION or NAME/CONFIG/VERSION; an unfinished version is called otherwise.
    found = [path.parent for depth in ("*", "*/*") for path in folder.glob(f"{depth}/features.json")]
    versions = [path for path in found if re.fullmatch(r"\d+\.\d+\.\d+", path.name)]
    if not versions:
        there = sorted(path.name for path in root.iterdir() if path.is_dir())
        raise FileNotFoundError(
            f"{root} has no domain {domain!r} (there is {', '.join(there) or 'nothing'}): prepare it, or "
            "name the domains that are there with --config.data.domains."
        )
    parents = sorted({str(path.parent) for path in versions})
    if len(parents) > 1:
        raise ValueError(f"{folder} holds several configurations ({', '.join(parents)}): leave one there.")
    return max(versions, key=lambda path: [int(part) for part in path.name.split(".")])


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing: copy or prepare the dataset again.") from None
    except ValueError:  # neither JSON nor, perhaps, text
        raise ValueError(f"{path} is damaged: copy or prepare the dataset again.") from None


def _shards(folder: Path) -> dict[str, dict[Path, int]]:
    """{split: {file: records}} as `dataset_info.json` says."""
    path = folder / "dataset_info.json"
    info = _read_json(path)
    try:
        return _shards_in(info, folder)
    except (KeyError, TypeError, AttributeError, IndexError):
        raise ValueError(f"{path} is damaged: copy or prepare the dataset again.") from None


def _shards_in(info: Any, folder: Path) -> dict[str, dict[Path, int]]:
    kind = info.get("fileFormat", "tfrecord")
    if kind != "tfrecord":
        raise ValueError(
            f"{folder} holds files of the format {kind}, but only tfrecord is read here: "
            f"convert it with `xgan prepare --domain NAME=tfds:{folder}`."
        )
    splits: dict[str, dict[Path, int]] = {}
    for split in info["splits"]:
        lengths = [int(length) for length in split.get("shardLengths", [])]
        template = split.get("filepathTemplate") or "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
        splits[split["name"]] = {
            folder
            / template.format(
                DATASET=info["name"],
                SPLIT=split["name"],
                FILEFORMAT=kind,
                SHARD_INDEX=f"{i:05d}",
                NUM_SHARDS=f"{len(lengths):05d}",
                SHARD_X_OF_Y=f"{i:05d}-of-{len(lengths):05d}",
            ): length
            for i, length in enumerate(lengths)
        }
    return splits


def picture_counts(data: DataConfig) -> dict[str, dict[str, int]]:
    """{domain: {split: pictures}} of the prepared dataset.

    Raises:
      FileNotFoundError: the path, or a domain's folder in it, does not exist.
      ValueError: a domain lacks the train or test split, or has no picture in it.
    """
    counts = {}
    for domain in data.domains:
        folder = _domain_folder(data, domain)
        counts[domain] = {split: sum(files.values()) for split, files in _shards(folder).items()}
        for split in (data.train_split, data.test_split):
            if not counts[domain].get(split):
                raise ValueError(
                    f"{folder} has no pictures in its split {split!r} (there is {counts[domain]}): "
                    "prepare it with more pictures, or name other splits with "
                    "--config.data.train_split and --config.data.test_split."
                )
    return counts


def _reports(data: DataConfig) -> dict[str, Any]:
    """{domain: what `prepare` says of it}; without domains that it did not write."""
    path = Path(data.path) / "report.json"
    report = _read_json(path) if path.is_file() else {"domains": {}}
    if not isinstance(report, dict) or not isinstance(report.get("domains"), dict):
        raise ValueError(f"{path} is damaged: copy or prepare the dataset again.")
    domains: dict[str, Any] = report["domains"]
    return domains


def crop_rules(data: DataConfig) -> dict[str, str]:
    """{domain: the rule its pictures were cropped by}, so that new ones can be cropped alike."""
    reports = _reports(data)
    return {domain: reports.get(domain, {}).get("crop", data.crop) for domain in data.domains}


def cropped_by_others(data: DataConfig) -> list[str]:
    """The domains whose pictures have the training size, and of which nobody says how they were cut."""
    reports = _reports(data)
    strange = [domain for domain in data.domains if domain not in reports]
    return [d for d in strange if _shape(_image(_domain_folder(data, d), d)) == [data.size, data.size, 3]]


def empty_pictures(count: int, size: int) -> Pictures:
    """Room for `count` pictures, not initialised, 16 bytes past an address that 32 divides.

    Into rows that 32 divides libjpeg-turbo writes around the cache (vmovntdq), into others through it:
    6 us of 34 for a JPEG of 64 px. NumPy's own arrays are now the one and now the other.
    """
    raw = np.empty(count * size * size * 3 + 32, np.uint8)
    start = (16 - raw.ctypes.data) % 32
    return raw[start : start + count * size * size * 3].reshape(count, size, size, 3)


@dataclass(frozen=True)
class PictureSource:
    """The pictures of one domain and split, `[n, size, size, 3]` uint8 a read.

    `stored` is how a record holds its picture: "uint8", its pixels; "jpeg", a JPEG that `prepare` wrote;
    "any", whatever `pictures.decode` reads, which `crop` and a resize bring to `size` where it has another
    size, as in TFDS's own records. `name` stands in error messages.
    """

    records: TFRecordSource
    stored: str
    size: int
    crop: str
    name: str

    def __len__(self) -> int:
        return len(self.records)

    def read(self, indices: Sequence[int] | Integer[np.ndarray, "n"]) -> Pictures:
        """Reads and decodes the records of these numbers.

        Raises:
          CorruptRecordError: a record does not match its checksum.
          ValueError: a record holds no picture, or one of another size.
        """
        out = empty_pictures(len(indices), self.size)
        for k, i in enumerate(indices):
            record = self.records[i]
            try:
                self._read_into(out[k], decode_bytes(record, "image"))
            except ValueError as error:
                raise ValueError(f"{self.name}, record {i}: {error}") from error
        return out

    def _read_into(self, out: UInt8[np.ndarray, "s s 3"], image: bytes) -> None:
        if self.stored == "uint8":
            if len(image) != out.size:
                raise ValueError(
                    f"it holds {len(image)} bytes, not the {self.size}x{self.size}x3 that features.json says."
                )
            out[:] = np.frombuffer(image, np.uint8).reshape(out.shape)
        elif self.stored == "jpeg":
            # Straight into the batch: an array of its own costs a tenth more. `prepare` has turned the
            # picture upright, and the record's checksum is right: there is nothing else to look after.
            if simplejpeg.decode_jpeg(image, buffer=out).shape != out.shape:
                raise ValueError(f"the picture is smaller than the {self.size} px that features.json says.")
        else:
            picture = decode(image)
            out[:] = picture if picture.shape == out.shape else crop_resize(picture, self.size, self.crop)


def _image(folder: Path, domain: str) -> dict[str, Any]:
    """What features.json says of the pictures: "tensor", of pixels, or "image", of an encoded one.

    Raises:
      ValueError: there are none.
    """
    features = _read_json(folder / "features.json")["featuresDict"]["features"]
    image: dict[str, Any] = features.get("image", {})
    if not {"tensor", "image"} & set(image):
        raise ValueError(
            f"{folder} has no picture feature 'image' (there is {', '.join(features)}): convert it with "
            f"`xgan prepare --domain {domain}=tfds:{folder}`."
        )
    return image


def _shape(image: dict[str, Any]) -> list[int]:
    """Of every picture, as features.json has it; -1 is any."""
    spec = image["tensor" if "tensor" in image else "image"]
    return [int(side) for side in spec.get("shape", {}).get("dimensions", [])]


def open_pictures(data: DataConfig, domain: str, split: str) -> PictureSource:
    """Opens the records of one domain and split.

    Raises:
      FileNotFoundError, ValueError: as `picture_counts`, a file that is missing or belongs to another
        dataset, and a dataset prepared at another size.
      CorruptRecordError: a file is damaged.
    """
    folder = _domain_folder(data, domain)
    splits = _shards(folder)
    files = splits.get(split)
    if not files:
        raise ValueError(
            f"{folder} has no records of the split {split!r} (there is {', '.join(splits) or 'none'})."
        )
    image = _image(folder, domain)
    raw = "tensor" in image
    stored = "uint8" if raw else "any"
    # Encoded pictures of other makers may have any size: they are cropped and resized.
    if raw or domain in _reports(data):
        shape = _shape(image)
        if shape != [data.size, data.size, 3]:
            raise ValueError(
                f"{folder} holds pictures of {'x'.join(map(str, shape))}, but config.data.size is "
                f"{data.size}: prepare it again with --size {data.size}, or set --config.data.size."
            )
        if not raw and image["image"].get("encodingFormat") == "jpeg":
            stored = "jpeg"
    missing = [path for path in files if not path.is_file()]
    if missing:
        raise FileNotFoundError(
            f"{missing[0]} is missing ({len(missing)} of {len(files)} files of the split {split!r}): "
            "copy or prepare the dataset again."
        )
    records = _sound(files) if data.skip_corrupt else _complete(files)
    return PictureSource(records, stored, data.size, data.crop, f"{folder}, split {split}")


def _complete(files: dict[Path, int]) -> TFRecordSource:
    """The records of {file: their number}.

    Raises:
      ValueError: a file has another number.
    """
    records = TFRecordSource(list(files))
    for (path, expected), found in zip(files.items(), records.lengths, strict=True):
        if found != expected:
            raise ValueError(
                f"{path} has {found} records, but dataset_info.json says {expected}: it was cut or belongs "
                "to another dataset; copy or prepare it again."
            )
    return records


def _sound(files: dict[Path, int]) -> TFRecordSource:
    """As many records, of which each that is damaged is replaced by the next good one."""
    return TFRecordSource(list(files), salvage.entries(files))


def digests(data: DataConfig) -> dict[str, dict[str, str]]:
    """{domain: {split: digest of its records}} of the splits to train and to test on: pictures, labels and
    their order. The same wherever the dataset lies, and whoever wrote it.

    Raises: as `open_pictures`.
    """
    return {
        domain: {
            split: open_pictures(data, domain, split).records.digest()
            for split in (data.train_split, data.test_split)
        }
        for domain in data.domains
    }


def read_pictures(data: DataConfig, domain: str, split: str, indices: Sequence[int]) -> Pictures:
    """Pictures by number, uint8.

    Raises:
      IndexError: there is no such picture. Else as `open_pictures`.
    """
    return open_pictures(data, domain, split).read(indices)


def read_labels(data: DataConfig, domain: str, split: str) -> dict[str, list[Any]]:
    """{label: its value for every picture}, as `prepare` stored them beside the pictures; "file_name" is one.

    Raises: as `open_pictures`.
    """
    records = open_pictures(data, domain, split).records
    columns: dict[str, list[Any]] = {}
    for i in range(len(records)):
        # In the order of names: that of the record differs from process to process, and with it the program
        # that a reader of labels is learnt by.
        for name, values in sorted(decode_example(records[i]).items()):
            if name != "image":
                value = values[0] if values else ""
                columns.setdefault(name, []).append(
                    value.decode("utf-8", "replace") if isinstance(value, bytes) else value
                )
    return columns


def _order(count: int, batch: int, seed: Sequence[int]) -> Callable[[int], Int64[np.ndarray, "b"]]:
    """Batch number -> indexes: `range(count)` in a new random order each epoch, epoch after epoch.

    An order of a whole epoch costs next to nothing a picture; grain's own `shuffle().repeat().batch()`
    costs 10 us, a third of what decoding a 64 px JPEG does.
    """

    @functools.lru_cache(maxsize=2)  # a batch may end one epoch and begin the next
    def epoch(number: int) -> Int64[np.ndarray, "n"]:
        # RandomState and not Generator: its numbers never change with NumPy's version (NEP 19), so a run
        # can be resumed after an upgrade.
        bits = np.random.MT19937(np.random.SeedSequence([*seed, number]))
        return np.random.RandomState(bits).permutation(count)

    def indexes(number: int) -> Int64[np.ndarray, "b"]:
        epochs, places = np.divmod(np.arange(number * batch, (number + 1) * batch), count)
        return np.concatenate([epoch(int(e))[places[epochs == e]] for e in np.unique(epochs)])

    return indexes


def train_batches(
    data: DataConfig,
    *,
    batch_size: int,
    seed: int,
    process_index: int = 0,
    process_count: int = 1,
) -> grain.DatasetIterator[dict[str, Pictures]]:
    """An endless iterator of {domain: uint8 `[batch_size / process_count, size, size, 3]`}.

    The order follows from `seed` alone, not from `data.threads` or the processes: the parts of all
    processes, one after the other, are the batch that one process would get. A domain's pictures come
    once each before any comes again (the last incomplete batch of an epoch is filled from the next).
    `get_state` and `set_state` continue exactly; `close` ends the reading threads.

    Raises:
      ValueError: a batch is larger than a domain. Else as `open_pictures`.
    """
    if not 0 <= process_index < process_count:
        raise ValueError(f"process {process_index} is not one of {process_count}: they count from 0.")
    if batch_size % process_count:
        raise ValueError(
            f"the batch of {batch_size} cannot be shared by {process_count} processes: use a multiple."
        )
    local = batch_size // process_count
    parts: dict[str, grain.MapDataset[Any]] = {}
    for number, (domain, pictures) in enumerate(_training_pictures(data, batch_size).items()):
        order = _order(len(pictures), local, [seed, number])
        numbers = grain.MapDataset.range(sys.maxsize)[process_index::process_count]
        parts[domain] = numbers.map(order).map(pictures.read)
    return _iterate(parts, data.threads)


def train_indexes(
    data: DataConfig, *, batch_size: int, seed: int
) -> grain.DatasetIterator[dict[str, Int32[np.ndarray, "b"]]]:
    """As `train_batches` of one process, the numbers of the pictures instead of the pictures.

    For a dataset that is on the devices (`data.cache`): same order, same states of the iterator.
    """
    parts: dict[str, grain.MapDataset[Any]] = {}
    for number, (domain, pictures) in enumerate(_training_pictures(data, batch_size).items()):
        order = _order(len(pictures), batch_size, [seed, number])
        parts[domain] = grain.MapDataset.range(sys.maxsize).map(order).map(lambda x: x.astype(np.int32))
    return _iterate(parts, data.threads)


def _training_pictures(data: DataConfig, batch_size: int) -> dict[str, PictureSource]:
    found = {}
    for domain in data.domains:
        found[domain] = open_pictures(data, domain, data.train_split)
        if len(found[domain]) < batch_size:
            raise ValueError(
                f"{domain} has {len(found[domain])} pictures in its split {data.train_split!r}, fewer than a "
                f"batch of {batch_size}: lower --config.run.batch_size or add pictures."
            )
    return found


def _iterate(parts: dict[str, grain.MapDataset[Any]], threads: int) -> grain.DatasetIterator[Any]:
    together = grain.experimental.ZipMapDataset(list(parts.values())).map(
        lambda batches: dict(zip(parts, batches, strict=True))
    )
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    return iter(together.to_iter_dataset(options))

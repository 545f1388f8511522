"""Batches of unpaired pictures: grain shuffles indexes, threads read whole batches at random.

    range(n) -> shuffle, anew each epoch -> batch of indexes -> this process's batches -> read

Every domain has a seed of its own, so pictures are paired by chance only. What is shuffled are
indexes, and the records of a batch are read together: one Python call a batch instead of several a picture.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grain
import numpy as np
from jaxtyping import Integer, UInt8

from xgan_jax.config import DataConfig
from xgan_jax.data.pictures import crop_resize, decode
from xgan_jax.data.tfrecord import TFRecordSource, decode_example

Pictures = UInt8[np.ndarray, "n s s 3"]


def _domain_folder(data: DataConfig, domain: str) -> Path:
    """The folder with `domain`'s records: ours, or the newest version of a TFDS dataset.

    Raises:
      FileNotFoundError: there is none; the sentence says what there is.
    """
    root = Path(data.path)
    if not root.is_dir():
        raise FileNotFoundError(
            f"config.data.path is {data.path}, which is not a folder: make it with `xgan prepare`."
        )
    versions = sorted(
        (root / domain).glob("**/features.json"),
        key=lambda path: [int(part) for part in path.parent.name.split(".") if part.isdigit()],
    )
    if not versions:
        there = sorted(path.name for path in root.iterdir() if path.is_dir())
        raise FileNotFoundError(
            f"{root} has no domain {domain!r} (there is {', '.join(there) or 'nothing'}): prepare it, or "
            "name the domains that are there with --config.data.domains."
        )
    return versions[-1].parent


def _splits(folder: Path) -> dict[str, int]:
    """{split: records} from `dataset_info.json`."""
    info = json.loads((folder / "dataset_info.json").read_text())
    return {
        split["name"]: sum(int(length) for length in split.get("shardLengths", []))
        for split in info["splits"]
    }


def picture_counts(data: DataConfig) -> dict[str, dict[str, int]]:
    """{domain: {split: pictures}} of the prepared dataset.

    Raises:
      FileNotFoundError: the path, or a domain's folder in it, does not exist.
      ValueError: a domain lacks the train or test split, or has no picture in it.
    """
    counts = {}
    for domain in data.domains:
        folder = _domain_folder(data, domain)
        counts[domain] = _splits(folder)
        for split in (data.train_split, data.test_split):
            if not counts[domain].get(split):
                raise ValueError(
                    f"{folder} has no pictures in its split {split!r} (there is {counts[domain]}): "
                    "prepare it with more pictures, or name other splits with "
                    "--config.data.train_split and --config.data.test_split."
                )
    return counts


def crop_rules(data: DataConfig) -> dict[str, str]:
    """{domain: the rule its pictures were cropped by}, so that new ones can be cropped alike."""
    report = Path(data.path) / "report.json"
    domains = json.loads(report.read_text())["domains"] if report.is_file() else {}
    return {domain: domains.get(domain, {}).get("crop", data.crop) for domain in data.domains}


@dataclass(frozen=True)
class PictureSource:
    """The pictures of one domain and split, `[n, size, size, 3]` uint8 a read.

    `raw`: records hold pixels, else an encoded picture (which `crop` and a resize bring to `size`
    where it has another size, as in TFDS's own records).
    """

    records: TFRecordSource
    raw: bool
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
        s = self.size
        out = np.empty((len(indices), s, s, 3), np.uint8)
        for k, i in enumerate(indices):
            image = decode_example(self.records[i]).get("image")
            if not image:
                raise ValueError(
                    f"{self.name}: record {i} has no feature 'image': prepare the dataset again."
                )
            if self.raw:
                out[k] = np.frombuffer(image[0], np.uint8).reshape(s, s, 3)
            else:
                try:
                    picture = decode(image[0])
                except ValueError as error:
                    raise ValueError(f"{self.name}: record {i}: {error}") from error
                out[k] = picture if picture.shape[:2] == (s, s) else crop_resize(picture, s, self.crop)
        return out


def open_pictures(data: DataConfig, domain: str, split: str) -> PictureSource:
    """Opens the records of one domain and split.

    Raises:
      FileNotFoundError, ValueError: as `picture_counts`, and a dataset prepared at another size.
      CorruptRecordError: a file is damaged.
    """
    folder = _domain_folder(data, domain)
    n = _splits(folder).get(split, 0)
    paths = sorted(folder.glob(f"*-{split}.tfrecord-*"))
    if not paths or not n:
        raise ValueError(f"{folder} has no records of the split {split!r}: prepare it again.")
    features = json.loads((folder / "features.json").read_text())
    image = features["featuresDict"]["features"]["image"]
    raw = "image" not in image
    if raw:
        stored = [int(side) for side in image["tensor"]["shape"]["dimensions"]]
        if stored != [data.size, data.size, 3]:
            raise ValueError(
                f"{folder} was prepared at {stored[0]} px, but config.data.size is {data.size}: prepare "
                f"it with --size {data.size}, or set --config.data.size={stored[0]}."
            )
    records = TFRecordSource(paths)
    if len(records) != n:
        raise ValueError(
            f"{folder}: {len(records)} records of the split {split!r} were found, but dataset_info.json "
            f"says {n}: a file is missing or does not belong here; prepare it again."
        )
    return PictureSource(records, raw, data.size, data.crop, f"{folder.name} {split}")


def read_pictures(data: DataConfig, domain: str, split: str, indices: Sequence[int]) -> Pictures:
    """Pictures by number, uint8.

    Raises:
      IndexError: there is no such picture. Else as `open_pictures`.
    """
    return open_pictures(data, domain, split).read(indices)


def train_batches(
    data: DataConfig,
    *,
    batch_size: int,
    seed: int,
    process_index: int = 0,
    process_count: int = 1,
) -> grain.DatasetIterator[dict[str, Pictures]]:
    """An endless iterator of {domain: uint8 `[batch_size / process_count, size, size, 3]`}.

    The parts of all processes, in their order, are the batch that one process would get. A domain's pictures
    come once each before any comes again (the last incomplete batch of an epoch is filled from the
    next). `get_state` and `set_state` continue exactly.

    Raises:
      ValueError: a batch is larger than a domain. Else as `open_pictures`.
    """
    if batch_size % process_count:
        raise ValueError(
            f"the batch of {batch_size} cannot be shared by {process_count} processes: use a multiple."
        )
    local = batch_size // process_count
    parts: dict[str, grain.MapDataset[Any]] = {}
    for number, domain in enumerate(data.domains):
        pictures = open_pictures(data, domain, data.train_split)
        if len(pictures) < batch_size:
            raise ValueError(
                f"{domain} has {len(pictures)} pictures in its split {data.train_split!r}, fewer than a "
                f"batch of {batch_size}: lower --config.run.batch_size or add pictures."
            )
        # Of the seed sequence of (seed, number): no two domains, nor neighbouring seeds, share an order.
        own = int(np.random.SeedSequence([seed, number]).generate_state(1)[0] >> 1)
        parts[domain] = (
            grain.MapDataset.range(len(pictures))
            .seed(own)
            .shuffle()
            .repeat()
            .batch(local)[process_index::process_count]
            .map(pictures.read)
        )
    together = grain.experimental.ZipMapDataset(list(parts.values())).map(
        lambda batches: dict(zip(parts, batches, strict=True))
    )
    options = grain.ReadOptions(num_threads=data.threads, prefetch_buffer_size=2 * data.threads)
    return iter(together.to_iter_dataset(options))

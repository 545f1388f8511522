"""Pictures/s of the input pipeline beside bare libjpeg-turbo on the same bytes and cores.

    python benchmarks/input_pipeline.py [--json FILE]

Three kinds of record, two domains of each: pixels (`uint8`), JPEG at the training size (`jpeg`), and
JPEG at CelebA's 178x218 that is cropped and resized (`native`, as in TFDS's own records). The bare
side decodes, and for `native` crops and resizes, the same JPEG bytes from memory with simplejpeg and
Pillow in as many threads; it reads no file, checks nothing, shuffles nothing and makes no batch.

Both sides alternate within one run; the figures are medians over the rounds. "per core" is one reading
thread with the whole process on one core.
"""

import argparse
import functools
import itertools
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import simplejpeg
import tensorflow_datasets as tfds
from PIL import Image

from benchmarks import machine
from xgan_jax.config import DataConfig
from xgan_jax.data import pictures, pipeline
from xgan_jax.data.prepare import prepare
from xgan_jax.data.tfrecord import TFRecordSource, TFRecordWriter, decode_bytes, encode_example

WIDTH, HEIGHT = 178, 218  # CelebA's aligned pictures
DOMAINS = ("face", "anime")
KINDS = ("uint8", "jpeg", "native")


def draw(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Smooth colours with a little noise: a JPEG of it takes about as many bytes as one of a face."""
    coarse = rng.integers(0, 256, (height // 16 + 2, width // 16 + 2, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    noisy = smooth + rng.normal(0, 3, smooth.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def write_native(folder: Path, count: int) -> None:
    """Both domains as TFDS stores CelebA: JPEG at 178x218."""
    for number, domain in enumerate(DOMAINS):
        rng = np.random.default_rng(number)
        (folder / domain).mkdir(parents=True)
        with TFRecordWriter(folder / domain / f"{domain}-train.tfrecord-00000-of-00001") as writer:
            for _ in range(count):
                picture = draw(rng, WIDTH, HEIGHT)
                data = simplejpeg.encode_jpeg(picture, quality=90, colorsubsampling="420")
                writer.write(encode_example({"image": data}))
        image = tfds.features.Image(shape=(HEIGHT, WIDTH, 3), encoding_format="jpeg")
        tfds.features.FeaturesDict({"image": image}).save_config(folder / domain)
        split = {"name": "train", "shardLengths": [str(count)]}
        info = {"name": domain, "fileFormat": "tfrecord", "splits": [split]}
        (folder / domain / "dataset_info.json").write_text(json.dumps(info))


def write_prepared(root: Path, count: int, size: int) -> None:
    """`root/uint8` and `root/jpeg`, by `prepare`, from the same drawn pictures."""
    for number, domain in enumerate(DOMAINS):
        rng = np.random.default_rng(number)
        (root / "drawn" / domain).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(draw(rng, size, size)).save(root / "drawn" / domain / f"{i:06d}.bmp")
    sources = {domain: str(root / "drawn" / domain) for domain in DOMAINS}
    for encoding in ("uint8", "jpeg"):
        prepare(sources, root / encoding, size=size, encoding=encoding, test_fraction=0.0)


def pipeline_rate(data: DataConfig, batch_size: int, seconds: float) -> float:
    """Pictures/s, after what was prefetched at leisure is used up."""
    iterator = pipeline.train_batches(data, batch_size=batch_size, seed=0)
    for _ in range(4 * data.threads):
        next(iterator)
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        done += sum(len(part) for part in next(iterator).values())
    rate = done / (time.perf_counter() - start)
    iterator.close()
    return rate


def bare_decoder(kind: str, size: int) -> Callable[[bytes], object]:
    """JPEG bytes to pixels of the training size, with nothing around it."""
    if kind == "jpeg":
        # Into one buffer, at the address that libjpeg-turbo is fastest with.
        return functools.partial(simplejpeg.decode_jpeg, buffer=pipeline.empty_pictures(1, size)[0])
    left, top, right, bottom = pictures.crop_box(WIDTH, HEIGHT, "celeba")

    def decode_crop_resize(data: bytes) -> Image.Image:
        part = Image.fromarray(simplejpeg.decode_jpeg(data)[top:bottom, left:right])
        return part.resize((size, size), Image.Resampling.BICUBIC)

    return decode_crop_resize


def bare_rate(stored: Sequence[bytes], kind: str, size: int, threads: int, seconds: float) -> float:
    """Pictures/s of `bare_decoder` in as many threads, each with a decoder of its own."""
    done = [0] * threads
    end = time.perf_counter() + seconds

    def work(number: int) -> None:
        decode, endless = bare_decoder(kind, size), itertools.cycle(stored[number::threads])
        while time.perf_counter() < end:
            for data in itertools.islice(endless, 64):
                decode(data)
            done[number] += 64

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    start = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(done) / (time.perf_counter() - start)


def compare(data: DataConfig, kind: str, options: argparse.Namespace) -> dict[str, Any]:
    """Medians of both sides over the rounds, and of their ratio in each round."""
    records = TFRecordSource(sorted(Path(data.path).glob(f"{DOMAINS[0]}/*.tfrecord-*")))
    stored = [decode_bytes(records[i], "image") for i in range(len(records))]
    ours, bare = [], []
    for _ in range(options.rounds):
        if kind != "uint8":
            bare.append(bare_rate(stored, kind, data.size, data.threads, options.seconds))
        ours.append(pipeline_rate(data, options.batch, options.seconds))
    found: dict[str, Any] = {
        "pictures_per_second": round(statistics.median(ours)),
        "rounds": [round(rate) for rate in ours],
        "stored_bytes": round(statistics.mean(map(len, stored))),
    }
    if bare:
        found["bare_pictures_per_second"] = round(statistics.median(bare))
        found["bare_rounds"] = [round(rate) for rate in bare]
        ratios = [mine / other for mine, other in zip(ours, bare, strict=True)]
        found["of_bare"] = round(statistics.median(ratios), 3)
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Pictures/s of the input pipeline beside bare decoding.")
    parser.add_argument("--json", help="write the figures to this file")
    parser.add_argument("--count", type=int, default=2000, help="pictures of each domain and kind")
    parser.add_argument("--size", type=int, default=64, help="training size, pixels")
    parser.add_argument("--batch", type=int, default=32, help="pictures of each domain in a batch")
    parser.add_argument("--rounds", type=int, default=9, help="alternations of the two sides")
    parser.add_argument("--seconds", type=float, default=0.5, help="of a side in a round")
    options = parser.parse_args()

    # Where a process cannot be held on a core (macOS), "per core" is one thread.
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    count = len(cores) if cores else os.cpu_count() or 1
    figures: dict[str, Any] = {
        "size": options.size,
        "batch_size": options.batch,
        "pictures": options.count,
        "per_core": {},
        "all_cores": {"cores": count},
    }
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_prepared(root, options.count, options.size)
        write_native(root / "native", options.count)
        print(f"{'':6}  cores  pipeline/s      bare/s   ratio   bytes")
        for kind in KINDS:
            for place, threads in (("per_core", 1), ("all_cores", count)):
                if cores:
                    os.sched_setaffinity(0, cores[-threads:])  # threads started from here on inherit it
                data = DataConfig(path=str(root / kind), size=options.size, crop="celeba", threads=threads)
                found = figures[place][kind] = compare(data, kind, options)
                line = f"{kind:>6}  {threads:5}  {found['pictures_per_second']:10,}"
                if "of_bare" in found:
                    line += f"  {found['bare_pictures_per_second']:10,}  {found['of_bare']:6.2f}"
                else:
                    line += f"  {'-':>10}  {'-':>6}"
                print(f"{line}  {found['stored_bytes']:6,}", flush=True)
    for kind in KINDS:
        figures[f"{kind}_per_core"] = figures["per_core"][kind]["pictures_per_second"]
        if kind != "uint8":
            figures[f"{kind}_of_bare"] = figures["per_core"][kind]["of_bare"]
            figures[f"{kind}_of_bare_all_cores"] = figures["all_cores"][kind]["of_bare"]
    if hasattr(os, "getloadavg"):
        figures["load_average"] = os.getloadavg()[0]
    machine.write(options.json, figures)


if __name__ == "__main__":
    main()

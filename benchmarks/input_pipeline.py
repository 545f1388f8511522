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
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import machine
import numpy as np
import simplejpeg
from PIL import Image

from xgan_jax.config import DataConfig
from xgan_jax.data import pictures, pipeline
from xgan_jax.data.tfrecord import TFRecordWriter, encode_example

WIDTH, HEIGHT = 178, 218  # CelebA's aligned pictures
DOMAINS = ("face", "anime")
KINDS = ("uint8", "jpeg", "native")


def draw(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Smooth colours with a little noise: a JPEG of it takes about as many bytes as one of a face."""
    coarse = rng.integers(0, 256, (height // 16 + 2, width // 16 + 2, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    noisy = smooth + rng.normal(0, 3, smooth.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def write_dataset(folder: Path, kind: str, count: int, size: int) -> list[bytes]:
    """Writes both domains as TFDS would, and returns the stored pictures of the first."""
    import tensorflow_datasets as tfds

    shape = (HEIGHT, WIDTH, 3) if kind == "native" else (size, size, 3)
    stored = []
    for number, domain in enumerate(DOMAINS):
        rng = np.random.default_rng(number)
        (folder / domain).mkdir(parents=True)
        name = f"{domain}-train.tfrecord-00000-of-00001"
        with TFRecordWriter(folder / domain / name) as writer:
            for i in range(count):
                picture = draw(rng, shape[1], shape[0])
                if kind == "uint8":
                    data = picture.tobytes()
                elif kind == "jpeg":
                    data = pictures.encode(picture, "jpeg")
                else:
                    data = simplejpeg.encode_jpeg(picture, quality=90, colorsubsampling="420")
                writer.write(encode_example({"image": data, "file_name": f"{i:06d}"}))
                if number == 0:
                    stored.append(data)
        image: Any = tfds.features.Image(shape=shape, encoding_format="jpeg")
        if kind == "uint8":
            image = tfds.features.Tensor(shape=shape, dtype=np.uint8, encoding="bytes")
        features = tfds.features.FeaturesDict({"image": image, "file_name": tfds.features.Text()})
        features.save_config(folder / domain)
        split = f'{{"name": "train", "shardLengths": ["{count}"]}}'
        info = f'{{"name": "{domain}", "fileFormat": "tfrecord", "splits": [{split}]}}'
        (folder / domain / "dataset_info.json").write_text(info)
    return stored


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


def bare_decode(data: bytes, size: int) -> np.ndarray:
    """One JPEG to `[size, size, 3]` with nothing around it."""
    picture = simplejpeg.decode_jpeg(data)
    if picture.shape == (size, size, 3):
        return picture
    left, top, right, bottom = pictures.crop_box(WIDTH, HEIGHT, "celeba")
    part = Image.fromarray(picture[top:bottom, left:right])
    return np.asarray(part.resize((size, size), Image.Resampling.BICUBIC))


def bare_rate(stored: Sequence[bytes], size: int, threads: int, seconds: float) -> float:
    """Pictures/s of `bare_decode` in as many threads."""
    done = [0] * threads
    end = time.perf_counter() + seconds

    def work(number: int) -> None:
        own = stored[number::threads]
        while time.perf_counter() < end:
            for data in own[:64]:
                bare_decode(data, size)
            done[number] += len(own[:64])
            own = own[64:] + own[:64]

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    start = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(done) / (time.perf_counter() - start)


def alternate(
    ours: Callable[[], float], bare: Callable[[], float] | None, rounds: int
) -> dict[str, float | list[float]]:
    """Medians of both, and of their ratio in each round."""
    pairs = [(bare() if bare else 0.0, ours()) for _ in range(rounds)]
    figures: dict[str, float | list[float]] = {
        "pictures_per_second": round(statistics.median(mine for _, mine in pairs)),
        "rounds": [round(mine) for _, mine in pairs],
    }
    if bare:
        figures["bare_pictures_per_second"] = round(statistics.median(other for other, _ in pairs))
        figures["of_bare"] = round(statistics.median(mine / other for other, mine in pairs), 3)
        figures["bare_rounds"] = [round(other) for other, _ in pairs]
    return figures


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
    with tempfile.TemporaryDirectory() as root:
        for kind in KINDS:
            stored = write_dataset(Path(root) / kind, kind, options.count, options.size)
            for place, threads in (("per_core", 1), ("all_cores", count)):
                if cores:
                    # Threads started from here on inherit it.
                    os.sched_setaffinity(0, cores[-threads:])
                data = DataConfig(
                    path=str(Path(root) / kind), size=options.size, crop="celeba", threads=threads
                )
                figures[place][kind] = alternate(
                    lambda data=data: pipeline_rate(data, options.batch, options.seconds),
                    None
                    if kind == "uint8"
                    else lambda s=stored, t=threads: bare_rate(s, options.size, t, options.seconds),
                    options.rounds,
                )
                found = figures[place][kind]
                line = f"{kind:>6}, {threads} core(s): {found['pictures_per_second']:>7,} pictures/s"
                if "of_bare" in found:
                    line += f"; bare {found['bare_pictures_per_second']:,}; ratio {found['of_bare']:.2f}"
                print(f"{line}; stored {statistics.mean(map(len, stored)):,.0f} bytes", flush=True)
    for kind in KINDS:
        figures[f"{kind}_per_core"] = figures["per_core"][kind]["pictures_per_second"]
        if kind != "uint8":
            figures[f"{kind}_of_bare"] = figures["per_core"][kind]["of_bare"]
            figures[f"{kind}_of_bare_all_cores"] = figures["all_cores"][kind]["of_bare"]
    if hasattr(os, "getloadavg"):
        figures["load_average"] = os.getloadavg()[0]
    machine.write(options.json, figures)


if __name__ == "__main__":
    sys.exit(main())

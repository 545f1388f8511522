"""Feeds a reader of files with damaged ones: `python tests/fuzz.py KIND COUNT SEED`; started by test_fuzz.py.

Its memory is limited: a reader that takes what a file asks for fails here. Prints how many of them were read,
how many refused, and by how many MB memory grew. What is raised beside the documented errors ends it.
"""

import io
import logging
import resource
import struct
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from xgan_jax.data import salvage
from xgan_jax.data.pictures import PictureError, decode
from xgan_jax.data.tfrecord import CorruptRecordError, TFRecordSource, decode_bytes, decode_example
from xgan_jax.torch_weights import read_torch

FIXTURES = Path(__file__).parent / "fixtures"
MOST = 4 << 30  # bytes of addresses
NUMBERS = (0, 1, 127, 128, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)


def damaged(random: np.random.Generator, sound: bytes) -> bytes:
    """With one to eight faults of every kind."""
    data = bytearray(sound)
    for _ in range(int(random.integers(1, 9))):
        at = int(random.integers(0, max(1, len(data))))
        to = at + int(random.integers(0, 20))
        kind = random.integers(0, 8)
        if kind == 0 and data:
            data[at] ^= 1 << int(random.integers(0, 8))
        elif kind == 1 and data:
            data[at] = int(random.integers(0, 256))
        elif kind == 2:
            del data[at:to]
        elif kind == 3:
            data[at:at] = random.bytes(to - at)
        elif kind == 4:
            data[at:at] = data[at:to]
        elif kind == 5:
            number = NUMBERS[int(random.integers(0, len(NUMBERS)))]
            size = (1, 2, 4, 8)[int(random.integers(0, 4))]
            order = "<>"[int(random.integers(0, 2))]
            code = {1: "B", 2: "H", 4: "I", 8: "Q"}[size]
            data[at : at + size] = struct.pack(order + code, number % 2 ** (8 * size))
        elif kind == 6:
            data[at:to] = bytes(to - at)
        elif random.integers(0, 4) == 0:
            del data[at:]
    return bytes(data)


def picture_files() -> list[bytes]:
    """One of each kind that is read, of 24 x 20 pixels."""
    random = np.random.default_rng(0)
    colours = Image.fromarray(random.integers(0, 256, (5, 6, 3), np.uint8)).resize((24, 20))
    exif = Image.Exif()
    exif[0x0112] = 6
    kinds = [
        (colours, "JPEG", {}),
        (colours, "JPEG", {"progressive": True, "exif": exif}),
        (colours.convert("CMYK"), "JPEG", {}),
        (colours.convert("L"), "JPEG", {}),
        (colours, "PNG", {}),
        (colours.convert("P"), "PNG", {}),
        (colours.convert("RGBA"), "PNG", {"exif": exif}),
        (Image.fromarray(random.integers(0, 65536, (20, 24), np.uint16)), "PNG", {}),
        (colours, "WEBP", {}),
        (colours.convert("P"), "GIF", {}),
        (colours, "BMP", {}),
        (colours, "TIFF", {"compression": "tiff_lzw"}),
        (colours, "PPM", {}),
    ]
    files = []
    for image, kind, options in kinds:
        file = io.BytesIO()
        image.save(file, kind, **options)
        files.append(file.getvalue())
    return files


def read_picture(data: bytes, path: Path) -> None:
    picture = decode(data)
    assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3


def read_records(data: bytes, path: Path) -> None:
    path.write_bytes(data)
    source = TFRecordSource([path])
    for i in range(len(source)):
        source[i]


def salvage_records(data: bytes, path: Path) -> None:
    path.write_bytes(data)
    source = TFRecordSource([path], salvage.entries({path: 5}))
    assert len([source[i] for i in range(5)]) == 5
    salvage.whole_records.cache_clear()


def read_example(data: bytes, path: Path) -> None:
    decode_example(data)
    decode_bytes(data, "image")


def read_weights(data: bytes, path: Path) -> None:
    path.write_bytes(data)
    read_torch(path)


def kinds() -> dict[str, tuple[list[bytes], Callable[[bytes, Path], None], type[Exception]]]:
    """{kind: sound files, what reads one, what it may raise}."""
    records = (FIXTURES / "tensorflow.tfrecord").read_bytes()
    source = TFRecordSource([FIXTURES / "tensorflow.tfrecord"])
    examples = [source[i] for i in range(len(source))]
    weights = [(FIXTURES / name).read_bytes() for name in ("torch_zip.pth", "torch_legacy.pth")]
    return {
        "records": ([records], read_records, CorruptRecordError),
        "salvage": ([records], salvage_records, CorruptRecordError),
        "examples": (examples, read_example, ValueError),
        "pictures": (picture_files(), read_picture, PictureError),
        "weights": (weights, read_weights, ValueError),
    }


def main(kind: str, count: int, seed: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MOST, MOST))
    logging.disable()
    sound, read, refusal = kinds()[kind]
    random = np.random.default_rng(seed)
    refused = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        for data in sound:
            try:
                read(data, path)
            except ValueError as error:  # that an example has no picture, say
                assert kind == "examples", error
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for number in range(count):
            data = damaged(random, sound[number % len(sound)])
            try:
                read(data, path)
            except refusal:
                refused += 1
            except BaseException:
                print(f"{kind}, seed {seed}, number {number}: {data!r}", file=sys.stderr)
                raise
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
        assert [entry.name for entry in Path(folder).iterdir()] in ([], ["file"])
    print(count - refused, refused, grown)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))

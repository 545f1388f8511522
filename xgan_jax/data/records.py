"""Pictures to records: chosen by their labels, decoded, cropped, resized and encoded, by several threads."""

import hashlib
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from xgan_jax.data.columns import Value, is_value
from xgan_jax.data.joined import Joined
from xgan_jax.data.pictures import (
    Decoded,
    PictureError,
    crop_resize,
    dimensions,
    encode,
    has_celeba_aspect,
    read,
)
from xgan_jax.data.sources import Source
from xgan_jax.data.tfrecord import encode_example

MIN_SIDE = 16  # pixels: below it there is no face to see


class Made(NamedTuple):
    """A picture, its record, a digest of its file, and what `pictures.read` remarked."""

    image: UInt8[np.ndarray, "s s 3"]
    record: bytes
    digest: bytes
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class Maker:
    """How the records of a source are made.

    `size` is the side in pixels, `crop` a rule of `pictures.crop_box`, `encoding` "uint8", "jpeg" or "png";
    `where` is {label: value}, the labels of the pictures that are wanted.
    """

    source: Source
    size: int
    crop: str
    encoding: str
    where: Mapping[str, str]

    def make(self, name: str) -> Made | str | None:
        """A picture's record, or why it is refused; None where its labels are not those of `where`."""
        try:
            data, labels = self.source.load(name)
            if not self._wants(labels):
                return None
            original, remarks = read(data) if isinstance(data, bytes) else Decoded(data, ())
            height, width = original.shape[:2]
            if min(height, width) < MIN_SIDE:
                return f"it has {width}x{height} pixels; each side must have at least {MIN_SIDE}"
            image = crop_resize(original, self.size, self.crop)
        except PictureError as error:
            return str(error)
        except MemoryError:
            return "there is not enough memory to decode it"
        stored = image.tobytes() if self.encoding == "uint8" else encode(image, self.encoding)
        # Names that are no valid Unicode exist on disk; Text must be UTF-8.
        features = {"image": stored, "file_name": name.encode("utf-8", "replace"), **labels}
        digest = hashlib.blake2b(data if isinstance(data, bytes) else data.tobytes(), digest_size=16).digest()
        return Made(image, encode_example(features), digest, remarks)

    def make_all(self, names: Sequence[str], workers: int) -> Generator[Made | str | None, None, None]:
        """`make` of all names, in order, by `workers` threads that are only a few chunks ahead."""
        # Threads and not processes: reading, decoding and resizing all release the GIL.
        pool = ThreadPoolExecutor(workers)
        chunk = max(1, 65536 // self.size**2)
        waiting: deque[Future[list[Made | str | None]]] = deque()
        try:
            for start in range(0, len(names), chunk):
                waiting.append(pool.submit(self._make_chunk, names[start : start + chunk]))
                if len(waiting) > 2 * workers:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)  # Ctrl-C does not wait for the queue

    def _make_chunk(self, names: Sequence[str]) -> list[Made | str | None]:
        return [self.make(name) for name in names]

    def _wants(self, labels: Mapping[str, Value]) -> bool:
        if not self.where:
            return True
        labelled = bool(labels.get("labelled", 1))
        return labelled and all(is_value(labels[column], value) for column, value in self.where.items())


def choose_crop(domain: str, source: Source) -> str:
    """ "celeba" when nine of ten of a spread sample of pictures have CelebA's aspect, else "center".

    Raises:
      ValueError: a domain's sets differ in that; faces would fill the frame differently.
    """
    if isinstance(source, Joined):
        rules = {place: choose_crop(domain, part) for place, part in source.sources.items()}
        if len(set(rules.values())) > 1:
            which = ", ".join(f"{place} {rule}" for place, rule in rules.items())
            raise ValueError(f"the sets of {domain} ask for different crops ({which}): choose with --crop.")
        return next(iter(rules.values()))
    names = source.names
    sample = [names[i] for i in np.linspace(0, len(names) - 1, min(len(names), 200)).astype(int)]
    votes = []
    for name in sample:
        with suppress(PictureError):
            data, _ = source.load(name)
            width, height = dimensions(data) if isinstance(data, bytes) else data.shape[1::-1]
            votes.append(has_celeba_aspect(width, height))
    return "celeba" if votes and sum(votes) >= 0.9 * len(votes) else "center"

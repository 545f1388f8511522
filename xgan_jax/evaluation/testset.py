"""The pictures that a run is measured on."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import UInt8

from xgan_jax.config import DataConfig
from xgan_jax.data import pipeline
from xgan_jax.evaluation import truth
from xgan_jax.readers.labels import Attribute, read_attributes

Pictures = UInt8[np.ndarray, "_ s s 3"]


@dataclass
class TestSet:
    """The test split: pictures, labels, what is made of them once. `count` limits each domain."""

    data: DataConfig
    count: int | None = None

    @cached_property
    def pictures(self) -> dict[str, Pictures]:
        found = {}
        for domain in self.data.domains:
            source = pipeline.open_pictures(self.data, domain, self.data.test_split)
            found[domain] = source.read(range(min(len(source), self.count or len(source))))
        return found

    @cached_property
    def train_pictures(self) -> dict[str, Pictures]:
        """As many of the train split, evenly spaced, for floors."""
        found = {}
        for domain in self.data.domains:
            source = pipeline.open_pictures(self.data, domain, self.data.train_split)
            n = min(len(source), len(self.pictures[domain]))
            found[domain] = source.read(np.linspace(0, len(source) - 1, n).round().astype(int))
        return found

    @cached_property
    def labels(self) -> dict[str, dict[str, list[Any]]]:
        return {
            domain: {
                name: cells[: len(self.pictures[domain])]
                for name, cells in pipeline.read_labels(self.data, domain, self.data.test_split).items()
            }
            for domain in self.data.domains
        }

    @cached_property
    def attributes(self) -> dict[str, dict[str, Attribute]]:
        return {domain: read_attributes(columns, least=5) for domain, columns in self.labels.items()}

    @property
    def fewest(self) -> int:
        """Pictures of the domain that has the fewest."""
        return min(len(pictures) for pictures in self.pictures.values())

    def counterparts(self, source: str, target: str) -> Pictures | None:
        """The true pictures of `source`'s test split in the style of `target`, where they are known."""
        return truth.counterparts(self.labels[source], target, self.data.size)

    def shared_labels(self, source: str, target: str) -> list[str]:
        """The labels of which both domains have the same two values or more."""
        theirs = self.attributes[target]
        return [
            name
            for name, attribute in self.attributes[source].items()
            if name in theirs and len(set(attribute.values) & set(theirs[name].values)) > 1
        ]

    def digest(self) -> str:
        """A hash of the pictures themselves."""
        digest = hashlib.blake2b(digest_size=8)
        for domain, pictures in self.pictures.items():
            digest.update(domain.encode() + pictures.tobytes())
        return digest.hexdigest()

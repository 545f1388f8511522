"""What a judge learns: to tell a dataset's domains apart, and to read its labels off its pictures."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key, UInt8

from xgan_jax.config import DataConfig
from xgan_jax.data import pipeline
from xgan_jax.data.augment import augment, to_float
from xgan_jax.nets.judge import Judge as Network
from xgan_jax.readers.labels import Attribute, read_attributes

Pictures = UInt8[np.ndarray, "_ s s 3"]
Values = dict[str, dict[str, tuple[str, ...]]]  # {domain: {attribute: its values}}
Numbers = dict[str, dict[str, Int[np.ndarray, "b"]]]  # {domain: {attribute: each picture's value}}
_BATCH = 16  # pictures of each domain


@dataclass(frozen=True)
class Lesson:
    """The pictures of each domain, and what their labels say of them, {domain: {attribute: ...}}."""

    pictures: dict[str, Pictures]
    attributes: dict[str, dict[str, Attribute]]

    @property
    def values(self) -> Values:
        """The words of the answers."""
        return {
            d: {a: of.values for a, of in attributes.items()} for d, attributes in self.attributes.items()
        }

    @cached_property
    def rarity(self) -> dict[str, dict[str, Float[np.ndarray, "v"]]]:
        """The weights of the values, by which all count alike."""
        return {
            d: {a: _rarity(of) for a, of in attributes.items()} for d, attributes in self.attributes.items()
        }

    def batches(self, seed: int) -> Iterator[tuple[dict[str, Pictures], Numbers]]:
        """Pictures drawn at random, with repetition, and the numbers of their values; without end."""
        rng = np.random.default_rng(seed)
        while True:
            chosen = {d: rng.integers(0, len(pictures), _BATCH) for d, pictures in self.pictures.items()}
            images = {d: pictures[chosen[d]] for d, pictures in self.pictures.items()}
            numbers = {
                d: {a: of.numbers[chosen[d]] for a, of in attributes.items()}
                for d, attributes in self.attributes.items()
            }
            yield images, numbers

    def loss(
        self, network: Network, params: Any, batch_stats: Any, batch: Any, key: Key[Array, ""]
    ) -> tuple[Float[Array, ""], Any]:
        """Cross-entropy of the domain and of every known attribute, each value weighted alike; and the new
        batch statistics."""
        images, numbers = batch
        images = {
            domain: disturbed(
                to_float(x), jax.random.fold_in(key, i), jax.random.fold_in(key, 100 + i), mirror=True
            )
            for i, (domain, x) in enumerate(images.items())
        }
        variables = {"params": params, "batch_stats": batch_stats}
        answers, changed = network.apply(variables, images, train=True, mutable=["batch_stats"])
        by_domain, attributes = answers
        total = jnp.zeros(())
        entropy = optax.softmax_cross_entropy_with_integer_labels
        for i, domain in enumerate(network.domains):
            total += entropy(by_domain[domain], jnp.full(len(by_domain[domain]), i)).mean()
            for name, logits in attributes[domain].items():
                n = numbers[domain][name]
                weight = jnp.where(n >= 0, jnp.asarray(self.rarity[domain][name])[n], 0.0)
                total += (weight * entropy(logits, jnp.maximum(n, 0))).sum() / jnp.maximum(weight.sum(), 1e-6)
        return total, changed["batch_stats"]


def read_lesson(data: DataConfig) -> Lesson:
    """The train splits of all domains.

    Raises:
      ValueError, FileNotFoundError, CorruptRecordError: the data cannot be read.
    """
    pictures: dict[str, Pictures] = {}
    attributes: dict[str, dict[str, Attribute]] = {}
    for domain in data.domains:
        source = pipeline.open_pictures(data, domain, data.train_split)
        pictures[domain] = source.read(range(len(source)))
        attributes[domain] = read_attributes(pipeline.read_labels(data, domain, data.train_split))
    return Lesson(pictures, attributes)


def disturbed(
    images: Float[Array, "b s s 3"], shift: Key[Array, ""], roughness: Key[Array, ""], mirror: bool
) -> Float[Array, "b s s 3"]:
    """Pictures in [-1, 1], shifted by up to a 32nd of their side and roughened; half of them mirrored too,
    where `mirror` asks for it."""
    mild = DataConfig(flip=mirror, shift=max(1, images.shape[1] // 32), colour=0.0)
    # Translations are smoother or noisier than reals: neither must decide an answer.
    return _roughen(augment(images, shift, mild), roughness)


def _roughen(images: Float[Array, "b s s 3"], key: Key[Array, ""]) -> Float[Array, "b s s 3"]:
    """A third of the pictures blurred a little, a third with noise."""
    which, noise = jax.random.split(key)
    kind = jax.random.randint(which, (len(images), 1, 1, 1), 0, 3)
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    rows = (padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]) / 4
    blurred = (rows[:, :, :-2] + 2 * rows[:, :, 1:-1] + rows[:, :, 2:]) / 4
    noisy = images + 0.08 * jax.random.normal(noise, images.shape)
    return jnp.where(kind == 0, images, jnp.where(kind == 1, blurred, noisy))


def _rarity(attribute: Attribute) -> Float[np.ndarray, "v"]:
    """Weights that make every value count alike, at most tenfold."""
    counts = np.bincount(attribute.numbers[attribute.numbers >= 0], minlength=len(attribute.values))
    return np.minimum(10.0, counts.mean() / np.maximum(counts, 1)).astype(np.float32)

"""A network trained on the dataset's own labels and domains, with which its translations are read.

Where others take Inception's features and call the result FID, this project can always measure, without
any download, in the features of this network; figures name it ("judge") so that nobody takes them for FID.
It never sees a translation while it is trained, and no translator is ever trained against it; against
another, learnt from the same labels, XGAN is where `weights.attributes` asks for it. `eval.py --data` with a
dataset of other pictures reads such a run with a judge that shares nothing with it.
"""

import dataclasses
import hashlib
import json
import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key, UInt8
from tqdm import trange

from xgan_jax.config import Config, DataConfig
from xgan_jax.data import pipeline
from xgan_jax.data.augment import augment, to_float
from xgan_jax.data.batches import in_batches
from xgan_jax.nets.judge import Judge as Network
from xgan_jax.readers.kept import keep, kept
from xgan_jax.readers.labels import Attribute, read_attributes
from xgan_jax.startup import compiler_options

# Updates count, not pictures: of the embedded photos, 1,000 steps of 64 read 0.91 of eye colours and 0.87 of
# glasses, 4,000 of 16 in the same time 1.00 and 0.97.
STEPS = 4000
_BATCH = 16
_READ = 256  # pictures at once
VERSION = 2  # of the network and its training; another number trains anew
Pictures = UInt8[np.ndarray, "_ s s 3"]
Values = dict[str, dict[str, tuple[str, ...]]]  # {domain: {attribute: its values}}


@dataclass(frozen=True)
class Judge:
    """A trained judge. `values[domain][attribute]` are the words of its answers; `name` holds a hash of its
    weights, so that figures say by whom they were measured."""

    values: Values
    variables: Any
    size: int
    name: str

    @property
    def domains(self) -> tuple[str, ...]:
        """In the order of the logits."""
        return tuple(self.values)

    @cached_property
    def _compiled(self) -> tuple[Any, Any]:
        """The functions behind `features` and `read`, compiled at their first call."""
        network = _network(self.size, self.values)

        def read(variables: Any, images: Array, domain: str) -> Any:
            by_domain, attributes = network.apply(variables, {domain: to_float(images)})
            return by_domain[domain], attributes[domain]

        features = jax.jit(lambda v, x: network.apply(v, to_float(x), method="features"))
        return features, jax.jit(read, static_argnums=2)

    def features(self, pictures: Pictures) -> Float[np.ndarray, "n f"]:
        """The features of pictures of any domain."""
        function, _ = self._compiled
        found: np.ndarray = in_batches(lambda x: function(self.variables, x), pictures, _READ)
        return found

    def read(
        self, pictures: Pictures, domain: str
    ) -> tuple[Float[np.ndarray, "n d"], dict[str, Float[np.ndarray, "n v"]]]:
        """Pictures taken for ones of `domain`: logits of the domains, and of the values of each attribute."""
        _, function = self._compiled
        by_domain, attributes = in_batches(lambda x: function(self.variables, x, domain), pictures, _READ)
        return by_domain, attributes


def _network(size: int, values: Values) -> Network:
    return Network(size, tuple(values), {d: {a: len(v) for a, v in values[d].items()} for d in values})


def _initial(network: Network, seed: int = 0) -> Any:
    images = {d: jnp.zeros((1, network.size, network.size, 3)) for d in network.domains}
    return network.init(jax.random.key(seed), images)


def _losses(
    network: Network,
    variables: Any,
    images: dict[str, Float[Array, "b s s 3"]],
    numbers: dict[str, dict[str, Int[Array, "b"]]],
    rarity: dict[str, dict[str, Float[np.ndarray, "v"]]],
) -> tuple[Float[Array, ""], Any]:
    """Cross-entropy of the domain and of every known attribute, each value weighted alike."""
    (by_domain, attributes), changed = network.apply(variables, images, train=True, mutable=["batch_stats"])
    total = jnp.zeros(())
    entropy = optax.softmax_cross_entropy_with_integer_labels
    for i, domain in enumerate(network.domains):
        total += entropy(by_domain[domain], jnp.full(len(by_domain[domain]), i)).mean()
        for name, logits in attributes[domain].items():
            n = numbers[domain][name]
            weight = jnp.where(n >= 0, jnp.asarray(rarity[domain][name])[n], 0.0)
            total += (weight * entropy(logits, jnp.maximum(n, 0))).sum() / jnp.maximum(weight.sum(), 1e-6)
    return total, changed["batch_stats"]


def train_judge(data: DataConfig, steps: int, seed: int = 0) -> Judge:
    """Trains a judge on the train splits of all domains."""
    pictures: dict[str, Pictures] = {}
    attributes: dict[str, dict[str, Attribute]] = {}
    for domain in data.domains:
        source = pipeline.open_pictures(data, domain, data.train_split)
        pictures[domain] = source.read(range(len(source)))
        attributes[domain] = read_attributes(pipeline.read_labels(data, domain, data.train_split))
    values = {d: {a: attribute.values for a, attribute in attributes[d].items()} for d in data.domains}
    network = _network(data.size, values)
    rarity = {d: {a: _rarity(attribute) for a, attribute in attributes[d].items()} for d in data.domains}
    variables = _initial(network, seed)
    optimizer = optax.adam(optax.cosine_decay_schedule(1e-3, steps))
    state = optimizer.init(variables["params"])
    mild = DataConfig(path=data.path, size=data.size, flip=True, shift=_shift(data.size), colour=0.0)

    @jax.jit(compiler_options=compiler_options(), donate_argnums=(0, 1))
    def step(variables: Any, state: Any, images: Any, numbers: Any, key: Array) -> Any:
        images = {
            d: augment(to_float(x), jax.random.fold_in(key, i), mild)
            for i, (d, x) in enumerate(images.items())
        }
        # Translations are smoother or noisier than reals: neither must decide an answer.
        images = {d: _roughen(x, jax.random.fold_in(key, 100 + i)) for i, (d, x) in enumerate(images.items())}

        def loss(params: Any) -> Any:
            return _losses(network, variables | {"params": params}, images, numbers, rarity)

        gradients, batch_stats = jax.grad(loss, has_aux=True)(variables["params"])
        updates, state = optimizer.update(gradients, state)
        params = optax.apply_updates(variables["params"], updates)
        return {"params": params, "batch_stats": batch_stats}, state

    rng = np.random.default_rng(seed)
    key = jax.random.key(seed + 1)
    for i in trange(steps, desc="training the judge", unit="step", disable=None):
        chosen = {d: rng.integers(0, len(pictures[d]), _BATCH) for d in data.domains}
        images = {d: pictures[d][chosen[d]] for d in data.domains}
        numbers = {
            d: {a: attribute.numbers[chosen[d]] for a, attribute in attributes[d].items()}
            for d in data.domains
        }
        variables, state = step(variables, state, images, numbers, jax.random.fold_in(key, i))
    return _named(values, jax.device_get(variables), data.size)


def _rarity(attribute: Attribute) -> Float[np.ndarray, "v"]:
    """Weights that make every value count alike, at most tenfold."""
    counts = np.bincount(attribute.numbers[attribute.numbers >= 0], minlength=len(attribute.values))
    return np.minimum(10.0, counts.mean() / np.maximum(counts, 1)).astype(np.float32)


def _shift(size: int) -> int:
    """Pixels, of the pictures that a judge learns from."""
    return max(1, size // 32)


def _roughen(images: Float[Array, "b s s 3"], key: Array) -> Float[Array, "b s s 3"]:
    """A third of the pictures blurred a little, a third with noise."""
    which, noise = jax.random.split(key)
    kind = jax.random.randint(which, (len(images), 1, 1, 1), 0, 3)
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    rows = (padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]) / 4
    blurred = (rows[:, :, :-2] + 2 * rows[:, :, 1:-1] + rows[:, :, 2:]) / 4
    noisy = images + 0.08 * jax.random.normal(noise, images.shape)
    return jnp.where(kind == 0, images, jnp.where(kind == 1, blurred, noisy))


def _named(values: Values, variables: Any, size: int) -> Judge:
    digest = hashlib.blake2b(digest_size=6)
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        digest.update(jax.tree_util.keystr(path).encode() + np.asarray(leaf).tobytes())
    return Judge(values, variables, size, f"judge-{digest.hexdigest()}")


def load_judge(data: DataConfig, seed: int = 0) -> Judge:
    """The judge of a prepared dataset: read from `DATA/judge` where it is there, else trained and kept.

    One judge a dataset and choice of domains, so that all runs on it are read by the same; it is the one of
    `seed` 0.

    Raises:
      ValueError, FileNotFoundError, CorruptRecordError: the data cannot be read.
    """
    request = {
        "version": VERSION,
        "domains": list(data.domains),
        "size": data.size,
        "split": data.train_split,
        "counts": {d: n[data.train_split] for d, n in pipeline.picture_counts(data).items()},
        "steps": STEPS,
        "seed": seed,
    }
    name = hashlib.blake2b(json.dumps(request).encode(), digest_size=6).hexdigest()
    path = Path(data.path) / "judge" / f"{name}.npz"
    if path.is_file():
        with np.load(path) as file:
            values = json.loads(str(file["values"]))
        values = {d: {a: tuple(v) for a, v in values[d].items()} for d in data.domains}
        abstract = jax.eval_shape(lambda: _initial(_network(data.size, values)))
        return _named(values, kept(path, abstract), data.size)
    judge = train_judge(data, STEPS, seed=seed)
    keep(path, judge.variables, request | {"name": judge.name}, values=json.dumps(judge.values))
    return judge


def as_teacher(config: Config) -> tuple[Any, Any]:
    """A judge's features as XGAN's teacher (L_teach, section 3.1) and DTN's f, where the papers have a
    network of faces.

    For `config.networks.teacher = "xgan_jax.readers.judge:as_teacher"`. Trained, as theirs, on the first
    domain's pictures and labels alone, and another than the one that measures; its features, in fixed random
    directions, have the embedding's size and unit spread.

    Returns:
      (params, apply): `apply(params, images [b, s, s, 3] in [-1, 1]) -> [b, embedding_size]`.
    """
    judge, network, pictures = _judge_of_one(config.data, config.data.domains[0])
    features, size = judge.features(pictures), config.networks.embedding_size
    directions = (
        np.random.default_rng(0).standard_normal((features.shape[1], size)) / features.shape[1] ** 0.5
    )
    projected = (features - features.mean(0)) @ directions
    params = {
        "variables": judge.variables,
        "mean": features.mean(0),
        "directions": (directions / projected.std()).astype(np.float32),
    }

    def apply(params: Any, images: Float[Array, "b s s 3"]) -> Float[Array, "b e"]:
        found = network.apply(params["variables"], images, method="features")
        return (found - params["mean"]) @ params["directions"]

    return jax.tree.map(jnp.asarray, params), apply


def as_reference(config: Config) -> tuple[Any, Any]:
    """What a picture of the last domain has of hair and eyes, for Twin-GAN's references, where the author has
    illust2vec; another network than the one that measures.

    For `config.networks.reference = "xgan_jax.readers.judge:as_reference"`. Learnt, as `as_teacher`'s, on
    the last domain's labels alone. Of the attributes named for hair or eyes (all of them, where none is) the
    logits of every value, about their mean over (at most 512) training pictures, with unit spread.

    Returns:
      (params, apply): `apply(params, images [b, s, s, 3] in [-1, 1]) -> [b, values]`.

    Raises:
      ValueError: that domain has no labels.
    """
    judge, network, pictures = _judge_of_one(config.data, config.data.domains[-1])
    (domain,) = judge.domains
    named = [name for name in judge.values[domain] if {"hair", "eye", "eyes"} & set(_words(name))]
    followed = named or list(judge.values[domain])

    _, of_attributes = judge.read(pictures, domain)
    found = np.concatenate([of_attributes[name] for name in followed], -1)
    params = {"variables": judge.variables, "mean": found.mean(0), "spread": found.std(0) + 1e-6}

    def apply(params: Any, images: Float[Array, "b s s 3"]) -> Float[Array, "b v"]:
        _, attributes = network.apply(params["variables"], {domain: images})
        logits = jnp.concatenate([attributes[domain][name] for name in followed], -1)
        return (logits - params["mean"]) / params["spread"]

    return jax.tree.map(jnp.asarray, params), apply


def _words(name: str) -> list[str]:
    """Of "Eye_color" or "hair colour": eye, color."""
    return name.lower().replace("_", " ").split()


def _judge_of_one(data: DataConfig, domain: str) -> tuple[Judge, Network, Pictures]:
    """A judge of one domain's pictures and labels alone, its network, and some of the pictures."""
    alone = dataclasses.replace(data, domains=(domain,))
    judge = load_judge(alone, seed=1)
    if not any(judge.values.values()):
        raise ValueError(f"{alone.path} has no labels of {domain} to learn features from")
    source = pipeline.open_pictures(alone, domain, alone.train_split)
    pictures = source.read(range(min(len(source), 512)))
    return judge, _network(judge.size, judge.values), pictures


def as_reader(config: Config) -> tuple[Any, Any]:
    """What a judge reads from pictures, for XGAN's `weights.attributes`; not the one that measures.

    For `config.networks.reader = "xgan_jax.readers.judge:as_reader"`. Learnt on all domains' labels. It
    reads the attributes, and of them the values, that all domains have under the same words; nothing, with a
    warning, where they share none.

    Returns:
      (params, apply): `apply(params, images [b, s, s, 3] in [-1, 1], domain, key=None)` gives {attribute:
      [b, v] log-probabilities of its values, in the same order for every domain}. With a key, pictures are
      first shifted and roughened as they were when it learnt, so that no dot can decide what it reads.
    """
    labels = [
        read_attributes(pipeline.read_labels(config.data, domain, config.data.train_split))
        for domain in config.data.domains
    ]
    shared = {
        name: common
        for name, attribute in labels[0].items()
        if len(common := [v for v in attribute.values if all(_has(other, name, v) for other in labels)]) > 1
    }
    if not shared:
        logging.getLogger(__name__).warning(
            "%s has no labels that its domains share: config.weights.attributes has nothing to keep, and the "
            "other losses go on without it.",
            config.data.path,
        )
        return {}, lambda params, images, domain, key=None: {}
    judge = load_judge(config.data, seed=1)
    network = _network(judge.size, judge.values)
    shift = DataConfig(
        path=config.data.path, size=judge.size, flip=False, shift=_shift(judge.size), colour=0.0
    )
    places = {
        domain: {a: np.array([judge.values[domain][a].index(v) for v in shared[a]]) for a in shared}
        for domain in judge.domains
    }

    def apply(
        params: Any, images: Float[Array, "b s s 3"], domain: str, key: Key[Array, ""] | None = None
    ) -> dict[str, Float[Array, "b v"]]:
        if key is not None:
            images = _roughen(augment(images, jax.random.fold_in(key, 0), shift), jax.random.fold_in(key, 1))
        _, attributes = network.apply(params, {domain: images})
        logits = attributes[domain]
        return {a: jax.nn.log_softmax(logits[a][:, places[domain][a]]) for a in shared}

    return jax.tree.map(jnp.asarray, judge.variables), apply


def _has(attributes: dict[str, Attribute], name: str, value: str) -> bool:
    return name in attributes and value in attributes[name].values


def as_maps(config: Config) -> tuple[Any, Any]:
    """A judge's maps for style transfer, where Gatys et al. have VGG-19's; not the one that measures.

    For `config.networks.features = "xgan_jax.readers.judge:as_maps"`.

    Returns:
      (params, apply): `apply(params, images [b, s, s, 3] in [-1, 1]) -> (content, [style, ...])`: the map of
      an eighth of the side, and all maps.
    """
    judge = load_judge(config.data, seed=1)
    network = _network(judge.size, judge.values)

    def apply(params: Any, images: Float[Array, "b s s 3"]) -> tuple[Array, list[Array]]:
        maps: Any = network.apply(params, images, method="maps")
        return maps[2], maps

    return jax.tree.map(jnp.asarray, judge.variables), apply

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
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from xgan_jax.config import Config, DataConfig
from xgan_jax.data import pipeline
from xgan_jax.data.augment import to_float
from xgan_jax.data.batches import in_batches
from xgan_jax.nets.judge import Judge as Network
from xgan_jax.readers.kept import asked, is_kept, keep, kept, kept_words, learning, place
from xgan_jax.readers.labels import read_attributes
from xgan_jax.readers.learning import learn
from xgan_jax.readers.lesson import Pictures, Values, disturbed, read_lesson

# Updates count, not pictures: of the embedded photos, 1,000 steps of 64 read 0.91 of eye colours and 0.87 of
# glasses, 4,000 of 16 in the same time 1.00 and 0.97.
STEPS = 4000
VERSION = 2  # of the network and its training; another number trains anew
_READ = 256  # pictures at once
_OF_LOSSES = 1  # seed of judges that losses use: others than the one that measures, of seed 0


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
    def network(self) -> Network:
        """The network that `variables` are of."""
        return _network(self.size, self.values)

    @cached_property
    def _compiled(self) -> tuple[Any, Any]:
        """The functions behind `features` and `read`, compiled at their first call."""

        def read(variables: Any, images: Array, domain: str) -> Any:
            by_domain, attributes = self.network.apply(variables, {domain: to_float(images)})
            return by_domain[domain], attributes[domain]

        features = jax.jit(lambda v, x: self.network.apply(v, to_float(x), method="features"))
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


def _named(values: Values, variables: Any, size: int) -> Judge:
    digest = hashlib.blake2b(digest_size=6)
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        digest.update(jax.tree_util.keystr(path).encode() + np.asarray(leaf).tobytes())
    return Judge(values, variables, size, f"judge-{digest.hexdigest()}")


def train_judge(data: DataConfig, steps: int, seed: int = 0) -> Judge:
    """Trains a judge on the train splits of all domains.

    Raises:
      ValueError, FileNotFoundError, CorruptRecordError: the data cannot be read.
    """
    lesson = read_lesson(data)
    network = _network(data.size, lesson.values)
    variables = learn(
        partial(lesson.loss, network),
        _initial(network, seed),
        lesson.batches(seed),
        steps,
        seed + 1,
        "learning to read the labels",
    )
    return _named(lesson.values, variables, data.size)


def load_judge(data: DataConfig, seed: int = 0) -> Judge:
    """The judge of a prepared dataset: read from `DATA/judge` where it is there, else trained and kept.

    One judge a dataset and choice of domains, so that all runs on it are read by the same; it is the one of
    `seed` 0.

    Raises:
      ValueError, FileNotFoundError, CorruptRecordError: the data cannot be read.
    """
    request = asked(data, "version", VERSION, steps=STEPS, seed=seed)
    path = place(data, request)
    if is_kept(path):
        return _kept_judge(path, data)
    with learning("the labels", request, path):
        judge = train_judge(data, STEPS, seed=seed)
    keep(path, judge.variables, request | {"name": judge.name}, values=json.dumps(judge.values))
    return judge


def _kept_judge(path: Path, data: DataConfig) -> Judge:
    words = json.loads(kept_words(path, "values"))
    values = {domain: {a: tuple(v) for a, v in words[domain].items()} for domain in data.domains}
    abstract = jax.eval_shape(lambda: _initial(_network(data.size, values)))
    return _named(values, kept(path, abstract), data.size)


def as_teacher(config: Config) -> tuple[Any, Any]:
    """A judge's features as XGAN's teacher (L_teach, section 3.1) and DTN's f, where the papers have a
    network of faces.

    For `config.networks.teacher = "xgan_jax.readers.judge:as_teacher"`. Trained, as theirs, on the first
    domain's pictures and labels alone, and another than the one that measures; its features, in fixed random
    directions, have the embedding's size and unit spread.

    Returns:
      (params, apply): `apply(params, images [b, s, s, 3] in [-1, 1]) -> [b, embedding_size]`.

    Raises:
      ValueError: that domain has no labels.
    """
    judge, pictures = _judge_of_one(config.data, config.data.domains[0])
    features, size = judge.features(pictures), config.networks.embedding_size
    count, mean = features.shape[1], features.mean(0)
    directions = np.random.default_rng(0).standard_normal((count, size)) / count**0.5
    spread = ((features - mean) @ directions).std()
    params = {
        "variables": judge.variables,
        "mean": mean,
        "directions": (directions / spread).astype(np.float32),
    }

    def apply(params: Any, images: Float[Array, "b s s 3"]) -> Float[Array, "b e"]:
        found = judge.network.apply(params["variables"], images, method="features")
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
    domain = config.data.domains[-1]
    judge, pictures = _judge_of_one(config.data, domain)
    attributes = list(judge.values[domain])
    followed = [name for name in attributes if {"hair", "eye", "eyes"} & set(_words(name))] or attributes
    _, logits = judge.read(pictures, domain)
    found = np.concatenate([logits[name] for name in followed], -1)
    params = {"variables": judge.variables, "mean": found.mean(0), "spread": found.std(0) + 1e-6}

    def apply(params: Any, images: Float[Array, "b s s 3"]) -> Float[Array, "b v"]:
        _, attributes = judge.network.apply(params["variables"], {domain: images})
        logits = jnp.concatenate([attributes[domain][name] for name in followed], -1)
        return (logits - params["mean"]) / params["spread"]

    return jax.tree.map(jnp.asarray, params), apply


def _judge_of_one(data: DataConfig, domain: str) -> tuple[Judge, Pictures]:
    """A judge of one domain's pictures and labels alone, and some of the pictures."""
    alone = dataclasses.replace(data, domains=(domain,))
    judge = load_judge(alone, seed=_OF_LOSSES)
    if not any(judge.values.values()):
        raise ValueError(f"{alone.path} has no labels of {domain} to learn features from")
    source = pipeline.open_pictures(alone, domain, alone.train_split)
    return judge, source.read(range(min(len(source), 512)))


def _words(name: str) -> list[str]:
    """Of "Eye_color" or "hair colour": eye, color."""
    return name.lower().replace("_", " ").split()


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
    shared = _shared_values(config.data)
    if not shared:
        logging.getLogger(__name__).warning(
            "%s has no labels that its domains share: config.weights.attributes has nothing to keep, and the "
            "other losses go on without it.",
            config.data.path,
        )
        return {}, lambda params, images, domain, key=None: {}
    judge = load_judge(config.data, seed=_OF_LOSSES)
    places = {
        domain: {name: np.array([attributes[name].index(v) for v in shared[name]]) for name in shared}
        for domain, attributes in judge.values.items()
    }

    def apply(
        params: Any, images: Float[Array, "b s s 3"], domain: str, key: Key[Array, ""] | None = None
    ) -> dict[str, Float[Array, "b v"]]:
        if key is not None:
            shift, roughness = jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)
            images = disturbed(images, shift, roughness, mirror=False)
        _, attributes = judge.network.apply(params, {domain: images})
        logits = attributes[domain]
        return {name: jax.nn.log_softmax(logits[name][:, places[domain][name]]) for name in shared}

    return jax.tree.map(jnp.asarray, judge.variables), apply


def _shared_values(data: DataConfig) -> dict[str, list[str]]:
    """{attribute: its values}, those that the labels of all domains have; two of an attribute, or more."""
    labels = [
        read_attributes(pipeline.read_labels(data, domain, data.train_split)) for domain in data.domains
    ]
    shared = {}
    for name, attribute in labels[0].items():
        common = [v for v in attribute.values if all(name in of and v in of[name].values for of in labels)]
        if len(common) > 1:
            shared[name] = common
    return shared


def as_maps(config: Config) -> tuple[Any, Any]:
    """A judge's maps for style transfer, where Gatys et al. have VGG-19's; not the one that measures.

    For `config.networks.features = "xgan_jax.readers.judge:as_maps"`.

    Returns:
      (params, apply): `apply(params, images [b, s, s, 3] in [-1, 1]) -> (content, [style, ...])`: the map of
      an eighth of the side, and all maps.
    """
    judge = load_judge(config.data, seed=_OF_LOSSES)

    def apply(params: Any, images: Float[Array, "b s s 3"]) -> tuple[Array, list[Array]]:
        maps: Any = judge.network.apply(params, images, method="maps")
        return maps[2], maps

    return jax.tree.map(jnp.asarray, judge.variables), apply

"""A network that reads how far a face is tilted, for CycleGAN's angle channel.

Learnt on the dataset's own labels: a column `tilt` (degrees, clockwise), or the eyes' landmarks, as CelebA's
list or any CSV given to `xgan prepare --labels` has them (lefteye_x, lefteye_y, righteye_x, righteye_y; left
and right in the picture). In a domain without either, and where OpenCV is installed, eyes are looked for in
2,000 pictures (`eyes`), and those where they are found are learnt from; else, or where they are found in
fewer than half, all its pictures are taken to be upright in the mean. What is learnt from is turned by known
angles besides. So a picture needs no landmarks to be translated. It is learnt once and kept: delete
`DATA/judge/angle_*` to learn it anew, once OpenCV is there.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Float, Key, UInt8

from xgan_jax.config import Config, DataConfig
from xgan_jax.data import pipeline
from xgan_jax.data.augment import to_float
from xgan_jax.nets.discriminator import DCGANDiscriminator
from xgan_jax.readers.eyes import detected_tilts, eye_cascade
from xgan_jax.readers.kept import asked, is_kept, keep, kept, learning, place
from xgan_jax.readers.learning import learn

STEPS = 1000
VERSION = 2  # of the network and its training; another number trains anew
_BATCH = 64
_MOST_DETECTED = 2000  # pictures of a domain in which eyes are looked for
_TURN = 20.0  # degrees; pictures are turned up to here while it learns
_EYES = ("lefteye_x", "lefteye_y", "righteye_x", "righteye_y")
UNIT = 45.0  # degrees of an output of 1
Pictures = UInt8[np.ndarray, "_ s s 3"]


def tilts(labels: Mapping[str, Sequence[Any]]) -> Float[np.ndarray, "n"] | None:
    """Degrees, clockwise, of the pictures with these labels; None where no column says.

    NaN for a picture without labels, or with an empty cell.

    Raises:
      ValueError: a cell is neither a number nor empty.
    """

    def column(name: str) -> Float[np.ndarray, "n"]:
        try:
            return np.array([np.nan if cell == "" else float(cell) for cell in labels[name]])
        except ValueError as error:
            raise ValueError(f"the label {name!r} should be numbers: {error}; prepare again.") from None

    if "tilt" in labels:
        found = column("tilt")
    elif set(_EYES) <= set(labels):
        lx, ly, rx, ry = (column(name) for name in _EYES)
        found = np.degrees(np.arctan2(ry - ly, rx - lx))
    else:
        return None
    labelled = np.asarray(labels.get("labelled", np.ones(len(found))))
    return np.where(labelled == 1, found, np.nan).astype(np.float32)


def turned(images: Float[Array, "b s s 3"], degrees: Float[Array, "b"]) -> Float[Array, "b s s 3"]:
    """Pictures turned clockwise about their middle; edge pixels repeat."""
    s = images.shape[1]
    rows, columns = jnp.meshgrid(jnp.arange(s), jnp.arange(s), indexing="ij")
    y, x = rows - (s - 1) / 2, columns - (s - 1) / 2

    def one(image: Array, angle: Array) -> Array:
        cos, sin = jnp.cos(jnp.radians(angle)), jnp.sin(jnp.radians(angle))
        at = [-sin * x + cos * y + (s - 1) / 2, cos * x + sin * y + (s - 1) / 2]
        channels = [map_coordinates(image[..., c], at, order=1, mode="nearest") for c in range(3)]
        return jnp.stack(channels, -1)

    return jax.vmap(one)(images, degrees)


def _network() -> DCGANDiscriminator:
    return DCGANDiscriminator(1, 0.5)


def train(data: DataConfig, steps: int = STEPS, seed: int = 0) -> Any:
    """The network's variables, learnt on the pictures of all domains whose tilt is known."""
    network = _network()
    variables = network.init(jax.random.key(seed), jnp.zeros((1, data.size, data.size, 3)))
    batches = _batches(_known(data), seed)
    return learn(partial(_loss, network), variables, batches, steps, seed + 1, "learning to read the tilt")


def _known(data: DataConfig) -> dict[str, tuple[Pictures, Float[np.ndarray, "n"]]]:
    """{domain: the training pictures whose tilt is known, and their degrees}."""
    known = {}
    for domain in data.domains:
        source = pipeline.open_pictures(data, domain, data.train_split)
        found = _labelled(data, domain)
        if found is None:
            found = _detected(source)
        usable = np.flatnonzero(~np.isnan(found))
        known[domain] = source.read(usable.tolist()), found[usable]
    return known


def _batches(
    known: dict[str, tuple[Pictures, Float[np.ndarray, "n"]]], seed: int
) -> Iterator[tuple[Pictures, Float[np.ndarray, "b"]]]:
    """Pictures drawn at random, with repetition, as many of each domain, and their degrees; without end."""
    rng = np.random.default_rng(seed)
    while True:
        chosen = {d: rng.integers(0, len(x), _BATCH // len(known)) for d, (x, _) in known.items()}
        pictures = np.concatenate([known[d][0][n] for d, n in chosen.items()])
        yield pictures, np.concatenate([known[d][1][n] for d, n in chosen.items()])


def _loss(
    network: DCGANDiscriminator, params: Any, batch_stats: Any, batch: Any, key: Key[Array, ""]
) -> tuple[Float[Array, ""], Any]:
    """How far off the network is of pictures turned at random, and the new batch statistics."""
    images, degrees = batch
    turn = jax.random.uniform(key, degrees.shape, minval=-_TURN, maxval=_TURN)
    x, wanted = turned(to_float(images), turn), (degrees + turn) / UNIT
    variables = {"params": params, "batch_stats": batch_stats}
    found, changed = network.apply(variables, x, mutable=["batch_stats"])
    return jnp.abs(found[:, 0] - wanted).mean(), changed["batch_stats"]


def _labelled(data: DataConfig, domain: str) -> Float[np.ndarray, "n"] | None:
    """Degrees by the labels of the train split; None where they say nothing."""
    found = tilts(pipeline.read_labels(data, domain, data.train_split))
    return None if found is None or np.isnan(found).all() else found


def _detected(source: pipeline.PictureSource) -> Float[np.ndarray, "n"]:
    """Degrees by the eyes that OpenCV finds, NaN where none were looked for or found; else all 0."""
    upright = np.zeros(len(source), np.float32)
    cascade = eye_cascade()
    if cascade is None:
        return upright
    some = np.linspace(0, len(source) - 1, min(len(source), _MOST_DETECTED)).astype(int)
    detected = detected_tilts(cascade, source.read(some.tolist()))
    if np.isnan(detected).mean() > 0.5:
        return upright
    found = np.full(len(source), np.nan, np.float32)
    found[some] = detected
    return found


def as_angle(config: Config) -> tuple[Any, Any]:
    """The network of the dataset, from `DATA/judge` where it is there, else learnt and kept.

    For `config.networks.angle = "xgan_jax.readers.angle:as_angle"`.

    Returns:
      (params, apply): `apply(params, images [b, s, s, 3] in [-1, 1]) -> [b]`, degrees clockwise.
    """
    data, network = config.data, _network()
    request = asked(data, "angle", VERSION, steps=STEPS)
    path = place(data, request, "angle_")
    if is_kept(path):
        picture = jnp.zeros((1, data.size, data.size, 3))
        variables = kept(path, jax.eval_shape(network.init, jax.random.key(0), picture))
    else:
        with learning("the tilt", request, path):
            variables = train(data)
        keep(path, variables)

    def apply(params: Any, images: Float[Array, "b s s 3"]) -> Float[Array, "b"]:
        found: Any = network.apply(params, images, train=False)
        return UNIT * found[:, 0]

    return jax.tree.map(jnp.asarray, variables), apply

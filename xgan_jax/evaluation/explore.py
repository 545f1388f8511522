"""Looking into a trained run: neighbours across domains, the way between two embeddings, mixed styles."""

import csv
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from xgan_jax.data import pictures, pipeline
from xgan_jax.data.augment import to_float, to_uint8
from xgan_jax.data.batches import in_batches
from xgan_jax.evaluation import grid
from xgan_jax.evaluation.distances import squared_distances
from xgan_jax.evaluation.translate import embed_all, reader, split_direction
from xgan_jax.method import Embeds, Generates, Mixes
from xgan_jax.runs.load import Run, load_run

Pictures = UInt8[np.ndarray, "_ s s 3"]


def _check_domain(run: Run, option: str, domain: str) -> None:
    if domain not in run.config.data.domains:
        known = ", ".join(run.config.data.domains)
        raise ValueError(f"{option} is {domain!r}, which is no domain of this run: use one of {known}.")


def _lacks(run: Run, what: str, who: str) -> ValueError:
    return ValueError(f"{run.config.method} has no {what}: {who} has.")


def read_inputs(run: Run, inputs: Sequence[str], domain: str) -> tuple[list[str], Pictures]:
    """Names and pictures of files, folders and zips, cropped as the training pictures of `domain` were.

    Raises:
      FileNotFoundError, PictureError: one of them cannot be read.
    """
    names, found = [], []
    for path in inputs:
        for name, read in reader(Path(path)).items():
            image = pictures.decode(read())
            found.append(pictures.crop_resize(image, run.config.data.size, run.crop[domain]))
            names.append(name)
    if not names:
        raise ValueError(f"{', '.join(inputs)} holds no files: give pictures, folders or zips of pictures.")
    return names, np.stack(found)


def _embeddings(run: Run, images: Pictures, domain: str) -> Float[np.ndarray, "n e"]:
    if not isinstance(run.method, Embeds):
        raise _lacks(
            run,
            "embedding",
            "xgan, baselines.twingan, baselines.dtn, baselines.acgan or baselines.face2anime",
        )
    return embed_all(run, images, domain)


def neighbours(
    workdir: str,
    inputs: Sequence[str],
    domain: str,
    among: str,
    output: str,
    count: int = 5,
    step: int | None = None,
) -> list[dict[str, Any]]:
    """The test pictures of `among` whose embeddings are nearest to those of given pictures of `domain`.

    Writes `output/neighbours.png`, a row a picture: itself, then its neighbours, the nearest first; and
    `output/neighbours.csv`: file, rank, number of the test picture, distance (Euclidean).

    Returns:
      the rows of the table.

    Raises:
      ValueError: no such domain, fewer pictures than `count`, or the method has no embedding.
    """
    run = load_run(workdir, step)
    _check_domain(run, "--domain", domain)
    _check_domain(run, "--among", among)
    data = run.config.data
    total = pipeline.picture_counts(data)[among][data.test_split]
    if not 1 <= count <= total:
        raise ValueError(f"--count is {count}: there are {total} test pictures of {among}, use 1 to {total}.")
    names, images = read_inputs(run, inputs, domain)
    gallery = pipeline.read_pictures(data, among, data.test_split, range(total))
    distances = squared_distances(_embeddings(run, images, domain), _embeddings(run, gallery, among))
    nearest = np.argsort(distances, axis=1, kind="stable")[:, :count]
    rows = [
        {"file": name, "rank": rank + 1, "picture": int(i), "distance": float(max(of[i], 0) ** 0.5)}
        for name, found, of in zip(names, nearest, distances, strict=True)
        for rank, i in enumerate(found)
    ]
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    sheet = grid.tile(np.concatenate([images[:, None], gallery[nearest]], 1))
    titles = [domain, *(f"{among} {rank + 1}" for rank in range(count))]
    grid.save_png(str(folder / "neighbours.png"), grid.titled(sheet, titles))
    with (folder / "neighbours.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return rows


def _between(ends: Float[Array, "2 e"], count: int) -> Float[Array, "n e"]:
    share = jnp.linspace(0, 1, count)[:, None]
    return (1 - share) * ends[0] + share * ends[1]


def interpolate(
    workdir: str, inputs: Sequence[str], domain: str, output: str, count: int = 8, step: int | None = None
) -> None:
    """Draws, in every domain, the embeddings on the straight line between those of two pictures.

    Writes `output/interpolation.png`: a row a domain, from the first picture's embedding to the second's.

    Raises:
      ValueError: not two pictures, or the method does not draw from embeddings alone.
    """
    run = load_run(workdir, step)
    _check_domain(run, "--domain", domain)
    if count < 2:
        raise ValueError(f"--count is {count}: use 2 or more.")
    method = run.method
    if not isinstance(method, Generates):
        raise _lacks(run, "pictures of embeddings alone", "xgan, baselines.dtn or baselines.acgan")
    names, images = read_inputs(run, inputs, domain)
    if len(names) != 2:
        raise ValueError(f"--input gives {len(names)} pictures: the way between two is drawn.")
    z = _between(jnp.asarray(_embeddings(run, images, domain)), count)
    domains = run.config.data.domains
    drawn = jax.jit(lambda p, e, z: {d: to_uint8(method.generate(p, e, z, d)) for d in domains})(
        run.params, run.extra, z
    )
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    sheet = grid.tile(np.stack([np.asarray(drawn[d]) for d in domains]))
    grid.save_png(str(folder / "interpolation.png"), sheet)


def mix_style(
    workdir: str,
    inputs: Sequence[str],
    direction: str,
    output: str,
    count: int = 5,
    step: int | None = None,
) -> None:
    """Draws pictures in styles from their own domain's to the target's (Twin-GAN's mixed normalisation).

    Writes `output/styles.png`: a row a picture; itself, then `count` styles, the target's last.

    Raises:
      ValueError: the method's domains are not styles.
    """
    run = load_run(workdir, step)
    source, target = split_direction(direction, run.config.data.domains)
    if count < 2:
        raise ValueError(f"--count is {count}: use 2 or more.")
    method = run.method
    if not isinstance(method, Mixes):
        raise _lacks(run, "style to mix", "baselines.twingan")
    _, images = read_inputs(run, inputs, source)

    @jax.jit
    def at(params: Any, extra: Any, amount: Array, x: Array) -> Array:
        return to_uint8(method.mix(params, extra, to_float(x), source, target, amount))

    amounts = np.linspace(0, 1, count)
    drawn = [in_batches(functools.partial(at, run.params, run.extra, a), images, 32) for a in amounts]
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    sheet = grid.tile(np.stack([images, *drawn], 1))
    titles = [source, *(f"{round(100 * a)}%" for a in amounts)]
    grid.save_png(str(folder / "styles.png"), grid.titled(sheet, titles))

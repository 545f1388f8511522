"""Looking into a trained run: neighbours across domains, the way between two embeddings, mixed styles."""

import csv
import functools
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from xgan_jax.data import pictures, pipeline
from xgan_jax.data.augment import to_float, to_uint8
from xgan_jax.data.batches import in_batches
from xgan_jax.data.inputs import Inputs
from xgan_jax.data.listing import say_refused
from xgan_jax.evaluation import grid
from xgan_jax.evaluation.distances import squared_distances
from xgan_jax.evaluation.translate import check_dataset, embed_all, split_direction
from xgan_jax.method import Embeds, Generates, Mixes
from xgan_jax.outputs import Outputs
from xgan_jax.runs.load import Run, load_run

Pictures = UInt8[np.ndarray, "_ s s 3"]


def _check_domain(run: Run, option: str, domain: str) -> None:
    if domain not in run.config.data.domains:
        known = ", ".join(run.config.data.domains)
        raise ValueError(f"{option} is {domain!r}, which is no domain of this run: use one of {known}.")


def _lacks(run: Run, what: str, who: str) -> ValueError:
    return ValueError(f"{run.config.method} has no {what}: {who} has.")


def read_inputs(
    run: Run, inputs: Sequence[str], domain: str, outputs: Outputs
) -> tuple[list[str], Pictures, list[dict[str, str]]]:
    """Names and pictures of files, folders and zips, cropped as the training pictures of `domain` were; and
    what is refused, which is said too. `outputs` of earlier commands are not read.

    Raises:
      FileNotFoundError: one of them is not there.
      ValueError: none can be read.
    """
    opened = [Inputs(path, outputs.made) for path in inputs]
    names, paths, found = [], [], []
    for given in opened:
        for name, picture in given.read(run.config.data.size, run.crop[domain], "reading"):
            names.append(name)
            paths.append(given.whole_path(name))
            found.append(picture)
    refused = [entry for given in opened for entry in given.refused]
    if not found:
        raise opened[0].all_refused()
    for entry in refused:
        say_refused(entry["file"], entry["reason"])
    alike = len(set(names)) < len(names)
    return paths if alike else names, np.stack(found), refused


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
    data: str | None = None,
) -> tuple[list[dict[str, Any]], list[str]]:
    """The test pictures of `among` whose embeddings are nearest to those of given pictures of `domain`.

    Writes `output/neighbours.png`, a row a picture: itself, then its neighbours, the nearest first; and
    `output/neighbours.csv`: file, rank, number of the test picture, distance (Euclidean); as `Outputs` does.

    Returns:
      the rows of the table, and the two files.

    Raises:
      FileNotFoundError: the run's dataset is not there; `data` says where it is now.
      ValueError: no such domain, fewer pictures than `count`, or the method has no embedding.
    """
    outputs = Outputs(output)
    run = load_run(workdir, step, data=data)
    _check_domain(run, "--domain", domain)
    _check_domain(run, "--among", among)
    check_dataset(run, Path(workdir), data)
    where = run.config.data
    total = pipeline.picture_counts(where)[among][where.test_split]
    if not 1 <= count <= total:
        raise ValueError(f"--count is {count}: there are {total} test pictures of {among}, use 1 to {total}.")
    names, images, _ = read_inputs(run, inputs, domain, outputs)
    gallery = pipeline.read_pictures(where, among, where.test_split, range(total))
    distances = squared_distances(_embeddings(run, images, domain), _embeddings(run, gallery, among))
    nearest = np.argsort(distances, axis=1, kind="stable")[:, :count]
    rows = [
        {"file": name, "rank": rank + 1, "picture": int(i), "distance": float(max(of[i], 0) ** 0.5)}
        for name, found, of in zip(names, nearest, distances, strict=True)
        for rank, i in enumerate(found)
    ]
    sheet = grid.tile(np.concatenate([images[:, None], gallery[nearest]], 1))
    sheet = grid.titled(sheet, [domain, *(f"{among} {rank + 1}" for rank in range(count))])
    of = _command("neighbours", workdir, inputs, domain, among, count, step, data and os.path.abspath(data))
    files = {"neighbours.png": pictures.encode(sheet, "png"), "neighbours.csv": _table(rows)}
    return rows, _written(outputs, files, of)


def _written(outputs: Outputs, files: Mapping[str, bytes], of: str) -> list[str]:
    """Writes the files, says which names were taken, and gives the paths."""
    paths = [str(outputs.folder / outputs.write(name, data, of)) for name, data in files.items()]
    outputs.tell()
    return paths


def _table(rows: Sequence[dict[str, Any]]) -> bytes:
    """CSV in UTF-8; a name that is no text is written with backslashes."""
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, list(rows[0]))
    table.writeheader()
    table.writerows(rows)
    return text.getvalue().encode("utf-8", "backslashreplace")


def _command(name: str, workdir: str, inputs: Sequence[str], *others: Any) -> str:
    """What is the same when the same command is given again."""
    return repr([name, os.path.abspath(workdir), [os.path.abspath(path) for path in inputs], *others])


def _between(ends: Float[Array, "2 e"], count: int) -> Float[Array, "n e"]:
    share = jnp.linspace(0, 1, count)[:, None]
    return (1 - share) * ends[0] + share * ends[1]


def interpolate(
    workdir: str, inputs: Sequence[str], domain: str, output: str, count: int = 8, step: int | None = None
) -> list[str]:
    """Draws, in every domain, the embeddings on the straight line between those of two pictures.

    Writes `output/interpolation.png`: a row a domain, from the first picture's embedding to the second's.

    Returns:
      the file, which has another name where that one was taken.

    Raises:
      ValueError: not two pictures, or the method does not draw from embeddings alone.
    """
    outputs = Outputs(output)
    run = load_run(workdir, step)
    _check_domain(run, "--domain", domain)
    if count < 2:
        raise ValueError(f"--count is {count}: use 2 or more.")
    method = run.method
    if not isinstance(method, Generates):
        raise _lacks(run, "pictures of embeddings alone", "xgan, baselines.dtn or baselines.acgan")
    names, images, refused = read_inputs(run, inputs, domain, outputs)
    if len(names) != 2:
        why = f" ({refused[0]['file']!r} is refused, {refused[0]['reason']})" if refused else ""
        raise ValueError(f"--input gives {len(names)} pictures{why}: the way between two is drawn.")
    z = _between(jnp.asarray(_embeddings(run, images, domain)), count)
    domains = run.config.data.domains
    drawn = jax.jit(lambda p, e, z: {d: to_uint8(method.generate(p, e, z, d)) for d in domains})(
        run.params, run.extra, z
    )
    sheet = pictures.encode(grid.tile(np.stack([np.asarray(drawn[d]) for d in domains])), "png")
    of = _command("interpolate", workdir, inputs, domain, count, step)
    return _written(outputs, {"interpolation.png": sheet}, of)


def mix_style(
    workdir: str,
    inputs: Sequence[str],
    direction: str,
    output: str,
    count: int = 5,
    step: int | None = None,
) -> list[str]:
    """Draws pictures in styles from their own domain's to the target's (Twin-GAN's mixed normalisation).

    Writes `output/styles.png`: a row a picture; itself, then `count` styles, the target's last.

    Returns:
      the file, which has another name where that one was taken.

    Raises:
      ValueError: the method's domains are not styles.
    """
    outputs = Outputs(output)
    run = load_run(workdir, step)
    source, target = split_direction(direction, run.config.data.domains)
    if count < 2:
        raise ValueError(f"--count is {count}: use 2 or more.")
    method = run.method
    if not isinstance(method, Mixes):
        raise _lacks(run, "style to mix", "baselines.twingan")
    _, images, _ = read_inputs(run, inputs, source, outputs)

    @jax.jit
    def at(params: Any, extra: Any, amount: Array, x: Array) -> Array:
        return to_uint8(method.mix(params, extra, to_float(x), source, target, amount))

    amounts = np.linspace(0, 1, count)
    drawn = [in_batches(functools.partial(at, run.params, run.extra, a), images, 32) for a in amounts]
    sheet = grid.tile(np.stack([images, *drawn], 1))
    sheet = grid.titled(sheet, [source, *(f"{round(100 * a)}%" for a in amounts)])
    of = _command("mix-style", workdir, inputs, direction, count, step)
    return _written(outputs, {"styles.png": pictures.encode(sheet, "png")}, of)

"""Translating with a trained run: test-split grids, and any pictures a user has."""

import functools
import itertools
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from xgan_jax import __version__
from xgan_jax.data import pictures, pipeline
from xgan_jax.data.account import say_remarks
from xgan_jax.data.augment import to_float, to_uint8
from xgan_jax.data.batches import in_batches
from xgan_jax.data.inputs import Inputs
from xgan_jax.data.listing import say_refused
from xgan_jax.evaluation import grid
from xgan_jax.method import Embeds, Extra, Follows, Images, Params
from xgan_jax.outputs import Outputs, same_name
from xgan_jax.progress import say
from xgan_jax.runs.load import Run, load_run

Pictures = UInt8[np.ndarray, "_ s s 3"]
Translate = Callable[[Params, Extra, Images, str, str], Images]  # a method's


def split_direction(direction: str, domains: Sequence[str]) -> tuple[str, str]:
    """ "face2anime" to ("face", "anime").

    Raises:
      ValueError: not two different domains of the run with a 2 between them.
    """
    for source in domains:
        for target in domains:
            if source != target and direction == f"{source}2{target}":
                return source, target
    possible = ", ".join(f"{s}2{t}" for s in domains for t in domains if s != t)
    raise ValueError(f"the direction {direction!r} is unknown to this run: use one of {possible}.")


def compiled_translator(translate: Translate) -> Callable[..., Array]:
    """`(params, extra, uint8 images, source, target)` to uint8 images; compiled once a direction and size.

    `translate`: a method's, of pictures in [-1, 1].
    """

    @functools.partial(jax.jit, static_argnums=(3, 4))
    def compiled(params: Any, extra: Any, images: Array, source: str, target: str) -> Array:
        return to_uint8(translate(params, extra, to_float(images), source, target))

    return compiled


def translate_all(
    translator: Callable[..., Array],
    params: Any,
    extra: Any,
    images: Pictures,
    source: str,
    target: str,
    batch_size: int = 32,
) -> Pictures:
    """Any number of pictures."""
    result: Pictures = in_batches(lambda x: translator(params, extra, x, source, target), images, batch_size)
    return result


def embed_all(run: Run, images: Pictures, domain: str, batch_size: int = 64) -> Float[np.ndarray, "n e"]:
    """The embeddings of any number of pictures of `domain`, in float64; for a method that has them."""
    method = run.method
    assert isinstance(method, Embeds)
    compiled = jax.jit(lambda p, e, x: method.embed(p, e, to_float(x), domain))
    found: np.ndarray = in_batches(lambda x: compiled(run.params, run.extra, x), images, batch_size)
    return found.astype(np.float64)


def check_dataset(run: Run, workdir: Path, given: str | None) -> None:
    """Says it when the run's dataset holds other pictures by now; `given`: where it is, if that was said.

    Raises:
      FileNotFoundError: it is not there.
    """
    path = run.config.data.path
    if not path:
        raise FileNotFoundError(f"{workdir} has no dataset of its own: give one with --data.")
    if not os.path.isdir(path):
        if given is not None:
            raise FileNotFoundError(f"--data {path} is no folder: give one that `xgan prepare` wrote.")
        raise FileNotFoundError(f"{workdir} was trained on {path}, which is no folder here: give --data.")
    if given is None and run.pictures not in (None, pipeline.digests(run.config.data)):
        say(f"note: {path} holds other pictures by now than {workdir} was trained on")


def command_of(name: str, run: Path, folder: Path, *others: Any) -> str:
    """What is the same when the same command is given again, also after a move of both."""
    return repr([name, os.path.relpath(run.absolute(), folder.absolute()), *others])


def evaluate(
    workdir: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    step: int | None = None,
    count: int = 64,
    singles: bool = False,
    best: bool = False,
    data: str | None = None,
) -> dict[str, Any]:
    """Draws what a run makes of `count` pictures of each domain's test split.

    Writes into `out` (default `workdir/eval`), over nothing but what was written there before: for each
    direction `SOURCE2TARGET.png` with input, reconstruction, translation and round trip, `start_and_now.png`
    (the run's first and last grids side by side), with `singles` also every translation as a picture of its
    own, and `eval.json`, which says what was evaluated.

    Returns:
      the content of `eval.json`.

    Raises:
      FileNotFoundError, CheckpointError: as `load_run`.
      ValueError: the data are not there.
    """
    workdir = Path(workdir)
    outputs = Outputs(out if out is not None else workdir / "eval")
    run = load_run(workdir, step, best, data)
    check_dataset(run, workdir, data)
    where = run.config.data
    of = command_of("eval", workdir, outputs.folder, step, best, data and os.path.abspath(data))
    in_split = {domain: counts[where.test_split] for domain, counts in pipeline.picture_counts(where).items()}
    indices = {domain: _spread(in_split[domain], count) for domain in where.domains}
    tests = {
        domain: pipeline.read_pictures(where, domain, where.test_split, indices[domain])
        for domain in where.domains
    }
    written = _draw_grids(run, tests, outputs, of)
    written += _draw_start_and_now(workdir / "samples", outputs, of)
    if singles:
        written += _draw_singles(run, tests, indices, outputs, of)
    report = {
        "workdir": str(workdir),
        "step": run.step,
        "weights": f"moving average, decay {run.config.optimizer.ema_decay}",
        "method": run.config.method,
        "size": where.size,
        "data": where.path,
        "split": where.test_split,
        "pictures": indices,
        "pictures_in_split": in_split,
        "written": written,
        "versions": {"xgan_jax": __version__, "jax": jax.__version__},
    }
    _write_report(outputs, "eval.json", report, of)
    outputs.tell()
    return report


def _write_report(outputs: Outputs, name: str, report: Mapping[str, Any], of: str) -> str:
    """A JSON file, in the place of the command's last one; its name."""
    return outputs.write(name, (json.dumps(report, indent=2) + "\n").encode(), of)


def _spread(total: int, count: int) -> list[int]:
    """Of the numbers below `total`, `count` (or all), evenly spaced."""
    return [int(i) for i in np.linspace(0, total - 1, min(total, count)).round()]


def _draw_grids(run: Run, tests: Mapping[str, Pictures], outputs: Outputs, of: str) -> list[str]:
    """A grid a direction; the names of the files."""
    sampler = grid.make_sampler(run.method, run.config.data.domains)
    sheets = grid.translations(sampler, run.params, run.extra, tests)
    return [
        outputs.write(f"{direction}.png", pictures.encode(sheet, "png"), of)
        for direction, sheet in sheets.items()
    ]


def _draw_start_and_now(samples: Path, outputs: Outputs, of: str) -> list[str]:
    """The run's first and last grids side by side, where it has both; the names of the files."""
    steps = grid.sampled(samples)
    if len(steps) < 2 or steps[0] != 0:
        return []
    both = [(step, grid.sheet_of(samples, step)) for step in (0, steps[-1])]
    titled = [grid.titled(sheet, [f"step {step}"]) for step, sheet in both if sheet is not None]
    if len(titled) < 2:
        return []
    return [outputs.write("start_and_now.png", pictures.encode(grid.beside(titled, gap=24), "png"), of)]


def _draw_singles(
    run: Run, tests: Mapping[str, Pictures], indices: Mapping[str, Sequence[int]], outputs: Outputs, of: str
) -> list[str]:
    """Every translation under its picture's number, a folder a direction; the names of the folders."""
    translator = compiled_translator(run.method.translate)
    written = []
    for source, target in itertools.permutations(run.config.data.domains, 2):
        results = translate_all(translator, run.params, run.extra, tests[source], source, target)
        for i, picture in zip(indices[source], results, strict=True):
            name = f"{source}2{target}/{i:06d}.png"
            outputs.write(name, pictures.encode(picture, "png"), of)
        written.append(f"{source}2{target}/")
    return written


def _output_names(names: Sequence[str]) -> dict[str, str]:
    """File to PNG name, keeping folders; a.jpg and a.png become a.jpg.png and a.png.png."""
    # "Mr. Smith" has no ending.
    plain = {name: re.sub(r"(?<=[^/])\.[A-Za-z0-9]{1,5}$", "", name) + ".png" for name in names}
    alike = Counter(same_name(png) for png in plain.values())
    return {name: png if alike[same_name(png)] == 1 else f"{name}.png" for name, png in plain.items()}


def translate_files(
    workdir: str,
    input: str,
    output: str,
    direction: str,
    step: int | None = None,
    batch_size: int = 32,
    crop: str = "auto",
    reference: str | None = None,
) -> dict[str, Any]:
    """Translates a picture file, or every picture in a folder or zip (any depth), to PNG files.

    Pictures of any size and format are cropped by the rule of the training data (`crop` "auto": the rule
    is in the checkpoint) and resized to the training size, the size of what comes out. Every
    file comes out under its own name, or stands in `output/translate.json` with the reason why not. Nothing
    there is written over but what the same command wrote before; such a file in `input` is not translated
    again. With `reference`, a picture file of the target domain, translations follow it as the method can.

    Returns:
      the content of `translate.json`: {"found", "translated", "written": {file: its PNG},
      "refused": [{"file", "reason"}], "ignored": [files that are no pictures by their names], ...}.

    Raises:
      FileNotFoundError: `input` does not exist. ValueError: no pictures there, or none could be translated,
        unknown direction, or the method follows no reference.
      CheckpointError: as `load_run`.
    """
    outputs = Outputs(output)
    inputs = Inputs(input, outputs.made)
    run = load_run(workdir, step)
    source, target = split_direction(direction, run.config.data.domains)
    rule = run.crop[source] if crop == "auto" else crop
    translator = compiled_translator(
        run.method.translate if reference is None else _following(run, reference, target)
    )
    # What is the same when the same command is given again.
    command = [os.path.abspath(workdir), step, direction, crop, reference and os.path.abspath(reference)]
    names, written = _output_names(inputs.names), dict[str, str]()
    readable = inputs.read(run.config.data.size, rule, "translating")
    batches = iter(lambda: dict(itertools.islice(readable, batch_size)), {})
    for name, picture in _translated(translator, run, batches, source, target, batch_size):
        of = repr([*command, inputs.whole_path(name)])
        try:
            written[name] = outputs.write(names[name], pictures.encode(picture, "png"), of)
        except ValueError as error:
            inputs.refuse(name, str(error))
    report = {
        "workdir": workdir,
        "step": run.step,
        "direction": direction,
        "crop": rule,
        "size": run.config.data.size,
        "reference": reference,
        "found": inputs.found,
        "translated": len(written),
        "refused": sorted(inputs.refused, key=lambda entry: entry["file"]),
        "ignored": inputs.ignored,
        "written": written,
        "remarks": inputs.remarks,
    }
    of = repr([*command, os.path.abspath(input)])
    path = outputs.folder / _write_report(outputs, "translate.json", report, of)
    outputs.tell()
    if not written:
        raise inputs.all_refused()
    say_remarks(inputs.remarks)
    _say_sums(report, path)
    return report


def _translated(
    translator: Callable[..., Array],
    run: Run,
    batches: Iterable[Mapping[str, np.ndarray]],
    source: str,
    target: str,
    batch_size: int,
) -> Iterator[tuple[str, UInt8[np.ndarray, "s s 3"]]]:
    """Names and translations of pictures by name, of which each of `batches` has at most `batch_size`."""
    for batch in batches:
        images = np.stack(list(batch.values()))
        results = translate_all(translator, run.params, run.extra, images, source, target, batch_size)
        yield from zip(batch, results, strict=True)


def _say_sums(report: Mapping[str, Any], path: Path) -> None:
    """Prints what became of the files; `path` is the report's."""
    refused, ignored = report["refused"], report["ignored"]
    for entry in refused[:5]:
        say_refused(entry["file"], entry["reason"])
    print(
        f"{report['found']} files = {report['translated']} translated + {len(refused)} refused"
        + (f" (why: {path})" if refused else "")
        + (f"; {len(ignored)} left out, no pictures by their names or made by xgan" if ignored else "")
    )


def _following(run: Run, reference: str, target: str) -> Translate:
    """The run's method's translations, which follow the picture in the file `reference`."""
    method = run.method
    if not isinstance(method, Follows):
        raise ValueError(
            f"{run.config.method} follows no reference: baselines.twingan does, trained with "
            "--config.networks.reference."
        )
    path = Path(reference)
    if not path.is_file():
        raise FileNotFoundError(f"--reference {reference} is no file: give a picture.")
    picture = pictures.crop_resize(pictures.decode(path.read_bytes()), run.config.data.size, run.crop[target])

    def translate(params: Any, extra: Any, images: Images, source: str, target: str) -> Images:
        followed = jnp.broadcast_to(to_float(jnp.asarray(picture)[None]), images.shape)
        return method.translate_like(params, extra, images, followed, source, target)

    return translate

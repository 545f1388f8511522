"""One static HTML page a run: figures, grids, curves, a face through training, worst and best cases."""

import base64
import html
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from xgan_jax.evaluation.grid import HEADER, sampled, sheet_of, tile, titled
from xgan_jax.evaluation.translate import split_direction

Pictures = UInt8[np.ndarray, "_ s s 3"]
_CASES = 8
_COLOURS = ("#1f6feb", "#d1242f", "#1a7f37", "#8250df", "#bf8700", "#57606a")
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto;
 max-width: 72rem; padding: 0 1rem; color: #1f2328 }
table { border-collapse: collapse; margin: 1rem 0 }
td, th { padding: .2rem .8rem; border-bottom: 1px solid #d1d9e0 }
td + td, th + th { text-align: right } img { max-width: 100%; image-rendering: pixelated }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); gap: 1rem }
figure { margin: 0 } figcaption { font-size: 13px } code { background: #f6f8fa }
"""


@dataclass(frozen=True)
class Cases:
    """Translations beside their inputs (and the truth where it is known), with a score each, the higher the
    better."""

    inputs: Pictures
    translated: Pictures
    truth: Pictures | None
    scores: Float[np.ndarray, "n"]
    score_name: str


def _image(picture: UInt8[np.ndarray, "_ _ 3"]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return f'<img src="data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}">'


def _chart(name: str, curves: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Lines over steps, as SVG."""
    points = [p for curve in curves.values() for p in curve]
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    low, high, last = min(ys), max(ys), max(xs) or 1
    span = (high - low) or 1.0
    lines, keys = [], []
    for colour, (label, curve) in zip(_COLOURS * len(curves), curves.items(), strict=False):
        path = " ".join(f"{40 + 270 * x / last:.1f},{125 - 110 * (y - low) / span:.1f}" for x, y in curve)
        lines.append(f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{path}"/>')
        if label:
            keys.append(f'<span style="color:{colour}">{html.escape(label)}</span>')
    return (
        f"<figure><figcaption><b>{html.escape(name)}</b> {' '.join(keys)}</figcaption>"
        f'<svg viewBox="0 0 320 145">'
        f'<path d="M40 10V125H315" fill="none" stroke="#8c959f"/>{"".join(lines)}'
        f'<g font-size="10" fill="#57606a"><text x="36" y="16" text-anchor="end">{high:.3g}</text>'
        f'<text x="36" y="125" text-anchor="end">{low:.3g}</text>'
        f'<text x="315" y="139" text-anchor="end">step {last:.0f}</text></g></svg></figure>'
    )


def _curves(workdir: Path) -> list[str]:
    """A chart for every family of numbers in metrics.jsonl."""
    path = workdir / "metrics.jsonl"
    families: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for line in path.read_text(errors="replace").splitlines() if path.is_file() else []:
        try:
            row = json.loads(line)
            step = float(row["step"])
        except (ValueError, TypeError, KeyError):  # the run was killed, or is, while this line was written
            continue
        for name, value in row.items():
            if name != "step" and isinstance(value, (int, float)) and np.isfinite(value):
                family, _, member = name.removeprefix("loss/").partition("/")
                families.setdefault(family, {}).setdefault(member, []).append((step, value))
    charts = []
    for family, members in families.items():
        for name, curve in members.items():  # at most 200 points each, the means of what lies between
            parts = np.array_split(np.array(curve), min(200, len(curve)))
            members[name] = [(float(part[-1, 0]), float(part[:, 1].mean())) for part in parts]
        charts.append(_chart(family, members))
    return charts


def _timeline(workdir: Path, size: int) -> str:
    """The first row of sheets in `samples/`: one picture of each domain through training."""
    samples = workdir / "samples"
    steps = sampled(samples)
    if not steps:
        return ""
    figures = []
    for i in np.unique(np.linspace(0, len(steps) - 1, min(12, len(steps))).round().astype(int)):
        sheet = sheet_of(samples, steps[i])
        if sheet is not None:
            row = _image(sheet[HEADER : HEADER + size])
            figures.append(f"<figure>{row}<figcaption>step {steps[i]:,}</figcaption></figure>")
    return "<h2>One picture of each domain through training</h2>" + "".join(figures)


def _table(rows: Sequence[Sequence[Any]]) -> str:
    def cell(value: Any) -> str:
        return f"{value:.4g}" if isinstance(value, float) else html.escape(str(value))

    head, *body = [[cell(value) for value in row] for row in rows]
    lines = ["<tr>" + "".join(f"<th>{c}</th>" for c in head) + "</tr>"]
    lines += ["<tr>" + "".join(f"<td>{c}</td>" for c in row) + "</tr>" for row in body]
    return f"<table>{''.join(lines)}</table>"


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in tree.items():
        result |= _flat(value, f"{prefix}{name} / ") if isinstance(value, Mapping) else {prefix + name: value}
    return result


def _rows(title: str, cases: Cases, chosen: Int[np.ndarray, "k"]) -> str:
    """Inputs, below them their translations, below them the truth."""
    columns = [cases.inputs[chosen], cases.translated[chosen]]
    names = ["input", "translation"]
    if cases.truth is not None:
        columns.append(cases.truth[chosen])
        names.append("truth")
    return _image(titled(tile(np.stack(columns)), [f"{title}: rows {', '.join(names)}"]))


def _head(workdir: Path, how: Mapping[str, Any]) -> list[str]:
    return [
        "<!doctype html><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>{html.escape(workdir.name)}</title><style>{_STYLE}</style>",
        f"<h1>{html.escape(workdir.name)}</h1>",
        f"<p>{html.escape(how['method'])}, step {how['step']:,}, test split of "
        f"<code>{html.escape(how['data'])}</code> ({html.escape(how['dataset_hash'])})</p>",
    ]


def _figures(directions: Mapping[str, Any]) -> str:
    """A row a figure, a column a direction."""
    flats = {direction: _flat(found) for direction, found in directions.items()}
    names = dict.fromkeys(name for flat in flats.values() for name in flat)
    rows = [[name, *(flat.get(name, "") for flat in flats.values())] for name in names]
    return _table([["", *flats], *rows])


def _neighbours(
    neighbours: Mapping[str, Int[np.ndarray, "n k"]], pictures: Mapping[str, Pictures]
) -> list[str]:
    """For each direction a row a picture: itself, and those of the target next to it in the embedding."""
    sheets = []
    for direction, nearest in neighbours.items():
        source, target = split_direction(direction, list(pictures))
        rows = np.concatenate([pictures[source][: len(nearest), None], pictures[target][nearest]], 1)
        sheets.append(_image(titled(tile(rows), [f"{source}, nearest {target}"])))
    return sheets


def _first(cases: Mapping[str, Cases]) -> list[str]:
    if not cases:
        return []
    rows = [
        _rows(direction, of, np.arange(min(2 * _CASES, len(of.inputs)))) for direction, of in cases.items()
    ]
    return ["<h2>The first test pictures</h2>", *rows]


def _extremes(cases: Mapping[str, Cases]) -> list[str]:
    if not cases:
        return []
    parts = ["<h2>Worst and best</h2>"]
    for direction, of in cases.items():
        order = np.argsort(of.scores)
        scores = f"{html.escape(of.score_name)}: {of.scores[order[0]]:.3g} to {of.scores[order[-1]]:.3g}"
        rows = _rows("Worst", of, order[:_CASES]) + _rows("Best", of, order[::-1][:_CASES])
        parts.append(f"<h3>{html.escape(direction)}, by {scores}</h3>{rows}")
    return parts


def make(
    workdir: Path,
    report: Mapping[str, Any],
    cases: Mapping[str, Cases],
    pictures: Mapping[str, Pictures],
    neighbours: Mapping[str, Int[np.ndarray, "n k"]],
) -> str:
    """The page as HTML; everything is inside it, nothing is loaded from elsewhere.

    Args:
      report: the content of `metrics.json`.
      pictures: {domain: test pictures}.
      neighbours: {direction: numbers of the target's test pictures nearest in the embedding to the first
        ones of the source}.
    """
    size = next(iter(pictures.values())).shape[1]
    parts = [*_head(workdir, report["how"]), _figures(report["directions"])]
    if "embedding" in report:
        parts.append("<h2>Embedding</h2>" + _table([["", ""], *_flat(report["embedding"]).items()]))
    if report["left_out"]:
        parts.append("<h2>Left out</h2>" + _table([["", "because"], *report["left_out"].items()]))
    parts += _neighbours(neighbours, pictures)
    parts += _first(cases) + _extremes(cases)
    parts.append(_timeline(workdir, size))
    parts.append(f'<h2>Curves</h2><div class="charts">{"".join(_curves(workdir))}</div>')
    parts.append(f"<h2>How it was measured</h2>{_table([['', ''], *_flat(report['how']).items()])}")
    return "\n".join(parts) + "\n"

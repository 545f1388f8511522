"""How well a run translates, in numbers: `metrics.json`.

Every figure says by which features it was measured; `measure` puts beside them what is needed to repeat it.
"""

import itertools
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from xgan_jax import __version__
from xgan_jax.config import Config
from xgan_jax.evaluation import distances, page, truth
from xgan_jax.evaluation.figures import PAIRS, Measuring, embedding_figures, embeddings
from xgan_jax.evaluation.testset import TestSet
from xgan_jax.evaluation.translate import command_of, compiled_translator, translate_all
from xgan_jax.method import Embeds, Follows, Method
from xgan_jax.outputs import Outputs
from xgan_jax.progress import tracked
from xgan_jax.readers.features import FeatureNetwork, inception
from xgan_jax.readers.judge import load_judge
from xgan_jax.runs.load import Run, load_run

METRICS = ("truth", "attributes", "kid", "fid", "manifold", "embedding")
_LEAST = {"kid": 4, "manifold": 6, "embedding": 6}  # test pictures of a domain that say anything at all


def measure(
    workdir: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    step: int | None = None,
    best: bool = False,
    metrics: Sequence[str] | None = None,
    count: int | None = None,
    inception_weights: str | None = None,
    force_fid: bool = False,
    data: str | None = None,
) -> dict[str, Any]:
    """Measures a run on its test split; writes `metrics.json` and `index.html` into `out` (`workdir/eval`).

    Args:
      step, best, data: as `load_run`.
      metrics: of `METRICS`; None for all that can be had: "left_out" in the report then says why not of the
        others.
      count: test pictures of each domain; None for all.
      inception_weights: PyTorch's file of FID's Inception; with it KID and manifold are also measured in
        its features, and FID at all.
      force_fid: FID although there are fewer than 2,048 pictures.

    Returns:
      the content of `metrics.json`.

    Raises:
      ValueError: an unknown metric, or one is asked for and cannot be had. Else as `load_run`.
    """
    for name in metrics or ():
        if name not in METRICS:
            raise ValueError(f"the metric {name!r} is unknown: use {', '.join(METRICS)} or all.")
    workdir = Path(workdir)
    outputs = Outputs(out if out is not None else workdir / "eval")
    run = load_run(workdir, step, best, data)
    test = TestSet(run.config.data, count)
    metrics, left_out = _possible(metrics, run, test, inception_weights, force_fid)
    # Before a judge is learnt: the file may be at fault.
    others = [inception(inception_weights)] if inception_weights is not None else []
    judge = load_judge(run.config.data)
    measuring = Measuring(run, test, judge, [FeatureNetwork(judge.name, judge.features), *others], metrics)

    figures: dict[str, Any] = {}
    cases: dict[str, page.Cases] = {}
    directions = list(itertools.permutations(run.config.data.domains, 2))
    for source, target in tracked(directions, len(directions), "measuring", "directions"):
        translated = measuring.translated(source, target)
        figures[translated.direction] = measuring.figures(translated)
        if (shown := measuring.cases(translated)) is not None:
            cases[translated.direction] = shown
    report: dict[str, Any] = {"directions": figures, "judge": judge.name, "left_out": left_out}
    neighbours: dict[str, Any] = {}
    if "embedding" in metrics and (z := embeddings(run, test)) is not None:
        report["embedding"] = embedding_figures(z)
        neighbours = {f"{s}2{t}": distances.nearest(z[s][:8], z[t], 6) for s, t in directions}
    report["how"] = _how(measuring, workdir, best)
    of = command_of("measure", workdir, outputs.folder, step, best, data and os.path.abspath(data))
    outputs.write("metrics.json", (json.dumps(report, indent=2) + "\n").encode(), of)
    html = page.make(workdir, report, cases, test.pictures, neighbours)
    outputs.write("index.html", html.encode(), of)
    outputs.tell()
    return report


def _possible(
    asked: Sequence[str] | None, run: Run, test: TestSet, inception_weights: str | None, force_fid: bool
) -> tuple[list[str], dict[str, str]]:
    """The metrics that are asked for; where none are named, those that can be had. And of the others why not.

    Raises:
      ValueError: one is asked for by name and cannot be had.
    """
    possible, left_out = [], {}
    for name in asked or METRICS:
        reason = _lacks(name, run, test, inception_weights, force_fid)
        if reason is None:
            possible.append(name)
        elif asked is None:
            left_out[name] = reason
        else:
            raise ValueError(f"{name} cannot be measured here: {reason}.")
    return possible, left_out


def _lacks(
    metric: str, run: Run, test: TestSet, inception_weights: str | None, force_fid: bool
) -> str | None:
    """Why a metric cannot be had, or None."""
    directions = list(itertools.permutations(run.config.data.domains, 2))
    if (few := _too_few(metric, test)) is not None:
        return few
    if metric == "fid" and not inception_weights:
        return "it needs Inception's features, --inception_weights; kid needs none"
    if metric == "fid" and not force_fid and test.fewest < distances.FID_MINIMUM:
        return (
            f"of fewer than {distances.FID_MINIMUM:,} pictures it is too high, and {test.data.path} has "
            f"{test.fewest:,} in its test split; kid has no such bias, --force_fid measures it all the same"
        )
    if metric == "truth" and not any(truth.known(test.labels[s], t) for s, t in directions):
        return "no true counterparts are known, as they are of the drawn faces of xgan_jax.data.synthetic"
    follows = isinstance(run.method, Follows)  # then the labels of references, too, are looked for
    if metric == "attributes" and not (follows or any(test.shared_labels(s, t) for s, t in directions)):
        return "the domains have no label with the same values on both sides (xgan prepare --labels)"
    if metric == "embedding" and not isinstance(run.method, Embeds):
        return f"{run.config.method} has no embedding"
    return None


def _too_few(metric: str, test: TestSet) -> str | None:
    least = _LEAST.get(metric, 1)
    if test.fewest >= least:
        return None
    return f"it needs {least} test pictures of each domain, and {test.data.path} has {test.fewest}"


def _how(measuring: Measuring, workdir: Path, best: bool) -> dict[str, Any]:
    """What is needed to measure the same again."""
    run, pictures = measuring.run, measuring.test.pictures
    decay = run.config.optimizer.ema_decay
    return {
        "workdir": str(workdir),
        "step": run.step,
        "checkpoint": "of the lowest KID while it trained" if best else "the newest, or the step asked for",
        "weights": f"moving average, decay {decay}" if decay else "as trained, no moving average",
        "method": run.config.method,
        "data": run.config.data.path,
        "dataset_hash": measuring.test.digest(),
        "split": run.config.data.test_split,
        "pictures": {domain: len(of) for domain, of in pictures.items()},
        "size": run.config.data.size,
        "resize": "Pillow's bicubic, antialiased, when data was prepared (TFDS's own: as it is read)",
        "quantisation": "translations rounded to uint8 before they are measured",
        "feature_networks": [network.name for network in measuring.networks],
        "kid": "mean and deviation over 100 subsets of half the pictures, at most 1,000; seed 2020",
        "manifold_and_embedding": f"the first {PAIRS:,} pictures of each domain at most",
        "versions": {"xgan_jax": __version__, "jax": jax.__version__, "numpy": np.__version__},
        "device": jax.devices()[0].device_kind,
    }


def summary(report: Mapping[str, Any]) -> str:
    """A few lines for the terminal."""
    lines = []
    for direction, found in report["directions"].items():
        line = f"{direction}: taken for the target {found['passes']:.1%}, diversity {found['diversity']:.2f}"
        if "retrieval" in found:
            best = found["retrieval"]
            line += f", retrieval top-1 {best['top1']:.1%} of {best['candidates']}, SSIM {found['ssim']:.2f}"
        kid = found.get(report["judge"], {}).get("kid")
        if kid:
            line += f", KID (judge) {kid['kid']:.4f}"
            line += f" (floor {kid['floor']:.4f}, untranslated {kid['untranslated']:.4f})"
        lines.append(line)
        for key, what in (("attributes", "attributes kept"), ("reference", "attributes of a reference")):
            if found.get(key):
                of = ", ".join(f"{name} {value['of_ceiling']:.0%}" for name, value in found[key].items())
                lines.append(f"  {what}, of what the judge can read: {of}")
    lines += [f"left out: {name}, for {reason}" for name, reason in report.get("left_out", {}).items()]
    return "\n".join(lines)


class RunningKid:
    """KID of a run's translations while it trains, in the judge's features, to the test split.

    Called with the averaged weights it gives {"kid/face2anime": ..., "kid": their mean}.
    """

    def __init__(self, config: Config, method: Method):
        """Opens the data, and trains the dataset's judge where there is none yet.

        Raises:
          ValueError: a domain has too few test pictures.
        """
        self._test = TestSet(config.data, 1000)
        if few := _too_few("kid", self._test):
            raise ValueError(f"config.run.measure_every is set, but kid cannot be measured here: {few}.")
        self._judge = load_judge(config.data)
        self._translator = compiled_translator(method.translate)
        self._real = {d: self._judge.features(x) for d, x in self._test.pictures.items()}

    def __call__(self, params: Any, extra: Any) -> dict[str, float]:
        found = {}
        for source, target in itertools.permutations(self._real, 2):
            inputs = self._test.pictures[source]
            translated = translate_all(self._translator, params, extra, inputs, source, target)
            value = distances.kid(self._real[target], self._judge.features(translated), subsets=20)
            found[f"kid/{source}2{target}"] = value.mean
        return found | {"kid": float(np.mean(list(found.values())))}

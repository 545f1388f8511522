"""How well a run translates, in numbers: `metrics.json`.

Every figure says by which features it was measured; `measure` puts beside them what is needed to repeat it.
"""

import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8
from tqdm import tqdm

from xgan_jax import __version__
from xgan_jax.config import Config, DataConfig
from xgan_jax.data import pipeline
from xgan_jax.data.augment import to_float, to_uint8
from xgan_jax.data.batches import in_batches
from xgan_jax.evaluation import distances, page, truth
from xgan_jax.evaluation.translate import compiled_translator, embed_all, translate_all
from xgan_jax.method import Embeds, Follows, Method
from xgan_jax.readers.features import FeatureNetwork, inception
from xgan_jax.readers.judge import Judge, load_judge
from xgan_jax.readers.labels import Attribute, read_attributes, translated_numbers
from xgan_jax.runs.load import Run, load_run

Pictures = UInt8[np.ndarray, "_ s s 3"]
TILTED = 8.0  # degrees: half of the drawn faces' largest tilt
METRICS = ("truth", "attributes", "kid", "fid", "manifold", "embedding")
_LEAST = {"kid": 4, "manifold": 6, "embedding": 6}  # test pictures of a domain that say anything at all
_PAIRS = 5000  # pictures of a domain of which all distances are taken: more do not fit in memory


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

    def counterparts(self, source: str, target: str) -> Pictures | None:
        """The true pictures of `source`'s test split in the style of `target`, where they are known."""
        return truth.counterparts(self.labels[source], target, self.data.size)

    def digest(self) -> str:
        """A hash of the pictures themselves."""
        digest = hashlib.blake2b(digest_size=8)
        for domain, pictures in self.pictures.items():
            digest.update(domain.encode() + pictures.tobytes())
        return digest.hexdigest()


def balanced_agreement(
    logits: Float[np.ndarray, "n v"], values: Sequence[str], known: Attribute
) -> float | None:
    """How often the value that is read is the known one, the mean over the values that both sides have.

    Answers are restricted to those values. None where fewer than two are common.
    """
    common = [value for value in values if value in known.values]
    if len(common) < 2:
        return None
    numbers = translated_numbers(known, common)
    answers = logits[:, [values.index(value) for value in common]].argmax(1)
    rates = [(answers[numbers == i] == i).mean() for i in range(len(common)) if (numbers == i).any()]
    return float(np.mean(rates))


def attribute_agreement(
    judge: Judge, translated: Pictures, source: str, target: str, test: TestSet
) -> dict[str, dict[str, float]]:
    """{attribute: agreement of the translation with the source's label, the ceiling, their ratio}.

    The ceiling is the agreement of the judge's reading of real test pictures of the target with their labels.
    """
    return _agreement(judge, translated, test.attributes[source], target, test)


def reference_agreement(
    run: Run, judge: Judge, pictures: Pictures, source: str, target: str, test: TestSet
) -> dict[str, dict[str, float]]:
    """As `attribute_agreement`, but with the labels of the pictures of the target that translations follow:
    each test picture of the source follows one of the target, drawn at random."""
    method = run.method
    assert isinstance(method, Follows)
    which = np.random.default_rng(0).integers(0, len(test.pictures[target]), len(pictures))

    @jax.jit
    def follow(params: Any, extra: Any, pair: Array) -> Array:
        images, references = jnp.split(to_float(pair), 2, -1)
        return to_uint8(method.translate_like(params, extra, images, references, source, target))

    pairs = np.concatenate([pictures, test.pictures[target][which]], -1)
    translated = in_batches(functools.partial(follow, run.params, run.extra), pairs, 32)
    theirs = {
        name: Attribute(attribute.values, attribute.numbers[which])
        for name, attribute in test.attributes[target].items()
    }
    return _agreement(judge, translated, theirs, target, test)


def _agreement(
    judge: Judge, translated: Pictures, wanted: Mapping[str, Attribute], target: str, test: TestSet
) -> dict[str, dict[str, float]]:
    _, readings = judge.read(translated, target)
    _, of_real = judge.read(test.pictures[target], target)
    result = {}
    for name, logits in readings.items():
        values = judge.values[target][name]
        theirs, ours = wanted.get(name), test.attributes[target].get(name)
        if theirs is None or ours is None:
            continue
        shared = [v for v in values if v in theirs.values and v in ours.values]
        columns = [values.index(v) for v in shared]
        agreement = balanced_agreement(logits[:, columns], shared, theirs)
        ceiling = balanced_agreement(of_real[name][:, columns], shared, ours)
        if agreement is not None and ceiling:
            result[name] = {
                "agreement": agreement,
                "ceiling": ceiling,
                "of_ceiling": agreement / ceiling,
                "chance": 1 / len(shared),
            }
    return result


def passing_rate(judge: Judge, pictures: Pictures, target: str) -> float:
    """Share of pictures that the judge takes for `target`."""
    logits, _ = judge.read(pictures, target)
    return float((logits.argmax(1) == judge.domains.index(target)).mean())


def embedding_measures(
    run: Run, pictures: Mapping[str, Pictures], neighbours: int = 10
) -> tuple[dict[str, Any], dict[str, Float[np.ndarray, "n e"]]] | None:
    """How well domains mix in the embedding, and the embeddings; None where the method has none.

    "mixing": share of other-domain pictures among the nearest, over the share that chance gives (1: mixed, 0:
    apart). "classifier_accuracy": of a linear classifier of the domain, ridge regression on one half of the
    pictures, read on the other (chance is 1 / domains). "spread": mean standard deviation over pictures.
    """
    if not isinstance(run.method, Embeds):
        return None
    z = {domain: embed_all(run, images, domain) for domain, images in pictures.items()}
    everything = np.concatenate(list(z.values()))
    of = np.repeat(np.arange(len(z)), [len(part) for part in z.values()])
    d = distances.squared_distances(everything, everything)
    np.fill_diagonal(d, np.inf)
    nearest = np.argpartition(d, neighbours, axis=1)[:, :neighbours]
    other = of[nearest] != of[:, None]
    expected = np.array([(of != i).sum() / (len(of) - 1) for i in range(len(z))])[of]
    standard = (everything - everything.mean(0)) / (everything.std(0) + 1e-6)
    order = np.random.default_rng(0).permutation(len(of))
    fit, check = order[::2], order[1::2]
    x, y = standard[fit], np.eye(len(z))[of[fit]]
    ridge = len(fit) * 0.1
    weights = x.T @ np.linalg.solve(x @ x.T + ridge * np.eye(len(fit)), y - y.mean(0))
    answers = (standard[check] @ weights + y.mean(0)).argmax(1)
    return {
        "mixing": float((other.mean(1) / expected).mean()),
        "classifier_accuracy": float((answers == of[check]).mean()),
        "spread": {domain: float(part.std(0).mean()) for domain, part in z.items()},
        "neighbours": neighbours,
    }, z


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
      metrics: of `METRICS`; None for all that can be had: FID is then left out without weights, and with
        fewer than 2,048 pictures unless it is forced, and others where a domain has fewer than 4 or 6.
        "truth" gives nothing where no true counterparts are known, "attributes" where source and target have
        no label in common.
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
    folder = Path(out) if out is not None else workdir / "eval"
    run = load_run(workdir, step, best, data)
    test = TestSet(run.config.data, count)
    fewest = min(len(pictures) for pictures in test.pictures.values())
    if metrics is None:
        with_fid = inception_weights and (force_fid or fewest >= distances.FID_MINIMUM)
        metrics = [name for name in METRICS if fewest >= _LEAST.get(name, 1) and (name != "fid" or with_fid)]
    for name in metrics:
        _check_count(name, fewest, run.config.data.path)
    if "fid" in metrics:
        if not inception_weights:
            raise ValueError("FID is measured in Inception's features: give --inception_weights, or use kid.")
        if not force_fid:
            distances.check_fid_count(fewest)
    # Before a judge is learnt: the file may be at fault.
    others = [inception(inception_weights)] if inception_weights is not None else []
    judge = load_judge(run.config.data)
    networks = [FeatureNetwork(judge.name, judge.features), *others]
    domains = run.config.data.domains
    directions = [(s, t) for s in domains for t in domains if s != t]
    needs_features = {"kid", "fid", "manifold"} & set(metrics)
    known: dict[tuple[str, str], Any] = {}

    def features(network: FeatureNetwork, which: str, domain: str) -> Float[np.ndarray, "n f"]:
        """Of real pictures, once."""
        if (network.name, which + domain) not in known:
            pictures = test.pictures if which == "test" else test.train_pictures
            known[network.name, which + domain] = network.apply(pictures[domain])
        return known[network.name, which + domain]

    translator = compiled_translator(run.method.translate)
    results: dict[str, Any] = {}
    cases: dict[str, page.Cases] = {}
    for source, target in tqdm(directions, desc="measuring", unit="direction", disable=None):
        inputs = test.pictures[source]
        translated = translate_all(translator, run.params, run.extra, inputs, source, target)
        found: dict[str, Any] = {
            "pictures": len(inputs),
            "passes": passing_rate(judge, translated, target),
            "passes_of_real": passing_rate(judge, test.pictures[target], target),
            "diversity": diversity(translated, test.pictures[target]),
        }
        counterpart = test.counterparts(source, target) if "truth" in metrics else None
        if counterpart is not None:
            ranks = truth.ranks(truth.pixel_distances(translated, counterpart))
            similar = truth.ssim(translated, counterpart)
            found["retrieval"] = dataclasses.asdict(truth.retrieval(ranks, len(counterpart)))
            if "tilt" in test.labels[source]:
                tilted = np.abs(np.asarray(test.labels[source]["tilt"])) >= TILTED
                found["retrieval_tilted"] = dataclasses.asdict(
                    truth.retrieval(ranks[tilted], len(counterpart))
                )
            found["l1"] = float(truth.l1(translated, counterpart).mean())
            found["ssim"] = float(similar.mean())
            cases[f"{source}2{target}"] = page.Cases(
                inputs, translated, counterpart, similar, "SSIM to the truth"
            )
        if "attributes" in metrics:
            found["attributes"] = attribute_agreement(judge, translated, source, target, test)
            if isinstance(run.method, Follows) and target == domains[-1]:
                found["reference"] = reference_agreement(run, judge, inputs, source, target, test)
        for network in networks if needs_features else ():
            of_real, of_translated = features(network, "test", target), network.apply(translated)
            figures: dict[str, Any] = {}
            if "kid" in metrics:
                figures["kid"] = kid_figures(
                    of_real,
                    of_translated,
                    features(network, "test", source),
                    features(network, "train", target),
                )
            if "manifold" in metrics:
                figures["manifold"] = distances.manifold(of_real[:_PAIRS], of_translated[:_PAIRS])._asdict()
            if "fid" in metrics and network.name.startswith("inception"):
                figures["fid"] = distances.fid(of_real, of_translated, force=force_fid)
            found[network.name] = figures
            if counterpart is None and network.name == judge.name:
                near = distances.squared_distances(of_translated, of_real).min(1)
                cases[f"{source}2{target}"] = page.Cases(
                    inputs, translated, None, -np.sqrt(near), "minus the distance to the nearest real"
                )
        results[f"{source}2{target}"] = found
    report: dict[str, Any] = {"directions": results, "judge": judge.name}
    neighbours: dict[str, Any] = {}
    some = {domain: pictures[:_PAIRS] for domain, pictures in test.pictures.items()}
    if "embedding" in metrics and (measured := embedding_measures(run, some)):
        report["embedding"], z = measured
        neighbours = {
            f"{s}2{t}": np.argsort(distances.squared_distances(z[s][:8], z[t]))[:, :6] for s, t in directions
        }
    decay = run.config.optimizer.ema_decay
    report["how"] = {
        "workdir": str(workdir),
        "step": run.step,
        "checkpoint": "of the lowest KID while it trained" if best else "the newest, or the step asked for",
        "weights": f"moving average, decay {decay}" if decay else "as trained, no moving average",
        "method": run.config.method,
        "data": run.config.data.path,
        "dataset_hash": test.digest(),
        "split": run.config.data.test_split,
        "pictures": {domain: len(pictures) for domain, pictures in test.pictures.items()},
        "size": run.config.data.size,
        "resize": "Pillow's bicubic, antialiased, when data was prepared (TFDS's own: as it is read)",
        "quantisation": "translations rounded to uint8 before they are measured",
        "feature_networks": [network.name for network in networks],
        "kid": "mean and deviation over 100 subsets of half the pictures, at most 1,000; seed 2020",
        "manifold_and_embedding": f"the first {_PAIRS:,} pictures of each domain at most",
        "versions": {"xgan_jax": __version__, "jax": jax.__version__, "numpy": np.__version__},
        "device": jax.devices()[0].device_kind,
    }
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / "metrics.json.partial"
    partial.write_text(json.dumps(report, indent=2) + "\n")
    partial.replace(folder / "metrics.json")
    page.write(folder / "index.html", workdir, report, cases, test.pictures, neighbours)
    return report


def _check_count(metric: str, pictures: int, path: str) -> None:
    if pictures < _LEAST.get(metric, 1):
        raise ValueError(
            f"{metric} needs {_LEAST[metric]} test pictures of each domain, and {path} has {pictures}: "
            "prepare more, or leave it out."
        )


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
        _check_count("kid", min(map(len, self._test.pictures.values())), config.data.path)
        self._judge = load_judge(config.data)
        self._translator = compiled_translator(method.translate)
        self._real = {d: self._judge.features(x) for d, x in self._test.pictures.items()}

    def __call__(self, params: Any, extra: Any) -> dict[str, float]:
        found = {}
        for source, inputs in self._test.pictures.items():
            for target in self._real:
                if target != source:
                    translated = translate_all(self._translator, params, extra, inputs, source, target)
                    value = distances.kid(self._real[target], self._judge.features(translated), subsets=20)
                    found[f"kid/{source}2{target}"] = value.mean
        return found | {"kid": float(np.mean(list(found.values())))}


def diversity(translated: Pictures, real: Pictures) -> float:
    """Standard deviation of a pixel over pictures, its mean, over that of real pictures of the target."""
    return float(translated.astype(np.float64).std(0).mean() / real.astype(np.float64).std(0).mean())


def kid_figures(
    real: distances.Features,
    translated: distances.Features,
    untranslated: distances.Features,
    real_train: distances.Features,
) -> dict[str, float]:
    """KID of translations to real test pictures of the target; beside it the floor (train pictures of the
    target) and what the untranslated source has, both to the same test pictures."""
    value = distances.kid(real, translated)
    before = distances.kid(real, untranslated)
    return {
        "kid": value.mean,
        "deviation": value.deviation,
        "floor": distances.kid(real, real_train).mean,
        "untranslated": before.mean,
        "of_untranslated": value.mean / before.mean if before.mean else float("nan"),
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
    return "\n".join(lines)

"""What is measured of a run: of each direction, and of the embedding.

Every figure says by which features it was measured.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from xgan_jax.evaluation import distances, page, truth
from xgan_jax.evaluation.attributes import attribute_agreement, reference_agreement
from xgan_jax.evaluation.testset import TestSet
from xgan_jax.evaluation.translate import compiled_translator, embed_all, translate_all
from xgan_jax.method import Embeds, Follows
from xgan_jax.readers.features import FeatureNetwork
from xgan_jax.readers.judge import Judge
from xgan_jax.runs.load import Run

Pictures = UInt8[np.ndarray, "_ s s 3"]
TILTED = 8.0  # degrees: half of the drawn faces' largest tilt
PAIRS = 5000  # pictures of a domain of which all distances are taken: more do not fit in memory
_IN_FEATURES = {"kid", "fid", "manifold"}


@dataclass(frozen=True)
class Translated:
    """The test pictures of `source`, what a run makes of them, and their true counterparts, where known."""

    source: str
    target: str
    inputs: Pictures
    pictures: Pictures
    counterparts: Pictures | None

    @property
    def direction(self) -> str:
        return f"{self.source}2{self.target}"

    @cached_property
    def similarity(self) -> Float[np.ndarray, "n"]:
        """SSIM to the counterparts."""
        assert self.counterparts is not None
        return truth.ssim(self.pictures, self.counterparts)


@dataclass
class Measuring:
    """A run, its test split, the judge, the networks in whose features sets of pictures are compared (the
    judge's own first), and which metrics are wanted. Features of the same pictures are computed once."""

    run: Run
    test: TestSet
    judge: Judge
    networks: Sequence[FeatureNetwork]
    metrics: Sequence[str]
    _features: dict[tuple[str, str], Any] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def _translator(self) -> Any:
        return compiled_translator(self.run.method.translate)

    def translated(self, source: str, target: str) -> Translated:
        """All test pictures of `source`, with their counterparts if these are to be compared with."""
        inputs = self.test.pictures[source]
        pictures = translate_all(self._translator, self.run.params, self.run.extra, inputs, source, target)
        counterparts = self.test.counterparts(source, target) if "truth" in self.metrics else None
        return Translated(source, target, inputs, pictures, counterparts)

    def figures(self, made: Translated) -> dict[str, Any]:
        """Everything that is wanted and can be said of one direction."""
        found = self.passes(made)
        if made.counterparts is not None:
            found |= self.truth(made)
        if "attributes" in self.metrics:
            found |= self.attributes(made)
        if _IN_FEATURES & set(self.metrics):
            found |= {network.name: self.in_features(network, made) for network in self.networks}
        return found

    def passes(self, made: Translated) -> dict[str, Any]:
        """Whether translations are taken for the target, and whether they are all alike."""
        real = self.test.pictures[made.target]
        return {
            "pictures": len(made.inputs),
            "passes": passing_rate(self.judge, made.pictures, made.target),
            "passes_of_real": passing_rate(self.judge, real, made.target),
            "diversity": diversity(made.pictures, real),
        }

    def truth(self, made: Translated) -> dict[str, Any]:
        """Whether translations look like the true counterparts, and each most like its own."""
        assert made.counterparts is not None
        found: dict[str, Any] = {}
        ranks = truth.ranks(truth.pixel_distances(made.pictures, made.counterparts))
        candidates = len(made.counterparts)
        found["retrieval"] = dataclasses.asdict(truth.retrieval(ranks, candidates))
        if "tilt" in self.test.labels[made.source]:
            tilted = np.abs(np.asarray(self.test.labels[made.source]["tilt"])) >= TILTED
            found["retrieval_tilted"] = dataclasses.asdict(truth.retrieval(ranks[tilted], candidates))
        found["l1"] = float(truth.l1(made.pictures, made.counterparts).mean())
        found["ssim"] = float(made.similarity.mean())
        return found

    def attributes(self, made: Translated) -> dict[str, Any]:
        """Whether translations have the attributes of their pictures, or of references that they follow."""
        run, source, target = self.run, made.source, made.target
        found = {"attributes": attribute_agreement(self.judge, made.pictures, source, target, self.test)}
        if isinstance(run.method, Follows) and target == run.config.data.domains[-1]:
            found["reference"] = reference_agreement(run, self.judge, made.inputs, source, target, self.test)
        return found

    def in_features(self, network: FeatureNetwork, made: Translated) -> dict[str, Any]:
        """How far translations are from real pictures of the target, in a network's features."""
        of_real, of_translated = self._of_real(network, made.target), self._of_translated(network, made)
        found: dict[str, Any] = {}
        if "kid" in self.metrics:
            found["kid"] = kid_figures(
                of_real,
                of_translated,
                self._of_real(network, made.source),
                self._of_train(network, made.target),
            )
        if "manifold" in self.metrics:
            found["manifold"] = distances.manifold(of_real[:PAIRS], of_translated[:PAIRS])._asdict()
        if "fid" in self.metrics and network.name.startswith("inception"):
            found["fid"] = distances.fid(of_real, of_translated, force=True)  # their number has been checked
        return found

    def cases(self, made: Translated) -> page.Cases | None:
        """Translations in an order: by likeness to the truth, else to the nearest real picture."""
        if made.counterparts is not None:
            name = "SSIM to the truth"
            return page.Cases(made.inputs, made.pictures, made.counterparts, made.similarity, name)
        if not _IN_FEATURES & set(self.metrics):
            return None
        of_judge = self.networks[0]
        of_translated, of_real = self._of_translated(of_judge, made), self._of_real(of_judge, made.target)
        near = distances.squared_distances(of_translated, of_real).min(1)
        name = "minus the distance to the nearest real"
        return page.Cases(made.inputs, made.pictures, None, -np.sqrt(near), name)

    def _of_real(self, network: FeatureNetwork, domain: str) -> distances.Features:
        return self._once(network, f"test {domain}", self.test.pictures[domain])

    def _of_train(self, network: FeatureNetwork, domain: str) -> distances.Features:
        return self._once(network, f"train {domain}", self.test.train_pictures[domain])

    def _of_translated(self, network: FeatureNetwork, made: Translated) -> distances.Features:
        return self._once(network, made.direction, made.pictures)

    def _once(self, network: FeatureNetwork, name: str, pictures: Pictures) -> distances.Features:
        """Features of pictures that are known by a name."""
        if (network.name, name) not in self._features:
            self._features[network.name, name] = network.apply(pictures)
        return self._features[network.name, name]


def passing_rate(judge: Judge, pictures: Pictures, target: str) -> float:
    """Share of pictures that the judge takes for `target`."""
    logits, _ = judge.read(pictures, target)
    return float((logits.argmax(1) == judge.domains.index(target)).mean())


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


def embeddings(run: Run, test: TestSet) -> dict[str, Float[np.ndarray, "n e"]] | None:
    """Of each domain's test pictures, the first 5,000 at most; None where the method has none."""
    if not isinstance(run.method, Embeds):
        return None
    return {domain: embed_all(run, images[:PAIRS], domain) for domain, images in test.pictures.items()}


def embedding_figures(z: Mapping[str, Float[np.ndarray, "_ e"]], neighbours: int = 10) -> dict[str, Any]:
    """How well domains mix in the embedding.

    "mixing": share of other-domain pictures among the nearest, over the share that chance gives (1: mixed, 0:
    apart). "classifier_accuracy": of a linear classifier of the domain, ridge regression on one half of the
    pictures, read on the other (chance is 1 / domains). "spread": mean standard deviation over pictures.
    """
    parts = list(z.values())
    return {
        "mixing": distances.mixing(parts, neighbours=neighbours),
        "classifier_accuracy": distances.separability(parts),
        "spread": {domain: float(part.std(0).mean()) for domain, part in z.items()},
        "neighbours": neighbours,
    }

"""Whether a translation still has what the labels say of its picture, as the judge reads it."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from xgan_jax.data.augment import to_float, to_uint8
from xgan_jax.data.batches import in_batches
from xgan_jax.evaluation.testset import TestSet
from xgan_jax.method import Follows
from xgan_jax.readers.judge import Judge
from xgan_jax.readers.labels import Attribute, translated_numbers
from xgan_jax.runs.load import Run

Pictures = UInt8[np.ndarray, "_ s s 3"]


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

"""A label of many pictures, written in words: whole numbers, numbers or text."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

Value = int | float | str

UNKNOWN: dict[str, Value] = {"int64": 0, "float32": float("nan"), "text": ""}

_WHOLE = re.compile(r"[+-]?\d{1,400}")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_COMMAS = re.compile(r"[+-]?\d*(,\d+)+|[+-]?\d+,")  # decimal, of thousands, or between numbers
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")
_NO_FINITE = re.compile(r"[+-]?(nan|inf(inity)?)", re.IGNORECASE)


class Column(NamedTuple):
    """A label's kind ("int64", "float32" or "text"), its values, and a note where more may be meant."""

    kind: str
    values: list[Value]
    note: str = ""


def read_column(label: str, words: Mapping[str, str]) -> Column:
    """`words`, {picture: word}, as whole numbers if all are, else as numbers (an empty word or "nan" is
    unknown), else as text. Whole numbers that would be rounded are text too.

    Raises:
      ValueError: a number is infinite, also as float32.
    """
    counts = Counter(words.values())  # of which there are few, where there are many pictures
    given = [word for word in counts if word]
    numbers = [word for word in given if _NUMBER.fullmatch(word)]
    others = [word for word in given if not (_NUMBER.fullmatch(word) or _NO_FINITE.fullmatch(word))]
    if not given or others:
        notes = (_mixed(label, words, counts, numbers, others), _alike(label, given))
        return Column("text", list(words.values()), "; ".join(note for note in notes if note))
    whole = {word: int(word) for word in counts if _WHOLE.fullmatch(word)}
    if len(whole) == len(counts) and all(-(2**63) <= number < 2**63 for number in whole.values()):
        return Column("int64", [whole[word] for word in words.values()])
    for number in whole.values():
        if abs(number) > 2**24 and (abs(number) >= 2**63 or int(np.float32(number)) != number):
            note = f"the label {label} is kept as text, for {number} would be rounded as a number"
            return Column("text", list(words.values()), note)
    finite = {word: _finite(label, words, word) for word in counts}
    return Column("float32", [finite[word] for word in words.values()])


def twins(words: Iterable[str]) -> tuple[str, str] | None:
    """Two of `words` that differ by nothing but letter case and unseen blanks; None without any."""
    seen: dict[str, str] = {}
    for word in words:
        first = seen.setdefault(" ".join(_INVISIBLE.sub("", word).casefold().split()), word)
        if first != word:
            return first, word
    return None


def is_value(label: Any, word: str) -> bool:
    """Whether a label, a value of `Value` or UTF-8, is what somebody writes as `word`."""
    if isinstance(label, bytes):
        label = label.decode("utf-8", "replace")
    if isinstance(label, str):
        return label == unicodedata.normalize("NFC", word.strip())
    try:
        return label == int(word) if _WHOLE.fullmatch(word) else bool(np.float32(label) == np.float32(word))
    except ValueError:
        return False


def _mixed(
    label: str, words: Mapping[str, str], counts: Counter[str], numbers: Sequence[str], others: Sequence[str]
) -> str:
    if others and all(_COMMAS.fullmatch(word) for word in others):
        return (
            f"the label {label} is read as text, for the comma that {_picture(words, others[0])!r} has in "
            f"{others[0]!r} can be a decimal one, or part thousands or words: write numbers as 0.5 and 1234"
        )
    given, numeric = counts.total() - counts[""], sum(counts[word] for word in numbers)
    if not 0 < numeric < given <= 2 * numeric:
        return ""
    return (
        f"the label {label} is read as text: {numeric:,} of its {given:,} values are numbers, but "
        f"{_picture(words, others[0])!r} has {others[0]!r}"
    )


def _alike(label: str, given: Sequence[str]) -> str:
    pair = twins(given)
    if pair is None:
        return ""
    return (
        f"the label {label} has words that differ only by letter case or blanks, {pair[0]!r} and "
        f"{pair[1]!r} for one: each is a class of its own"
    )


def _finite(label: str, words: Mapping[str, str], word: str) -> float:
    number = float(word or "nan")
    if abs(number) > float(np.finfo(np.float32).max):  # False for nan
        raise ValueError(
            f"the label {label} of {_picture(words, word)!r} is {word!r}, which is infinite: write another "
            "number, or leave the cell empty."
        )
    return number


def _picture(words: Mapping[str, str], word: str) -> str:
    """The first that has the word."""
    return next(picture for picture, its in words.items() if its == word)

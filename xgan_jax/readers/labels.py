"""What a dataset's labels say of a picture, in words that domains share."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int

_MOST_VALUES = 20
_NOT_ATTRIBUTES = ("file_name", "labelled")
_HAIR = {"Black_Hair": "black", "Blond_Hair": "blond", "Brown_Hair": "brown", "Gray_Hair": "gray"}
_YES_OR_NO = {"Eyeglasses": "glasses", "Smiling": "smile"}
_SPELLINGS = {"blonde": "blond", "grey": "gray"}


@dataclass(frozen=True)
class Attribute:
    """An attribute's values, and each picture's as a number; -1 where it is not known."""

    values: tuple[str, ...]
    numbers: Int[np.ndarray, "n"]


def read_attributes(columns: Mapping[str, Sequence[Any]], least: int = 10) -> dict[str, Attribute]:
    """The attributes among a split's labels (`pipeline.read_labels`).

    A column with 2 to 20 values is one; values that fewer than `least` pictures have count as unknown, as do
    empty cells and pictures without labels. CelebA's four hair colours are one attribute "hair" (unknown
    where none or several are set), its Eyeglasses and Smiling "glasses" and "smile" with yes and no. A value
    that ends with the column's own name loses it: "blonde hair" of "hair" is "blond".
    """
    found: dict[str, list[str]] = {}
    count = len(next(iter(columns.values()), []))
    labelled = columns.get("labelled", [1] * count)
    if set(_HAIR) <= set(columns):
        rows = zip(*(columns[name] for name in _HAIR), strict=True)
        colours = list(_HAIR.values())
        found["hair"] = [colours[row.index(1)] if list(row).count(1) == 1 else "" for row in map(list, rows)]
    for name, cells in columns.items():
        if name in _NOT_ATTRIBUTES or any(isinstance(cell, float) for cell in cells):
            continue
        if name in _YES_OR_NO:
            found[_YES_OR_NO[name]] = ["yes" if cell == 1 else "no" for cell in cells]
        elif name not in _HAIR:
            words = [str(cell).removesuffix(f" {name}") for cell in cells]  # "blonde hair" of hair
            found[name] = [_SPELLINGS.get(word, word) for word in words]
    attributes = {}
    for name, cells in found.items():
        known = [cell if is_known else "" for cell, is_known in zip(cells, labelled, strict=True)]
        counts = Counter(cell for cell in known if cell)
        values = tuple(sorted(value for value, n in counts.items() if n >= least))
        if len(values) >= 2 and len(counts) <= _MOST_VALUES:
            place = {value: i for i, value in enumerate(values)}
            attributes[name] = Attribute(values, np.array([place.get(cell, -1) for cell in known], np.int32))
    return attributes


def translated_numbers(of: Attribute, values: Sequence[str]) -> Int[np.ndarray, "n"]:
    """`of.numbers` as numbers of the same values in another order; -1 where they are not among `values`."""
    place = {value: i for i, value in enumerate(values)}
    table = np.array([place.get(value, -1) for value in of.values] + [-1], np.int32)
    return table[of.numbers]

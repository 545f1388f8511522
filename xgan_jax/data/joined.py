"""Several sources as one `sources.Source`, for a domain whose pictures lie in several places."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from xgan_jax.data.columns import UNKNOWN, Value
from xgan_jax.data.matching import Matched
from xgan_jax.data.sources import Source


class Joined:
    """Several sources as one: a picture's name begins with its source's folder, zip or dataset.

    Labels are those that all sources with labels have; pictures of sources without any have `labelled` 0.

    Raises:
      ValueError: a label is a number in one source and text in another.
    """

    def __init__(self, sources: Mapping[str, Source]) -> None:
        """`sources`: {path: source}."""
        places = [Path(path).resolve().name for path in sources]
        if len(set(places)) < len(places):
            places = [f"{i + 1}_{place}" for i, place in enumerate(places)]
        self.sources = dict(zip(places, sources.values(), strict=True))
        self.kind = ", ".join(dict.fromkeys(source.kind for source in sources.values()))
        self.names: list[str] = []
        self.splits: dict[str, str] = {}
        self.split_notes: list[str] = []
        self.tables: list[Matched] = []
        self.columns: dict[str, str] = {}
        self.refused: list[tuple[str, str]] = []
        self.ignored: list[str] = []
        self.notes: list[str] = []
        for place, source in self.sources.items():
            self.names += [f"{place}/{name}" for name in source.names]
            self.splits |= {f"{place}/{name}": split for name, split in source.splits.items()}
            self.split_notes += [f"{place}: {note}" for note in source.split_notes]
            self.tables += source.tables
            self.refused += [(f"{place}/{name}", reason) for name, reason in source.refused]
            self.ignored += [f"{place}/{name}" for name in source.ignored]
            self.notes += [f"{place}: {note}" for note in source.notes if note]
        self.names.sort()
        self._join_columns()

    def _join_columns(self) -> None:
        labels = {
            place: {name: kind for name, kind in source.columns.items() if name != "labelled"}
            for place, source in self.sources.items()
            if source.columns
        }
        every = dict.fromkeys(name for columns in labels.values() for name in columns)
        for name in every:
            kinds = {columns[name] for columns in labels.values() if name in columns}
            if len(kinds) > 1:
                raise ValueError(
                    f"the label {name!r} is {' in one set and '.join(sorted(kinds))} in another of "
                    f"{', '.join(labels)}: rename one."
                )
            if all(name in columns for columns in labels.values()):
                self.columns[name] = kinds.pop()
        if lost := [name for name in every if name not in self.columns]:
            self.notes.append(f"labels that not all sets have are not kept: {', '.join(lost)}")
        if self.columns and any(not s.columns or "labelled" in s.columns for s in self.sources.values()):
            self.columns["labelled"] = "int64"

    def load(self, name: str) -> tuple[bytes | np.ndarray, dict[str, Value]]:
        """As `Source.load`."""
        place, _, inside = name.partition("/")
        source = self.sources[place]
        data, found = source.load(inside)
        labels = {label: found.get(label, UNKNOWN[kind]) for label, kind in self.columns.items()}
        if "labelled" in labels:
            labels["labelled"] = found.get("labelled", int(bool(source.columns)))
        return data, labels

    def fingerprint(self) -> str:
        """As `Source.fingerprint`."""
        return self._digest(source.fingerprint() for source in self.sources.values())

    def contents(self) -> str:
        """As `Source.contents`."""
        return self._digest(source.contents() for source in self.sources.values())

    def _digest(self, of_sources: Iterable[str]) -> str:
        parts = list(zip(self.sources, of_sources, strict=True))
        return hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()

    def values(self, label: str) -> Counter[Value] | None:
        """As `Source.values`."""
        total: Counter[Value] = Counter()
        for source in self.sources.values():
            counts = source.values(label) if label in source.columns else Counter()
            if counts is None:
                return None
            total += counts
        return total

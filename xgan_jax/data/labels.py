"""The labels of pictures, from tables of text beside them or anywhere, whose first column names files."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from xgan_jax.data.folders import Folder
from xgan_jax.data.listing import Listing
from xgan_jax.data.zips import Zip

Value = int | float | str

RESERVED = {"image", "file_name", "labelled"}  # features that every record has, or may have
UNKNOWN: dict[str, Value] = {"int64": 0, "float32": float("nan"), "text": ""}


@dataclass
class Labels:
    """Labels of pictures; "labelled" is a column where some have none, 1 for those that have."""

    columns: dict[str, str] = field(default_factory=dict)  # {label: "int64", "float32" or "text"}
    rows: dict[str, Sequence[Value]] = field(default_factory=dict)  # {picture: values, without "labelled"}
    notes: list[str] = field(default_factory=list)

    def of(self, name: str) -> dict[str, Value]:
        """A picture's labels, one for each of `columns`."""
        row = self.rows.get(name)
        if row is None:
            return {column: UNKNOWN[kind] for column, kind in self.columns.items()}
        values = dict(zip(self.columns, row, strict=False))
        if "labelled" in self.columns:
            values["labelled"] = 1
        return values


class Table(NamedTuple):
    """Column names without the first, and {first column: the others}."""

    columns: list[str]
    rows: dict[str, list[str]]


def read_table(text: str, origin: str) -> Table:
    """Reads CSV with a header, and CelebA's own text form: an optional line with the count, an optional
    line with the column names, rows separated by blanks.

    Raises:
      ValueError: it is neither; `origin` is what the message calls it.
    """
    lines = text.splitlines()
    if lines and "," in lines[0]:
        rows = [row for row in csv.reader(io.StringIO(text)) if row]
        header, rows = rows[0][1:], rows[1:]
    else:
        rows = [line.split() for line in lines if line.strip()]
        if rows and len(rows[0]) == 1:
            rows = rows[1:]
        if not rows or len(rows[-1]) < 2:
            raise ValueError(f"{origin} is no table: it must have a file name and labels on each line.")
        if len(rows[0]) == len(rows[-1]) - 1:
            header, rows = rows[0], rows[1:]
        else:
            header = [f"column_{i}" for i in range(1, len(rows[0]))]
    for number, row in enumerate(rows, 1):
        if len(row) != len(header) + 1:
            raise ValueError(
                f"{origin}: row {number} ({row[0]}) has {len(row)} columns, the header {len(header) + 1}."
            )
    return Table(header, {row[0]: row[1:] for row in rows})


def join_tables(tables: Sequence[Table], names: Sequence[str], origin: str) -> Labels:
    """Typed labels of the pictures `names` from tables of text, whose rows are pictures'; they share or
    add columns.

    Raises:
      ValueError: a label in `origin` has a name that is taken.
    """
    columns = list(dict.fromkeys(column for table in tables for column in table.columns))
    reserved = sorted(RESERVED & set(columns))
    if reserved:
        raise ValueError(f"a label in {origin} is called {reserved[0]!r}, which is taken: rename it.")
    merged: dict[str, dict[str, str]] = {}
    for table in tables:
        for picture, row in table.rows.items():
            merged.setdefault(picture, {}).update(zip(table.columns, row, strict=False))
    merged = {n: merged[n] for n in names if n in merged}
    if not merged:
        return Labels()
    kinds, values = zip(*(_typed([row.get(c, "") for row in merged.values()]) for c in columns), strict=True)
    labels = Labels(
        dict(zip(columns, kinds, strict=True)),
        dict(zip(merged, zip(*values, strict=True), strict=True)),
        [f"{len(columns)} labels from {origin}"],
    )
    if len(merged) < len(names):
        labels.columns["labelled"] = "int64"
        labels.notes.append(f"{len(names) - len(merged):,} pictures have no label (labelled = 0)")
    return labels


def read_attributes(place: Folder | Zip, listing: Listing) -> Labels:
    """Labels from every `attributes.csv`: its first column names files relative to the CSV.

    Raises:
      ValueError: it is no table, or one of its labels has a name that is taken.
    """
    tables = []
    for name in listing.ignored:
        folder, _, last = name.rpartition("/")
        if last == "attributes.csv":
            columns, rows = read_table(place.read(name).decode("utf-8-sig", "replace"), name)
            prefix = f"{folder}/" if folder else ""
            tables.append(Table(columns, {prefix + key: row for key, row in rows.items()}))
    return join_tables(tables, listing.names, "attributes.csv")


def read_labels_file(path: str, names: Sequence[str], where: Path) -> Labels:
    """Labels from a CSV anywhere: its first column is a picture's path in `where` or its file name.

    Raises:
      FileNotFoundError, ValueError: it is missing, no table, or names none of the pictures `names`.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} does not exist: --labels wants NAME=FILE.csv.")
    columns, rows = read_table(Path(path).read_text(encoding="utf-8-sig", errors="replace"), path)
    by_picture = {n: rows[key] for n in names for key in (n, n.rpartition("/")[2]) if key in rows}
    if not by_picture:
        raise ValueError(
            f"{path} names none of the pictures in {where}: its first column must hold file names."
        )
    return join_tables([Table(columns, by_picture)], names, Path(path).name)


def _typed(cells: Sequence[str]) -> tuple[str, list[Value]]:
    """A column as "int64", else as "float32" (an empty cell is nan), else as "text"; and its values."""
    if all(re.fullmatch(r"[+-]?\d{1,18}", cell) for cell in cells):
        return "int64", [int(cell) for cell in cells]
    try:
        numbers: list[Value] = [float(cell) if cell else float("nan") for cell in cells]
    except ValueError:
        return "text", list(cells)
    return ("float32", numbers) if any(cells) else ("text", list(cells))

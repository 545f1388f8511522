"""The labels of pictures, from tables of text beside them or anywhere, whose first column names files."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from xgan_jax.data.columns import UNKNOWN, Value, read_column, twins
from xgan_jax.data.folders import Folder
from xgan_jax.data.listing import Listing, is_litter
from xgan_jax.data.matching import Matched, match
from xgan_jax.data.pictures import PictureError
from xgan_jax.data.tables import Row, Table, read_table
from xgan_jax.data.text import decode_text, read_text_file
from xgan_jax.data.zips import Zip

RESERVED = {"image", "file_name", "labelled"}  # features that every record has, or may have
Met = tuple[Table, dict[str, Row], Matched]  # a table, {picture: its row}, and how many met


@dataclass
class Labels:
    """Labels of pictures; "labelled" is a column where some have none, 1 for those that have."""

    columns: dict[str, str] = field(default_factory=dict)  # {label: "int64", "float32" or "text"}
    rows: dict[str, Sequence[Value]] = field(default_factory=dict)  # {picture: values, without "labelled"}
    notes: list[str] = field(default_factory=list)
    tables: list[Matched] = field(default_factory=list)  # that they are from

    def of(self, name: str) -> dict[str, Value]:
        """A picture's labels, one for each of `columns`."""
        row = self.rows.get(name)
        if row is None:
            return {column: UNKNOWN[kind] for column, kind in self.columns.items()}
        values = dict(zip(self.columns, row, strict=False))
        if "labelled" in self.columns:
            values["labelled"] = 1
        return values


def is_attributes(name: str) -> bool:
    """Whether a file has the name of labels that stand beside pictures."""
    return name.rpartition("/")[2].lower() == "attributes.csv" and not is_litter(name)


def find_attributes(place: Folder | Zip, listing: Listing, encoding: str | None) -> list[Met]:
    """Every `attributes.csv`: its first column names files relative to the CSV.

    Raises:
      ValueError: it is no table that can be read, or names none of the pictures beside it.
    """
    tables = []
    for name in listing.ignored:
        if not is_attributes(name):
            continue
        folder = name.rpartition("/")[0]
        table = read_table(read_text(place, name, encoding), f"{place.where}/{name}")
        prefix = f"{folder}/" if folder else ""
        below = [n.removeprefix(prefix) for n in listing.names if n.startswith(prefix)]
        rows, matched = match(table, below, f"{place.where}/{folder}")
        tables.append((table, {prefix + picture: row for picture, row in rows.items()}, matched))
    return tables


def read_labels_file(path: str, names: Sequence[str], where: Path, encoding: str | None) -> Labels:
    """Labels from a CSV anywhere: its first column is a picture's path in `where` or its file name.

    Raises:
      FileNotFoundError, ValueError: it is missing, no table that can be read, or names none of the pictures
        `names`.
    """
    table = read_table(read_text_file(path, "--labels wants NAME=FILE.csv", encoding), path)
    return join_tables([(table, *match(table, names, str(where)))], names)


def read_text(place: Folder | Zip, name: str, encoding: str | None) -> str:
    """The text of a file in a folder or zip.

    Raises:
      ValueError: it cannot be read.
    """
    try:
        data = place.read(name)
    except PictureError as error:
        raise ValueError(f"{place.where}/{name}: {error}.") from None
    return decode_text(data, f"{place.where}/{name}", encoding)


def join_tables(tables: Sequence[Met], names: Sequence[str]) -> Labels:
    """Typed labels of the pictures `names`, from tables that share or add columns.

    Raises:
      ValueError: a label has a name that is taken; two tables, or a number beyond all bounds, say what cannot
        be.
    """
    columns = list(dict.fromkeys(column for table, _, _ in tables for column in table.columns))
    merged: dict[str, dict[str, str]] = {}
    for table, rows, _ in tables:
        if reserved := sorted(RESERVED & set(table.columns)):
            raise ValueError(
                f"a label in {table.origin} is called {reserved[0]!r}, which is taken: rename it."
            )
        for picture, row in rows.items():
            _merge(merged.setdefault(picture, {}), table, picture, row)
    merged = {n: merged[n] for n in names if n in merged}
    labels = Labels(tables=[matched for _, _, matched in tables])
    if not merged:
        return labels
    origins = dict.fromkeys(Path(table.origin).name for table, _, _ in tables)
    labels.notes.append(f"{len(columns)} labels from {', '.join(origins)}")
    for table, _, _ in tables:
        labels.notes += table.notes
    if pair := twins(columns):
        labels.notes.append(f"two labels differ only by letter case or blanks: {pair[0]!r} and {pair[1]!r}")
    values = []
    for column in columns:
        cells = {picture: row.get(column, "") for picture, row in merged.items()}
        kind, read, note = read_column(column, cells)
        labels.columns[column] = kind
        values.append(read)
        labels.notes += [note] if note else []
    labels.rows.update(zip(merged, zip(*values, strict=True), strict=True))
    if len(merged) < len(names):
        labels.columns["labelled"] = "int64"
        labels.notes.append(f"{len(names) - len(merged):,} pictures have no label (labelled = 0)")
    return labels


def _merge(cells: dict[str, str], table: Table, picture: str, row: Row) -> None:
    for column, cell in zip(table.columns, row.cells, strict=True):
        if cells.setdefault(column, cell) != cell:
            raise ValueError(
                f"{table.origin}, line {row.line}: {column} of {picture!r} is {cell!r}, but "
                f"{cells[column]!r} in another table: remove one."
            )

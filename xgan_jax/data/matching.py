"""Which pictures the rows of a table name: exactly, or by a path, letter case or extension that differs, as
long as only one picture can be meant."""

import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from xgan_jax.data.tables import Row, Table, looks_like_picture


@dataclass(frozen=True)
class Matched:
    """How the rows of a table and the pictures of a domain met, with an example of each that did not."""

    file: str
    rows: int
    rows_matched: int
    pictures: int
    pictures_matched: int
    row_without_picture: str | None
    picture_without_row: str | None

    def __str__(self) -> str:
        counts = (
            f"{self.file}: {self.rows_matched:,} of {self.rows:,} rows name {self.pictures_matched:,} of "
            f"{self.pictures:,} pictures"
        )
        missing = []
        if self.row_without_picture is not None:
            missing.append(f"no picture is {self.row_without_picture!r}")
        if self.picture_without_row is not None:
            missing.append(f"no row has {self.picture_without_row!r}")
        return f"warning: {counts}, for example {' and '.join(missing)}" if missing else counts


class Meaning(NamedTuple):
    """The pictures that a word can mean."""

    names: list[str]
    rank: int  # how it was understood: 0 to the letter, 1 but for letter case, 2 but for case and extension
    before: str  # what the word has before the picture's path


class Pictures:
    """Pictures, to be found by what people call them."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._indexes: list[dict[str, list[tuple[str, str]]]] = []  # by rank: {file's name: [(path, name)]}

    def find(self, word: str) -> Meaning:
        """What a word means, at the first rank where it means anything.

        It can be the end of a picture's path, or go on before it. The separators of Windows and the form of
        Unicode do not matter.
        """
        for rank in range(3):
            path = _spelling(word, rank)
            near = self._index(rank).get(path.rpartition("/")[2], [])
            inside = [len(p) for p, _ in near if f"/{path}".endswith(f"/{p}")]
            if inside:  # the longest says most, and is the path itself where that is one
                length = max(inside)
                names = [name for p, name in near if path.endswith(p) and len(p) == length]
                return Meaning(names, rank, path[: len(path) - length].rstrip("/"))
            if longer := [name for p, name in near if p.endswith(f"/{path}")]:
                return Meaning(longer, rank, "")
        return Meaning([], 3, "")

    def _index(self, rank: int) -> dict[str, list[tuple[str, str]]]:
        while len(self._indexes) <= rank:
            index = defaultdict(list)
            for name in self._names:
                path = _spelling(name, len(self._indexes))
                index[path.rpartition("/")[2]].append((path, name))
            self._indexes.append(index)
        return self._indexes[rank]


def names_any(table: Table, names: Sequence[str]) -> bool:
    """Whether a row of a table names any of these pictures."""
    pictures = Pictures(names)
    return any(pictures.find(row.picture).names for row in table.rows)


def match(
    table: Table, names: Sequence[str], place: str = "", *, all_need_rows: bool = True
) -> tuple[dict[str, Row], Matched]:
    """{picture: its row}, and how many met.

    Args:
      table: its rows call pictures by name or path.
      names: of the pictures, inside `place`.
      place: the path that `names` begin from. Where rows begin with it, those of other folders are not meant.
      all_need_rows: whether a picture without row is worth a warning.

    Raises:
      ValueError: no row names a picture; a row can mean several; rows of one picture differ; another column
        names other pictures; the header names one.
    """
    pictures = Pictures(names)
    meanings = [(pictures.find(row.picture), row) for row in table.rows]
    ours = {
        m.before for m, _ in meanings if m.before and f"/{_spelling(place, m.rank)}".endswith(f"/{m.before}")
    }
    found: dict[str, tuple[int, Row]] = {}
    lost = []
    for meaning, row in sorted(meanings, key=lambda pair: pair[0].rank):
        if not meaning.names or (ours and meaning.before and meaning.before not in ours):
            lost.append(row)
            continue
        _check_columns(table, row, meaning, pictures)
        name = _only(meaning.names, row, table.origin)
        rank, first = found.setdefault(name, (meaning.rank, row))
        if rank < meaning.rank:
            lost.append(row)  # "1.jpg" beside "1.png", which alone is there
        elif first.cells != row.cells:
            raise ValueError(
                f"{table.origin} says two things of {name!r} (lines {first.line} and {row.line}): remove one."
            )
    _check_header(table, [name for name in names if name not in found])
    if not found:
        raise ValueError(_none_matched(table, names))
    first_lost = min(lost).picture if lost else None
    without = next((name for name in names if name not in found), None) if all_need_rows else None
    counts = (len(table.rows), len(table.rows) - len(lost), len(names), len(found))
    rows = {name: row for name, (_, row) in found.items()}
    return rows, Matched(table.origin, *counts, first_lost, without)


def _check_header(table: Table, without: Sequence[str]) -> None:
    """A header that calls a picture without row by its name is that row, where names have no extension."""
    if any(looks_like_picture(row.picture) for row in table.rows):
        return
    if table.first and (named := Pictures(without).find(table.first).names):
        raise ValueError(
            f"{table.origin} has no header, its first line is that of {named[0]!r}: put a line such as "
            f"file,hair before it; if it is the header, call its first column other than {table.first!r}."
        )


def _check_columns(table: Table, row: Row, meaning: Meaning, pictures: Pictures) -> None:
    """Numbers of rows can be names without an extension: they are none beside a column of whole names."""
    if not row.picture.isdigit():
        return
    for column, cell in zip(table.columns, row.cells, strict=True):
        other = pictures.find(cell) if looks_like_picture(cell) else None
        if other is not None and other.rank < 2 and set(meaning.names).isdisjoint(other.names):
            raise ValueError(
                f"{table.origin}, line {row.line}: {row.picture!r} in its first column and {cell!r} in "
                f"{column} name two pictures: put the column of whole file names first, or remove the other."
            )


def _only(names: Sequence[str], row: Row, origin: str) -> str:
    if len(names) > 1:
        raise ValueError(
            f"{origin}, line {row.line}: {row.picture!r} can be {names[0]!r} or {names[1]!r}: write its "
            "folder and extension too."
        )
    return names[0]


def _none_matched(table: Table, names: Sequence[str]) -> str:
    lines = [f"its first row has {row.picture!r}" for row in table.rows[:1]]
    pictures = [f"a picture is {name!r}" for name in names[:1]]
    return (
        f"{table.origin} names none of the pictures, 0 of its {len(table.rows):,} rows match "
        f"({', '.join(lines + pictures)}): its first column must hold file names."
    )


def _spelling(name: str, rank: int) -> str:
    """A path as `Meaning.rank` compares it."""
    parts = unicodedata.normalize("NFC", name).replace("\\", "/").split("/")
    path = "/".join(part for part in parts if part not in ("", "."))
    if rank > 0:
        path = path.casefold()
    return path.rpartition(".")[0] if rank > 1 and looks_like_picture(path) else path

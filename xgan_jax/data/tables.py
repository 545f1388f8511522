"""Tables of text whose first column names pictures: between the columns are commas, semicolons or tabs, which
the header tells, or blanks as in CelebA's lists."""

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

_PICTURE = re.compile(r".*\.(jpe?g|jfif|png|webp|gif|bmp|tiff?|avif|hei[cf]|p[gp]m|tga|jp2)", re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"[+-]?(\d+,\d*|,\d+)([eE][+-]?\d+)?")
# What can be a number with separators of thousands, and one too small to have any.
_COMMA_GROUPS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+")
_POINT_GROUPS = re.compile(r"[+-]?[1-9]\d{0,2}(\.\d{3})+")
_BELOW_THOUSAND = re.compile(r"[+-]?\d{1,3}|nan|", re.IGNORECASE)
_WITHOUT_POINT = re.compile(r"[+-]?\d+([eE][+-]?\d+)?|nan|", re.IGNORECASE)


class Row(NamedTuple):
    """A line of a table: its number, what it calls its picture, and the other columns."""

    line: int
    picture: str
    cells: list[str]


class Table(NamedTuple):
    """Names of the columns without the first, and the rows, all as wide; words have no blanks around them."""

    origin: str  # for messages
    columns: list[str]
    rows: list[Row]
    first: str = ""  # what the header calls the column of file names
    notes: Sequence[str] = ()  # where something else may be meant than is read


def read_table(text: str, origin: str, columns: Sequence[str] | None = None) -> Table:
    """Reads a table, of which empty lines, comments (#) and a first line with the count of rows are no part.

    Args:
      text: lines that end in "\\n".
      origin: what messages call it.
      columns: names of the columns of a table that may have no header.

    Raises:
      ValueError: it is no table or has no header; a column has no name, or that of another; a row is not as
        wide as the header; a quote is not closed; points seem to part thousands.
    """
    delimiter, lines = _split(text, origin)
    if not lines:
        raise ValueError(
            f"{origin} is empty: it must have a header, and a file name and labels on each line."
        )
    if columns is not None and looks_like_picture(lines[0][1][0]):
        header = ["", *columns]
    else:
        header, lines = _header(lines, origin), lines[1:]
    rows = [_row(number, cells, len(header), origin) for number, cells in lines]
    if delimiter in (";", "\t"):
        _replace_decimal_commas(rows, len(header) - 1)
    notes = _check_points(rows, header[1:], origin) if delimiter == ";" else []
    return Table(origin, header[1:], rows, header[0], notes)


def read_list(text: str, origin: str) -> Table:
    """A file name a line, as a table without columns; empty lines and comments (#) are no part of it."""
    lines = enumerate((line.strip() for line in text.split("\n")), 1)
    return Table(
        origin, [], [Row(n, line.strip('"'), []) for n, line in lines if line and not _is_comment(line)]
    )


def looks_like_picture(word: str) -> bool:
    """Whether a word is the name of a picture's file."""
    return _PICTURE.fullmatch(word) is not None


def _split(text: str, origin: str) -> tuple[str | None, list[tuple[int, list[str]]]]:
    """What is between the columns, None for blanks; and (line number, words) of each line of the table."""
    lines = text.split("\n")
    before = next((i for i, line in enumerate(lines) if not _is_preamble(line)), len(lines))
    delimiter = _delimiter("".join(lines[before : before + 1]))
    if delimiter is None:
        words = [(number, line.split()) for number, line in enumerate(lines[before:], before + 1)]
        words = _add_name_of_first(words)
    else:
        words = _split_quoted("\n".join(lines[before:]), delimiter, origin, before)
    return delimiter, [(number, cells) for number, cells in words if any(cells) and not _is_comment(cells[0])]


def _is_preamble(line: str) -> bool:
    """Whether a line before the header is none: empty, a comment, CelebA's count or Excel's `sep=;`."""
    return _is_comment(line.strip()) or re.fullmatch(r'\s*\d*\s*|"?sep=."?', line) is not None


def _is_comment(word: str) -> bool:
    return word.startswith("# ") or (word.startswith("#") and not looks_like_picture(word))


def _delimiter(header: str) -> str | None:
    """The first comma, semicolon or tab that no quotes hold; file names and labels come after it."""
    found = re.search(r"[,;\t]", re.sub(r'"[^"]*"', "", header))
    return found[0] if found else None


def _add_name_of_first(words: list[tuple[int, list[str]]]) -> list[tuple[int, list[str]]]:
    """CelebA's headers have no name for the column of file names."""
    given = [(number, cells) for number, cells in words if cells]
    if len(given) > 1 and len(given[0][1]) == len(given[1][1]) - 1:
        given[0][1].insert(0, "file")
    return given


def _split_quoted(text: str, delimiter: str, origin: str, before: int) -> list[tuple[int, list[str]]]:
    if '"' in text:
        # Blanks behind a quoted word, which csv takes for a mistake. Each such word is matched whole, so that
        # none is looked for inside of another.
        word = rf'((?:^|{delimiter}) *"[^"]*(?:""[^"]*)*") *(?={delimiter}|$)'
        text = re.sub(word, r"\1", text, flags=re.MULTILINE)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True, strict=True)
    rows = []
    while True:
        number = before + reader.line_num + 1
        try:
            rows.append((number, [cell.strip() for cell in next(reader)]))
        except StopIteration:
            return rows
        except csv.Error:
            raise ValueError(
                f"{origin}, line {number}: a quoted word has no end, or text behind its end: write a quote "
                "that is inside twice."
            ) from None


def _header(lines: Sequence[tuple[int, list[str]]], origin: str) -> list[str]:
    header = list(lines[0][1])
    while header and not header[-1]:
        header.pop()  # spreadsheets write columns that were emptied
    first = header[0] if header else ""
    if looks_like_picture(first) or first.isdigit():
        raise ValueError(
            f"{origin} has no header, its first line is that of {first!r}: put a line such as file,hair "
            "before it."
        )
    if len(header) < 2:
        raise ValueError(
            f"{origin} is no table: it must have a file name and labels on each line, between them commas, "
            "semicolons or tabs."
        )
    if not first and len(lines) > 1 and not looks_like_picture(lines[1][1][0]):
        raise ValueError(f"{origin}: the first column has no name and no file names: put these first.")
    for number, name in enumerate(header[1:], 2):
        if not name:
            raise ValueError(f"{origin}: column {number} has no name: give it one.")
    name, times = Counter(header[1:]).most_common(1)[0]
    if times > 1:
        raise ValueError(f"{origin}: {times} columns are called {name!r}: rename or remove all but one.")
    return header


def _row(number: int, cells: list[str], width: int, origin: str) -> Row:
    while len(cells) > width and not cells[-1]:
        cells.pop()
    if len(cells) != width:
        raise ValueError(
            f"{origin}, line {number} ({cells[0]}): it has {len(cells)} columns, the header {width}."
        )
    if not cells[0]:
        raise ValueError(f"{origin}, line {number}: it names no picture in its first column.")
    return Row(number, cells[0], cells[1:])


def _replace_decimal_commas(rows: Sequence[Row], columns: int) -> None:
    """In columns that hold nothing but numbers, unless all commas of the table may be those of thousands."""
    cells = [cell for row in rows for cell in row.cells]
    decimal = any(_DECIMAL_COMMA.fullmatch(cell) and not _COMMA_GROUPS.fullmatch(cell) for cell in cells)
    for i in range(columns):
        with_comma = [row for row in rows if _DECIMAL_COMMA.fullmatch(row.cells[i])]
        if not decimal:
            continue
        if all(
            _DECIMAL_COMMA.fullmatch(row.cells[i]) or _WITHOUT_POINT.fullmatch(row.cells[i]) for row in rows
        ):
            for row in with_comma:
                row.cells[i] = row.cells[i].replace(",", ".")


def _check_points(rows: Sequence[Row], columns: Sequence[str], origin: str) -> list[str]:
    """Notes on columns whose points may be those of thousands, as where the comma is the decimal one. Beside
    numbers below a thousand without any they are: decimals would be written alike."""
    notes = []
    for i, column in enumerate(columns):
        words = dict.fromkeys(row.cells[i] for row in rows)
        pointed = [word for word in words if _POINT_GROUPS.fullmatch(word)]
        others = words.keys() - pointed
        if not pointed or not all(_BELOW_THOUSAND.fullmatch(word) for word in others):
            continue
        first, plain = pointed[0], pointed[0].replace(".", "")
        if any(re.search(r"\d", word) for word in others) or any(word.count(".") > 1 for word in pointed):
            raise ValueError(
                f"{origin}: {column} has {first!r}, and its points seem to part thousands: write {plain}, "
                "and decimal numbers with other than three digits behind the point."
            )
        notes.append(
            f"the label {column} has {first!r}, read as a decimal number: write {plain} for thousands"
        )
    return notes

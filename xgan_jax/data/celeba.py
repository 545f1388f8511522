"""CelebA as it is downloaded, by its authors' links or from Kaggle: aligned pictures, JPEG or PNG, and lists
of attributes (-1 or 1), landmarks (pixels of the aligned picture) and the official splits. Of the PNG version
too they name .jpg files."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from xgan_jax.data.folders import Folder
from xgan_jax.data.labels import Met, is_attributes, read_text
from xgan_jax.data.listing import Listing, is_litter
from xgan_jax.data.matching import Matched, match, names_any
from xgan_jax.data.tables import Row, Table, read_table
from xgan_jax.data.text import decode_text
from xgan_jax.data.zips import Zip

_PARTITION = "list_eval_partition"
_LISTS = ("list_attr_celeba", "list_landmarks_align_celeba", _PARTITION)
_KINDS = ("txt", "csv", "TXT", "CSV", "csv.zip", "txt.zip")  # Kaggle packs each list by itself
_SPLITS = {"0": "train", "1": "validation", "2": "test"}  # CelebA's README
_PICTURES = "img_align_celeba"  # and img_align_celeba_png


def find_pictures(where: Path) -> Path | None:
    """The folder or zip of aligned pictures in the folder `where`; None where it is no CelebA download.

    Raises:
      ValueError: it holds the PNG version as it is downloaded, parts of a 7z archive, and nothing else.
    """
    folders = (where, where / "Img")
    names = (_PICTURES, f"{_PICTURES}.zip", f"{_PICTURES}_png", f"{_PICTURES}_png.zip")
    found = [folder / name for folder in folders for name in names if (folder / name).exists()]
    if found:
        return next((path for path in found if not _is_empty(path)), found[0])
    for part in (part for folder in folders for part in sorted(folder.glob(f"{_PICTURES}*.7z*"))):
        raise ValueError(
            f"{part} is a 7z archive, which is not read: unpack it (`7z x`, of parts the first, .001) and "
            "give the folder again."
        )
    return None


def name_others(given: Path, listing: Listing) -> None:
    """Notes what a person might expect of the folder `given`, of which only the aligned pictures, those of
    `listing`, are taken."""

    def outside(names: Sequence[str]) -> list[str]:
        return [name for name in names if not (given / name).is_relative_to(listing.where)]

    taken, whole = listing.where.name, Folder(given).listing()
    if others := outside(whole.names):
        listing.notes.append(
            f"{len(others):,} files outside {taken} are not used, for example {others[0]!r}: to use them "
            f"give a folder that holds them and no {_PICTURES}"
        )
    for name in filter(is_attributes, outside(whole.ignored)):
        listing.notes.append(f"{name} outside {taken} is not used: put it there, or give it by --labels")


def is_celeba(listing: Listing) -> bool:
    """Whether these files are CelebA's: by the name of a folder or zip, or by the lists among them."""
    if _PICTURES in listing.where.stem or any(_list_of(name) for name in listing.ignored):
        return True
    return any(part.startswith(_PICTURES) for name in listing.names[:1] for part in name.split("/")[:-1])


class Lists:
    """CelebA's lists in a folder or zip, or beside it.

    Raises:
      ValueError: one is damaged.
    """

    def __init__(self, place: Folder | Zip, listing: Listing, encoding: str | None) -> None:
        """`listing` has all pictures of `place`."""
        self._where, self._names = str(place.where), listing.names
        found = {stem: _find_table(place, listing, stem, encoding) for stem in _LISTS}
        self._tables = {stem: table for stem, table in found.items() if table is not None}

    def splits(self, names: Sequence[str]) -> tuple[dict[str, str], list[str], list[Matched]]:
        """{picture: split} of the pictures `names`, notes on it, and the list that it is from; all empty
        without one.

        Raises:
          ValueError: it names none of the pictures, or another split.
        """
        for table, rows, matched in self._met(names, [_PARTITION]):
            return *_read_splits(table, rows), [matched]
        return {}, [], []

    def labels(self, names: Sequence[str]) -> list[Met]:
        """The lists that have labels of the pictures `names`.

        Raises:
          ValueError: one names none of the pictures.
        """
        return self._met(names, [stem for stem in _LISTS if stem != _PARTITION])

    def _met(self, names: Sequence[str], stems: Sequence[str]) -> list[Met]:
        tables = [self._tables[stem] for stem in stems if stem in self._tables]
        return [(t, *match(t, names, self._where)) for t in tables if not self._is_of_others(t, names)]

    def _is_of_others(self, table: Table, names: Sequence[str]) -> bool:
        """Whether a list is for other pictures of the place, as trainA's where trainB is meant."""
        meant = set(names)
        others = [name for name in self._names if name not in meant]
        return bool(others) and not names_any(table, names) and names_any(table, others)


def _read_splits(table: Table, rows: dict[str, Row]) -> tuple[dict[str, str], list[str]]:
    """{picture: split} and a note; no splits where there would be nothing to train or test on."""
    for row in rows.values():
        if len(row.cells) != 1 or row.cells[0] not in _SPLITS:
            raise ValueError(
                f"{table.origin}, line {row.line}: a split is 0 (train), 1 (validation) or 2 (test), not "
                f"{' '.join(row.cells)!r}: get the list again."
            )
    splits = {picture: _SPLITS[row.cells[0]] for picture, row in rows.items()}
    for needed in ("train", "test"):
        if needed not in splits.values():
            return {}, [f"CelebA's own splits are not used, for they have no {needed} picture here"]
    return splits, [f"splits are CelebA's own ({Path(table.origin).name})"]


def _is_empty(path: Path) -> bool:
    """Whether it is a folder with nothing in it, as unpacking leaves that did not begin."""
    with suppress(OSError):  # whoever lists it says why not
        return path.is_dir() and all(is_litter(inside.name) for inside in path.iterdir())
    return False


def _list_of(name: str) -> str:
    """Which of CelebA's lists a file is by its name, else ""."""
    stem, _, kind = name.rpartition("/")[2].lower().rpartition(".")
    return stem if stem in _LISTS and kind in ("txt", "csv") and not is_litter(name) else ""


def _find_table(place: Folder | Zip, listing: Listing, stem: str, encoding: str | None) -> Table | None:
    if (table := _table_inside(place, listing, stem, encoding)) is not None:
        return table
    parents = (place.where.parent, *place.where.parents[1:2])
    folders = [parent / part for parent in parents for part in ("", "Anno", "Eval")]
    for path in (folder / f"{stem}.{kind}" for folder in folders for kind in _KINDS):
        if path.suffix == ".zip" and path.is_file():
            return _unpacked(Zip(path), stem, encoding)
        if path.is_file():
            return _read(decode_text(path.read_bytes(), str(path), encoding), str(path), stem)
    return None


def _table_inside(place: Folder | Zip, listing: Listing, stem: str, encoding: str | None) -> Table | None:
    for name in listing.ignored:
        if _list_of(name) == stem:
            return _read(read_text(place, name, encoding), f"{place.where}/{name}", stem)
    return None


def _unpacked(packed: Zip, stem: str, encoding: str | None) -> Table:
    table = _table_inside(packed, packed.listing(), stem, encoding)
    if table is None:
        raise ValueError(f"{packed.where} holds no {stem}: get it again.")
    return table


def _read(text: str, origin: str, stem: str) -> Table:
    return read_table(text, origin, ["partition"] if stem == _PARTITION else None)

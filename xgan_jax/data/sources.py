"""Where pictures come from: a folder, a zip, a CelebA download or a prepared TFDS dataset.

`open_source` finds out which of these a path is, lists its pictures, and says which split and labels
each has. It reads no picture.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from xgan_jax.data.celeba import Lists, find_pictures, is_celeba, name_others
from xgan_jax.data.columns import Value
from xgan_jax.data.contents import digest_of_all
from xgan_jax.data.folders import Folder
from xgan_jax.data.labels import Labels, find_attributes, join_tables, read_labels_file
from xgan_jax.data.layout import SPLITS, find_splits, half_of_pair, holds_pair
from xgan_jax.data.listing import Listing
from xgan_jax.data.matching import Matched
from xgan_jax.data.places import locate
from xgan_jax.data.tfds_records import TfdsRecords
from xgan_jax.data.zips import Zip, is_zip


@runtime_checkable
class Source(Protocol):
    """What `prepare` needs to know of a place with pictures.

    `names` are the pictures, sorted; `splits` gives the split of those for which the source itself
    says it, and `split_notes` where that comes from; `columns` is {label: "int64", "float32" or "text"};
    `tables` are those that splits and labels are from; `refused` is (name, reason) of what must not be read;
    `ignored` are files that are no pictures by their name.
    """

    kind: str
    names: list[str]
    splits: dict[str, str]
    split_notes: list[str]
    columns: dict[str, str]
    tables: list[Matched]
    refused: list[tuple[str, str]]
    ignored: list[str]
    notes: list[str]

    def load(self, name: str) -> tuple[bytes | np.ndarray, dict[str, Value]]:
        """A file's bytes (or uint8 pixels, h w 3) and its labels, one for each of `columns`. Thread-safe.

        Raises:
          PictureError: it cannot be read.
        """

    def fingerprint(self) -> str:
        """Changes when pictures, labels or splits are added, removed or changed in size; reads no picture."""

    def contents(self) -> str:
        """Changes when a picture's bytes do. All are read, but for those of a zip, which has checksums."""

    def values(self, label: str) -> Counter[Value] | None:
        """{value of a label: how many pictures have it}; None where only the records would tell."""


class Files:
    """Pictures named by their path inside `place`; `splits` are those of `listing` that have one."""

    def __init__(
        self,
        place: Folder | Zip,
        listing: Listing,
        splits: dict[str, str],
        split_notes: list[str],
        split_tables: Sequence[Matched],
        labels: Labels,
    ) -> None:
        self.kind = place.kind
        self.names, self.refused, self.ignored = listing.names, listing.refused, listing.ignored
        self.splits, self.split_notes, self._split_tables = splits, split_notes, split_tables
        self.place, self._sizes, self._place_notes = place, listing.sizes, listing.notes
        self._take(labels)

    def _take(self, labels: Labels) -> None:
        self._labels, self.columns, self.notes = labels, labels.columns, self._place_notes + labels.notes
        self.tables = [*self._split_tables, *labels.tables]

    def read_labels_file(self, path: str, encoding: str | None) -> None:
        """Labels from a CSV, in the place of others; see `labels.read_labels_file`."""
        self._take(read_labels_file(path, self.names, self.place.where, encoding))

    def load(self, name: str) -> tuple[bytes, dict[str, Value]]:
        """As `Source.load`."""
        return self.place.read(name), self._labels.of(name)

    def fingerprint(self) -> str:
        """As `Source.fingerprint`."""
        digest = hashlib.blake2b(digest_size=16)
        if self.columns:
            digest.update(repr(self.columns).encode())
        for name in self.names:
            line = (name, self._sizes[name], self.splits.get(name), self._labels.rows.get(name))
            digest.update(repr(line).encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def contents(self) -> str:
        """As `Source.contents`."""
        return digest_of_all(self.names, self.place.digest, self.place.where)

    def values(self, label: str) -> Counter[Value]:
        """As `Source.values`."""
        column = list(self.columns).index(label)
        return Counter(row[column] for row in self._labels.rows.values())


def open_source(path: str, *, half: int | None = None, encoding: str | None = None) -> Source:
    """Recognises what is at `path`.

    Args:
      path: a folder, a zip, a folder inside a zip (`pictures.zip/photos`) or `tfds:NAME`.
      half: which of trainA/trainB (train1/train2) to take where `path` holds both: 0 or 1.
      encoding: of tables, as `text.decode_text` takes it.

    Raises:
      FileNotFoundError: nothing is there.
      ValueError: what is there holds no pictures, or those of two domains, is one picture, or is damaged; its
        labels or lists cannot be read.
    """
    if path.startswith("tfds:"):
        return TfdsRecords(path.removeprefix("tfds:"))
    given, inside = locate(path, "a folder, a zip or tfds:NAME")
    where = given
    if where.is_file() and not is_zip(where):
        raise ValueError(f"{where} is neither a folder nor an intact zip: give one of these.")
    parts: tuple[str, ...] = ("",)
    celeba = find_pictures(where)
    if celeba is not None:
        where = celeba
    elif inside == "" and (letter := half_of_pair(where)):
        # Its test pictures lie beside it, in the folder that holds both.
        where, inside, parts = where.parent, f"train{letter}/", tuple(key + letter for key in SPLITS)
    place = Zip(where) if where.is_file() else Folder(where, parts)
    listing = place.listing()
    listing.check_any(path)
    if inside.rstrip("/") in listing.names:
        raise ValueError(f"{path} is one picture: give the folder or zip that holds it.")
    if celeba is not None:
        name_others(given, listing)
    lists = Lists(place, listing, encoding) if is_celeba(listing) else None
    splits, notes, split_tables = _splits(listing, lists, path, inside, half)
    tables = lists.labels(listing.names) if lists else []
    tables += find_attributes(place, listing, encoding)
    return Files(place, listing, splits, notes, split_tables, join_tables(tables, listing.names))


def _splits(
    listing: Listing, lists: Lists | None, path: str, inside: str, half: int | None
) -> tuple[dict[str, str], list[str], list[Matched]]:
    """{picture: split}, notes and tables, of CelebA's list where it gives any, else of folders. `listing`
    keeps what is meant. One CelebA may be two domains, which labels tell apart."""
    notes: list[str] = []
    tables: list[Matched] = []
    if lists is not None and not (half is not None and holds_pair(listing.names)):
        half = None
        meant = [name for name in listing.names if name.startswith(inside)]
        splits, notes, tables = lists.splits(meant)
        if splits:
            listing.keep(inside)
            return splits, notes, tables
    splits, more = find_splits(listing, path, inside, half)
    return splits, notes + more, tables

"""CelebA as it is downloaded, by its authors' links or from Kaggle: aligned pictures, and lists of
attributes (-1 or 1), landmarks (pixels of the aligned picture) and the official splits."""

from pathlib import Path

from xgan_jax.data.folders import Folder
from xgan_jax.data.labels import Labels, Table, join_tables, read_table
from xgan_jax.data.listing import Listing
from xgan_jax.data.zips import Zip

_PARTITION = "list_eval_partition"
_LISTS = ("list_attr_celeba", "list_landmarks_align_celeba", _PARTITION)
_SPLITS = {"0": "train", "1": "validation", "2": "test"}  # CelebA's README


def find_pictures(where: Path) -> Path | None:
    """The folder or zip of aligned pictures in the folder `where`; None where it is no CelebA download."""
    for folder in (where, where / "Img"):
        for name in ("img_align_celeba", "img_align_celeba.zip"):
            if (folder / name).exists():
                return folder / name
    return None


def is_celeba(listing: Listing) -> bool:
    """Whether these files are CelebA's by the name of a folder or zip."""
    return "img_align_celeba" in listing.where.stem or any(
        "img_align_celeba/" in n for n in listing.names[:1]
    )


def read_lists(place: Folder | Zip, listing: Listing) -> tuple[dict[str, str], list[str], Labels] | None:
    """What the lists in `place` or beside it say: {picture: split}, notes, labels; None where there is none.

    Raises:
      ValueError: a list is damaged.
    """
    found: dict[str, Table] = {}
    for stem in _LISTS:
        text = _find_text(place, listing, (f"{stem}.txt", f"{stem}.csv"))
        if text is not None:
            columns, rows = read_table(text, stem)
            by_picture = {n: rows[key] for n in listing.names if (key := n.rpartition("/")[2]) in rows}
            found[stem] = Table(columns, by_picture)
    if not found:
        return None
    splits, notes = {}, []
    if _PARTITION in found:
        rows = found.pop(_PARTITION).rows
        splits = {name: _SPLITS[row[0]] for name, row in rows.items() if row[0] in _SPLITS}
        notes.append("splits are CelebA's own (list_eval_partition)")
    return splits, notes, join_tables(list(found.values()), listing.names, "CelebA's own lists")


def _find_text(place: Folder | Zip, listing: Listing, names: tuple[str, ...]) -> str | None:
    for name in listing.ignored:
        if name.rpartition("/")[2] in names:
            return place.read(name).decode("utf-8-sig", "replace")
    parents = (place.where.parent, *place.where.parents[1:2])
    for folder in [parent / part for parent in parents for part in ("", "Anno", "Eval")]:
        for name in names:
            if (folder / name).is_file():
                return (folder / name).read_text()
    return None

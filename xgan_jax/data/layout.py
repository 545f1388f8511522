"""How the subfolders of a set of pictures are called: train, test and validation, and trainA, testA, trainB
and testB (CycleGAN) or train1, test1, train2 and test2, which are two domains beside each other."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from xgan_jax.data.listing import Listing

SPLITS = {"train": "train", "test": "test", "val": "validation", "valid": "validation"}
SPLITS["validation"] = "validation"
_PAIRS = ("AB", "12")


def half_of_pair(folder: Path) -> str | None:
    """The letter of a trainA (trainB, train1, train2) that has its testA beside it; else None."""
    match = re.fullmatch(r"train([AB12])", folder.name)
    return match[1] if match and (folder.parent / f"test{match[1]}").is_dir() else None


def holds_pair(names: Sequence[str]) -> bool:
    """Whether pictures lie in a trainA and a trainB (or train1 and train2) beside each other."""
    return _pair_among(_folders_in(_common_folder(names), names)) is not None


def find_splits(
    listing: Listing, path: str, inside: str, half: int | None
) -> tuple[dict[str, str], list[str]]:
    """{picture: split}, and notes on it; no splits where the folders say nothing. `listing` keeps only what
    is meant.

    Args:
      listing: the files in a folder or zip.
      path: how it was given, for messages.
      inside: the folder that is meant, "" or "photos/".
      half: which of two domains is taken where there are two, 0 or 1.

    Raises:
      ValueError: there are two domains and no `half`, or a `half` and not two; or nothing `inside`.
    """
    if inside:
        pattern = re.fullmatch(r"(.*/)?train([AB12])/", inside)
        if pattern and any(n.startswith(f"{pattern[1] or ''}test{pattern[2]}/") for n in listing.names):
            return _keep_half(listing, pattern[1] or "", pattern[2])
        listing.keep(inside)
        if not listing.names:
            raise ValueError(f"{listing.where} holds no pictures under {inside}: see `unzip -l`.")
    base = _common_folder(listing.names)
    children = _folders_in(base, listing.names)
    if pair := _pair_among(children):
        if half is None:
            first, second = (os.path.join(path, f"{base}train{letter}") for letter in pair)
            raise ValueError(f"{path} holds two domains: give {first} or {second}.")
        return _keep_half(listing, base, pair[half])
    if half is not None:
        raise ValueError(
            f"{path} is given for two domains, but holds no trainA and trainB (or train1 and train2): "
            "give each domain a folder of its own."
        )
    found = {SPLITS[child.lower()]: child for child in sorted(children) if child.lower() in SPLITS}
    if "train" not in found:
        # All pictures may lie in one such folder, beside a train/ that holds none.
        above = base[len(inside) :].split("/")
        others = [*found.values(), *(part for part in above if SPLITS.get(part.lower(), "train") != "train")]
        return {}, [f"{part}/ is no split, for no picture lies in a train/ beside it" for part in others]
    if len(found) == 1:
        return {}, []
    return _keep_splits(listing, base, found)


def _folders_in(base: str, names: Sequence[str]) -> set[str]:
    """The folders right below `base` that hold any of `names`."""
    return {name[len(base) :].split("/")[0] for name in names if "/" in name[len(base) :]}


def _pair_among(folders: set[str]) -> str | None:
    """The letters of two domains beside each other."""
    return next((pair for pair in _PAIRS if {f"train{letter}" for letter in pair} <= folders), None)


def _keep_half(listing: Listing, base: str, letter: str) -> tuple[dict[str, str], list[str]]:
    folders = {f"{base}{key}{letter}/": split for key, split in SPLITS.items()}
    listing.keep(*folders)
    splits, note = _splits_of(listing.names, folders)
    return (splits, [note]) if "test" in splits.values() else ({}, [])


def _keep_splits(listing: Listing, base: str, found: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """`found`: {split: its subfolder of `base`}."""
    notes = []
    if "test" not in found:
        found["test"] = found.pop("validation")
        notes.append(f"{found['test']}/ is used as the test split")
    splits, note = _splits_of(listing.names, {f"{base}{child}/": split for split, child in found.items()})
    for name in listing.names:
        if name not in splits:
            listing.refuse(name, f"it lies outside {base}train and the other splits")
    listing.names = [name for name in listing.names if name in splits]
    return splits, [*notes, note]


def _splits_of(names: Sequence[str], folders: Mapping[str, str]) -> tuple[dict[str, str], str]:
    """{picture: split} by {folder: split}, and a note that says which folders hold any."""
    splits: dict[str, str] = {}
    for folder, split in folders.items():
        splits |= {name: split for name in names if name.startswith(folder)}
    used = [folder for folder in folders if any(name.startswith(folder) for name in splits)]
    return splits, f"splits are those of {', '.join(used)}"


def _common_folder(names: Sequence[str]) -> str:
    """The deepest folder that holds all of `names`, which are sorted: "" or "a/b/"."""
    # What the first and the last of sorted names share, all share.
    folders = [name.rpartition("/")[0] for name in (names[0], names[-1])] if names else [""]
    shared = os.path.commonpath(folders)
    return f"{shared}/" if shared else ""

"""Which picture of a domain is for training and which for testing, and the order of the records. Both follow
from hashes of the names: the same every time, and little changed by adding pictures."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from xgan_jax.data.joined import Joined
from xgan_jax.data.sources import Source


def assign(source: Source, test_fraction: float, test_list: str | None) -> tuple[dict[str, list[str]], str]:
    """{split: names, in the order of the records}, and how it came about.

    The pictures named in the file `test_list` are the test split; without one the splits are those of the
    source; if it has none, `test_fraction` of its pictures are tested on.

    Raises:
      FileNotFoundError: there is no such list.
      ValueError: the list names no picture, or one that is not there.
    """
    names = source.names
    if test_list is not None:
        of = _by_list(names, test_list)
        rule = f"the test split is that of {Path(test_list).name}"
    elif source.splits:
        of = {n: source.splits.get(n, "train") for n in names}
        unlisted = sum(n not in source.splits for n in names)
        rule = f"{unlisted:,} pictures in no split went to train" if unlisted else ""
    else:
        of = _by_hash(source, test_fraction)
        rule = f"no split given: a hash of each name sends about {test_fraction:.0%} to test"
    splits: dict[str, list[str]] = {}
    for name in sorted(names, key=lambda n: _hash(n, "order")):
        splits.setdefault(of[name], []).append(name)
    return {s: splits[s] for s in ("train", "validation", "test") if s in splits} | splits, rule


def fingerprint(splits: dict[str, list[str]]) -> str:
    """Changes when a picture goes into another split."""
    text = repr(sorted((name, split) for split, names in splits.items() for name in names))
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def _by_list(names: Sequence[str], test_list: str) -> dict[str, str]:
    if not Path(test_list).is_file():
        raise FileNotFoundError(f"{test_list} does not exist: --test-list wants NAME=FILE.txt.")
    lines = Path(test_list).read_text(encoding="utf-8-sig").splitlines()
    wanted = {line.strip() for line in lines if line.strip()}
    known = {key for name in names for key in (name, name.rpartition("/")[2])}
    absent = sorted(wanted - known)
    if absent or not wanted:
        what = f"{len(absent)} names that are not there, the first {absent[0]!r}" if absent else "no name"
        raise ValueError(f"the test list {test_list} holds {what}: write one file name a line.")
    return {n: "test" if {n, n.rpartition("/")[2]} & wanted else "train" for n in names}


def _by_hash(source: Source, test_fraction: float) -> dict[str, str]:
    names = source.names
    # Of a set among several by its name there, so that giving another set moves none.
    inside = {n: n.partition("/")[2] if isinstance(source, Joined) else n for n in names}
    share = {n: int.from_bytes(_hash(inside[n], "split")[:6], "big") / 2**48 for n in names}
    of = {n: "test" if share[n] < test_fraction else "train" for n in names}
    # So few pictures that chance left a split empty: the nearest one goes there.
    if test_fraction > 0 and len(names) > 1:
        if "test" not in of.values():
            of[min(share, key=share.__getitem__)] = "test"
        if "train" not in of.values():
            of[max(share, key=share.__getitem__)] = "train"
    return of


def _hash(name: str, purpose: str) -> bytes:
    return hashlib.blake2b(os.fsencode(name), digest_size=16, person=purpose.encode()).digest()

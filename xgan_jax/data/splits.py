"""Which picture of a domain is for training and which for testing, and the order of the records. Both follow
from hashes of the names: the same every time, and little changed by adding pictures."""

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

from xgan_jax.data.joined import Joined
from xgan_jax.data.matching import Matched, match
from xgan_jax.data.sources import Source
from xgan_jax.data.tables import read_list
from xgan_jax.data.text import read_text_file


class Splits(NamedTuple):
    """{split: names, in the order of the records}, how it came about, and the list that it is from."""

    names: dict[str, list[str]]
    rule: str
    tables: list[Matched]


def assign(source: Source, test_fraction: float, test_list: str | None, encoding: str | None) -> Splits:
    """Decides on every picture's split.

    The pictures named in the file `test_list` are the test split; without one the splits are those of the
    source; if it has none, `test_fraction` of its pictures are tested on.

    Raises:
      FileNotFoundError: there is no such list.
      ValueError: the list, in `encoding`, is no text, or names no picture or all of them.
    """
    names = source.names
    tables = []
    rules = list(source.split_notes)
    if test_list is not None:
        of, matched = _by_list(source, test_list, encoding)
        tables, rules = [matched], [f"the test split is that of {Path(test_list).name}"]
    elif source.splits:
        of = {n: source.splits.get(n, "train") for n in names}
        if unlisted := sum(n not in source.splits for n in names):
            rules.append(f"{unlisted:,} pictures in no split went to train")
    else:
        of = _by_hash(source, test_fraction)
        rules.append(f"no split given: a hash of each name sends about {test_fraction:.0%} to test")
    splits: dict[str, list[str]] = {}
    for name in sorted(names, key=lambda n: _hash(n, "order")):
        splits.setdefault(of[name], []).append(name)
    ordered = {s: splits[s] for s in ("train", "validation", "test") if s in splits} | splits
    return Splits(ordered, "; ".join(rules), tables)


def fingerprint(splits: dict[str, list[str]]) -> str:
    """Changes when a picture goes into another split."""
    text = repr(sorted((name, split) for split, names in splits.items() for name in names))
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def _by_list(source: Source, test_list: str, encoding: str | None) -> tuple[dict[str, str], Matched]:
    text = read_text_file(test_list, "--test-list wants NAME=FILE.txt", encoding)
    table = read_list(text, test_list)
    wanted, matched = match(table, source.names, all_need_rows=False)
    if len(wanted) == len(source.names):
        raise ValueError(
            f"{test_list} names all {len(wanted):,} pictures, and leaves none to train on: take some out."
        )
    return {n: "test" if n in wanted else "train" for n in source.names}, matched


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

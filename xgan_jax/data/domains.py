"""The domains of a dataset as they are asked for: which pictures, in which splits, chosen by which labels."""

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xgan_jax.data import splits
from xgan_jax.data.columns import is_value
from xgan_jax.data.joined import Joined
from xgan_jax.data.matching import Matched
from xgan_jax.data.sources import Files, Source, open_source
from xgan_jax.data.text import check_encoding


@dataclass(frozen=True)
class Domain:
    """One domain: its pictures are all of `source`, and those with other labels than `where` are left out."""

    name: str
    path: str  # as given; several behind commas
    source: Source
    splits: dict[str, list[str]]  # {split: names, in the order of the records}
    where: dict[str, str]  # {label: value}
    notes: list[str]  # on where its splits and labels come from
    tables: list[Matched]  # that they come from
    request: dict[str, Any]  # what its records follow from, beside how they are made


def open_domains(
    paths: Mapping[str, Sequence[str]],
    test_fraction: float,
    test_lists: Mapping[str, str],
    labels: Mapping[str, str],
    where: Mapping[str, Mapping[str, str]],
    encodings: Mapping[str, str],
) -> list[Domain]:
    """Opens the sources of all domains and decides on every picture's split. `paths` is {domain: its paths};
    the others are as in `prepare.prepare`.

    Raises:
      FileNotFoundError: a path, a list or a table is not there.
      ValueError: one sentence on what is wrong with an argument or a source.
    """
    everywhere = where.get("", {})
    chosen = {name: conditions for name, conditions in where.items() if name}
    encoded = {name: encoding for name, encoding in encodings.items() if name}
    for given_encoding in encodings.values():
        check_encoding(given_encoding)
    by_domain = {
        "--test-list": test_lists,
        "--labels": labels,
        "--where": chosen,
        "--labels-encoding": encoded,
    }
    for option, given in by_domain.items():
        for name in sorted(set(given) - set(paths)):
            raise ValueError(f"{option} names the domain {name!r}, which no --domain gives.")
    domains = []
    for name, source in _open_sources(paths, encodings).items():
        encoding = encodings.get(name, encodings.get(""))
        if name in labels:
            _read_labels(name, source, labels[name], encoding)
        conditions = _conditions(name, source, chosen.get(name, {}), everywhere)
        assigned, rule, tables = splits.assign(source, test_fraction, test_lists.get(name), encoding)
        request: dict[str, Any] = {
            "path": ", ".join(p if p.startswith("tfds:") else os.path.abspath(p) for p in paths[name]),
            "pictures": source.fingerprint(),
            "splits": splits.fingerprint(assigned),
        }
        if name in chosen or conditions:
            request["where"] = conditions
        notes = [note for note in (rule, *source.notes) if note]
        tables = [*source.tables, *tables]
        path = ", ".join(paths[name])
        domains.append(Domain(name, path, source, assigned, conditions, notes, tables, request))
    _check_apart(domains)
    for label in sorted(everywhere):
        if not any(label in domain.source.columns for domain in domains):
            raise ValueError(f"--where {label}: no domain has this label.")
    return domains


def _open_sources(paths: Mapping[str, Sequence[str]], encodings: Mapping[str, str]) -> dict[str, Source]:
    givers: dict[str, list[str]] = {}  # of a place, its domains
    for name, given in paths.items():
        for path in given:
            same = givers.setdefault(_place(path), [])
            if name in same:
                raise ValueError(f"{path} is given twice for {name}: give each set once.")
            same.append(name)
    sources: dict[str, Source] = {}
    for name, given in paths.items():
        opened: dict[str, Source] = {}
        for path in given:
            same = givers[_place(path)]
            if len(same) > 2:
                raise ValueError(f"{path} is given for {len(same)} domains: give each a folder of its own.")
            half = same.index(name) if len(same) == 2 else None
            encoding = encodings.get(name, encodings.get(""))
            opened[path] = open_source(path, half=half, encoding=encoding)
        sources[name] = opened[given[0]] if len(opened) == 1 else Joined(opened)
    return sources


def _check_apart(domains: Sequence[Domain]) -> None:
    """Refuses a file that is in two sets, as where one folder lies inside the other; but for two domains that
    labels tell apart.

    Raises:
      ValueError: the sentence names both sets, and how many files.
    """
    for (one, of_one, files), (other, of_other, more) in itertools.combinations(_sets(domains), 2):
        both = files & more
        asked = one.where.keys() & other.where.keys()
        if both and not any(one.where[label] != other.where[label] for label in asked):
            raise ValueError(
                f"{len(both):,} files of {one.name} ({of_one}) are in {other.name} ({of_other}) too, "
                f"{min(both)} for one: give sets that do not lie in each other."
            )


def _sets(domains: Sequence[Domain]) -> Iterator[tuple[Domain, str, set[str]]]:
    """Every set of every domain: what it is called, and its files."""
    for domain in domains:
        source = domain.source
        for name, one in (source.sources if isinstance(source, Joined) else {domain.path: source}).items():
            yield domain, name, _files(one)


def _files(source: Source) -> set[str]:
    return {f"{source.place.where}/{name}" for name in source.names} if isinstance(source, Files) else set()


def _place(path: str) -> str:
    return path if path.startswith("tfds:") else os.path.realpath(path)


def _read_labels(name: str, source: Source, path: str, encoding: str | None) -> None:
    if isinstance(source, Joined):
        raise ValueError(f"--labels {name}: {name} has several sets, put an attributes.csv into each.")
    if not isinstance(source, Files):
        raise ValueError(f"--labels {name}: {source.kind} has labels of its own.")
    source.read_labels_file(path, encoding)


def _conditions(
    name: str, source: Source, chosen: Mapping[str, str], everywhere: Mapping[str, str]
) -> dict[str, str]:
    """{label: value}: what was chosen for the domain, and what for all domains if it has the label."""
    conditions = dict(chosen)
    for label, value in everywhere.items():
        if label in source.columns:
            conditions.setdefault(label, value)
    for label in conditions:
        if label not in source.columns:
            known = ", ".join(source.columns) or "none"
            raise ValueError(f"--where {name}:{label}: its labels are {known}.")
        if label != "labelled":
            _check_value(name, source, label, conditions[label])
    return conditions


def _check_value(name: str, source: Source, label: str, value: str) -> None:
    counts = source.values(label)
    if counts is not None and not any(is_value(known, value) for known in counts):
        most = ", ".join(f"{known} ({count:,})" for known, count in counts.most_common(5))
        raise ValueError(
            f"--where {name}:{label}={value}: no picture has this value; the commonest are {most}."
        )

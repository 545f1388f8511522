"""The domains of a dataset as they are asked for: which pictures, in which splits, chosen by which labels."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xgan_jax.data import splits
from xgan_jax.data.joined import Joined
from xgan_jax.data.sources import Files, Source, open_source


@dataclass(frozen=True)
class Domain:
    """One domain: its pictures are all of `source`, and those with other labels than `where` are left out."""

    name: str
    path: str  # as given; several behind commas
    source: Source
    splits: dict[str, list[str]]  # {split: names, in the order of the records}
    where: dict[str, str]  # {label: value}
    notes: list[str]  # on where its splits and labels come from
    request: dict[str, Any]  # what its records follow from, beside how they are made


def open_domains(
    paths: Mapping[str, Sequence[str]],
    test_fraction: float,
    test_lists: Mapping[str, str],
    labels: Mapping[str, str],
    where: Mapping[str, Mapping[str, str]],
) -> list[Domain]:
    """Opens the sources of all domains and decides on every picture's split. `paths` is {domain: its paths};
    the others are as in `prepare.prepare`.

    Raises:
      FileNotFoundError: a path, a list or a table is not there.
      ValueError: one sentence on what is wrong with an argument or a source.
    """
    everywhere = where.get("", {})
    chosen = {name: conditions for name, conditions in where.items() if name}
    for option, given in (("--test-list", test_lists), ("--labels", labels), ("--where", chosen)):
        for name in sorted(set(given) - set(paths)):
            raise ValueError(f"{option} names the domain {name!r}, which no --domain gives.")
    domains = []
    for name, source in _open_sources(paths).items():
        if name in labels:
            _read_labels(name, source, labels[name])
        conditions = _conditions(name, source, chosen.get(name, {}), everywhere)
        assigned, rule = splits.assign(source, test_fraction, test_lists.get(name))
        request: dict[str, Any] = {
            "path": ", ".join(p if p.startswith("tfds:") else os.path.abspath(p) for p in paths[name]),
            "pictures": source.fingerprint(),
            "splits": splits.fingerprint(assigned),
        }
        if name in chosen or conditions:
            request["where"] = conditions
        notes = [note for note in (*source.notes, rule) if note]
        domains.append(Domain(name, ", ".join(paths[name]), source, assigned, conditions, notes, request))
    for label in sorted(everywhere):
        if not any(label in domain.source.columns for domain in domains):
            raise ValueError(f"--where {label}: no domain has this label.")
    return domains


def _open_sources(paths: Mapping[str, Sequence[str]]) -> dict[str, Source]:
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
            opened[path] = open_source(path, half=same.index(name) if len(same) == 2 else None)
        sources[name] = opened[given[0]] if len(opened) == 1 else Joined(opened)
    return sources


def _place(path: str) -> str:
    return path if path.startswith("tfds:") else os.path.realpath(path)


def _read_labels(name: str, source: Source, path: str) -> None:
    if isinstance(source, Joined):
        raise ValueError(f"--labels {name}: {name} has several sets, put an attributes.csv into each.")
    if not isinstance(source, Files):
        raise ValueError(f"--labels {name}: {source.kind} has labels of its own.")
    source.read_labels_file(path)


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
    return conditions

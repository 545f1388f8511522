"""What became of a domain's pictures: found = written + refused, and what was asked to be left out."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from xgan_jax.data.domains import Domain
from xgan_jax.data.listing import say_refused
from xgan_jax.data.looks import Looks
from xgan_jax.data.records import Made, Maker
from xgan_jax.data.shards import Shards


class Account:
    """Keeps count of one domain while its pictures are made."""

    def __init__(self, domain: Domain, dedup: bool) -> None:
        """`dedup`: of pictures that look the same (`looks.NEAR`), only the first is written."""
        self._domain = domain
        self._refused = [{"file": name, "reason": reason} for name, reason in domain.source.refused]
        self._left_out = 0
        self._looks = Looks() if dedup else None
        self._near: list[dict[str, str]] = []
        self._digests: dict[bytes, str] = {}
        self._duplicates: list[dict[str, str]] = []
        self._remarks: dict[str, dict[str, Any]] = {}
        self.written: dict[str, Shards] = {}  # by split

    def admit(self, name: str, made: Made | str | None) -> Made | None:
        """What `Maker.make` made of a picture, if it is to be written."""
        if made is None:
            self._left_out += 1
            return None
        if isinstance(made, str):
            self._refused.append({"file": name, "reason": made})
            return None
        same = self._looks.same(name, made.image) if self._looks is not None else None
        if same is not None:
            self._near.append({"file": name, "same_as": same})
            return None
        first = self._digests.setdefault(made.digest, name)
        if first != name:
            self._duplicates.append({"file": name, "same_as": first})
        remember(self._remarks, name, made.remarks)
        return made

    def report(self, maker: Maker) -> dict[str, Any]:
        """The domain's part of report.json.

        Raises:
          ValueError: no training picture was written.
        """
        domain, source = self._domain, self._domain.source
        splits = {split: sum(shards.lengths) for split, shards in self.written.items()}
        refused = sorted(self._refused, key=lambda r: r["file"])
        found = len(source.names) + len(source.refused)
        if "train" not in splits:
            others = [f"{count:,} in {split}" for split, count in splits.items()]
            others += [f"{self._left_out:,} left out by --where"] if self._left_out else []
            others += [f"{r['file']}: {r['reason']}" for r in refused[:3]]
            raise ValueError(
                f"the domain {domain.name} ({domain.path}) has no usable training picture of {found} found: "
                f"{'; '.join(others)}: give it other pictures, or other splits."
            )
        ignored = Counter(
            os.path.splitext(name)[1].lower() or Path(name).name.strip() for name in source.ignored
        )
        return {
            "source": domain.path,
            "kind": source.kind,
            "notes": domain.notes,
            "crop": maker.crop,
            "size": maker.size,
            "encoding": maker.encoding,
            "splits": splits,
            "found": found,
            "written": sum(splits.values()),
            "refused": refused,
            "where": domain.where,
            "left_out": self._left_out,
            "near_duplicates": self._near,
            "duplicates": self._duplicates,
            "remarks": self._remarks,
            "ignored": dict(sorted(ignored.items())),
            "ignored_files": source.ignored,
            "labels": list(source.columns),
            "tables": [asdict(table) for table in domain.tables],
        }


def remember(remarks: dict[str, dict[str, Any]], name: str, of_file: Iterable[str]) -> None:
    """Counts what `pictures.read` remarked of a file: {remark: {"pictures": number, "first": by name}}."""
    for remark in of_file:
        entry = remarks.setdefault(remark, {"pictures": 0, "first": name})
        entry |= {"pictures": entry["pictures"] + 1, "first": min(entry["first"], name)}


def say_remarks(remarks: Mapping[str, Mapping[str, Any]]) -> None:
    """Prints a line for each remark."""
    for remark, of in remarks.items():
        print(f"  {of['pictures']:,} read with a remark: {remark} (the first: {of['first']!r})")


def say_sums(name: str, report: Mapping[str, Any]) -> None:
    """Prints the sums of a domain's report, and the first of what was refused."""
    parts = ", ".join(f"{count:,} {split}" for split, count in report["splits"].items())
    refused = report["refused"]
    asked = f" + {report['left_out']} by --where" if report["where"] else ""
    asked += f" + {len(report['near_duplicates'])} by --dedup" if report["near_duplicates"] else ""
    print(
        f"{name}: {report['found']} found = {report['written']} written ({parts}) + {len(refused)} refused"
        + asked
    )
    for entry in refused[:5]:
        say_refused(entry["file"], entry["reason"])
    if refused[5:]:
        print(f"  and {len(refused) - 5} more, in report.json")
    if report["ignored"]:
        kinds = ", ".join(f"{count} {kind}" for kind, count in report["ignored"].items())
        print(f"  no pictures by their names or made by xgan, not counted: {kinds}")
    if report["duplicates"]:
        first = report["duplicates"][0]
        print(
            f"  {len(report['duplicates'])} of the written have the same bytes as another, for example "
            f"{first['file']!r} and {first['same_as']!r}; all are in report.json"
        )
    say_remarks(report["remarks"])

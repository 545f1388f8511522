"""What stands at OUT, and the journal of the unfinished OUT.partial: what was asked for, and which domains of
it are finished. The same request goes on there; another is told in what it differs."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xgan_jax import locks


def standing(out: Path) -> dict[str, Any] | None:
    """The report of the dataset at `out`; None when there is nothing.

    Raises:
      ValueError: something else is there.
    """
    if not out.exists():
        if out.is_symlink():
            raise ValueError(f"--out {out} is a link to nothing: choose another.")
        return None
    if not out.is_dir():
        raise ValueError(f"--out {out} is a file: choose another.")
    if out.is_symlink() or os.path.ismount(out):
        # A finished folder is renamed into place, which neither allows.
        raise ValueError(f"--out {out} is a link or a mount point: give a folder inside it, {out / 'data'}.")
    report = _report_in(out)
    if report is None and any(out.iterdir()):
        raise ValueError(f"--out {out} is not empty and was not written by prepare: choose another folder.")
    if report is None and Path.cwd().is_relative_to(out.resolve()):
        # Renaming into its place would take the folder away from under the shell.
        raise ValueError(f"--out {out} is the folder you are in: give one inside it, {out / 'data'}.")
    return report


def _report_in(folder: Path) -> dict[str, Any] | None:
    try:
        report = json.loads((folder / "report.json").read_text())
    except (OSError, ValueError):
        return None
    return report if isinstance(report, dict) and _is_request(report.get("request")) else None


def _is_request(request: Any) -> bool:
    """Whether it is one of ours: other programs have a report.json, too."""
    domains = request.get("domains") if isinstance(request, dict) else None
    return isinstance(domains, dict) and all(isinstance(domain, dict) for domain in domains.values())


def check_same(out: Path, report: dict[str, Any], request: dict[str, Any]) -> None:
    """Whether the dataset at `out`, whose report this is, answers `request`.

    Raises:
      ValueError: it answers another; the sentence says in what they differ.
    """
    difference = _difference(report["request"], request)
    if difference is not None:
        raise ValueError(f"--out {out} holds another dataset ({difference}): delete it or choose another.")


class Journal:
    """`OUT.partial`, made or taken up, and locked; a context manager.

    An interruption leaves the folder there; a ValueError removes it, for then the request has to change and
    nothing in it is of use.
    """

    def __init__(self, out: Path, request: dict[str, Any]) -> None:
        """`out`: as `standing` has seen it, not there or empty.

        Raises:
          ValueError: the folder cannot be made, another process is writing it, or it belongs to another
            request or program.
        """
        self._out, self._folder = out, out.with_name(out.name + ".partial")
        self._lock = _make_and_lock(self._folder)
        try:
            self._journal = _take_up(self._folder, request)
        except BaseException:
            os.close(self._lock)
            raise
        self.done: dict[str, Any] = self._journal["done"]  # {domain: its report}
        self.request: dict[str, Any] = self._journal["request"]  # as the program noted it that began

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, ValueError):
            shutil.rmtree(self._folder, ignore_errors=True)
        os.close(self._lock)

    def begin(self, domain: str) -> Path:
        """An empty folder for a domain's files."""
        folder = self._folder / domain
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    def end(self, domain: str, report: dict[str, Any]) -> None:
        """Notes that a domain's folder is complete."""
        self.done[domain] = report
        _write_json(self._folder / "journal.json", self._journal)

    def finish(self, report: dict[str, Any]) -> None:
        """Writes report.json and makes the folder `out`."""
        _write_json(self._folder / "report.json", report)
        if self._out.exists():
            self._out.rmdir()  # `standing` has seen that it is empty
        os.rename(self._folder, self._out)
        (self._out / "journal.json").unlink()


def _make_and_lock(folder: Path) -> int:
    """The descriptor that locks `folder` until it is closed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise ValueError(f"{folder} cannot be made ({error.strerror}): choose another --out.") from None
    if not locks.lock(lock, folder):
        os.close(lock)
        raise ValueError(f"another prepare is writing {folder}: wait for it.")
    return lock


def _take_up(folder: Path, request: dict[str, Any]) -> dict[str, Any]:
    """The journal in `folder`, or a new one."""
    delete = f"delete {folder} to start anew"
    try:
        journal: dict[str, Any] = json.loads((folder / "journal.json").read_text())
    except FileNotFoundError:
        if any(name != "journal.json.new" for name in os.listdir(folder)):
            raise ValueError(f"{folder} is in the way and was not written by prepare: {delete}.") from None
        journal = {"request": request, "done": {}}
        _write_json(folder / "journal.json", journal)
    except ValueError:
        journal = {}
    if not (isinstance(journal, dict) and "done" in journal and _is_request(journal.get("request"))):
        raise ValueError(f"{folder / 'journal.json'} is damaged: {delete}.")
    difference = _difference(journal["request"], request)
    if difference is not None:
        raise ValueError(
            f"{folder} was left by an interrupted prepare of another kind ({difference}): repeat that one, "
            f"or {delete}."
        )
    return journal


def _as_noted(request: dict[str, Any], was: Mapping[str, Any]) -> dict[str, Any]:
    """`request` without the contents of pictures where `was` is of a version that did not look at them."""
    if any("contents" in domain for domain in was["domains"].values()):
        return request
    domains = {
        name: {key: value for key, value in domain.items() if key != "contents"}
        for name, domain in request["domains"].items()
    }
    return request | {"domains": domains}


def _difference(was: Mapping[str, Any], request: dict[str, Any]) -> str | None:
    """The first thing in which a request differs from the one that was noted."""
    now = _as_noted(request, was)
    if was == now:
        return None
    for key in ("format", "size", "encoding", "crop", "dedup"):
        if was.get(key) != now.get(key):
            return f"{key} was {was.get(key)}, now {now.get(key)}"
    before, after = was["domains"], now["domains"]
    if before.keys() != after.keys():
        return f"of {', '.join(before)}, not {', '.join(after)}"
    domain = next(d for d in after if before[d] != after[d])
    if before[domain].get("path") != after[domain]["path"]:
        return f"{domain} was made from {before[domain]['path']}"
    if any(before[domain].get(key) != after[domain].get(key) for key in ("pictures", "contents")):
        return f"the pictures or labels of {domain} have changed since"
    if before[domain].get("where") != after[domain].get("where"):
        return f"{domain} was chosen by other labels"
    return f"{domain} was split into train and test in another way"


def _write_json(path: Path, content: Any) -> None:
    """Whole or not at all."""
    new = path.with_name(path.name + ".new")
    new.write_text(json.dumps(content, indent=2) + "\n")
    os.replace(new, path)

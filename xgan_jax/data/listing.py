"""What a folder or a zip holds: pictures, files that must not be read, and files that are no pictures by
their names. Names are paths inside it."""

import os
from dataclasses import dataclass, field
from pathlib import Path

MAX_FILE_BYTES = 512 * 2**20  # a picture of MAX_PIXELS, uncompressed at 16 bits, is 384 MB

# Files that nobody takes for pictures: left out of the count, but listed.
_TEXT = {".csv", ".tsv", ".txt", ".json", ".jsonl", ".md", ".html", ".htm", ".xml", ".yaml", ".yml", ".log"}
_IGNORED = _TEXT | {".py", ".ini", ".db", ".mat", ".npy", ".npz", ".pdf", ".sha256", ".md5"}


@dataclass
class Listing:
    """The files in `where`, a folder or a zip."""

    where: Path
    names: list[str] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)  # name, reason
    ignored: list[str] = field(default_factory=list)
    sizes: dict[str, tuple[int, ...]] = field(default_factory=dict)  # of a picture: bytes; in a zip, its CRC

    def add(self, name: str, size: int, *checksum: int) -> None:
        """A picture of `size` bytes; refused where it is too large."""
        if size > MAX_FILE_BYTES:
            reason = f"the file has {size / 2**20:,.0f} MiB, more than the {MAX_FILE_BYTES // 2**20} allowed"
            self.refuse(name, reason)
            return
        self.names.append(name)
        self.sizes[name] = (size, *checksum)

    def refuse(self, name: str, reason: str) -> None:
        """A file that is not read."""
        self.refused.append((name, reason))

    def sort(self) -> None:
        """By name, so that the order of a disk or a zip does not matter."""
        self.names.sort()
        self.refused.sort()
        self.ignored.sort()

    def keep(self, *prefixes: str) -> None:
        """Forgets everything whose name begins with none of `prefixes`."""
        self.names = [n for n in self.names if n.startswith(prefixes)]
        self.refused = [r for r in self.refused if r[0].startswith(prefixes)]
        self.ignored = [n for n in self.ignored if n.startswith(prefixes)]


def is_ignored(name: str) -> bool:
    """Whether a file is no picture by its name: hidden, or of another kind."""
    return is_hidden(name) or os.path.splitext(name.rpartition("/")[2])[1].lower() in _IGNORED


def is_hidden(name: str) -> bool:
    """Whether a file, or a folder that it is in, is hidden."""
    return any((p.startswith(".") and p != ".") or p == "__MACOSX" for p in name.split("/"))


def reason_of(error: BaseException) -> str:
    """What an error of the system says, in a few words."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__

"""What a folder or a zip holds: pictures, files that must not be read, and files that are no pictures by
their names. Names are paths inside it.

Found are pictures and what is refused; files that are no pictures by their names are not counted, but listed:
text and tables, what is hidden, and what systems leave in folders.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

MAX_FILE_BYTES = 512 * 2**20  # a picture of MAX_PIXELS, uncompressed at 16 bits, is 384 MB

# Files that nobody takes for pictures: left out of the count, but listed.
_TEXT = {".csv", ".tsv", ".txt", ".json", ".jsonl", ".md", ".html", ".htm", ".xml", ".yaml", ".yml", ".log"}
_IGNORED = _TEXT | {".py", ".ini", ".db", ".mat", ".npy", ".npz", ".pdf", ".sha256", ".md5"}
# Beside what is hidden; thumbnails among them are smaller copies of the pictures.
_LITTER = {"__macosx", "icon\r", "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "@eadir"}
_LITTER |= {"system volume information", "lost+found", "#recycle"}
_ARCHIVES = {".zip", ".tar", ".gz", ".tgz", ".bz2", ".tbz2", ".xz", ".txz", ".zst", ".7z", ".rar"}


@dataclass
class Listing:
    """The files in `where`, a folder or a zip."""

    where: Path
    names: list[str] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)  # name, reason
    ignored: list[str] = field(default_factory=list)
    sizes: dict[str, tuple[int, ...]] = field(default_factory=dict)  # of a picture: bytes; in a zip, its CRC
    notes: list[str] = field(default_factory=list)  # on what is not taken though it is there

    def add(self, name: str, size: int, *checksum: int) -> None:
        """A file of `size` bytes that can be read: a picture, unless its name or size says otherwise."""
        if is_other(name):
            self.ignored.append(name)
        elif os.path.splitext(name)[1].lower() in _ARCHIVES:
            self.refuse(name, "it is an archive, not a picture: give it by itself")
        elif size > MAX_FILE_BYTES:
            reason = f"the file has {size / 2**20:,.0f} MiB, more than the {MAX_FILE_BYTES // 2**20} allowed"
            self.refuse(name, reason)
        else:
            self.names.append(name)
            self.sizes[name] = (size, *checksum)

    def refuse(self, name: str, reason: str) -> None:
        """A file that is not read."""
        self.refused.append((name, reason))

    def leave_out(self, names: Iterable[str]) -> None:
        """Pictures that are not meant."""
        out = set(names)
        self.names = [name for name in self.names if name not in out]
        self.ignored = sorted([*self.ignored, *out])

    def sort(self) -> None:
        """By name, so that the order of a disk or a zip does not matter."""
        self.names.sort()
        self.refused.sort()
        self.ignored.sort()

    def keep(self, *prefixes: str, file: str = "") -> None:
        """Forgets everything whose name begins with none of `prefixes`, and is not `file`."""

        def is_kept(name: str) -> bool:
            return name.startswith(prefixes) or name == file

        self.names = list(filter(is_kept, self.names))
        self.refused = [(name, reason) for name, reason in self.refused if is_kept(name)]
        self.ignored = list(filter(is_kept, self.ignored))

    def check_any(self, path: str) -> None:
        """Whether there is any file to read or refuse; `path` is how the place was given.

        Raises:
          ValueError: there is none.
        """
        if not self.names and not self.refused:
            if ours := [name for name in self.ignored if name.endswith("/")]:
                raise ValueError(f"{path} holds no pictures but those of xgan's own in {ours[0]}: give that.")
            extra = f" ({len(self.ignored)} other files)" if self.ignored else ""
            raise ValueError(f"{path} holds no pictures{extra}: give a folder or a zip with pictures in it.")


def is_other(name: str) -> bool:
    """Whether a file is no picture by its name: text, a table, a program."""
    return os.path.splitext(name)[1].lower() in _IGNORED


def is_litter(name: str) -> bool:
    """Whether a file is hidden, or what a system or an archiver left there; so is all in such a folder."""
    return any((p.startswith(".") and p != ".") or p.lower() in _LITTER for p in name.split("/"))


def reason_of(error: BaseException) -> str:
    """What an error of the system says, in a few words."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def say_refused(name: str, reason: str) -> None:
    """Prints what was refused; a name that is no text is written as Python would."""
    print(f"  refused {name!r}: {reason}")

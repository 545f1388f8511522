"""A folder of pictures, at any depth, or one file. Links to files are followed, links to folders are not, and
only regular files are opened: nothing waits for a pipe."""

import hashlib
import json
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from xgan_jax.data.listing import MAX_FILE_BYTES, Listing, is_litter, is_other, reason_of
from xgan_jax.data.pictures import PictureError
from xgan_jax.outputs import LEDGER, Ledger

# What says that a folder is ours: a run, a dataset, an unfinished one.
_OURS = {
    "config.json": {"method", "data"},
    "report.json": {"request", "domains"},
    "journal.json": {"request", "done"},
}
_SPECIAL = "it is a pipe, a socket or a device, not a regular file"


class Folder:
    """The folder `where`, or these `parts` of it, as far as they are there."""

    kind = "folder"

    def __init__(self, where: Path, parts: Sequence[str] = ("",)) -> None:
        self.where, self._parts = where, parts

    def read(self, name: str) -> bytes:
        """A file's bytes. Thread-safe.

        Raises:
          PictureError: it cannot be read.
        """
        try:
            # What was a file when it was listed may be a pipe now: opening must not wait.
            descriptor = os.open(self.where / name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with open(descriptor, "rb") as file:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise PictureError(_SPECIAL)
                data = file.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            raise PictureError(f"the file cannot be read: {reason_of(error)}") from None
        if len(data) > MAX_FILE_BYTES:
            raise PictureError(f"the file has more than the {MAX_FILE_BYTES // 2**20} MiB allowed")
        return data

    def digest(self, name: str) -> bytes:
        """Of what a file holds, or of why it cannot be read. Thread-safe."""
        try:
            return hashlib.blake2b(self.read(name), digest_size=16).digest()
        except PictureError as error:
            return str(error).encode()

    def listing(self) -> Listing:
        """All files; reads no picture. What commands wrote among them is none to start from, unless there is
        nothing else; nor is what lies in a run or a dataset of ours, unless that was given itself."""
        listing = Listing(self.where)
        waiting = [part for part in self._parts if (self.where / part).is_dir()]
        while waiting:
            waiting += self._list(listing, waiting.pop())
        made = self._made(listing)
        if len(made) < len(listing.names):
            listing.leave_out(made)
        listing.sort()
        return listing

    def _list(self, listing: Listing, folder: str) -> list[str]:
        """Adds what is in `folder`, and gives the folders there."""
        try:
            with os.scandir(self.where / folder) as entries:
                found = list(entries)
        except OSError as error:
            if not is_litter(folder):
                listing.refuse(folder or ".", f"the folder cannot be read: {reason_of(error)}")
            return []
        if folder not in self._parts and self._is_ours(folder, {entry.name for entry in found}):
            listing.ignored.append(f"{folder}/")
            return []
        folders = []
        for entry in found:
            name = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_dir(follow_symlinks=False):
                folders.append(name)
            elif is_litter(name):
                listing.ignored.append(name)
            else:
                self._add(listing, name, entry)
        return folders

    def _add(self, listing: Listing, name: str, entry: os.DirEntry[str]) -> None:
        try:
            status = entry.stat()
        except OSError as error:
            if is_other(name):  # whoever wants a table that cannot be read says so
                listing.ignored.append(name)
            else:
                listing.refuse(name, f"the file cannot be read: {reason_of(error)}")
            return
        if stat.S_ISDIR(status.st_mode):
            listing.refuse(name, "a link to a folder is not followed: give that folder itself")
        elif stat.S_ISREG(status.st_mode):
            listing.add(name, status.st_size)
        else:
            listing.refuse(name, _SPECIAL)

    def _is_ours(self, folder: str, names: set[str]) -> bool:
        """Whether a folder with these names is a run, or a dataset of prepare's, finished or not."""
        for file, keys in _OURS.items():
            if file in names and keys <= self._keys(f"{folder}/{file}"):
                return file != "config.json" or "checkpoints" in names
        return False

    def _keys(self, name: str) -> set[str]:
        """Those of a file's JSON; none where it is none."""
        try:
            content = json.loads(self.read(name))
        except (PictureError, ValueError, RecursionError):
            return set()
        return set(content) if isinstance(content, dict) else set()

    def _made(self, listing: Listing) -> set[str]:
        """Those of the pictures that commands wrote, as the ledgers among them say."""
        made = set()
        for path in listing.ignored:
            folder, _, last = path.rpartition("/")
            if last == LEDGER:
                ledger, inside = Ledger(self.where / folder), f"{folder}/" if folder else ""
                names = [name for name in listing.names if name.startswith(inside)]
                made |= {n for n in names if ledger.made_of(n.removeprefix(inside)) is not None}
        return made


class OneFile(Folder):
    """A file that was given by itself, whatever it is called."""

    kind = "file"

    def __init__(self, path: Path) -> None:
        super().__init__(path.parent)
        self._name = path.name

    def listing(self) -> Listing:
        """The one file."""
        size = (self.where / self._name).stat().st_size
        return Listing(self.where, [self._name], sizes={self._name: (size,)})

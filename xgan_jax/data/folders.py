"""A folder of pictures, at any depth. Links to files are followed, links to folders are not."""

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from xgan_jax.data.listing import MAX_FILE_BYTES, Listing, is_ignored, reason_of
from xgan_jax.data.pictures import PictureError


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
            with open(self.where / name, "rb") as file:
                return file.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            raise PictureError(f"the file cannot be read: {reason_of(error)}") from None

    def listing(self) -> Listing:
        """All files; reads none."""
        listing = Listing(self.where)
        errors: list[OSError] = []
        for part in self._parts:
            if (self.where / part).is_dir():
                for folder, folders, files in os.walk(self.where / part, onerror=errors.append):
                    self._list(listing, folder, folders, files)
        for error in errors:
            name = Path(error.filename).relative_to(self.where).as_posix()
            listing.refuse(name, f"the folder cannot be read: {reason_of(error)}")
        listing.sort()
        return listing

    def _list(self, listing: Listing, folder: str, folders: list[str], files: list[str]) -> None:
        inside = Path(folder).relative_to(self.where)
        for name in folders:
            if os.path.islink(os.path.join(folder, name)):
                reason = "a link to a folder is not followed: give that folder itself"
                listing.refuse((inside / name).as_posix(), reason)
        for file in files:
            name = (inside / file).as_posix()
            if is_ignored(name):
                listing.ignored.append(name)
                continue
            try:
                status = os.stat(os.path.join(folder, file))
            except OSError as error:
                listing.refuse(name, f"the file cannot be read: {reason_of(error)}")
                continue
            if stat.S_ISREG(status.st_mode):
                listing.add(name, status.st_size)
            else:
                listing.refuse(name, "it is not a regular file")

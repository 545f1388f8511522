"""A zip of pictures, read in place: nothing is ever unpacked to disk, and no member leads outside."""

import re
import stat
import zipfile
import zlib
from pathlib import Path

from xgan_jax.data.listing import Listing, is_ignored, reason_of
from xgan_jax.data.pictures import PictureError

MAX_ZIP_BYTES = 2**40  # unpacked; far above any dataset of pictures, far below a zip bomb


class Zip:
    """The zip `where`.

    Raises:
      ValueError: it is damaged.
    """

    kind = "zip"

    def __init__(self, where: Path) -> None:
        self.where = where
        self._members: dict[str, zipfile.ZipInfo] = {}
        try:
            self._zip = zipfile.ZipFile(where)
        except (zipfile.BadZipFile, OSError) as error:
            raise ValueError(f"{where} is a damaged zip ({error}): get it again.") from None

    def read(self, name: str) -> bytes:
        """The bytes of a member that `listing` found. Thread-safe.

        Raises:
          PictureError: it cannot be read.
        """
        try:
            return self._zip.read(self._members[name])
        except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
            raise PictureError(f"the file cannot be read: {reason_of(error)}") from None

    def listing(self) -> Listing:
        """All members; reads none.

        Raises:
          ValueError: it would unpack to more than `MAX_ZIP_BYTES`.
        """
        members = [m for m in self._zip.infolist() if not m.is_dir()]
        total = sum(m.file_size for m in members)
        if total > MAX_ZIP_BYTES:
            raise ValueError(
                f"{self.where} would unpack to {total / 2**40:.1f} TiB, more than the "
                f"{MAX_ZIP_BYTES / 2**40:.0f} TiB that are allowed: it is no zip of pictures."
            )
        listing = Listing(self.where)
        for member in members:
            self._list(listing, member)
        listing.sort()
        return listing

    def _list(self, listing: Listing, member: zipfile.ZipInfo) -> None:
        name = member.filename
        parts = name.replace("\\", "/").split("/")
        if parts[0] == "" or re.match(r"[A-Za-z]:", name):
            listing.refuse(name, "its path in the zip is absolute")
        elif ".." in parts:
            listing.refuse(name, "its path in the zip leads outside")
        elif stat.S_ISLNK(member.external_attr >> 16):
            listing.refuse(name, "it is a symbolic link")
        elif is_ignored(name):
            listing.ignored.append(name)
            self._members[name] = member
        elif member.flag_bits & 1:
            listing.refuse(name, "it is encrypted: unpack the zip with its password first")
        elif name in self._members:
            listing.refuse(name, "the zip holds this name twice; the first is used")
        else:
            self._members[name] = member
            listing.add(name, member.file_size, member.CRC)

"""The pictures that a command is given, of a file, a folder or a zip: each is read, or refused and why."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from xgan_jax.data.account import remember
from xgan_jax.data.folders import Folder, OneFile
from xgan_jax.data.pictures import PictureError, crop_resize
from xgan_jax.data.pictures import read as read_picture
from xgan_jax.data.places import locate
from xgan_jax.data.zips import Zip, is_zip
from xgan_jax.progress import tracked


class Inputs:
    """The files at a path. All that are found are in `names` or `refused`; what is no picture by its name, or
    an output of xgan in a folder of pictures, is in `ignored`; a run or a dataset there, as its folder.

    Raises:
      FileNotFoundError: nothing is there.
      ValueError: what is there holds no pictures, or cannot be read at all.
    """

    def __init__(self, path: str, made: Callable[[Path], bool]) -> None:
        """
        Args:
          path: a picture, a folder, a zip, or a folder or picture inside a zip (`pictures.zip/photos`).
          made: whether a file was written by an earlier command, where this one will write.
        """
        where, inside = locate(path, "a picture, a folder or a zip")
        self._place = _open(where, Path(path).absolute())
        listing = self._place.listing()
        listing.keep(inside, file=inside.rstrip("/"))
        if self._place.kind == "folder":
            listing.leave_out([name for name in listing.names if made(where / name)])
        listing.check_any(path)
        self.path, self.names, self.ignored = path, listing.names, listing.ignored
        # Reading adds to it. A zip may hold a name more than once.
        self.refused = [{"file": name, "reason": reason} for name, reason in listing.refused]
        self.remarks: dict[str, dict[str, Any]] = {}  # what is worth knowing of those that were read
        self.found = len(listing.names) + len(listing.refused)

    def read(self, size: int, crop: str, label: str) -> Iterator[tuple[str, UInt8[np.ndarray, "s s 3"]]]:
        """Names and pictures of `size` pixels, cut by the rule `crop`; `label` is what a person is told."""
        for name in tracked(self.names, len(self.names), label, "pictures"):
            try:
                decoded = read_picture(self._place.read(name))
                image = crop_resize(decoded.pixels, size, crop)
            except PictureError as error:
                self.refuse(name, str(error))
            except MemoryError:
                self.refuse(name, "there is not enough memory to decode it")
            else:
                remember(self.remarks, name, decoded.remarks)
                yield name, image

    def refuse(self, name: str, reason: str) -> None:
        """A file of which nothing can be made after all."""
        self.refused.append({"file": name, "reason": reason})

    def whole_path(self, name: str) -> str:
        """Where a file is, on this machine."""
        return str(self._place.where / name)

    def all_refused(self) -> ValueError:
        """That none of the files can be used, as an error with the first reason."""
        first = min(self.refused, key=lambda entry: entry["file"])
        return ValueError(
            f"{self.path}: none of {self.found} files can be used, {first['file']!r}: {first['reason']}."
        )


def _open(where: Path, given: Path) -> Folder | Zip:
    if where.is_dir():
        return Folder(where)
    return Zip(where) if is_zip(where) else OneFile(given)  # under the name of a link to it

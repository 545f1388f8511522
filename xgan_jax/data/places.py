"""What is at a path that people give: a file, a folder, a zip, or a folder in a zip."""

import os
import stat
from pathlib import Path

from xgan_jax.data.listing import reason_of
from xgan_jax.data.zips import is_zip

_ARCHIVES = {
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!\x1a\x07": "RAR",
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}


def locate(path: str, wanted: str) -> tuple[Path, str]:
    """The folder or file at `path`, resolved, and the prefix inside a zip ("" or "photos/").

    `wanted` says what could be given.

    Raises:
      FileNotFoundError: nothing is there.
      ValueError: it cannot be read, is neither a file nor a folder, or an archive of another kind.
    """
    whole = Path(path)
    where, mode = _nearest(whole)
    if stat.S_ISREG(mode):
        _check_archive(where)
        if where == whole:
            return where.resolve(), ""
        if is_zip(where):
            return where.resolve(), f"{whole.relative_to(where).as_posix()}/"
    elif not stat.S_ISDIR(mode):
        raise ValueError(f"{where} is a pipe, a socket or a device: give {wanted}.")
    if where != whole:
        raise FileNotFoundError(f"{path} does not exist: give {wanted} (looked from {os.getcwd()}).")
    return whole.resolve(), ""


def _nearest(path: Path) -> tuple[Path, int]:
    """`path` or the nearest above it that is there, and its mode."""
    for where in (path, *path.parents):
        try:
            return where, os.stat(where).st_mode
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise ValueError(f"{where} cannot be read: {reason_of(error)}.") from None
    raise FileNotFoundError(f"{path} does not exist.")


def _check_archive(path: Path) -> None:
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {reason_of(error)}.") from None
    kinds = [kind for magic, kind in _ARCHIVES.items() if start.startswith(magic)]
    kinds += ["tar"] if start[257:262] == b"ustar" else []
    if kinds:
        raise ValueError(
            f"{path} is a {kinds[0]} archive, and only zips are read here: unpack it and give the folder."
        )

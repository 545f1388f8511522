"""A zip of pictures, read in place: nothing is ever unpacked to disk, and no member leads outside."""

import itertools
import lzma
import re
import stat
import struct
import zipfile
import zlib
from pathlib import Path

from xgan_jax.data.listing import MAX_FILE_BYTES, Listing, is_litter, reason_of
from xgan_jax.data.pictures import PictureError

MAX_ZIP_BYTES = 2**40  # unpacked; far above any dataset of pictures, far below a zip bomb

_STARTS = (b"PK\3\4", b"PK\5\6", b"PK\7\x08", b"PK00")  # with members, empty, and two of split zips
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_METHOD_NAMES = {
    9: "deflate64",
    93: "zstd",
    95: "xz",
    98: "ppmd",
}  # those that archivers write and we do not read
_ENCRYPTED, _UTF8 = 1 << 0, 1 << 11  # flags of a member
_PIECE = 32  # bytes of bzip2 and lzma, which unpack at once all that they are given: 40 can become 46 MB
# What zipfile and the decompressors raise on damage.
_DAMAGE = (
    *(OSError, EOFError, ValueError, RuntimeError, OverflowError),
    *(struct.error, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)


def is_zip(path: Path) -> bool:
    """Whether a regular file is a zip by its first bytes, or by name and end (a self-extracting one)."""
    with path.open("rb") as file:
        start = file.read(4)
    return start in _STARTS or (path.suffix.lower() == ".zip" and zipfile.is_zipfile(path))


class Zip:
    """The zip `where`.

    Raises:
      ValueError: it is damaged, or a part of one.
    """

    kind = "zip"

    def __init__(self, where: Path) -> None:
        self.where = where
        self._members: dict[str, zipfile.ZipInfo] = {}
        if _is_part(where):
            raise ValueError(f"{where} is a part of a split zip: join the parts, or unpack them all.")
        try:
            self._zip = zipfile.ZipFile(where)
        except _DAMAGE as error:
            raise ValueError(f"{where} is a damaged zip ({reason_of(error)}): get it again.") from None

    def read(self, name: str) -> bytes:
        """The bytes of a member that `listing` found. Thread-safe.

        Raises:
          PictureError: it cannot be read.
        """
        member = self._members[name]
        if member.file_size > MAX_FILE_BYTES:
            raise PictureError(f"the file has more than the {MAX_FILE_BYTES // 2**20} MiB allowed")
        try:
            return self._unpack(member)
        except _DAMAGE as error:
            raise PictureError(f"the file cannot be read: {reason_of(error)}") from None

    def digest(self, name: str) -> bytes:
        """Of what a member holds, as the zip's directory says."""
        return self._members[name].CRC.to_bytes(4, "big")

    def _unpack(self, member: zipfile.ZipInfo) -> bytes:
        """No more bytes than the member says it has are unpacked, whatever is in it."""
        with self._zip.open(member) as file:
            if member.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                return file.read(member.file_size + 1)
            assert isinstance(file, zipfile.ZipExtFile)
            file.MIN_READ_SIZE = _PIECE
            return b"".join(iter(lambda: file.read(_PIECE), b""))

    def listing(self) -> Listing:
        """All members; reads none.

        Raises:
          ValueError: it would unpack to more than `MAX_ZIP_BYTES`.
        """
        members = self._zip.infolist()
        total = sum(m.file_size for m in members)
        if total > MAX_ZIP_BYTES:
            raise ValueError(
                f"{self.where} would unpack to {total / 2**40:.1f} TiB, more than the "
                f"{MAX_ZIP_BYTES / 2**40:.0f} TiB that are allowed: it is no zip of pictures."
            )
        listing = Listing(self.where)
        overlaid = _overlaid(members)
        for member in members:
            self._list(listing, member, overlaid)
        listing.sort()
        return listing

    def _list(self, listing: Listing, member: zipfile.ZipInfo, overlaid: set[int]) -> None:
        path = _path_of(member)
        parts = path.split("/")
        name = "/".join(part for part in parts if part not in ("", "."))
        if path.endswith("/"):
            return  # a folder
        if path.startswith("/") or re.match(r"[A-Za-z]:", path):
            listing.refuse(member.filename, "its path in the zip is absolute")
        elif ".." in parts:
            listing.refuse(member.filename, "its path in the zip leads outside")
        elif not name:
            listing.refuse(member.filename, "it has no name")
        elif is_litter(name):
            listing.ignored.append(name)
            self._members.setdefault(name, member)
        elif (reason := _why_not(member)) is not None:
            listing.refuse(name, reason)
        elif id(member) in overlaid:
            listing.refuse(name, "its bytes are another member's too, as in a zip bomb")
        elif name in self._members:
            listing.refuse(name, "the zip holds this name twice; the first is used")
        else:
            self._members[name] = member
            listing.add(name, member.file_size, member.CRC)


def _is_part(where: Path) -> bool:
    """Whether a file is one of a split zip: by its name, its first bytes, or the number of its disk."""
    with where.open("rb") as file:
        start = file.read(4)
        file.seek(max(0, where.stat().st_size - 2**16 - 22))  # the longest end record
        end = file.read()
    at = end.rfind(b"PK\5\6")
    disk = end[at + 4 : at + 6] if at >= 0 else b"\0\0"
    named = re.fullmatch(r"\.(z\d{2,}|\d{3,})", where.suffix.lower()) is not None
    return named or start == b"PK\7\x08" or disk not in (b"\0\0", b"\xff\xff")


def _path_of(member: zipfile.ZipInfo) -> str:
    """Its path as it was meant, with "/" between folders and at the end of a folder."""
    path = member.filename
    if not path.isascii() and not member.flag_bits & _UTF8:
        try:
            path = path.encode("cp437").decode("utf-8")  # Macs write UTF-8 and do not say so
        except UnicodeError:
            # Old names in Shift-JIS, GBK or Big5: their second bytes may look like a backslash.
            path = re.sub(r"(?<=[^\x00-\x7f])\\", "_", path)
    return path.replace("\\", "/")


def _why_not(member: zipfile.ZipInfo) -> str | None:
    """Why a member cannot be read, as its entry says; None if nothing speaks against it."""
    kind, method = stat.S_IFMT(member.external_attr >> 16), member.compress_type
    if kind == stat.S_IFLNK:
        return "it is a symbolic link"
    if kind not in (0, stat.S_IFREG):
        return "it is not a regular file"
    if member.flag_bits & _ENCRYPTED:
        return "it is encrypted: unpack the zip with its password first"
    if method not in _METHODS:
        named = _METHOD_NAMES.get(method, f"method {method}")
        return f"it is compressed by {named}, which is not read here: unpack the zip first"
    return None


def _overlaid(members: list[zipfile.ZipInfo]) -> set[int]:
    """The ids of members whose bytes reach into those of the next."""
    ordered = sorted(members, key=lambda m: m.header_offset)
    return {
        id(member)
        for member, following in itertools.pairwise(ordered)
        if member.header_offset + 30 + member.compress_size > following.header_offset
    }

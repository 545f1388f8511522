"""Files that commands write where people ask for them: never over a file that is not theirs.

What a command wrote into a folder stands in `.xgan_outputs` there: its name, the digest of its bytes, and of
what it was made. A file is replaced only if the same command wrote it, under this name, and it is unchanged.
Any other file stays as it is, and what is written gets a number: me-2.png.
"""

import contextlib
import errno
import hashlib
import itertools
import json
import os
import secrets
import stat
import unicodedata
from pathlib import Path, PurePosixPath

from xgan_jax import locks

LEDGER = ".xgan_outputs"


def same_name(name: str) -> str:
    """What names have in common that are one name where a disk ignores case or the form of accents."""
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())


def put(path: Path, data: bytes) -> None:
    """Writes a file, whole or not at all; what was there is replaced.

    Raises:
      OSError: it cannot be written.
    """
    partial = path.with_name(f".xgan_{secrets.token_hex(8)}.partial")
    try:
        with partial.open("xb") as file:
            file.write(data)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


class Ledger:
    """What was written into `folder`, as the file `LEDGER` there says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._made: dict[str, dict[str, str]] = {}  # {name: {digest of its bytes: what it was made of}}
        self._spelt: dict[str, set[str]] = {}  # {same_name: names}
        with contextlib.suppress(OSError):
            for line in (folder / LEDGER).read_text(errors="replace").splitlines():
                self._read(line)

    def _read(self, line: str) -> None:
        try:
            name, digest, of = json.loads(line)
        except (ValueError, TypeError):  # a line that a full disk or a kill cut off
            return
        self.add(name, digest, of)

    def add(self, name: str, digest: str, of: str) -> None:
        """That these bytes are written under this name."""
        self._made.setdefault(name, {})[digest] = of
        self._spelt.setdefault(same_name(name), set()).add(name)

    def spelt(self, name: str) -> set[str]:
        """The names written so far that a disk without case takes for `name`."""
        return self._spelt.get(same_name(name), set())

    def made_of(self, name: str) -> str | None:
        """Of what the file that is there was made; None for one that was not written here, or has changed."""
        digests, path = self._made.get(name), self.folder / name
        try:
            if digests is None or not stat.S_ISREG(os.lstat(path).st_mode):
                return None
            return digests.get(_digest(path.read_bytes()))
        except OSError:
            return None


class Outputs:
    """What one command writes into `folder`, which appears with the first file.

    Raises:
      ValueError: `folder` is a file, or a link to nothing.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        if os.path.lexists(self.folder) and not self.folder.is_dir():
            what = "a file" if self.folder.exists() else "a link to nothing"
            raise ValueError(f"{folder} is {what}: give a folder to write into.")
        self._ledger = Ledger(self.folder)
        self._given: set[str] = set()  # by this command, as `same_name` has them
        self._numbered: list[tuple[str, str]] = []

    def made(self, path: Path) -> bool:
        """Whether the file at `path`, which is resolved, was written into this folder by an xgan command."""
        folder = self.folder.resolve()
        return path.is_relative_to(folder) and self._ledger.made_of(str(path.relative_to(folder))) is not None

    def write(self, name: str, data: bytes, of: str) -> str:
        """Writes a file, whole or not at all, and gives the name that it got.

        Args:
          name: the name it should have, a path inside the folder.
          of: what is the same when the same command is given again; see the module.

        Raises:
          ValueError: no file can have this name there.
          OSError: it cannot be written.
        """
        try:
            free = self._write(name, data, _digest(of.encode("utf-8", "surrogateescape")))
        except OSError as error:
            if error.errno not in (errno.ENAMETOOLONG, errno.EILSEQ):
                raise
            raise ValueError(f"no file can have its name where it should go ({error.strerror})") from None
        except RecursionError:
            raise ValueError("no file can have its name where it should go (too many folders)") from None
        self._given.add(same_name(free))
        if free != name:
            self._numbered.append((name, free))
        return free

    def _write(self, name: str, data: bytes, of: str) -> str:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / LEDGER).open("a") as ledger:
            locks.lock(ledger, self.folder, wait=True)
            free = self._free_name(name, of)
            path, digest = self.folder / free, _digest(data)
            path.parent.mkdir(parents=True, exist_ok=True)
            # First the line: a file that is there without one would never be replaced.
            ledger.write(f"\n{json.dumps([free, digest, of])}")
            ledger.flush()
            put(path, data)
        self._ledger.add(free, digest, of)
        return free

    def tell(self) -> None:
        """Says which names were taken."""
        if self._numbered:
            wanted, got = self._numbered[0]
            more = f" (and {len(self._numbered) - 1} more alike)" if self._numbered[1:] else ""
            print(f"{wanted!r} in {self.folder} is another file's name: written as {got!r}{more}")

    def _free_name(self, name: str, of: str) -> str:
        path = PurePosixPath(name)
        if any(os.path.lexists(at := self.folder / part) and not at.is_dir() for part in path.parents):
            path = PurePosixPath(name.replace("/", "_"))  # a file has the name of a folder
        numbered = (path.with_stem(f"{path.stem}-{i}") for i in itertools.count(2))
        return next(str(p) for p in itertools.chain([path], numbered) if self._is_free(str(p), of))

    def _is_free(self, name: str, of: str) -> bool:
        if same_name(name) in self._given:
            return False
        there = [n for n in {name} | self._ledger.spelt(name) if os.path.lexists(self.folder / n)]
        return all(self._ledger.made_of(n) == of for n in there)


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()

"""Locks against a second process that writes into the same folder."""

import fcntl
import functools
import logging
from pathlib import Path
from typing import IO


def lock(file: int | IO[str], folder: Path, *, wait: bool = False) -> bool:
    """Locks an open file until it is closed or the process dies; False where another process holds the lock.

    `folder` is what the lock is for. On a disk without locks (Lustre without `-o flock`, some FUSE) this goes
    on without one, and says so once.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:
        _warn(folder, error.strerror)
    return True


@functools.cache  # a command that writes many files says it once
def _warn(folder: Path, reason: str) -> None:
    logging.getLogger(__name__).warning(
        "%s: its disk has no locks (%s), so nothing keeps two commands from writing there at once: take care "
        "to start only one",
        folder,
        reason,
    )

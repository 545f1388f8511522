"""What files hold, as one digest."""

import hashlib
from collections.abc import Callable, Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path

from xgan_jax.progress import Progress


def digest_of_all(files: Sequence[str], digest_of: Callable[[str], bytes], where: str | Path) -> str:
    """Of all files in their order, by a thread a core; `where` they are is told to whoever waits."""
    whole = hashlib.blake2b(digest_size=16)
    with Progress(f"reading {where}", len(files), "files") as progress, ThreadPool() as pool:
        for digest in pool.imap(digest_of, files, chunksize=16):
            whole.update(digest)
            progress.advance()
    return whole.hexdigest()

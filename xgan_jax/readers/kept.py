"""Networks that are learnt once from a dataset and kept beside it, in `DATA/judge`."""

import contextlib
import hashlib
import json
import logging
import os
import socket
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from xgan_jax.config import DataConfig
from xgan_jax.data import pipeline
from xgan_jax.progress import duration, say


def asked(data: DataConfig, network: str, version: int, **training: int) -> dict[str, Any]:
    """What a network is learnt from and how; where any of it is another, so is the network.

    Raises:
      ValueError, FileNotFoundError: the data cannot be read.
    """
    counts, digests = pipeline.picture_counts(data), pipeline.digests(data)
    return {
        network: version,
        "domains": list(data.domains),
        "size": data.size,
        "split": data.train_split,
        "counts": {domain: of[data.train_split] for domain, of in counts.items()},
        "pictures": {domain: of[data.train_split] for domain, of in digests.items()},
        **training,
    }


def place(data: DataConfig, request: dict[str, Any], prefix: str = "") -> Path:
    """The file of the network of this request, whether it is there or not."""
    name = hashlib.blake2b(json.dumps(request).encode(), digest_size=6).hexdigest()
    return Path(data.path) / "judge" / f"{prefix}{name}.npz"


@contextlib.contextmanager
def learning(what: str, request: dict[str, Any], path: Path) -> Iterator[None]:
    """Says what is about to be learnt, from what, and when it has been: it takes minutes, but only once."""
    who, count = ", ".join(request["domains"]), sum(request["counts"].values())
    say(f"learning to read {what} of {who} from {count:,} pictures: once, kept in {path.parent}")
    start = time.monotonic()
    yield
    say(f"learnt to read {what} of {who} in {duration(time.monotonic() - start)}")


def keep(path: Path, variables: Any, about: dict[str, Any] | None = None, **words: Any) -> None:
    """Writes a tree of arrays, with `words` beside them and `about` as JSON next to the file, all or nothing.

    Where the dataset cannot be written to, a warning says so, and the network is learnt again next time.
    """
    # Runs on one dataset, of several machines too, may be learning the same network: each writes its own.
    partial = path.with_suffix(f".partial-{socket.gethostname()}-{os.getpid()}")
    try:
        path.parent.mkdir(exist_ok=True)
        with partial.open("wb") as out:
            np.savez(out, *jax.tree.leaves(variables), **words)
        partial.replace(path)
        if about is not None:
            path.with_suffix(".json").write_text(json.dumps(about, indent=2) + "\n")
    except OSError as error:
        logging.getLogger(__name__).warning("%s is not kept, and is learnt again next time: %s", path, error)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def is_kept(path: Path) -> bool:
    """Whether `keep` wrote a file there, and it is whole; one that is damaged is said, to be learnt again."""
    if not path.is_file():
        return False
    try:
        with zipfile.ZipFile(path) as file:
            damaged = file.testzip()
    except Exception as error:  # zipfile and zlib raise errors of every kind
        damaged = str(error)
    if damaged:
        logging.getLogger(__name__).warning("%s is damaged (%s), and is learnt again", path, damaged)
    return not damaged


def kept(path: Path, abstract: Any) -> Any:
    """The tree that `keep` wrote, of the structure of `abstract`."""
    leaves, structure = jax.tree.flatten(abstract)
    with np.load(path) as file:
        return jax.tree.unflatten(structure, [file[f"arr_{i}"] for i in range(len(leaves))])


def kept_words(path: Path, name: str) -> str:
    """Of the words that `keep` wrote."""
    with np.load(path) as file:
        return str(file[name])

"""Networks that are learnt once from a dataset and kept beside it, in `DATA/judge`."""

import contextlib
import json
import logging
import os
import socket
from pathlib import Path
from typing import Any

import jax
import numpy as np


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


def kept(path: Path, abstract: Any) -> Any:
    """The tree that `keep` wrote, of the structure of `abstract`."""
    leaves, structure = jax.tree.flatten(abstract)
    with np.load(path) as file:
        return jax.tree.unflatten(structure, [file[f"arr_{i}"] for i in range(len(leaves))])

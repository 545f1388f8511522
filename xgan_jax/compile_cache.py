"""Compiled programs are kept, so that a run starts in seconds the second time."""

import os
from pathlib import Path

FOLDER = Path.home() / ".cache" / "xgan_jax"


def enable() -> None:
    """Keeps compiled programs in `FOLDER`, or where `JAX_COMPILATION_CACHE_DIR` says ("" for nowhere).

    To be called before the first computation. JAX finds a program again by its code, options, devices and
    versions; files may be deleted at any time.
    """
    import jax

    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(FOLDER))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)

"""What a command does before its first computation, so that it starts soon and runs fast."""

import os
import sys
from pathlib import Path

COMPILED = Path.home() / ".cache" / "xgan_jax"


def keep_compiled_programs() -> None:
    """Keeps compiled programs in `COMPILED`, or where `JAX_COMPILATION_CACHE_DIR` says ("" for nowhere).

    JAX finds a program again by its code, options, devices and versions; files may be deleted at any time.
    """
    import jax

    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(COMPILED))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


def use_large_pages() -> None:
    """Starts this command again with memory in pages of 2 MiB; on Linux, unless `GLIBC_TUNABLES` is set.

    A step on the CPU takes hundreds of MiB and gives them back; in pages of 4 KiB the system spends a fifth
    of the time on it (`benchmarks/README.md`). glibc reads this setting only when a program starts.
    """
    if sys.platform != "linux" or "GLIBC_TUNABLES" in os.environ:
        return
    os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
    sys.stdout.flush()
    os.execv(sys.executable, sys.orig_argv)

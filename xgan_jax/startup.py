"""How this process computes: what it compiled before, XLA's options, the size of memory's pages."""

import functools
import logging
import os
import shutil
import sys
import warnings
from pathlib import Path

COMPILED = Path.home() / ".cache" / "xgan_jax"


def keep_compiled_programs() -> None:
    """Keeps compiled programs in `COMPILED`, or where `JAX_COMPILATION_CACHE_DIR` says ("" for nowhere).

    JAX finds a program again by its code, options, devices and versions; files may be deleted at any time.
    """
    import jax

    # Of each program that it cannot keep JAX would warn; this says so once.
    warnings.filterwarnings("ignore", message="Error (reading|writing) persistent compilation cache")
    place = os.environ.get("JAX_COMPILATION_CACHE_DIR", str(COMPILED))
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", place)
    if place and "://" not in place and (reason := _not_writable(Path(place))):
        logging.getLogger(__name__).warning(
            "%s: %s: compiled programs are not kept, and the next start compiles them again", place, reason
        )
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


def _not_writable(folder: Path) -> str | None:
    """Why compiled programs, which take some MiB, cannot be written into `folder`, or None."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        full = shutil.disk_usage(folder).free < 2**24
    except OSError as error:
        return error.strerror
    if not os.access(folder, os.W_OK):
        return "it may not be written"
    return "the disk is full" if full else None


def join_processes() -> None:
    """Waits for the other processes of this training, and makes their devices known.

    Coordinator and ranks come from the cluster, or from JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and
    JAX_PROCESS_ID.

    Raises:
      ValueError: they are not said, or do not fit together.
    """
    import jax

    address = os.environ.get("JAX_COORDINATOR_ADDRESS")
    try:
        count, index = (
            int(os.environ[name]) if os.environ.get(name) else None
            for name in ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
        )
        jax.distributed.initialize(address, count, index)
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"the processes of --distributed do not come together ({error}): outside of TPU pods and Slurm "
            "set JAX_COORDINATOR_ADDRESS=HOST:PORT, JAX_NUM_PROCESSES and JAX_PROCESS_ID, or leave it away."
        ) from error


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


@functools.cache
def compiler_options() -> dict[str, str | bool]:
    """XLA's options for whatever is trained.

    On CPU: convolutions by Eigen, matrix products and sums by YNN (XLA's default gives YNN the convolutions
    too, which is slower at them: `benchmarks/README.md`); and the better of two analyses of what may be
    overwritten, without which moments and weights are copied before every update, half of its time.
    """
    import jax

    if jax.default_backend() != "cpu":
        return {}
    options: dict[str, str | bool] = {
        "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_DOT,LIBRARY_FUSION_TYPE_REDUCE",
        "xla_cpu_copy_insertion_use_region_analysis": True,
    }
    try:  # other versions of XLA may not know it, and refuse
        jax.jit(lambda: jax.numpy.zeros(()), compiler_options=options).lower().compile()
    except jax.errors.JaxRuntimeError:
        return {}
    return options

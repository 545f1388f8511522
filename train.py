"""Trains: `python train.py --config configs/xgan.py --workdir runs/NAME --config.data.path=DATA`.

The same command again continues the run. Every field of the configuration is a flag, for example
`--config.run.steps=20000`; `xgan_jax/config.py` lists them with their meaning.
"""

import os
import sys

from absl import app, flags, logging
from ml_collections import config_flags

from xgan_jax import startup

_CONFIG = config_flags.DEFINE_config_file("config", None, "A recipe, for example configs/xgan.py.")
_WORKDIR = flags.DEFINE_string("workdir", None, "The run's folder: made, or continued.")
_DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "Call jax.distributed.initialize first (TPU pods, several hosts)."
)
flags.mark_flags_as_required(["config", "workdir"])


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        sys.exit(f"train.py does not know the argument {argv[1]!r}: flags begin with --config.")
    logging.set_verbosity(logging.WARNING)  # Orbax tells of every file it writes
    import jax

    startup.keep_compiled_programs()
    if _DISTRIBUTED.value:
        # Coordinator and ranks come from the cluster, or from JAX_COORDINATOR_ADDRESS,
        # JAX_NUM_PROCESSES and JAX_PROCESS_ID.
        names = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
        address, count, index = (os.environ.get(name) for name in names)
        jax.distributed.initialize(address, int(count) if count else None, int(index) if index else None)
    from xgan_jax.runs.checkpoint import CheckpointError
    from xgan_jax.training.log import NonFiniteError
    from xgan_jax.training.loop import train

    try:
        train(_CONFIG.value, _WORKDIR.value)
    except (ValueError, FileNotFoundError, CheckpointError, NonFiniteError) as error:
        if os.environ.get("XGAN_TRACEBACK"):
            raise
        sys.exit(f"train.py: {error}")


if __name__ == "__main__":
    startup.use_large_pages()
    app.run(main)

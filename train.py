"""Trains: `python train.py --config configs/xgan.py --workdir runs/NAME --config.data.path=DATA`.

The same command again continues the run. Every field of the configuration is a flag, for example
`--config.run.steps=20000`; `xgan_jax/config.py` lists them with their meaning.
"""

import sys

from absl import app, flags, logging
from ml_collections import config_flags

from xgan_jax import faults, startup
from xgan_jax import flags as ours

_CONFIG = config_flags.DEFINE_config_file("config", None, "A recipe, for example configs/xgan.py.")
_WORKDIR = flags.DEFINE_string("workdir", None, "The run's folder: made, or continued.")
_DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "Call jax.distributed.initialize first (TPU pods, several hosts)."
)
flags.mark_flags_as_required(["config", "workdir"])


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise ValueError(f"the argument {argv[1]!r} is unknown: flags begin with --config.")
    logging.set_verbosity(logging.WARNING)  # Orbax tells of every file it writes
    startup.keep_compiled_programs()
    if _DISTRIBUTED.value:
        startup.join_processes()
    from xgan_jax.training.loop import train

    ours.expand_home(_CONFIG.value)
    train(_CONFIG.value, _WORKDIR.value)


if __name__ == "__main__":
    startup.use_large_pages()
    sys.exit(faults.run("train.py", lambda: app.run(main, flags_parser=ours.parse)))

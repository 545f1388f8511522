"""A trained run, read from its folder: the weights to translate with, and what they were trained as."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from xgan_jax import config as configs
from xgan_jax import method as methods
from xgan_jax.config import Config
from xgan_jax.method import Method
from xgan_jax.runs import state as states
from xgan_jax.runs.checkpoint import CheckpointError, Checkpoints


@dataclass(frozen=True)
class Run:
    """A trained run: `params` are the moving averages, `crop` is {domain: crop rule of training}, `pictures`
    the digests of its dataset (`pipeline.digests`; None of runs that did not note them)."""

    config: Config
    method: Method
    params: Any
    extra: Any
    step: int
    crop: dict[str, str]
    pictures: dict[str, dict[str, str]] | None = None


def load_run(
    workdir: str | os.PathLike[str], step: int | None = None, best: bool = False, data: str | None = None
) -> Run:
    """The weights of the newest undamaged checkpoint (or of `step`), on this process's first device,
    whatever devices they were trained on. With `best`, of the one with the lowest KID while it trained
    (`config.run.measure_every`). `data`: where the dataset is now, if it has moved.

    Raises:
      FileNotFoundError: `workdir` is not the folder of a run.
      CheckpointError: there is no such checkpoint, or it is damaged.
    """
    workdir = Path(workdir)
    path = workdir / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"{workdir} has no config.json: give the --workdir that train.py was given.")
    config = configs.read(path)
    if data is not None:
        config.data.path = data
    method = methods.load(config)
    directory = workdir / ("best" if best else "checkpoints")
    if best and not directory.is_dir():
        raise CheckpointError(
            f"{workdir} has no best checkpoint: train with --config.run.measure_every=1000."
        )
    if not directory.is_dir():
        raise CheckpointError(f"{workdir} has no checkpoints yet: train for longer first.")
    checkpoints = Checkpoints(directory, create=False)
    try:
        found = checkpoints.latest_good(step)
        if found is None:
            raise CheckpointError(f"{workdir} has no checkpoint yet: train for longer first.")
        abstract = jax.eval_shape(lambda: states.create(method, config))
        here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        params, extra, kept = checkpoints.restore_weights(abstract, found, here)
    finally:
        checkpoints.close()
    return Run(config, method, params, extra, found, kept["crop"], kept.get("pictures"))

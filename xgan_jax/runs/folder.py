"""A run's folder: held by one training at a time, and what it says of the run (`config.json`, `run.json`)."""

import datetime
import importlib.metadata
import json
import logging
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax

from xgan_jax import __version__, locks
from xgan_jax import config as configs
from xgan_jax.config import Config
from xgan_jax.progress import say
from xgan_jax.runs.checkpoint import check_path

# What training writes beside config.json, from its start on.
_WRITTEN = ("run.json", "networks.txt", "metrics.jsonl", "reals.png", "samples/step_0000000.png")
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


@contextmanager
def held(workdir: Path) -> Iterator[None]:
    """The run's folder, made where it is missing, against a second training process.

    Raises:
      ValueError: another process trains in it, it holds files of something else that a run writes over, or no
        checkpoint could be kept there.
    """
    check_path(workdir)
    if jax.process_index() != 0:
        yield
        return
    _check_free(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    with (workdir / ".lock").open("a") as lock:
        if not locks.lock(lock, workdir):
            raise ValueError(
                f"another training process is running in {workdir}: "
                "stop it first, or give this one another --workdir."
            )
        yield


def _check_free(workdir: Path) -> None:
    try:
        if "method" in json.loads((workdir / "config.json").read_text()):
            return
        others = ["config.json"]
    except FileNotFoundError:
        others = [name for name in _WRITTEN if os.path.lexists(workdir / name)]
        others += _checkpoints_of_others(workdir)
    except (ValueError, TypeError):
        others = ["config.json"]
    if others:
        raise ValueError(
            f"{workdir} is no run, but has {others[0]}, where a run writes its own: give another --workdir."
        )


def _checkpoints_of_others(workdir: Path) -> list[str]:
    """What a run would take for its own, and move or remove."""
    found = [path for name in ("checkpoints", "best") for path in sorted((workdir / name).glob("[!.]*"))]
    return [str(path.relative_to(workdir)) for path in found if not (path / "_CHECKPOINT_METADATA").exists()]


def check_config(workdir: Path, config: Config) -> set[str]:
    """Holds the configuration of a run that goes on against its `config.json`; returns the changed fields.

    Raises:
      ValueError: the run was started with another configuration and changes were not allowed.
    """
    path = workdir / "config.json"
    if not path.exists():
        return set()
    changed = configs.differences(configs.read(path), config)
    for name, (old, new) in changed.items():
        say(f"changed since the run began: config.{name}: {old!r} -> {new!r}")
    refused = sorted(set(changed) - configs.FREE_ON_RESUME)
    if refused and not config.run.allow_config_change:
        old, new = changed[refused[0]]
        raise ValueError(
            f"{workdir} was trained with config.{refused[0]} = {old!r}, not {new!r}"
            + (f" (and {len(refused) - 1} more differ, listed above)" if refused[1:] else "")
            + ": use its configuration, another --workdir, or allow the change with "
            "--config.run.allow_config_change=True."
        )
    return set(changed)


def write_config(workdir: Path, config: Config) -> None:
    """Writes `config.json`, from process 0."""
    if jax.process_index() == 0:
        _replace(workdir / "config.json", configs.to_json(config))


def record_launch(workdir: Path, start_step: int) -> None:
    """Adds this launch (time, command line, versions, machine) to `run.json`."""
    path = workdir / "run.json"
    launches = _launches(path)
    launches.append(
        {
            "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "start_step": start_step,
            "argv": sys.argv,
            "versions": {"xgan_jax": __version__, "python": platform.python_version()}
            | {name: importlib.metadata.version(name) for name in _PACKAGES},
            "platform": platform.platform(),
            "devices": [str(device) for device in jax.devices()],
            "processes": jax.process_count(),
        }
    )
    _replace(path, json.dumps(launches, indent=2) + "\n")


def _launches(path: Path) -> list[Any]:
    """Those before; what cannot be read is no reason not to train, and is kept under another name."""
    try:
        launches = json.loads(path.read_text()) if path.exists() else []
    except ValueError:
        launches = None
    if isinstance(launches, list):
        return launches
    aside = path.with_name(f"run.json.damaged-{time.time_ns()}")
    path.rename(aside)
    logging.getLogger(__name__).warning("%s is damaged: it is kept as %s, and begun anew", path, aside.name)
    return []


def _replace(path: Path, text: str) -> None:
    """Whole or not at all."""
    partial = path.with_suffix(".partial")
    partial.write_text(text)
    partial.replace(path)

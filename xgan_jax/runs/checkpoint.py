"""Checkpoints: Orbax writes them, a checksum manifest makes flipped bits show.

A checkpoint is three items: "weights" (the moving average and the method's extra state: what
evaluation needs), "training" (parameters, optimisers, step, key) and "data" (the position in the
data, JSON). Orbax commits a checkpoint by a rename, so a killed run leaves none half-written; it does
not notice changed array data, so `manifest.json` with a CRC32C of every file is written into each last.
"""

import json
import logging
import os
import time
from pathlib import Path
from typing import Any

import google_crc32c
import jax
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from xgan_jax.runs.state import TrainState

MANIFEST = "manifest.json"


class CheckpointError(ValueError):
    """A checkpoint that was asked for is missing, damaged or of another configuration."""


def _crc32c(path: Path) -> int:
    checksum = google_crc32c.Checksum()
    with path.open("rb") as file:
        for chunk in iter(lambda: file.read(1 << 22), b""):
            checksum.update(chunk)
    return int.from_bytes(checksum.digest(), "big")


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST)


def write_manifest(folder: Path) -> None:
    """Writes the checksum of every file of a finished checkpoint into it, atomically."""
    sums = {str(path.relative_to(folder)): _crc32c(path) for path in _files(folder)}
    partial = folder / (MANIFEST + ".partial")
    with partial.open("w") as file:
        json.dump(sums, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(folder / MANIFEST)


def damage(folder: Path) -> str | None:
    """What is wrong with a checkpoint, or None. One without a manifest (the run was killed in the
    moment between Orbax's commit and ours) is trusted: its commit was complete."""
    manifest = folder / MANIFEST
    if not manifest.exists():
        return None
    try:
        sums = json.loads(manifest.read_text())
    except ValueError:
        return f"{manifest} is not readable"
    for name, crc in sums.items():
        path = folder / name
        if not path.is_file():
            return f"{path} is missing"
        if _crc32c(path) != crc:
            return f"{path} has changed since it was written (checksum)"
    return None


def _weights(state: TrainState) -> dict[str, Any]:
    return {"ema": state.ema, "extra": state.extra}


def _training(state: TrainState) -> dict[str, Any]:
    return {
        "params": state.params,
        "optimizer": state.optimizer,
        "step": state.step,
        # As numbers: a typed key has no stored form of its own.
        "key": jax.eval_shape(jax.random.key_data, state.key)
        if isinstance(state.key, jax.ShapeDtypeStruct)
        else jax.random.key_data(state.key),
    }


def _like(tree: Any, sharding: jax.sharding.Sharding) -> Any:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)


class Checkpoints:
    """The checkpoints of one run, newest last; at most `keep` stay."""

    def __init__(self, directory: str | os.PathLike[str], keep: int = 3, create: bool = True):
        self.directory = Path(directory).absolute()
        self._manager = ocp.CheckpointManager(
            self.directory,
            options=ocp.CheckpointManagerOptions(
                max_to_keep=keep,
                create=create,
                cleanup_tmp_directories=create,
                enable_async_checkpointing=True,
            ),
        )
        # Orbax removes what a killed run left half written in a thread, which nothing but a save waits for:
        # of a run that is refused at once it would outlive the program, and end in a traceback.
        self._manager._maybe_await_cleanup_tmp_directory()
        self._unlisted: int | None = None  # saved, manifest not written yet

    def steps(self) -> list[int]:
        """Steps with a finished checkpoint, ascending."""
        return sorted(self._manager.all_steps())

    def save(self, state: TrainState, step: int, data: dict[str, Any]) -> None:
        """Saves in the background; returns once the state has been copied."""
        if step in self.steps():
            return
        self.wait()
        self._manager.save(
            step,
            args=ocp.args.Composite(
                weights=ocp.args.StandardSave(_weights(state)),
                training=ocp.args.StandardSave(_training(state)),
                data=ocp.args.JsonSave(data),
            ),
            force=True,
        )
        self._unlisted = step

    def set_aside_after(self, step: int | None) -> None:
        """Moves checkpoints newer than `step` (all, for None) out of the way of new ones: damaged ones, and a
        best one that the run, continued from before it, will pass again.
        """
        later = [s for s in self.steps() if step is None or s > step]
        if later and jax.process_index() == 0:
            aside = self.directory.with_name(f"{self.directory.name}_set_aside")
            aside.mkdir(exist_ok=True)
            for s in later:
                (self.directory / str(s)).rename(aside / f"{s}-{time.time_ns()}")
        if later:
            if jax.process_count() > 1:
                multihost_utils.sync_global_devices("checkpoints are set aside")
            self._manager.reload()

    def poll(self) -> None:
        """Writes the manifest of a background save that has finished; call it now and then."""
        if self._unlisted is not None and not self._manager.is_saving_in_progress():
            self.wait()

    def wait(self) -> None:
        """Returns when everything that was saved is on disk, with its manifest."""
        self._manager.wait_until_finished()
        if self._unlisted is not None and jax.process_index() == 0:
            write_manifest(self.directory / str(self._unlisted))
        self._unlisted = None

    def close(self) -> None:
        """Waits, then releases Orbax's threads."""
        self.wait()
        self._manager.close()

    def latest_good(self, step: int | None = None) -> int | None:
        """The newest undamaged checkpoint, or `step` itself; None when there are none at all.

        A damaged one is passed over with a warning that names the file.

        Raises:
          CheckpointError: `step` was asked for and is missing or damaged, or all are damaged.
        """
        steps = self.steps()
        if step is not None:
            if step not in steps:
                raise CheckpointError(
                    f"{self.directory} has no checkpoint of step {step}: "
                    f"there are {', '.join(map(str, steps)) or 'none'}."
                )
            steps = [step]
        reason = None
        for candidate in reversed(steps):
            reason = damage(self.directory / str(candidate))
            if reason is None:
                return candidate
            logging.getLogger(__name__).warning("checkpoint of step %d is damaged: %s", candidate, reason)
        if reason is not None:
            raise CheckpointError(
                f"no undamaged checkpoint in {self.directory} ({reason}): "
                "restore the folder from a copy, or delete it to start again."
            )
        return None

    def restore(
        self, abstract: TrainState, step: int, sharding: jax.sharding.Sharding
    ) -> tuple[TrainState, dict[str, Any]]:
        """The state and data position saved at `step`, on the devices of `sharding`.

        `abstract`: shapes and dtypes, `jax.eval_shape` of `state.create`. The number of devices may
        differ from when it was saved.

        Raises:
          CheckpointError: the checkpoint holds other networks than the configuration describes.
        """
        restored = self._restore(
            step,
            weights=ocp.args.StandardRestore(_like(_weights(abstract), sharding)),
            training=ocp.args.StandardRestore(_like(_training(abstract), sharding)),
            data=ocp.args.JsonRestore(),
        )
        training, weights = restored["training"], restored["weights"]
        state = TrainState(
            step=training["step"],
            key=jax.random.wrap_key_data(training["key"]),
            params=training["params"],
            ema=weights["ema"],
            optimizer=training["optimizer"],
            extra=weights["extra"],
        )
        # Not Orbax's buffers but copies in XLA's own: the step donates them.
        return jax.tree.map(lambda x: x.copy(), state), restored["data"]

    def restore_weights(
        self, abstract: TrainState, step: int, sharding: jax.sharding.Sharding
    ) -> tuple[Any, Any, dict[str, Any]]:
        """(EMA parameters, extra state, the data item) at `step`: what translation needs.

        Raises:
          CheckpointError: as `restore`.
        """
        restored = self._restore(
            step,
            weights=ocp.args.StandardRestore(_like(_weights(abstract), sharding)),
            data=ocp.args.JsonRestore(),
        )
        return restored["weights"]["ema"], restored["weights"]["extra"], restored["data"]

    def data(self, step: int) -> dict[str, Any]:
        """The data item at `step`."""
        restored: dict[str, Any] = self._restore(step, data=ocp.args.JsonRestore())["data"]
        return restored

    def _restore(self, step: int, **items: Any) -> Any:
        try:
            return self._manager.restore(step, args=ocp.args.Composite(**items))
        except (ValueError, KeyError, FileNotFoundError) as error:
            reason = " ".join(str(error).split())[:300]
            raise CheckpointError(
                f"the checkpoint {self.directory / str(step)} does not fit the configuration "
                f"beside it (config.json): {reason}"
            ) from error

"""Checkpoints: Orbax writes them, a checksum manifest makes flipped bits show.

A checkpoint is three items: "weights" (the moving average and the method's extra state: what
evaluation needs), "training" (parameters, optimisers, step, key) and "data" (the position in the
data, JSON). Orbax commits a checkpoint by a rename, so a killed run leaves none half-written; it does
not notice changed array data, so `manifest.json` with a CRC32C of every file is written into each last,
once what it certifies has been found readable.
"""

import contextlib
import glob
import json
import logging
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import google_crc32c
import jax
import numpy as np
import orbax.checkpoint as ocp
import tensorstore
from etils import epath
from jax.experimental import multihost_utils

from xgan_jax.runs.state import TrainState

MANIFEST = "manifest.json"
LONGEST = 3800  # bytes of a run's path: Linux takes 4,095, and the files of a checkpoint lie deeper
_ADDRESS = re.compile(r"^/(gs|s3|az|hf)(/|$)|/(gs|s3):(/|$)")  # what Orbax reads as gs://, s3://, ...
_ARRAYS = ("weights", "training")  # the items that hold any

Shapes = dict[str, tuple[int, ...]]  # {array: its shape}, "params/encoder/conv1/bias"


class CheckpointError(ValueError):
    """A checkpoint that was asked for is missing, damaged or of another configuration."""


class _Literal(type(epath.Path("/"))):  # type: ignore[misc]
    """A path that `glob` takes as it stands. Orbax finds the parts of a checkpoint by a pattern behind its
    path, in which it would read `[`, `*` and `?` of the path as a pattern too: of a run in "xgan [v2]" it
    merges nothing, and of one in "a*" perhaps what belongs to the run in "ab".
    """

    def glob(self, pattern: str) -> Iterator["_Literal"]:
        for name in glob.glob(pattern, root_dir=self):
            yield self / name


def check_path(path: str | os.PathLike[str]) -> None:
    """Refuses a folder in which no checkpoint could be kept: libraries under Orbax take its name for another.

    Raises:
      ValueError: one sentence on what is wrong with the path.
    """
    whole = os.path.abspath(path)
    wrong = {
        "it holds a backslash": "\\" in whole,
        "it would be taken for an address of cloud storage": _ADDRESS.search(whole) is not None,
        "it is no valid UTF-8": re.search("[\udc80-\udcff]", whole) is not None,
        f"it is longer than {LONGEST} bytes": len(os.fsencode(whole)) > LONGEST,
    }
    for reason, is_so in wrong.items():
        if is_so:
            shown = os.fsencode(whole).decode("utf-8", "replace")
            raise ValueError(
                f"no checkpoint can be kept in the path {shown}, for {reason}: take or make another folder."
            )


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
    """What is wrong with a checkpoint, or None. One without a manifest (the run was killed in the moment
    between Orbax's commit and ours) has no checksums: all of it is read instead."""
    manifest = folder / MANIFEST
    changed = _changed(folder, manifest) if manifest.exists() else None
    return changed or _unreadable(folder, every_array=not manifest.exists())


def _changed(folder: Path, manifest: Path) -> str | None:
    """What is no longer as the manifest says."""
    try:
        sums = json.loads(manifest.read_text())
    except ValueError:
        sums = None
    if not (sums and isinstance(sums, dict)):
        return f"{manifest} is not readable"
    for name, crc in sums.items():
        path = folder / name
        if not path.is_file():
            return f"{path} is missing"
        if _crc32c(path) != crc:
            return f"{path} has changed since it was written (checksum)"
    return None


def _unreadable(folder: Path, every_array: bool = False) -> str | None:
    """Which item of a checkpoint cannot be read, and why: its structure and each array's metadata, on demand
    every array."""
    try:
        for item in _ARRAYS:
            tree = _stored(folder, item)
            if every_array:
                _read(folder / item, tree)
        _read_data(folder)
    except CheckpointError as error:
        return str(error)
    return None


def _stored(folder: Path, item: str) -> Any:
    """The tree of an item as it stands in its folder, arrays as their metadata (`shape`).

    Raises:
      CheckpointError: there is no such item, or its structure or an array's metadata cannot be read.
    """
    with _reading(folder / item), contextlib.closing(ocp.StandardCheckpointHandler()) as handler:
        return handler.metadata(_Literal(folder / item)).tree


def _shapes_on_disk(folder: Path) -> Shapes:
    """Of an item's arrays, by what stands in its merged store: "params.encoder.conv1.bias".

    Orbax could tell them too, but in its way TensorStore loses some KB an array for ever (`Spec.to_json`),
    and a run asks at every save.

    Raises:
      CheckpointError: its structure, or an array's metadata, cannot be read.
    """
    with _reading(folder):
        json.loads((folder / "_METADATA").read_text())
        base = {"driver": "file", "path": f"{folder.resolve()}/"}  # TensorStore takes no ".."
        store = tensorstore.KvStore.open({"driver": "ocdbt", "base": base}).result()
        names = [key for key in store.list().result() if key.endswith(b"/.zarray")]
        reads = [store.read(name) for name in names]
        arrays = [name.removesuffix(b"/.zarray").decode() for name in names]
        shapes = [tuple(json.loads(read.result().value)["shape"]) for read in reads]
        return dict(zip(arrays, shapes, strict=True))


def _read(folder: Path, tree: Any) -> None:
    """Reads every array of an item into this machine's memory, and drops it."""
    on_host = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
    with _reading(folder):
        ocp.PyTreeCheckpointHandler().restore(
            _Literal(folder), args=ocp.args.PyTreeRestore(restore_args=on_host)
        )


def _read_data(folder: Path) -> None:
    with _reading(folder / "data"):
        ocp.JsonCheckpointHandler().restore(_Literal(folder / "data"))


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Raises:
    CheckpointError: whatever went wrong, with the file or folder that was read."""
    try:
        yield
    except Exception as error:  # Orbax and tensorstore raise errors of every kind
        raise CheckpointError(f"{path} cannot be read ({' '.join(str(error).split())[:200]})") from error


def _shapes(tree: Any, separator: str = "/") -> Shapes:
    return {separator.join(map(str, name)): tuple(x.shape) for name, x in ocp.tree.to_flat_dict(tree).items()}


def _difference(stored: Shapes, wanted: Shapes) -> str | None:
    """The first array in which a checkpoint and what is wanted of it differ, in words."""
    for name in sorted(stored.keys() | wanted.keys()):
        if name not in wanted:
            return f"it holds {name} of the shape {stored[name]}, which is not wanted"
        if name not in stored:
            return f"it holds no {name}, which is wanted with the shape {wanted[name]}"
        if stored[name] != wanted[name]:
            return f"{name} has the shape {stored[name]} in it, and {wanted[name]} is wanted"
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


def newest_whole(directory: Path) -> int | None:
    """The step of the newest undamaged checkpoint on the disk, whatever Orbax remembers of it."""
    steps = sorted((int(path.name) for path in directory.glob("*") if path.name.isdigit()), reverse=True)
    return next((step for step in steps if damage(directory / str(step)) is None), None)


class Checkpoints:
    """The checkpoints of one run, newest last; at most `keep` stay."""

    def __init__(self, directory: str | os.PathLike[str], keep: int = 3, create: bool = True):
        check_path(directory)
        self.directory = Path(directory).absolute()
        self._manager = ocp.CheckpointManager(
            _Literal(self.directory),
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
        # Saved, manifest not written yet: the step, and what the items should hold.
        self._unlisted: tuple[int, dict[str, Shapes]] | None = None

    def steps(self) -> list[int]:
        """Steps with a finished checkpoint, ascending."""
        return sorted(self._manager.all_steps())

    def save(self, state: TrainState, step: int, data: dict[str, Any]) -> None:
        """Saves in the background; returns once the state has been copied."""
        if step in self.steps():
            return
        self.wait()
        weights, training = _weights(state), _training(state)
        self._manager.save(
            step,
            args=ocp.args.Composite(
                weights=ocp.args.StandardSave(weights),
                training=ocp.args.StandardSave(training),
                data=ocp.args.JsonSave(data),
            ),
            force=True,
        )
        # As the store calls arrays: its dots cannot be told from those of a domain's name.
        self._unlisted = step, {"weights": _shapes(weights, "."), "training": _shapes(training, ".")}

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
        """Writes the manifest of a background save that has finished; call it now and then.

        Raises: as `wait`.
        """
        if self._unlisted is not None and not self._manager.is_saving_in_progress():
            self.wait()

    def wait(self) -> None:
        """Returns when everything that was saved is on disk, with its manifest.

        Raises:
          CheckpointError: what was saved cannot be read; it has no manifest.
          OSError, or an error of TensorStore's with the system's in its text: the disk is full, or fails.
        """
        saved, self._unlisted = self._unlisted, None  # a save that fails is not asked after again
        self._manager.wait_until_finished()
        if saved is not None and jax.process_index() == 0:
            self._certify(*saved)

    def _certify(self, step: int, wanted: dict[str, Shapes]) -> None:
        """Writes the manifest of a checkpoint that holds what is `wanted` of it."""
        folder = self.directory / str(step)
        try:
            _read_data(folder)
            differences = [_difference(_shapes_on_disk(folder / item), wanted[item]) for item in _ARRAYS]
            wrong = next(filter(None, differences), None)
        except CheckpointError as error:
            wrong = str(error)
        if wrong is None:
            write_manifest(folder)
            return
        good = [s for s in self.steps() if (self.directory / str(s) / MANIFEST).exists()]
        last = f"the last good checkpoint is that of step {good[-1]}" if good else "there is no good one yet"
        raise CheckpointError(
            f"the checkpoint of step {step} was saved, but cannot be used: {wrong}; {last}. Check the disk, "
            "then give the same command again."
        )

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
          CheckpointError: the checkpoint cannot be read, or holds other networks than the configuration
            describes; the sentence says which.
        """
        weights, training = _weights(abstract), _training(abstract)
        self._check_fit(step, weights=weights, training=training)
        restored = self._restore(
            step,
            weights=ocp.args.StandardRestore(_like(weights, sharding)),
            training=ocp.args.StandardRestore(_like(training, sharding)),
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
        weights = _weights(abstract)
        self._check_fit(step, weights=weights)
        restored = self._restore(
            step,
            weights=ocp.args.StandardRestore(_like(weights, sharding)),
            data=ocp.args.JsonRestore(),
        )
        return restored["weights"]["ema"], restored["weights"]["extra"], restored["data"]

    def data(self, step: int) -> dict[str, Any]:
        """The data item at `step`."""
        restored: dict[str, Any] = self._restore(step, data=ocp.args.JsonRestore())["data"]
        return restored

    def _check_fit(self, step: int, **wanted: Any) -> None:
        """Holds the items of the checkpoint of `step` against the trees that are `wanted`.

        Raises:
          CheckpointError: one cannot be read, or holds other arrays.
        """
        folder = self.directory / str(step)
        for item, tree in wanted.items():
            difference = _difference(_shapes(_stored(folder, item)), _shapes(tree))
            if difference is not None:
                raise CheckpointError(
                    f"the checkpoint {folder} is not damaged, but was saved with another configuration or "
                    f"version of xgan_jax: {difference}. Use those of its run (config.json, run.json)."
                )

    def _restore(self, step: int, **items: Any) -> Any:
        with _reading(self.directory / str(step)):
            return self._manager.restore(step, args=ocp.args.Composite(**items))

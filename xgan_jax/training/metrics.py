"""Where numbers and pictures of a run go: JSON lines always, TensorBoard events beside them."""

import json
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog

from xgan_jax import faults


@runtime_checkable
class MetricWriter(Protocol):
    """clu's names for these calls, so that its writers fit too."""

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None: ...

    def write_images(self, step: int, images: Mapping[str, UInt8[np.ndarray, "h w 3"]]) -> None: ...

    def flush(self) -> None: ...

    def close(self) -> None: ...


class Dispensable:
    """Around what a run can do without: where it cannot be written, one warning says so, and training
    goes on."""

    def __init__(self, what: str):
        """`what`: a plural."""
        self._what = what
        self.lost = False

    def __enter__(self) -> "Dispensable":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, OSError):
            return False
        if not self.lost:
            fault = faults.fault_of(error)
            logging.getLogger(__name__).warning(
                "%s cannot be written (%s): training goes on without",
                self._what,
                fault.what if fault else error,
            )
        self.lost = True
        return True


class Events:
    """TensorBoard events in a folder, written in the caller's thread: that of the library's own writer dies
    of a full disk, and then the run waits for ever."""

    def __init__(self, folder: Path, start_step: int):
        """What was written before of steps after `start_step` is hidden."""
        folder.mkdir(exist_ok=True)
        self._file = EventsWriter(str(folder / "events"))
        if start_step:
            self._write(start_step + 1, session_log=SessionLog(status=SessionLog.START))

    def _write(self, step: int, **content: Any) -> None:
        self._file.write_event(Event(step=step, wall_time=time.time(), **content))

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        for name, value in scalars.items():
            self._write(step, summary=summary.scalar(name, value))

    def write_images(self, step: int, images: Mapping[str, UInt8[np.ndarray, "h w 3"]]) -> None:
        for name, image in images.items():
            self._write(step, summary=summary.image(name, image, dataformats="HWC"))
        self.flush()

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class RunWriter:
    """`metrics.jsonl` (one object a line, with "step") and TensorBoard events in a run's folder.

    A run that continues at `start_step` drops the lines after it: they will be written again, and a
    file of an interrupted run reads like that of one never interrupted. Where they cannot be written, a
    warning says so, once.
    """

    def __init__(self, workdir: str | os.PathLike[str], start_step: int):
        path = Path(workdir) / "metrics.jsonl"
        if path.exists():
            kept = []
            for line in path.read_text(errors="replace").splitlines(keepends=True):
                try:
                    if line.endswith("\n") and json.loads(line)["step"] <= start_step:
                        kept.append(line)
                except (ValueError, KeyError, TypeError):  # a line cut short by a kill, or damaged
                    continue
            partial = path.with_suffix(".partial")
            partial.write_text("".join(kept))
            partial.replace(path)
        self._lines = path.open("a")
        self._events = Events(Path(workdir) / "tensorboard", start_step)
        self._of_lines, self._of_events = (
            Dispensable("lines of metrics.jsonl"),
            Dispensable("TensorBoard events"),
        )

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        with self._of_lines:
            self._write_line({"step": step, **scalars})
        with self._of_events:
            self._events.write_scalars(step, scalars)

    def _write_line(self, content: Mapping[str, float | int]) -> None:
        self._lines.write(json.dumps(content) + "\n")
        self._lines.flush()

    def write_images(self, step: int, images: Mapping[str, UInt8[np.ndarray, "h w 3"]]) -> None:
        with self._of_events:
            self._events.write_images(step, images)

    def flush(self) -> None:
        with self._of_lines:
            self._lines.flush()
        with self._of_events:
            self._events.flush()

    def close(self) -> None:
        with self._of_lines:
            self._lines.close()
        with self._of_events:
            self._events.close()

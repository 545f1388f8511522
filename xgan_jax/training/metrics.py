"""Where numbers and pictures of a run go: JSON lines always, TensorBoard events beside them."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from tensorboardX import SummaryWriter


@runtime_checkable
class MetricWriter(Protocol):
    """clu's names for these calls, so that its writers fit too."""

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None: ...

    def write_images(self, step: int, images: Mapping[str, UInt8[np.ndarray, "h w 3"]]) -> None: ...

    def flush(self) -> None: ...

    def close(self) -> None: ...


class RunWriter:
    """`metrics.jsonl` (one object a line, with "step") and TensorBoard events in a run's folder.

    A run that continues at `start_step` drops the lines after it: they will be written again, and a
    file of an interrupted run reads like that of one never interrupted.
    """

    def __init__(self, workdir: str | os.PathLike[str], start_step: int):
        path = Path(workdir) / "metrics.jsonl"
        if path.exists():
            kept = []
            for line in path.read_text().splitlines(keepends=True):
                try:
                    if line.endswith("\n") and json.loads(line)["step"] <= start_step:
                        kept.append(line)
                except (ValueError, KeyError):  # a line cut short by a kill
                    continue
            partial = path.with_suffix(".partial")
            partial.write_text("".join(kept))
            partial.replace(path)
        self._lines = path.open("a")
        self._events = SummaryWriter(
            str(Path(workdir) / "tensorboard"), purge_step=start_step + 1 if start_step else None
        )

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        self._lines.write(json.dumps({"step": step, **scalars}) + "\n")
        self._lines.flush()
        for name, value in scalars.items():
            self._events.add_scalar(name, value, step)

    def write_images(self, step: int, images: Mapping[str, UInt8[np.ndarray, "h w 3"]]) -> None:
        for name, image in images.items():
            self._events.add_image(name, image, step, dataformats="HWC")

    def flush(self) -> None:
        self._lines.flush()
        self._events.flush()

    def close(self) -> None:
        self._lines.close()
        self._events.close()

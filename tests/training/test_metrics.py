"""The log of a run, and what is left of it after an interruption."""

import json
from pathlib import Path

import numpy as np

from xgan_jax.training.metrics import RunWriter


def test_lines_after_the_restart_and_cut_lines_are_dropped(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path, 0)
    for step in range(1, 6):
        writer.write_scalars(step, {"loss/x": step / 2})
    writer.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')  # killed while writing
    writer = RunWriter(tmp_path, 3)
    writer.write_scalars(4, {"loss/x": 7.0})
    writer.close()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == [
        {"step": 1, "loss/x": 0.5},
        {"step": 2, "loss/x": 1.0},
        {"step": 3, "loss/x": 1.5},
        {"step": 4, "loss/x": 7.0},
    ]


def test_images_reach_tensorboard(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path, 0)
    writer.write_images(1, {"grid": np.zeros((8, 8, 3), np.uint8)})
    writer.close()
    events = b"".join(p.read_bytes() for p in (tmp_path / "tensorboard").iterdir())
    assert b"grid" in events and b"PNG" in events

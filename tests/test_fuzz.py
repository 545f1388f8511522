"""Readers of files that others made: whatever stands in them, only documented errors, in bounded memory.

`tests/fuzz.py` damages sound files at random, in a process of its own. The seed is printed with what fails.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

# By kind: inputs in the default suite and in the slow one, MB by which memory may grow, and the least part
# that is refused (what can be salvaged of records mostly can).
KINDS = {
    "records": (3_000, 30_000, 50, 0.25),
    "salvage": (1_000, 15_000, 50, 0.05),
    "examples": (20_000, 200_000, 50, 0.25),
    "pictures": (6_000, 50_000, 800, 0.25),
    "weights": (4_000, 20_000, 100, 0.25),
}


def fuzz(kind: str, count: int, seed: int, grown: int, least: float) -> None:
    command = [sys.executable, str(Path(__file__).with_name("fuzz.py")), kind, str(count), str(seed)]
    ended = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    assert ended.returncode == 0, ended.stderr[-5000:]
    read, refused, mb = map(int, ended.stdout.split())
    assert read + refused == count and refused > least * count
    assert mb < grown


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_are_read_or_refused(kind: str) -> None:
    count, _, grown, least = KINDS[kind]
    fuzz(kind, count, 0, grown, least)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_many_damaged_files_are_read_or_refused(kind: str) -> None:
    _, count, grown, least = KINDS[kind]
    fuzz(kind, count, int(np.random.default_rng().integers(1, 2**31)), grown, least)

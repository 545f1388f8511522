"""TensorFlow and TFDS read what we write; `make test-tensorflow` gives them an environment."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from xgan_jax.config import DataConfig
from xgan_jax.data import pipeline

pytestmark = pytest.mark.tensorflow
SCRIPT = Path(__file__).parents[1] / "fixtures" / "write_with_tensorflow.py"


def run(*arguments: str) -> None:
    python = os.environ.get("XGAN_TF_PYTHON", sys.executable)
    result = subprocess.run([python, str(SCRIPT), *arguments], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]


def test_tensorflow_and_tfds_read_our_records(records: Path, tmp_path: Path) -> None:
    folder = tmp_path / "records"
    shutil.copytree(records, folder)
    data = DataConfig(path=str(folder), size=32)
    counts = pipeline.picture_counts(data)
    expected = {d: pipeline.read_pictures(data, d, "train", range(counts[d]["train"])) for d in data.domains}
    np.savez(folder / "expected.npz", **expected)
    run("--check", str(folder))


def test_the_fixture_is_what_tensorflow_writes(tmp_path: Path) -> None:
    run("--write", str(tmp_path / "again.tfrecord"))
    fixture = SCRIPT.with_name("tensorflow.tfrecord")
    assert (tmp_path / "again.tfrecord").read_bytes() == fixture.read_bytes()

"""Two processes, joined by jax.distributed on loopback, train as one does."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def train(records: Path, workdir: Path, processes: int, devices: int, steps: int) -> list[dict]:
    """Runs so many processes with so many devices each, to the end; the lines of metrics.jsonl."""
    address = f"127.0.0.1:{free_port()}"
    environment = os.environ | {
        "PYTHONPATH": str(HERE.parents[1]),
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
    }
    arguments = [str(records), str(workdir), str(steps)]
    running = [
        subprocess.Popen(
            [sys.executable, str(HERE / "process.py"), address, str(processes), str(i), *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for i in range(processes)
    ]
    for process in running:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output[-3000:]
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_two_processes_give_the_numbers_of_one_and_continue(records: Path, tmp_path: Path) -> None:
    one = train(records, tmp_path / "one", processes=1, devices=2, steps=4)
    # Stopped after two steps and continued, with the other number of processes the second time.
    train(records, tmp_path / "two", processes=2, devices=1, steps=2)
    two = train(records, tmp_path / "two", processes=2, devices=1, steps=4)
    assert [line["step"] for line in one] == [line["step"] for line in two] == [1, 2, 3, 4]
    for a, b in zip(one, two, strict=True):
        for name in a:
            if name.startswith("loss/"):
                np.testing.assert_allclose(a[name], b[name], rtol=5e-3, err_msg=f"{name} at {a['step']}")
    assert len(list((tmp_path / "two" / "samples").iterdir())) == 3
    launches = json.loads((tmp_path / "two" / "run.json").read_text())
    assert [launch["processes"] for launch in launches] == [2, 2]

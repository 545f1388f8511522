"""A full disk and one that can only be read, under every command: one sentence, no traceback, nothing lost.

Disks of a few KiB are mounted for it, which root may do.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from torch_files import cyclegan_generator, save

from xgan_jax.runs.checkpoint import newest_whole

ROOT = Path(__file__).parents[1]
SMALL = """--config.data.size=32 --config.networks.width=0.125 --config.networks.embedding_size=32
    --config.networks.discriminator_width=0.25 --config.run.batch_size=8 --config.run.checkpoint_every=4
    --config.run.sample_every=4 --config.run.log_every=2 --config.run.samples=2"""
TRAIN = ["train.py", "--config", "configs/quickstart.py", *SMALL.split()]
# Compiled in a moment; a checkpoint takes 600 KiB.
SIMPLE = """--config configs/regression.py --config.data.size=32 --config.networks.width=0.125
    --config.run.batch_size=8 --config.run.checkpoint_every=4 --config.run.sample_every=4
    --config.run.log_every=2 --config.run.samples=2 --config.run.steps=40 --config.run.keep_checkpoints=99"""
pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.geteuid() != 0, reason="mounts disks, as root may")]


def mount(*options: str) -> None:
    if subprocess.run(["mount", *options], capture_output=True).returncode:
        pytest.skip("this machine does not let root mount disks")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A folder for a disk to be mounted on."""
    folder = tmp_path / "disk"
    folder.mkdir()
    yield folder
    while os.path.ismount(folder):
        subprocess.run(["umount", str(folder)], check=True)


def said(*command: str, **environment: str) -> tuple[int, list[str]]:
    """A command's exit status, and its lines on stderr but for warnings."""
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stdout + done.stderr
    return done.returncode, [
        line for line in done.stderr.splitlines() if "training goes on without" not in line
    ]


@pytest.fixture(scope="module")
def run(records: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("run") / "run"
    assert (
        said(*TRAIN, f"--workdir={workdir}", f"--config.data.path={records}", "--config.run.steps=4")[0] == 0
    )
    return workdir


@pytest.mark.parametrize("size", ["4K", "400K", "1M", "3M"])
def test_training_on_a_full_disk(size: str, records: Path, disk: Path) -> None:
    """Whatever it is that does not fit any more; with space again, the same command goes on."""
    mount("-t", "tmpfs", "-o", f"size={size}", "disk", str(disk))
    command = ["train.py", *SIMPLE.split(), f"--workdir={disk / 'run'}", f"--config.data.path={records}"]
    status, (line,) = said(*command)
    assert status == 1 and line.startswith(
        f"train.py: {disk / 'run'}: the disk is full: free some space, then give"
    )
    step = newest_whole(disk / "run/checkpoints")
    assert ("nothing was saved yet" if step is None else f"the checkpoint of step {step} is good") in line
    assert size == "1M" or (step is None) == (size != "3M"), "1M: the first may just fit"
    mount("-o", "remount,size=60M", str(disk))
    assert said(*command) == (0, [])


def commands(run: Path, records: Path, out: Path, tmp_path: Path) -> dict[str, list[str]]:
    pictures = str(records.parent / "pictures/face")
    weights = save(cyclegan_generator(), tmp_path / "horse2zebra.pth")
    xgan, run_of = ["-m", "xgan_jax.cli"], ["--workdir", str(run), "--input", pictures, "--output", str(out)]
    return {
        "xgan prepare": [*xgan, "prepare", "--domain", f"face={pictures}", "--out", str(out)],
        "xgan translate": [*xgan, "translate", *run_of, "--direction", "face2anime"],
        "xgan neighbours": [*xgan, "neighbours", *run_of, "--domain", "face", "--among", "anime"],
        "xgan convert": [*xgan, "convert", "--method=cyclegan", f"--weights={weights}", f"--out={out}"],
        "eval.py": ["eval.py", f"--workdir={run}", f"--out={out}"],
        "synthetic": ["-m", "xgan_jax.data.synthetic", "--out", str(out), "--count=40", "--test-count=4"],
    }


def test_other_commands_on_a_full_disk(run: Path, records: Path, disk: Path, tmp_path: Path) -> None:
    for name, command in commands(run, records, disk / "out", tmp_path).items():
        mount("-t", "tmpfs", "-o", "size=12K", "disk", str(disk))
        status, (line,) = said(*command)
        assert status == 1 and line.startswith(f"{name}: ") and "the disk is full: free some space" in line
        assert str(disk) in line
        subprocess.run(["umount", str(disk)], check=True)


def test_every_command_on_a_disk_that_can_only_be_read(
    run: Path, records: Path, disk: Path, tmp_path: Path
) -> None:
    mount("-t", "tmpfs", "-o", "ro", "disk", str(disk))
    every = commands(run, records, disk / "out", tmp_path)
    every["train.py"] = [*TRAIN, f"--workdir={disk / 'out'}", f"--config.data.path={records}"]
    for name, command in every.items():
        status, (line,) = said(*command)
        assert status == 2 and line.startswith(f"{name}: {disk}")
        assert line.endswith((": choose another folder.", ": choose another --out."))


def test_a_full_cache_of_compiled_programs_is_one_warning(run: Path, records: Path, disk: Path) -> None:
    mount("-t", "tmpfs", "-o", "size=12K", "disk", str(disk))
    command = commands(run, records, disk.parent / "out", disk.parent)["xgan translate"]
    status, (line,) = said(*command, JAX_COMPILATION_CACHE_DIR=str(disk))
    assert status == 0 and line.startswith(f"{disk}: the disk is full: compiled programs are not kept")

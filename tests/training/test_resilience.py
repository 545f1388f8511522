"""What may go wrong while a run trains: numbers that are not finite, data that does not come, clocks."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from small import poison, small_config

from xgan_jax.config import Config
from xgan_jax.runs.checkpoint import Checkpoints
from xgan_jax.training import feed, log, loop
from xgan_jax.training.feed import StalledError, Watched
from xgan_jax.training.log import NonFiniteError, Skipped

from test_loop import ROOT, assert_same_bits, bits, numbers  # isort: skip

STEPS = 24


def config_of(records: Path, on_nan: str = "stop", **run) -> Config:
    settings = {"steps": STEPS, "log_every": 1, "sample_every": 24, "checkpoint_every": 4, "samples": 2}
    return small_config(records, on_nan=on_nan, **(settings | run))


def in_steps(first: int, last: int):
    return lambda now: (now.step >= first) & (now.step <= last)


def last_lines(workdir: Path) -> dict[int, dict]:
    return {line["step"]: line for line in numbers(workdir)}


# --- Numbers that are not finite ----------------------------------------------------------------------------


def test_counting() -> None:
    counted = Skipped()
    for finite in (True, False, False, True, False):
        counted = counted.after(finite)
    assert counted == Skipped(3, 1, 0) and counted.back() == Skipped(3, 0, 1)
    assert Skipped.of({"skipped": dataclasses.asdict(counted)}) == counted
    assert Skipped.of({"iterator": None}) == Skipped(), "runs of before did not count"


@pytest.mark.slow
def test_healthy_runs_have_the_same_bits_and_numbers_whatever_on_nan_says(
    records: Path, tmp_path: Path
) -> None:
    for on_nan in ("stop", "skip", "roll_back"):
        loop.train(config_of(records, on_nan, steps=4), tmp_path / on_nan)
        assert_same_bits(bits(tmp_path / on_nan, 4), bits(tmp_path / "stop", 4))
    stop, skip = numbers(tmp_path / "stop"), numbers(tmp_path / "skip")
    assert [line | {"skipped_steps": 0} for line in stop[1:]] == [
        line | {"skipped_steps": 0} for line in skip[1:]
    ]
    assert skip[-1]["skipped_steps"] == 0 and "skipped_steps" not in stop[-1]


def test_skipped_steps_are_counted_through_a_restart(
    records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three in a row across the checkpoint at which the run is stopped, one later: count and bits stay."""
    poison(monkeypatch, lambda now: ((now.step >= 7) & (now.step <= 9)) | (now.step == 15))
    loop.train(config_of(records, "skip"), tmp_path / "whole")
    for steps in (9, STEPS):
        loop.train(config_of(records, "skip", steps=steps), tmp_path / "stopped")
    assert_same_bits(bits(tmp_path / "stopped", STEPS), bits(tmp_path / "whole", STEPS))
    for name in ("whole", "stopped"):
        lines = last_lines(tmp_path / name)
        assert lines[STEPS]["skipped_steps"] == 4 and lines[12]["skipped_steps"] == 3
        assert "loss/semantic/face2anime" not in lines[16], "NaN is no JSON"
    text = capsys.readouterr().out
    assert "step 10: loss/semantic/face2anime is NaN or infinite; it is skipped (3 in a row)" in text
    assert ", 4 steps skipped" in text


def test_ten_in_a_row_stop(records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch, in_steps(6, 99))
    with pytest.raises(
        NonFiniteError, match=r"step 16: .*semantic.*, as in the 9 steps before it; the checkpoint of step 4"
    ):
        loop.train(config_of(records, "skip", log_every=5), tmp_path / "run")


@pytest.mark.slow
def test_a_run_goes_back_and_takes_another_way(
    records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Steps 7 to 24 are bad with the run's first key; from step 4 on, with another, they are good."""
    first = jax.random.key_data(jax.random.split(jax.random.key(0))[1])

    def where(now):
        of_first = jax.random.split(jax.random.fold_in(jax.random.wrap_key_data(first), now.step))[1]
        same = (jax.random.key_data(of_first) == jax.random.key_data(now.key)).all()
        return (now.step >= 6) & same

    poison(monkeypatch, where)
    loop.train(config_of(records, "roll_back"), tmp_path / "whole")
    for steps in (20, STEPS):
        loop.train(config_of(records, "roll_back", steps=steps, log_every=8), tmp_path / "stopped")
    text = capsys.readouterr().out
    assert (
        "going back, time 1 of 3" in text and "time 2 of 3" not in text and "continuing from step 4" in text
    )
    lines = numbers(tmp_path / "whole")
    assert [line["step"] for line in lines if line["step"] > 1] == list(range(2, STEPS + 1))
    assert lines[-1]["skipped_steps"] == 10
    assert_same_bits(bits(tmp_path / "stopped", STEPS), bits(tmp_path / "whole", STEPS))
    position = json.loads(bits(tmp_path / "whole", STEPS)[-1].tobytes())
    assert position["skipped"] == {"total": 10, "in_a_row": 0, "went_back": 1}


@pytest.mark.slow
def test_after_three_times_back_it_stops(
    records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    poison(monkeypatch, in_steps(6, 99))
    with pytest.raises(NonFiniteError, match=r"step 16: .*semantic/face2anime"):
        loop.train(config_of(records, "roll_back"), tmp_path / "run")
    assert capsys.readouterr().out.count("going back, time") == log.BACK == 3
    assert sorted(int(p.name) for p in (tmp_path / "run" / "checkpoints").iterdir()) == [4]


def test_another_order_is_another_and_continues(records: Path) -> None:
    def batches(order: int, after: int) -> list[np.ndarray]:
        source = feed.Feed(config_of(records), jax.make_mesh((8,), ("data",)))
        for _ in range(after):
            next(source)
        source.reorder(order)
        found = [next(source)["face"] for _ in range(3)]
        source.close()
        return found

    first, other = batches(0, 2), batches(1, 2)
    assert not np.array_equal(first[0], other[0])
    np.testing.assert_array_equal(batches(1, 3)[0], other[1])


# --- Data that does not come --------------------------------------------------------------------------------


def test_a_reader_that_hangs_ends_in_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(feed, "SAID", 0.1)
    monkeypatch.setattr(feed, "STALLED", 0.35)
    monkeypatch.setattr(feed, "_leave_at_exit", lambda: None)
    never = threading.Event()

    def batches():
        yield 1
        never.wait()

    watched = Watched(batches(), "data/faces")
    assert next(watched) == 1
    began = time.monotonic()
    with pytest.raises(StalledError, match=r"no pictures came from data/faces for .*: look after its disk"):
        next(watched)
    assert 0.3 < time.monotonic() - began < 3
    assert capsys.readouterr().out.count("waiting for pictures from data/faces for") >= 2
    never.set()


def test_what_a_reader_dies_of_is_raised_at_once() -> None:
    def batches():
        yield 1
        raise MemoryError("gone")

    watched = Watched(batches(), "data")
    next(watched)
    with pytest.raises(MemoryError, match="gone"):
        next(watched)
    watched.close()


def test_a_process_whose_reader_hangs_ends(records: Path, tmp_path: Path) -> None:
    """All of it: the threads of the pool too, for which Python would wait."""
    program = f"""if True:
        import sys, threading
        sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests")!r}]
        import jax
        from pathlib import Path
        from small import poison, small_config
        from xgan_jax.data import pipeline
        from xgan_jax.training import feed
        feed.SAID, feed.STALLED = 0.5, 1.0
        pipeline.PictureSource.read = lambda self, numbers: threading.Event().wait()
        source = feed.Feed(small_config(Path({str(records)!r})), jax.make_mesh((8,), ("data",)))
        try:
            next(source)
        except feed.StalledError as error:
            source.close()
            sys.exit(str(error))
    """
    began = time.monotonic()
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1, ended.stderr
    assert "no pictures came from" in ended.stderr and "waiting for pictures" in ended.stdout
    assert time.monotonic() - began < 30


# --- Clocks -------------------------------------------------------------------------------------------------


def test_a_clock_that_jumps_changes_nothing(
    records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On by a year or back by two, before every step."""
    loop.train(config_of(records, steps=8), tmp_path / "steady")
    now, ahead = time.time, [0.0]
    take, save = feed.Feed.__next__, Checkpoints.save

    def jump(source: feed.Feed) -> dict[str, np.ndarray]:
        ahead[0] += 365 * 86400 * (-2 if ahead[0] > 0 else 1)
        return take(source)

    def save_and_wait(checkpoints: Checkpoints, *what) -> None:
        """Orbax ends a save that the time of day says is 20 minutes old: none is under way at a jump."""
        save(checkpoints, *what)
        checkpoints.wait()

    monkeypatch.setattr(time, "time", lambda: now() + ahead[0])
    monkeypatch.setattr(feed.Feed, "__next__", jump)
    monkeypatch.setattr(Checkpoints, "save", save_and_wait)
    loop.train(config_of(records, steps=8), tmp_path / "jumping")
    monkeypatch.undo()
    assert abs(ahead[0]) == 365 * 86400
    assert_same_bits(bits(tmp_path / "jumping", 8), bits(tmp_path / "steady", 8))
    for line in (tmp_path / "jumping" / "metrics.jsonl").read_text().splitlines()[1:]:
        assert 0 < json.loads(line)["steps_per_second"] < 1e5


# --- kill -9 ------------------------------------------------------------------------------------------------


SAVE_EVERY = 40


def small_command(records: Path, workdir: Path, steps: int) -> list[str]:
    """`train` of the regression, which compiles in a moment, saving all the time."""
    flags = {
        "data.path": records,
        "data.size": 32,
        "networks.width": 0.125,
        "run.batch_size": 8,
        "run.steps": steps,
        "run.log_every": 10,
        "run.checkpoint_every": SAVE_EVERY,
        "run.sample_every": steps,
    }
    command = [sys.executable, str(ROOT / "train.py"), f"--config={ROOT / 'configs' / 'regression.py'}"]
    return [*command, f"--workdir={workdir}", *(f"--config.{name}={value}" for name, value in flags.items())]


def is_saving(workdir: Path) -> bool:
    return any((workdir / "checkpoints").glob("*.orbax-checkpoint-tmp*"))


@pytest.mark.slow
def test_twenty_kills_half_of_them_inside_a_save(records: Path, tmp_path: Path) -> None:
    """No checkpoint is lost, nothing has to be cleared up, and the end is that of the undisturbed run."""
    steps, random = 2400, np.random.default_rng()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "XLA_FLAGS": ""}  # one device: it starts sooner
    subprocess.run(small_command(records, tmp_path / "whole", steps), env=environment, check=True)
    killed, inside = tmp_path / "killed", 0
    newest = 0
    for kill in range(20):
        process = subprocess.Popen(small_command(records, killed, steps), env=environment)
        wait_until(process, killed, newest + SAVE_EVERY)
        if kill % 2:
            while process.poll() is None and not is_saving(killed):
                time.sleep(0.0005)
            inside += is_saving(killed)
        else:
            time.sleep(random.uniform(0, 0.25))
        process.kill()
        assert process.wait() == -signal.SIGKILL
        saved = [int(p.name) for p in (killed / "checkpoints").iterdir() if p.name.isdigit()]
        assert max(saved) >= newest
        newest = max(saved)
    subprocess.run(small_command(records, killed, steps), env=environment, check=True)
    assert inside >= 5
    assert_same_bits(bits(killed, steps), bits(tmp_path / "whole", steps))
    assert numbers(killed) == numbers(tmp_path / "whole")
    assert not is_saving(killed)


def wait_until(process: subprocess.Popen, workdir: Path, step: int) -> None:
    """Until the run in `workdir` has a checkpoint of `step` or later."""
    while process.poll() is None:
        if any(p.name.isdigit() and int(p.name) >= step for p in (workdir / "checkpoints").glob("*")):
            return
        time.sleep(0.01)
    raise AssertionError(f"it ended before step {step}")

"""Runs of `train`: start, watch, stop, continue, and everything that may go wrong between."""

import contextlib
import dataclasses
import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from small import Small, poison, small_config, xgan_config

from xgan_jax import config as configs
from xgan_jax import method as methods
from xgan_jax.config import Config
from xgan_jax.data import pipeline
from xgan_jax.evaluation import grid, measures
from xgan_jax.faults import MachineError
from xgan_jax.method import Terms
from xgan_jax.runs import checkpoint, folder
from xgan_jax.runs import state as states
from xgan_jax.runs.checkpoint import CheckpointError, Checkpoints
from xgan_jax.training import log, loop, metrics
from xgan_jax.training.log import NonFiniteError
from xgan_jax.training.samples import Best
from xgan_jax.training.signals import Stopped

ROOT = Path(__file__).parents[2]
STEPS = 12


def run_config(records: Path, make=small_config, **changes) -> Config:
    config = make(records, steps=STEPS, log_every=1, sample_every=6, checkpoint_every=4, samples=2)
    for name, value in changes.items():
        section, _, field = name.partition("__")
        setattr(getattr(config, section), field, value)
    return config


def bits(workdir: Path, step: int = STEPS) -> list[np.ndarray]:
    """Every array of the checkpoint of `step`, and the data position, as comparable arrays."""
    config = configs.from_json((workdir / "config.json").read_text())
    method = methods.load(config)
    abstract = jax.eval_shape(lambda: states.create(method, config))
    checkpoints = Checkpoints(workdir / "checkpoints", create=False)
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    state, data = checkpoints.restore(abstract, step, here)
    checkpoints.close()
    leaves = jax.tree.leaves(dataclasses.replace(state, key=jax.random.key_data(state.key)))
    return [np.asarray(x) for x in leaves] + [np.frombuffer(json.dumps(data).encode(), np.uint8)]


def assert_same_bits(a: list[np.ndarray], b: list[np.ndarray]) -> None:
    assert len(a) == len(b) > 50
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)


def numbers(workdir: Path) -> list[dict[str, float]]:
    """metrics.jsonl without what depends on the clock."""
    clocks = {"steps_per_second", "images_per_second", "data_wait"}
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in clocks} for line in lines]


@pytest.fixture(scope="module")
def whole_run(records: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never interrupted."""
    workdir = tmp_path_factory.mktemp("whole") / "run"
    loop.train(run_config(records), workdir)
    return workdir


def test_a_run_leaves_what_it_promises(whole_run: Path, records: Path) -> None:
    for name in ("config.json", "run.json", "networks.txt", "metrics.jsonl", "reals.png"):
        assert (whole_run / name).stat().st_size > 0
    assert sorted(p.name for p in (whole_run / "samples").iterdir()) == [
        "step_0000000.png",
        "step_0000006.png",
        "step_0000012.png",
    ]
    assert list((whole_run / "tensorboard").iterdir())
    steps = [line["step"] for line in numbers(whole_run)]
    assert steps == list(range(1, STEPS + 1)) or steps == list(range(2, STEPS + 1))
    assert configs.from_json((whole_run / "config.json").read_text()) == run_config(records)
    launch = json.loads((whole_run / "run.json").read_text())[0]
    assert launch["start_step"] == 0 and launch["argv"] and launch["versions"]["jax"] == jax.__version__


def test_the_start_report(records: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loop.train(run_config(records, run__steps=3), tmp_path / "run")
    text = capsys.readouterr().out
    for pattern in (
        r"face: \d+ train, \d+ test pictures",
        r"encoder: [\d,]+ parameters",
        r"GFLOP a step and device, about \d+ MiB",
        r"expected duration: about \d",
        r"compiling the training step",
        r"step 3/3 .* rec \d.* images/s, \d.*% waiting for data, ETA",
    ):
        assert re.search(pattern, text), pattern


def test_a_log_says_that_steps_are_made(
    records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where no line of the log is due for long, and there is no terminal."""
    monkeypatch.setattr(log, "QUIET", -1.0)
    loop.train(run_config(records, run__steps=3, run__log_every=3), tmp_path / "run")
    assert re.search(r"^step 2/3  ETA \d", capsys.readouterr().out, re.MULTILINE)


@pytest.mark.parametrize("stops", [(5,), (1, 7)])
def test_stopped_and_continued_is_bit_exact(
    whole_run: Path, records: Path, tmp_path: Path, stops: tuple[int, ...]
) -> None:
    workdir = tmp_path / "run"
    for stop in (*stops, STEPS):
        loop.train(run_config(records, run__steps=stop), workdir)
    assert_same_bits(bits(workdir), bits(whole_run))
    assert [n for n in numbers(workdir) if n["step"] == STEPS] == [
        n for n in numbers(whole_run) if n["step"] == STEPS
    ]


@pytest.mark.parametrize("cache", ["none", "device"])
def test_several_steps_in_one_call(whole_run: Path, records: Path, tmp_path: Path, cache: str) -> None:
    workdir = tmp_path / "run"
    several = {"run__steps_per_call": 3, "run__log_every": 3, "run__checkpoint_every": 3}
    for steps in (6, STEPS):
        loop.train(run_config(records, run__steps=steps, data__cache=cache, **several), workdir)
    by_step = {line["step"]: line for line in numbers(whole_run)}
    for line in numbers(workdir):
        for name, value in line.items():
            if name.startswith("loss/"):
                expected = by_step[line["step"]][name]
                # Another program rounds otherwise, and training lets rounding grow.
                tolerance = 1e-3 if line["step"] == 3 else 2e-2
                np.testing.assert_allclose(value, expected, tolerance, err_msg=f"{name}, {line['step']}")
    assert [line["step"] for line in numbers(workdir)][-2:] == [9, 12]
    with pytest.raises(ValueError, match=r"config.run.log_every is 4, which calls of 3 steps do not meet"):
        loop.train(run_config(records, **(several | {"run__log_every": 4})), workdir)
    before = sorted(workdir.rglob("*"))
    several |= {"run__steps_per_call": 5, "run__log_every": 5, "run__allow_config_change": True}
    several |= {"run__steps": 15, "run__sample_every": 5, "run__checkpoint_every": 5}
    with pytest.raises(ValueError, match=r"is at step 12, which calls of 5 steps do not meet"):
        loop.train(run_config(records, **several), workdir)
    assert not (workdir / "checkpoints_set_aside").exists() and set(before) <= set(workdir.rglob("*"))


def test_nothing_is_compiled_after_the_first_step(records: Path, tmp_path: Path) -> None:
    compiled_at: list[int] = []
    lines = 0

    def count(name: str, *rest, **more) -> None:
        if name == "/jax/core/compile/backend_compile_duration":
            compiled_at.append(lines)

    def line(step: int, *rest) -> str:
        nonlocal lines
        lines = step
        return ""

    jax.monitoring.register_event_duration_secs_listener(count)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log, "line", line)
        loop.train(run_config(records, run__sample_every=4), tmp_path / "run")
    jax.monitoring.unregister_event_duration_listener(count)
    assert compiled_at and max(compiled_at) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_save_and_exit(
    whole_run: Path, records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    workdir = tmp_path / "run"
    line = log.line

    def signal_at_step_6(step: int, *rest) -> str:
        if step == 6:
            os.kill(os.getpid(), number)
        return line(step, *rest)

    monkeypatch.setattr(log, "line", signal_at_step_6)
    with pytest.raises(Stopped) as stopped:
        loop.train(run_config(records), workdir)
    assert stopped.value.code == 128 + number
    monkeypatch.undo()
    saved = max(int(p.name) for p in (workdir / "checkpoints").iterdir())
    assert 6 <= saved <= 8
    loop.train(run_config(records), workdir)
    assert_same_bits(bits(workdir), bits(whole_run))
    wanted = [n for n in numbers(whole_run) if n["step"] > saved + 1]
    assert [n for n in numbers(workdir) if n["step"] > saved + 1] == wanted


def test_not_finite_stops_with_the_name_of_the_term(
    records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workdir = tmp_path / "run"
    loop.train(run_config(records, run__steps=5), workdir)
    good = bits(workdir, 5)
    poison(monkeypatch, lambda now: now.step == 7)
    with pytest.raises(NonFiniteError, match=r"step 8: .*semantic/face2anime.* checkpoint of step 5"):
        loop.train(run_config(records, run__checkpoint_every=100), workdir)
    monkeypatch.undo()
    assert max(int(p.name) for p in (workdir / "checkpoints").iterdir()) == 5
    assert_same_bits(bits(workdir, 5), good)


def test_changed_config_is_shown_and_refused(
    whole_run: Path, records: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workdir = tmp_path / "run"
    loop.train(run_config(records, run__steps=2), workdir)
    changed = run_config(records, run__steps=3, optimizer__learning_rate=5e-4)
    with pytest.raises(ValueError, match=r"config.optimizer.learning_rate = 0.0001, not 0.0005"):
        loop.train(changed, workdir)
    assert "config.optimizer.learning_rate: 0.0001 -> 0.0005" in capsys.readouterr().out
    saved = configs.from_json((workdir / "config.json").read_text())
    assert saved.optimizer.learning_rate == 1e-4
    changed.run.allow_config_change = True
    loop.train(changed, workdir)
    assert numbers(workdir)[-1]["step"] == 3


def test_other_data_are_refused(records: Path, more_records: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "run"
    loop.train(run_config(records, run__steps=2), workdir)
    with pytest.raises(ValueError, match=r"point config.data.path at the same dataset"):
        loop.train(run_config(more_records, run__steps=3), workdir)


def about(workdir: Path) -> dict:
    """The data item of the newest checkpoint."""
    checkpoints = Checkpoints(workdir / "checkpoints", create=False)
    try:
        return checkpoints.data(checkpoints.steps()[-1])
    finally:
        checkpoints.close()


@pytest.fixture
def begun(whole_run: Path, tmp_path: Path) -> Path:
    """A copy of the run that was never interrupted."""
    return shutil.copytree(whole_run, tmp_path / "run")


def test_other_pictures_of_the_same_number_are_refused(
    begun: Path, records: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = shutil.copytree(records, tmp_path / "data")
    shutil.rmtree(other / "face")
    shutil.copytree(records / "anime", other / "face")
    for path in (other / "face").glob("anime-*"):
        path.rename(path.with_name(path.name.replace("anime", "face")))
    info = other / "face" / "dataset_info.json"
    info.write_text(info.read_text().replace('"name": "anime"', '"name": "face"'))
    longer = run_config(other, run__steps=13)
    before = {p: p.read_bytes() for p in begun.rglob("*") if p.is_file()}
    message = r"as many pictures of face \(train\), face \(test\) as this run was trained on, but others "
    with pytest.raises(ValueError, match=message):
        loop.train(longer, begun)
    assert before == {p: p.read_bytes() for p in begun.rglob("*") if p.is_file()}
    longer.run.allow_config_change = True
    loop.train(longer, begun)
    assert "changed since the run began: " + str(other) in capsys.readouterr().out
    assert about(begun)["pictures"]["face"] == about(begun)["pictures"]["anime"]


def test_a_dataset_that_moved_goes_on_by_the_rule_of_the_run(
    begun: Path, records: Path, tmp_path: Path
) -> None:
    moved = shutil.copytree(records, tmp_path / "moved [1]")
    report = json.loads((moved / "report.json").read_text())
    assert {domain["crop"] for domain in report["domains"].values()} == {"center"}
    (moved / "report.json").write_text(json.dumps(report).replace('"center"', '"celeba"'))
    loop.train(run_config(moved, run__steps=13), begun)
    assert about(begun)["crop"] == {"face": "center", "anime": "center"}


def test_runs_that_did_not_note_their_pictures_go_on(
    begun: Path, records: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save = Checkpoints.save

    def as_before(self, state, step, data):
        save(self, state, step, {name: value for name, value in data.items() if name != "pictures"})

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", as_before)
        loop.train(run_config(records, run__steps=13), begun)
    assert "pictures" not in about(begun)
    loop.train(run_config(records, run__steps=14), begun)
    assert "was not noted" in capsys.readouterr().out
    assert about(begun)["pictures"] == pipeline.digests(run_config(records).data)


def test_a_finished_run_is_left_alone(whole_run: Path, records: Path) -> None:
    before = (whole_run / "metrics.jsonl").read_bytes()
    loop.train(run_config(records), whole_run)
    assert (whole_run / "metrics.jsonl").read_bytes() == before


def test_two_processes_cannot_share_a_folder(records: Path, tmp_path: Path) -> None:
    with (
        folder.held(tmp_path / "run"),
        pytest.raises(ValueError, match="another training process"),
    ):
        loop.train(run_config(records), tmp_path / "run")


@pytest.mark.parametrize(
    "name",
    ["reals.png", "config.json", "samples/step_0000000.png", "run.json", "checkpoints/7", "best/last.pth"],
)
def test_a_folder_of_other_files_is_no_run(records: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("[]")
    with pytest.raises(ValueError, match=f"is no run, but has {name}, where a run writes its own"):
        loop.train(run_config(records), tmp_path)
    assert (tmp_path / name).read_text() == "[]" and not (tmp_path / ".lock").exists()


def test_what_is_refused_changes_nothing(
    records: Path, more_records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A setting that is found wrong late, when the run has been read."""
    loop.train(run_config(records, run__steps=1), tmp_path / "run")
    before = (tmp_path / "run/config.json").read_bytes()
    (tmp_path / "file").touch()
    config = run_config(more_records, run__steps=60, run__allow_config_change=True)
    config.run.profile = str(tmp_path / "file")
    with pytest.raises(ValueError, match="cannot be made a folder"):
        loop.train(config, tmp_path / "run")
    config.run.profile = ""
    with monkeypatch.context() as patch:
        patch.setattr(Small, "losses", lambda *_: Terms({}, {}, {}))
        with pytest.raises(ValueError, match=r"every weight in config.weights is zero"):
            loop.train(config, tmp_path / "run")
    assert len(json.loads((tmp_path / "run/run.json").read_text())) == 1
    assert (tmp_path / "run/config.json").read_bytes() == before


def test_domains_may_have_dots(records: Path, tmp_path: Path) -> None:
    """Names of arrays in a checkpoint have dots, too."""
    for old, new in (("face", "face.v2"), ("anime", "anime.")):
        shutil.copytree(records / old, tmp_path / "data" / new)
    config = run_config(tmp_path / "data", run__steps=1)
    config.data.domains = ("face.v2", "anime.")
    loop.train(config, tmp_path / "run")
    config.run.steps = 2
    loop.train(config, tmp_path / "run")


def test_the_best_of_other_pictures_is_set_aside(
    records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measures, "RunningKid", lambda *_: None)
    config = run_config(records)
    method = methods.load(config)
    with contextlib.closing(Checkpoints(tmp_path / "best")) as checkpoints:
        checkpoints.save(states.create(method, config), 1, {"kid": 0.5, "pictures": {"face": "x"}})
    for pictures, lowest, left in (("x", 0.5, [1]), ("y", float("inf"), [])):
        with contextlib.ExitStack() as opened:
            best = Best(config, method, tmp_path, 1, {"pictures": {"face": pictures}}, opened)
            assert (best._lowest, best._checkpoints.steps()) == (lowest, left)


def test_it_is_said_where_nothing_tells_the_crop(records: Path, tmp_path: Path, capsys) -> None:
    shutil.copytree(records, tmp_path / "data")
    (tmp_path / "data/report.json").unlink()
    for path, said in ((records, False), (tmp_path / "data", True)):
        loop.train(run_config(path, run__steps=1), tmp_path / path.name)
        assert ("nothing says how the pictures of face were cropped" in capsys.readouterr().out) == said


def test_a_run_that_learns_nothing_is_refused(records: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(Small, "losses", lambda *_: Terms({}, {}, {}))
    with pytest.raises(ValueError, match=r"every weight in config.weights is zero"):
        loop.train(run_config(records), tmp_path / "run")


def test_batch_that_devices_cannot_share(records: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"batch_size is 9, which 8 devices"):
        loop.train(run_config(records, run__batch_size=9), tmp_path / "run")


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def test_every_file_of_a_checkpoint_is_guarded(records: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "run"
    loop.train(run_config(records, run__steps=1), workdir)
    folder = workdir / "checkpoints" / "1"
    files = [p for p in folder.rglob("*") if p.is_file() and p.stat().st_size]
    assert len(files) > 5
    assert checkpoint.damage(folder) is None
    for path in files:
        good = path.read_bytes()
        if path.name != checkpoint.MANIFEST:
            flip_a_bit(path)
            assert str(path) in str(checkpoint.damage(folder))
        path.unlink()
        assert (checkpoint.damage(folder) is None) == (path.name == checkpoint.MANIFEST)
        path.write_bytes(good)
    assert checkpoint.damage(folder) is None


def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    whole_run: Path, records: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    workdir = tmp_path / "run"
    loop.train(run_config(records, run__steps=10), workdir)
    newest = max((workdir / "checkpoints" / "10" / "weights").rglob("*"), key=lambda p: p.stat().st_size)
    flip_a_bit(newest)
    loop.train(run_config(records), workdir)
    assert "checkpoint of step 10 is damaged" in caplog.text and newest.name in caplog.text
    assert [p.name.partition("-")[0] for p in (workdir / "checkpoints_set_aside").iterdir()] == ["10"]
    assert_same_bits(bits(workdir), bits(whole_run))


def test_all_checkpoints_damaged_is_an_error_not_a_new_start(records: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "run"
    loop.train(run_config(records, run__steps=1), workdir)
    for path in (workdir / "checkpoints" / "1" / "weights").rglob("*"):
        if path.is_file() and path.stat().st_size:
            flip_a_bit(path)
    with pytest.raises(CheckpointError, match="no undamaged checkpoint"):
        loop.train(run_config(records), workdir)


def stopped_xgan(records: Path, folder: Path, stops: dict[int, str]) -> None:
    """Trains XGAN to step 4, whole and with these stops, {step: where pictures are kept until then}."""
    for name, launches in (("whole", {4: "none"}), ("stopped", stops)):
        for stop, cache in launches.items():
            config = run_config(records, xgan_config, run__steps=stop, data__cache=cache)
            loop.train(config, folder / name)
    assert_same_bits(bits(folder / "stopped", 4), bits(folder / "whole", 4))


@pytest.mark.slow
def test_xgan_stopped_and_continued_is_bit_exact(records: Path, tmp_path: Path) -> None:
    stopped_xgan(records, tmp_path, {2: "none", 4: "none"})


@pytest.mark.slow  # another program to compile
def test_xgan_goes_on_with_its_pictures_on_the_devices_and_back(records: Path, tmp_path: Path) -> None:
    stopped_xgan(records, tmp_path, {2: "none", 3: "device", 4: "none"})


def command(records: Path, workdir: Path, *flags: str) -> list[str]:
    return [
        sys.executable,
        str(ROOT / "train.py"),
        f"--config={ROOT / 'configs' / 'xgan.py'}",
        f"--workdir={workdir}",
        f"--config.data.path={records}",
        "--config.data.size=32",
        "--config.networks.width=0.125",
        "--config.networks.embedding_size=32",
        "--config.networks.classifier_layers=1",
        "--config.run.batch_size=8",
        *flags,
    ]


def test_a_refused_command_says_one_sentence_and_nothing_after_it(records: Path, tmp_path: Path) -> None:
    flags = command(records, tmp_path / "run", "--config.data.size=64")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run(flags, env=environment, capture_output=True, text=True)
    assert ended.returncode == 2
    last = ended.stderr.strip().splitlines()[-1]
    assert last.startswith("train.py: ") and "prepare it again with --size 64" in last, ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.slow
def test_kill_9_at_three_random_moments_is_bit_exact(records: Path, tmp_path: Path) -> None:
    """The command, killed without warning while it trains and saves, ends as if never killed."""
    flags = (
        "--config.run.steps=400",
        "--config.run.checkpoint_every=20",
        "--config.run.log_every=5",
        "--config.run.sample_every=100",
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run(command(records, tmp_path / "whole", *flags), env=environment, check=True)
    random = np.random.default_rng()
    kills = 0
    for target in np.sort(random.integers(20, 390, 3)):
        process = subprocess.Popen(command(records, tmp_path / "killed", *flags), env=environment)
        while process.poll() is None:
            lines = tmp_path / "killed" / "metrics.jsonl"
            if lines.exists() and len(lines.read_text().splitlines()) >= target // 5:
                time.sleep(random.uniform(0, 0.05))
                break
            time.sleep(0.01)
        process.kill()
        kills += process.wait() == -signal.SIGKILL
    subprocess.run(command(records, tmp_path / "killed", *flags), env=environment, check=True)
    assert kills == 3
    trees = []
    for name in ("whole", "killed"):
        config = configs.from_json((tmp_path / name / "config.json").read_text())
        method = methods.load(config)
        abstract = jax.eval_shape(lambda config=config, method=method: states.create(method, config))
        checkpoints = Checkpoints(tmp_path / name / "checkpoints", create=False)
        here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        state, data = checkpoints.restore(abstract, 400, here)
        checkpoints.close()
        leaves = jax.tree.leaves(dataclasses.replace(state, key=jax.random.key_data(state.key)))
        trees.append([np.asarray(x) for x in leaves] + [np.frombuffer(str(data).encode(), np.uint8)])
    assert_same_bits(*trees)
    assert numbers(tmp_path / "whole") == numbers(tmp_path / "killed")


def no_space(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_run_goes_on_without_its_pictures_and_lines(
    records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A full disk takes samples and logs, with one warning each, and nothing else."""
    with monkeypatch.context() as patch:
        patch.setattr(grid, "save_png", lambda path, picture: None if "reals" in path else no_space())
        patch.setattr(metrics.RunWriter, "_write_line", no_space)
        patch.setattr(metrics.Events, "write_scalars", no_space)
        loop.train(run_config(records, run__steps=8), tmp_path / "run")
    assert Checkpoints(tmp_path / "run/checkpoints", create=False).steps() == [4, 8]
    said = [r.getMessage() for r in caplog.records if "training goes on without" in r.getMessage()]
    assert sorted(text.split(" cannot be written (the disk is full)")[0] for text in said) == [
        "TensorBoard events",
        "lines of metrics.jsonl",
        "samples",
    ]


def test_a_save_that_fails_ends_the_run_and_names_the_last_good_one(
    whole_run: Path, records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the same command goes on from there, to the same bits."""
    workdir = tmp_path / "run"
    save = Checkpoints.save

    def full_at_8(self: Checkpoints, state: object, step: int, data: dict) -> None:
        save(self, state, step, data) if step < 8 else no_space()

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", full_at_8)
        with pytest.raises(MachineError) as raised:
            loop.train(run_config(records), workdir)
    assert str(raised.value) == (
        f"{workdir}: the disk is full: free some space, then give the same command again; the checkpoint of "
        "step 4 is good, and it goes on from there."
    )
    loop.train(run_config(records), workdir)
    assert_same_bits(bits(workdir), bits(whole_run))


def test_a_full_disk_before_the_first_step(
    records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "write_config", no_space)
    with pytest.raises(MachineError, match=r"the disk is full: .*; nothing was saved yet"):
        loop.train(run_config(records), tmp_path / "run")


def test_a_damaged_run_json_is_kept_and_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('[{"time": "2')
    folder.record_launch(tmp_path, 3)
    (launch,) = json.loads((tmp_path / "run.json").read_text())
    assert launch["start_step"] == 3
    (kept,) = tmp_path.glob("run.json.damaged-*")
    assert kept.read_text() == '[{"time": "2'

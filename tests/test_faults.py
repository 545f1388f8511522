"""One sentence, from every command: what is wrong, where, what to do; and its exit status."""

import errno
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from xgan_jax import cli, faults, flags
from xgan_jax import config as configs
from xgan_jax.runs.checkpoint import CheckpointError

ROOT = Path(__file__).parents[1]
TENSORSTORE = (
    'RESOURCE_EXHAUSTED: Error writing local file "/disk/run/12/d": Failed to write 9 bytes: No space '
    "left on device [os_error_code='28'] [source locations='tensorstore/x.cc:1\ntensorstore/y.cc:2']"
)


def of_system(number: int, path: str | None = "/disk/x") -> OSError:
    return OSError(number, os.strerror(number), path) if path else OSError(number, os.strerror(number))


# An error, what its sentence says, the exit status.
TABLE = [
    (ValueError("config.run.steps is 0:\n  use 1 or more."), "config.run.steps is 0: use 1 or more.", 2),
    (CheckpointError("no checkpoint of step 3: there are 4."), "no checkpoint of step 3", 2),
    (FileNotFoundError("photos does not exist: give a folder."), "photos does not exist: give a folder.", 2),
    (of_system(errno.ENOENT), "/disk/x: it does not exist: look at how it is written.", 2),
    (of_system(errno.ENOTDIR), "/disk/x: a file stands where a folder is needed", 2),
    (of_system(errno.EISDIR), "/disk/x: a folder stands where a file is needed", 2),
    (of_system(errno.EEXIST, __file__), "a file stands where a folder is needed", 2),
    (of_system(errno.EACCES), "/disk/x: this user may not read or write it", 2),
    (of_system(errno.EPERM), "/disk/x: this user may not", 2),
    (of_system(errno.EROFS), "/disk/x: it lies on a disk that can only be read: choose another folder.", 2),
    (of_system(errno.ENAMETOOLONG), "the name is too long for this disk: choose a shorter one.", 2),
    (of_system(errno.ELOOP), "/disk/x: its links go round in a circle", 2),
    (of_system(errno.ENOSPC), "/disk/x: the disk is full: free some space, then give the same command", 1),
    (of_system(errno.ENOSPC, None), "runs/mine: the disk is full: free some space", 1),
    (ValueError(TENSORSTORE), "/disk/run/12/d: the disk is full: free some space", 1),
    (of_system(errno.EDQUOT), "/disk/x: your quota of the disk is used up: free some space", 1),
    (of_system(errno.EIO), "/disk/x: the disk does not answer as it should", 1),
    (of_system(errno.ESTALE), "/disk/x: the network disk was mounted anew", 1),
    (of_system(errno.EMFILE), "/disk/x: too many files are open: allow more with `ulimit -n 4096`", 1),
    (of_system(errno.EPIPE, None), "xgan translate: whoever read what is printed has stopped", 141),
    (of_system(errno.EUCLEAN), "/disk/x: Structure needs cleaning", 1),
    (MemoryError(), "this machine's memory does not suffice: lower --batch-size.", 1),
    (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes."), "lower --batch-size.", 1),
    (RuntimeError("Unable to initialize backend 'cuda': no GPU"), "unset JAX_PLATFORMS, or install jax", 2),
    (FloatingPointError("step 3: loss/gan is NaN; the checkpoint of step 2 is good."), "step 3: loss/gan", 1),
    (faults.MachineError("the disk is full; step 8 is good."), "the disk is full; step 8 is good.", 1),
    (
        ModuleNotFoundError("No module named 'cv2'", name="cv2.data"),
        "cv2 is missing: pip install -e '.[det",
        2,
    ),
    (ModuleNotFoundError("No module named 'x'", name="x"), "the Python package x is missing: pip install", 2),
    (KeyboardInterrupt(), "stopped: the same command goes on.", 130),
]


@pytest.mark.parametrize("error, sentence, status", TABLE, ids=lambda x: type(x).__name__)
def test_every_fault_is_one_line_with_its_status(
    error: BaseException, sentence: str, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails() -> None:
        with faults.writing("runs/mine"):
            raise error

    assert faults.run("xgan translate", fails) == status
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("xgan translate: ") and sentence in line


@pytest.mark.parametrize("number", sorted(errno.errorcode))
def test_whatever_the_system_says_has_a_sentence(number: int) -> None:
    fault = faults.fault_of(of_system(number))
    assert fault is not None and fault.status in (1, 2, 141)
    assert "\n" not in str(fault) and "/disk/x" in str(fault) and str(fault).count(": ") >= 2


def test_a_mistake_of_ours_comes_with_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert faults.run("xgan prepare", lambda: {}["key"]) == 1
    text = capsys.readouterr().err
    assert text.count("Traceback") == 1 and "KeyError: 'key'" in text
    assert text.splitlines()[-1].startswith("xgan prepare: this is a fault of xgan_jax: please report it")


def test_the_traceback_of_a_fault_can_be_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XGAN_TRACEBACK", "1")
    assert faults.run("xgan prepare", lambda: int("x")) == 2
    text = capsys.readouterr().err
    assert "Traceback" in text and text.splitlines()[-1].startswith("xgan prepare: invalid literal")


def test_a_command_may_end_the_program_itself() -> None:
    """absl's --help, and training after SIGTERM."""

    def ends(code: object) -> int:
        return faults.run("train.py", lambda: sys.exit(code))

    assert [ends(code) for code in (None, 0, 3, 143)] == [0, 0, 3, 143]


_RUN = ["--workdir", "R", "--input", "P", "--output", "O"]
XGAN = {
    "prepare": ["prepare", "--domain", "face=P", "--domain", "anime=Q", "--out", "O"],
    "translate": ["translate", *_RUN, "--direction", "face2anime"],
    "neighbours": ["neighbours", *_RUN, "--domain", "face", "--among", "anime"],
    "interpolate": ["interpolate", *_RUN, "--domain", "face"],
    "mix-style": ["mix-style", *_RUN, "--direction", "face2anime"],
    "convert": ["convert", "--method", "cyclegan", "--weights", "P", "--out", "O"],
}


@pytest.mark.parametrize("command", XGAN)
def test_every_command_of_xgan_says_it(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(XGAN[command]) == 2  # nothing that it names is there
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"xgan {command}: ") and line.endswith(".")
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "--nonesuch"])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"xgan {command}: the following arguments are required")
    for misspelt, meant in (("--otput=x", "did you mean --output?"), ("x", f"see xgan {command} --help.")):
        with pytest.raises(SystemExit) as ended:
            cli.main([*XGAN[command], misspelt])
        (line,) = capsys.readouterr().err.splitlines()
        assert ended.value.code == 2 and line.startswith(
            f"xgan {command}: the argument {misspelt!r} is unknown"
        )
        assert line.endswith(meant.replace("--output", "--out") if "--out" in XGAN[command] else meant)


@pytest.mark.parametrize(
    "command, arguments, sentence",
    [
        (
            "train.py",
            ["--config=configs/xgan.py", "--workdir=R", "--config.run.stps=4"],
            "--config.run.steps?",
        ),
        ("eval.py", ["--workdir=nowhere", "--metrics=all"], "nowhere has no config.json: give the --workdir"),
    ],
)
def test_the_other_commands_say_it(command: str, arguments: list[str], sentence: str) -> None:
    done = subprocess.run(
        [sys.executable, command, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{command}: ") and sentence in line


def test_a_reader_that_stops_reading_is_no_traceback() -> None:
    """`xgan prepare ... | head -1`."""
    code = "from xgan_jax import faults; import sys\nsys.exit(faults.run('x', lambda: print('a' * 100_000)))"
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writer)
    assert done.returncode == 141
    assert len(done.stderr.splitlines()) == 1 and "has stopped" in done.stderr


RECIPES = {
    "syntax": ("def get_config(:\n", "is no Python .* line 1"),
    "nothing": ("x = 1\n", r"is no recipe: it needs a function get_config\(\)"),
    "other": ("def get_config():\n    return {'run': 1}\n", "is no recipe"),
    "name": ("def get_config():\n    return steps\n", "fails .NameError: name 'steps' is not defined"),
    "value": ("raise ValueError('no\\nway')\n", "fails .ValueError: no way"),
    "package": ("import nonesuch\n", "fails .ModuleNotFoundError"),
    "file": ("open('/nonesuch/x')\n", "fails .FileNotFoundError"),
    "binary": ("\0\0", "is no Python"),
}


@pytest.mark.parametrize("kind", RECIPES)
def test_a_recipe_that_is_none(kind: str, tmp_path: Path) -> None:
    text, sentence = RECIPES[kind]
    path = tmp_path / "recipe.py"
    path.write_text(text)
    with pytest.raises(ValueError, match=sentence) as raised:
        flags.load_recipe(str(path))
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)


def test_a_recipe_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert flags.load_recipe("configs/xgan.py").method == "xgan"
    for given, meant in (("xgan", "configs/xgan.py"), ("configs/cyclgan.py", "configs/cyclegan.py")):
        with pytest.raises(FileNotFoundError, match=rf"--config {given} is no file: did you mean {meant}\?"):
            flags.load_recipe(given)
    with pytest.raises(FileNotFoundError, match=r"give a recipe, for example configs/xgan\.py\."):
        flags.load_recipe("configs")


@pytest.mark.parametrize(
    "argument, sentence",
    [
        ("--config.run.stps=4", r"no setting config\.run\.stps: did you mean --config\.run\.steps\?"),
        ("--config.steps=4", r"did you mean --config\.run\.steps\?"),
        ("--config.runn.batch_size=4", r"did you mean --config\.run\.batch_size\?"),
        ("--noconfig.data.flp", r"did you mean --config\.data\.flip\?"),
        ("--config.data.zzzz", r"config\.data has path, domains, "),
        ("--config.run", r"config\.run is a group of settings"),
        ("-config.qqqq=1", r"xgan_jax/config\.py has them all"),
    ],
)
def test_a_misspelt_setting_is_told_the_nearest(argument: str, sentence: str) -> None:
    config = flags.load_recipe(str(ROOT / "configs/xgan.py"))
    flags._check_settings(
        config, ["train.py", "--config", "x", "--config.run.steps=3", "--noconfig.data.flip"]
    )
    with pytest.raises(ValueError, match=sentence):
        flags._check_settings(config, ["train.py", argument])


def test_home_is_found_wherever_a_path_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    there = str(tmp_path / "x")
    given = ["train.py", "--workdir=~/x", "--config.data.path=~/x", "--out", "~/x", "--n=a~/x"]
    assert flags._with_home(given) == [
        "train.py",
        f"--workdir={there}",
        f"--config.data.path={there}",
        "--out",
        there,
        "--n=a~/x",
    ]
    assert flags.home("tfds:~/x") == f"tfds:{there}" and flags.home("a/~") == "a/~"
    config = flags.load_recipe(str(ROOT / "configs/gatys.py"))
    config.data.path = config.run.profile = config.networks.weights_file = "~/x"
    flags.expand_home(config)
    assert {config.data.path, config.run.profile, config.networks.weights_file} == {there}


@pytest.mark.parametrize("command", XGAN)
def test_xgan_finds_home(command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    given = [word if word not in "PQRO" else f"~/{word}" for word in XGAN[command]]
    given = [f"{word[:-1]}~/{word[-1]}" if word.endswith(("=P", "=Q")) else word for word in given]
    given += ["--labels", "face=~/L", "--test-list", "face=~/T"] if command == "prepare" else []
    given += ["--reference", "~/F"] if command == "translate" else []
    asked = vars(cli._parser().parse_args(given))
    for option in ("out", "output", "workdir", "weights", "reference"):
        assert not str(asked.get(option)).startswith("~")
    if command == "prepare":
        for option in ("domain", "labels", "test_list"):
            assert all(cli._pair(option, text)[1].startswith(str(tmp_path)) for text in asked[option])
    else:
        assert "~" not in str(asked)


@pytest.mark.parametrize("content", [b"", b'{"method": "xg', b"[]", b'{"a": 1}', b"\xff\xfe\x00", b"null"])
def test_a_damaged_configuration_of_a_run_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"config\.json is damaged: restore it from a copy"):
        configs.read(path)
    path.write_text(configs.to_json(flags.load_recipe(str(ROOT / "configs/xgan.py"))))
    assert configs.read(path).method == "xgan" and json.loads(path.read_text())["data"]["size"] == 64


WORK = """
import os, signal, sys, time
from xgan_jax import faults

signal.signal(signal.SIGINT, signal.default_int_handler)  # also where the tests run in the background

def _xla_gc_callback():  # as JAX's: what is raised in it is lost
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0)
    except BaseException:
        pass

def work():
    WHERE
    time.sleep(20)
    print("it went on")

sys.exit(faults.run("x", work))
"""


@pytest.mark.parametrize(
    "where", ["import interrupted", "_xla_gc_callback()", "import signal as s; s.raise_signal(2)"]
)
def test_ctrl_c_ends_a_command_wherever_it_is(where: str, tmp_path: Path) -> None:
    (tmp_path / "interrupted.py").write_text(
        "import os, signal\ntry:\n    os.kill(os.getpid(), signal.SIGINT)\nexcept BaseException:\n    pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", WORK.replace("WHERE", where)],
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{tmp_path}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "x: stopped: the same command goes on.\n"


@pytest.mark.parametrize("flag", ["--workdir=", "--out=", "--data="])
def test_an_empty_path_is_not_the_folder_one_stands_in(flag: str, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "eval.py"), "--workdir=R", flag]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, f"eval.py: {flag.rstrip('=')} is empty: give a path.\n")


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"data": None}, "config.json is damaged"),
        ({"data": {"size": "32"}}, "config.data.size is '32': use a whole number"),
        ({"data": {"domains": "face"}}, "config.data.domains is 'face': use names"),
    ],
)
def test_an_edited_config_json(changes: dict, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"method": "xgan"} | changes))
    command = [sys.executable, str(ROOT / "eval.py"), f"--workdir={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and sentence in done.stderr and done.stderr.count("\n") == 1


def test_a_command_may_run_in_a_thread() -> None:
    found = []
    thread = threading.Thread(target=lambda: found.append(faults.run("x", lambda: None)))
    thread.start()
    thread.join()
    assert found == [0]

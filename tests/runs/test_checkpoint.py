"""Checkpoints of a few numbers: where they can be kept, what is certified, and what is said of bad ones."""

import gc
import os
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xgan_jax.convert import convert
from xgan_jax.runs import checkpoint, folder
from xgan_jax.runs.checkpoint import MANIFEST, CheckpointError, Checkpoints, damage
from xgan_jax.runs.state import TrainState


def state(width: int = 4, **more: int) -> TrainState:
    params = {"encoder": {"kernel": jnp.arange(3.0 * width).reshape(3, width)}}
    params |= {name: {"bias": jnp.ones(size)} for name, size in more.items()}
    ema, zeros = jax.tree.map(jnp.copy, params), jax.tree.map(jnp.zeros_like, params)
    step = jnp.zeros((), jnp.int32)
    return TrainState(step, jax.random.key(0), params, ema, {"generator": (zeros,)}, {"seen": jnp.ones(3)})


def save(where: Path, *steps: int) -> Path:
    checkpoints = Checkpoints(where)
    for step in steps:
        checkpoints.save(state(), step, {"iterator": step})
    checkpoints.close()
    return where


def restore(where: Path, wanted: TrainState) -> tuple[TrainState, dict]:
    checkpoints = Checkpoints(where, create=False)
    try:
        step = checkpoints.latest_good()
        assert step is not None
        here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        return checkpoints.restore(jax.eval_shape(lambda: wanted), step, here)
    finally:
        checkpoints.close()


NAMES = [
    "xgan [v2]",
    "[",
    "*",
    "**",
    "a*b",
    "?",
    " a ",
    "日本",
    "%20",
    "%s",
    "{a,b}",
    "~",
    "#",
    "a:b",
    "'",
    '"',
    "\n",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_run_can_be_called_anything(tmp_path: Path, name: str) -> None:
    for where in (tmp_path / name / "run", tmp_path / "runs" / name):
        restored, data = restore(save(where, 3), state())
        np.testing.assert_array_equal(
            restored.params["encoder"]["kernel"], state().params["encoder"]["kernel"]
        )
        assert data == {"iterator": 3}


def test_a_run_can_be_reached_by_any_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    ways = ("../a", "./b/../c", "../link/d", "../link/../e", "..//here/./f", "g/")
    for way in ways:
        assert restore(save(Path(way), 3), state())[1] == {"iterator": 3}
    found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("3"))
    assert found == ["a/3", "e/3", "here/c/3", "here/d/3", "here/f/3", "here/g/3"]


def test_a_run_that_reads_like_a_pattern_takes_nothing_of_its_neighbour(tmp_path: Path) -> None:
    """The neighbour's is the same step, of other arrays, and `[ab]` and `*` match its name."""
    checkpoints = Checkpoints(tmp_path / "a")
    checkpoints.save(state(5, decoder=2), 3, {"iterator": 3})
    checkpoints.close()
    for name in ("[ab]", "*", "?"):
        restored, _ = restore(save(tmp_path / name, 3), state())
        assert restored.params["encoder"]["kernel"].shape == (3, 4)


def test_relative_and_linked_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real [1]").mkdir()
    (tmp_path / "link").symlink_to("real [1]")
    monkeypatch.chdir(tmp_path / "link")
    restore(save(Path("run"), 1), state())
    restore(tmp_path / "link" / "run", state())
    restore(tmp_path / "real [1]" / "run", state())


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("back\\slash", "it holds a backslash"),
        ("gs:/bucket/run", "address of cloud storage"),
        ("/hf/run", "address of cloud storage"),
        (os.fsdecode(b"caf\xe9"), "no valid UTF-8"),
        ("/".join(["x" * 200] * 20), "longer than 3800 bytes"),
    ],
)
def test_where_nothing_can_be_kept_is_refused_before_anything_is_made(
    tmp_path: Path, path: str, message: str
) -> None:
    with (
        pytest.raises(ValueError, match=f"no checkpoint can be kept in the path .*{message}"),
        folder.held(tmp_path / path),
    ):
        pass
    with pytest.raises(ValueError, match=message):
        convert("cyclegan", tmp_path, tmp_path / path)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_read_is_not_certified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Orbax left it where it took the path for a pattern: committed, and never merged."""
    save(tmp_path / "run", 1)
    monkeypatch.setattr(checkpoint._Literal, "glob", lambda self, pattern: iter(()))
    with pytest.raises(
        CheckpointError, match=r"step 2 was saved, but cannot be used: it holds no ema\.encoder\.kernel"
    ) as e:
        save(tmp_path / "run", 2)
    assert "the last good checkpoint is that of step 1" in str(e.value)
    monkeypatch.undo()
    assert not (tmp_path / "run" / "2" / MANIFEST).exists()
    _, data = restore(tmp_path / "run", state())
    assert data == {"iterator": 1}


def test_what_was_certified_before_it_was_checked_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint._Literal, "glob", lambda self, pattern: iter(()))
    monkeypatch.setattr(
        Checkpoints, "_certify", lambda self, step, _: checkpoint.write_manifest(self.directory / str(step))
    )
    save(tmp_path / "run", 1)
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match=r"no undamaged checkpoint in .*weights cannot be read"):
        restore(tmp_path / "run", state())


@pytest.mark.parametrize("item", ["weights", "training", "data"])
def test_without_a_manifest_everything_is_read(tmp_path: Path, item: str) -> None:
    where = save(tmp_path / "run", 1, 2)
    (where / "2" / MANIFEST).unlink()
    assert damage(where / "2") is None
    files = [p for p in (where / "2" / item).rglob("*") if p.is_file() and p.name != "commit_success.txt"]
    largest = max(files, key=lambda p: p.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-20])
    assert f"{item} cannot be read" in str(damage(where / "2"))
    assert restore(where, state())[1] == {"iterator": 1}


@pytest.mark.parametrize("content", ["", "[]", "{", "7", "\x00"])
def test_a_damaged_manifest(tmp_path: Path, content: str) -> None:
    where = save(tmp_path / "run", 1)
    (where / "1" / MANIFEST).write_text(content)
    assert "manifest.json is not readable" in str(damage(where / "1"))


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (state(5), r"ema/encoder/kernel has the shape \(3, 4\) in it, and \(3, 5\) is wanted"),
        (state(decoder=2), r"it holds no ema/decoder/bias, which is wanted with the shape \(2,\)"),
    ],
)
def test_another_configuration_is_told_from_damage(tmp_path: Path, wanted: TrainState, message: str) -> None:
    where = save(tmp_path / "run", 1)
    with pytest.raises(CheckpointError, match=rf"is not damaged, but was saved with another .*{message}"):
        restore(where, wanted)
    shutil.rmtree(where / "1" / "training" / "d")
    (where / "1" / MANIFEST).unlink()
    with pytest.raises(CheckpointError, match=r"no undamaged checkpoint .*training cannot be read"):
        restore(where, wanted)


def test_saving_keeps_nothing_in_memory(tmp_path: Path) -> None:
    """But for what Orbax itself keeps, some 50 objects a save."""
    checkpoints = Checkpoints(tmp_path / "run")
    objects = []
    for step in range(1, 13):
        checkpoints.save(state(), step, {"iterator": step})
        checkpoints.wait()
        gc.collect()
        objects.append(len(gc.get_objects()))
    checkpoints.close()
    assert objects[11] - objects[3] < 8 * 80


def test_a_hundred_flipped_bits_are_found(tmp_path: Path) -> None:
    """Anywhere in a checkpoint, its manifest included."""
    folder = save(tmp_path / "run", 1) / "1"
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)
    ends = np.cumsum([path.stat().st_size for path in files])
    random = np.random.default_rng(0)
    assert damage(folder) is None
    for place in random.choice(ends[-1] * 8, 100, replace=False):
        at, bit = divmod(int(place), 8)
        number = int(np.searchsorted(ends, at, side="right"))
        path, whole = files[number], files[number].read_bytes()
        content = bytearray(whole)
        content[at - int(ends[number])] ^= 1 << bit  # counted from the file's end
        path.write_bytes(bytes(content))
        assert damage(folder) is not None, f"bit {bit} of byte {at} ({path})"
        path.write_bytes(whole)
    assert damage(folder) is None


@pytest.mark.parametrize(("saved_on", "restored_on"), [(1, 8), (8, 1), (4, 8)])
def test_any_number_of_devices_restores_the_same_bits(
    tmp_path: Path, saved_on: int, restored_on: int
) -> None:
    def replicated(devices: int) -> jax.sharding.NamedSharding:
        mesh = jax.sharding.Mesh(np.array(jax.devices()[:devices]), ("data",))
        return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())

    random = jax.tree.map(lambda x: jax.random.normal(jax.random.key(x.size), x.shape), state().params)
    whole = state().replace(params=random)
    checkpoints = Checkpoints(tmp_path / "run")
    checkpoints.save(jax.device_put(whole, replicated(saved_on)), 7, {"iterator": 7})
    checkpoints.close()
    checkpoints = Checkpoints(tmp_path / "run", create=False)
    restored, _ = checkpoints.restore(jax.eval_shape(lambda: whole), 7, replicated(restored_on))
    checkpoints.close()
    for a, b in zip(jax.tree.leaves(restored.params), jax.tree.leaves(random), strict=True):
        assert len(a.sharding.device_set) == restored_on
        np.testing.assert_array_equal(a, b)

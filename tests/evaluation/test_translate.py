"""From a trained run to pictures: eval's grids, and any file a user has."""

import json
import shutil
import zipfile
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from small import small_config

from xgan_jax import progress
from xgan_jax.config import Config
from xgan_jax.data.pictures import MENDED
from xgan_jax.evaluation import explore, grid, translate
from xgan_jax.method import Method
from xgan_jax.runs.checkpoint import CheckpointError
from xgan_jax.training import loop
from xgan_jax.xgan import Networks, Weights


@pytest.fixture(scope="module")
def run(records: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("run") / "run"
    config = small_config(records, steps=4, checkpoint_every=2, samples=2)
    loop.train(config, workdir)
    return workdir


def test_eval_draws_both_directions_and_says_what(run: Path, tmp_path: Path) -> None:
    report = translate.evaluate(run, tmp_path, count=5, singles=True)
    assert report == json.loads((tmp_path / "eval.json").read_text())
    assert report["step"] == 4 and report["split"] == "test"
    for direction in ("face2anime", "anime2face"):
        sheet = np.asarray(Image.open(tmp_path / f"{direction}.png"))
        assert sheet.shape == (grid.HEADER + 5 * 34 - 2, 4 * 34 - 2, 3)
        singles = sorted((tmp_path / direction).iterdir())
        assert len(singles) == 5
        # The third column is the translation, bit for bit the single picture.
        x = 2 * 34
        first = sheet[grid.HEADER : grid.HEADER + 32, x : x + 32]
        np.testing.assert_allclose(first.astype(int), np.asarray(Image.open(singles[0])).astype(int), atol=1)
    assert "start_and_now.png" in report["written"]


def test_attention_is_a_column_of_its_own() -> None:
    """Blue where the network does not look, red where it does, over the picture."""

    class Attentive(Method):
        def init(self, key):
            return {}, {}

        def translate(self, params, extra, images, source, target):
            return -images

        def attend(self, params, extra, images, source, target):
            return jnp.zeros((len(images), 4, 4)).at[:, 0, 0].set(7.0)

    method = Attentive(Config("xgan", Networks(), Weights()))
    pictures = {d: np.full((2, 16, 16, 3), 128, np.uint8) for d in ("face", "anime")}
    sheets = grid.translations(grid.make_sampler(method, tuple(pictures)), {}, {}, pictures)
    sheet = sheets["face2anime"][grid.HEADER :]
    assert sheet.shape == (2 * 18 - 2, 5 * 18 - 2, 3)
    where = sheet[:16, 2 * 18 : 2 * 18 + 16].astype(int)
    assert where[0, 0, 0] > where[0, 0, 2] and where[-1, -1, 2] > where[-1, -1, 0]
    assert (sheet[:16, 3 * 18 : 3 * 18 + 16] < 128).all(), "the translation follows"


def test_eval_uses_the_average_of_the_step_asked_for(run: Path, tmp_path: Path) -> None:
    newest = translate.load_run(run)
    older = translate.load_run(run, 2)
    assert (newest.step, older.step) == (4, 2)
    a, b = (r.params["encoder"]["fc1"]["kernel"] for r in (newest, older))
    assert np.abs(np.asarray(a) - np.asarray(b)).max() > 0
    with pytest.raises(CheckpointError, match=r"no checkpoint of step 3: there are 2, 4"):
        translate.load_run(run, 3)


def odd_files(folder: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (50, 70, 3), dtype=np.uint8)
    (folder / "deep" / "er").mkdir(parents=True)
    Image.fromarray(pixels).save(folder / "same.png")
    Image.fromarray(pixels).save(folder / "same.jpg")
    Image.fromarray(pixels[..., 0]).save(folder / "grey with space.png")
    Image.fromarray(np.dstack([pixels, pixels[..., :1]])).save(folder / "deep" / "er" / "é.png")
    whole = (folder / "same.jpg").read_bytes()
    (folder / "broken.jpg").write_bytes(whole[:300])
    (folder / "same.jpg").write_bytes(whole[:-2])  # no EOI


def test_every_file_comes_out_or_is_named(run: Path, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    odd_files(source)
    report = translate.translate_files(
        str(run), str(source), str(tmp_path / "out"), "face2anime", batch_size=3
    )
    assert (report["found"], report["translated"]) == (5, 4)
    assert [entry["file"] for entry in report["refused"]] == ["broken.jpg"]
    assert report["remarks"] == {MENDED: {"pictures": 1, "first": "same.jpg"}}
    out = sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.png"))
    assert out == ["deep/er/é.png", "grey with space.png", "same.jpg.png", "same.png.png"]
    assert all(Image.open(tmp_path / "out" / name).size == (32, 32) for name in out)


def test_who_waits_for_files_is_told(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """How far it is, where there is no terminal; the last line says what came of it."""
    monkeypatch.setattr(progress, "EVERY", 0)
    (tmp_path / "in").mkdir()
    odd_files(tmp_path / "in")
    translate.translate_files(str(run), str(tmp_path / "in"), str(tmp_path / "out"), "face2anime")
    *lines, last = capsys.readouterr().out.splitlines()
    told = [line.split(",")[0] for line in lines if line.startswith("translating")]
    assert told == [f"translating: {i} of 5 pictures" for i in range(1, 6)]
    assert last.startswith("5 files = 4 translated + 1 refused")


def test_zip_and_single_file_give_the_same_pictures(run: Path, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    odd_files(source)
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        archive.write(source / "same.png", "inside/same.png")
        archive.writestr("../evil.png", (source / "same.png").read_bytes())
    translate.translate_files(str(run), str(tmp_path / "in.zip"), str(tmp_path / "a"), "anime2face")
    translate.translate_files(str(run), str(source / "same.png"), str(tmp_path / "b"), "anime2face")
    a, b = (Image.open(tmp_path / "a" / "inside" / "same.png"), Image.open(tmp_path / "b" / "same.png"))
    np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    assert not list(tmp_path.rglob("evil.png"))


def test_pictures_are_cropped_as_in_training(run: Path, tmp_path: Path) -> None:
    """A test picture of the training set, at its original size, gives what eval gives for its record."""
    loaded = translate.load_run(run)
    assert loaded.crop == {"face": "center", "anime": "center"}
    wide = np.zeros((64, 128, 3), np.uint8)
    wide[:, 32:96] = np.random.default_rng(1).integers(0, 255, (64, 64, 3))
    Image.fromarray(wide).save(tmp_path / "wide.png")
    Image.fromarray(wide[:, 32:96]).save(tmp_path / "square.png")
    results = []
    for name in ("wide", "square"):
        out = tmp_path / f"out_{name}"
        translate.translate_files(str(run), str(tmp_path / f"{name}.png"), str(out), "face2anime")
        results.append(np.asarray(Image.open(out / f"{name}.png")))
    np.testing.assert_array_equal(*results)


def test_pictures_of_another_run_or_step_are_not_written_over(run: Path, tmp_path: Path, capsys) -> None:
    both = []
    for step in (4, 2, 4):
        both += translate.evaluate(run, tmp_path, count=2, step=step)["written"]
    assert both[:2] == both[6:8] == ["face2anime.png", "anime2face.png"] and both[3] == "face2anime-2.png"
    assert json.loads((tmp_path / "eval.json").read_text())["step"] == 4
    assert json.loads((tmp_path / "eval-2.json").read_text())["step"] == 2


def test_other_files_among_the_samples_are_left_out(run: Path, tmp_path: Path, capsys) -> None:
    moved = tmp_path / "run"
    shutil.copytree(run, moved)
    sheet = (moved / "samples/step_0000004.png").read_bytes()
    (moved / "samples/step_0000004 copy.png").write_bytes(sheet)
    (moved / "samples/step_0000009.png").touch()
    assert "start_and_now.png" not in translate.evaluate(moved, count=2)["written"]
    assert f"note: {moved}/samples/step_0000009.png is left out: the file is empty" in capsys.readouterr().out
    (moved / "samples/step_0000009.png").unlink()
    assert "start_and_now.png" in translate.evaluate(moved, count=2)["written"]
    assert grid.sampled(moved / "samples") == [0, 4]


@pytest.mark.parametrize(
    "path, given, sentence",
    [
        ("", None, "has no dataset of its own"),
        ("gone", None, "give --data"),
        ("", "gone", "--data gone is no folder"),
    ],
)
def test_a_dataset_that_is_not_there(
    run: Path, path: str, given: str | None, sentence: str, tmp_path: Path
) -> None:
    moved = tmp_path / "run"
    shutil.copytree(run, moved)
    config = json.loads((moved / "config.json").read_text())
    config["data"]["path"] = path
    (moved / "config.json").write_text(json.dumps(config))
    with pytest.raises(FileNotFoundError, match=sentence):
        translate.evaluate(moved, data=given)
    with pytest.raises(FileNotFoundError, match=sentence):
        explore.neighbours(str(moved), [], "face", "anime", str(tmp_path / "out"), data=given)


def test_bad_requests_are_one_sentence(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="use one of face2anime, anime2face"):
        translate.translate_files(str(run), str(run), str(tmp_path), "face2cat")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        translate.translate_files(str(run), str(tmp_path / "none"), str(tmp_path / "o"), "face2anime")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no pictures"):
        translate.translate_files(str(run), str(tmp_path / "empty"), str(tmp_path / "o"), "face2anime")
    with pytest.raises(FileNotFoundError, match=r"has no config.json"):
        translate.load_run(tmp_path)

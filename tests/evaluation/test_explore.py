"""Neighbours, interpolations and mixed styles, of a method whose every part is known."""

import csv
import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from xgan_jax import cli
from xgan_jax.config import Config, DataConfig
from xgan_jax.data import pipeline
from xgan_jax.evaluation import explore, grid, translate
from xgan_jax.method import Method
from xgan_jax.runs.load import Run
from xgan_jax.xgan import Networks, Weights

CONFIG = Config("xgan", Networks(), Weights(), DataConfig(size=32))


class Bare(Method):
    def init(self, key):
        return {}, {}

    def translate(self, params, extra, images, source, target):
        return -images


class Whole(Bare):
    def embed(self, params, extra, images, domain):
        return images.mean((1, 2))

    def generate(self, params, extra, z, target):
        return jnp.broadcast_to(z[:, None, None], (len(z), 32, 32, 3))

    def translate_like(self, params, extra, images, reference, source, target):
        return reference

    def mix(self, params, extra, images, source, target, amount):
        return (1 - amount) * images + amount * jnp.ones_like(images)


BARE, WHOLE = Bare(CONFIG), Whole(CONFIG)


@pytest.fixture
def use(records: Path, monkeypatch: pytest.MonkeyPatch):
    """Makes every run one of the given method, on the embedded records."""
    config = Config("xgan", Networks(), Weights(), DataConfig(path=str(records), size=32))

    def use(method: Method) -> Run:
        run = Run(config, method, {}, {}, 7, {d: "none" for d in config.data.domains})
        monkeypatch.setattr(explore, "load_run", lambda *_, **__: run)
        monkeypatch.setattr(translate, "load_run", lambda *_: run)
        return run

    return use


def saved(path: Path, image: np.ndarray) -> str:
    grid.save_png(str(path), image)
    return str(path)


def test_a_picture_is_its_own_nearest_neighbour(use, tmp_path: Path) -> None:
    run = use(WHOLE)
    of_test = pipeline.read_pictures(run.config.data, "anime", "test", [3, 5])
    inputs = [saved(tmp_path / f"{i}.png", image) for i, image in zip((3, 5), of_test, strict=True)]
    out = tmp_path / "out"
    arguments = ["neighbours", "--workdir", "w", "--input", *inputs, "--output", str(out), "--count", "4"]
    assert cli.main([*arguments, "--domain", "anime", "--among", "anime"]) == 0
    with (out / "neighbours.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(r["file"], r["rank"], r["picture"]) for r in rows if r["rank"] == "1"] == [
        ("3.png", "1", "3"),
        ("5.png", "1", "5"),
    ]
    for name in ("3.png", "5.png"):
        distances = [float(r["distance"]) for r in rows if r["file"] == name]
        assert distances[0] == pytest.approx(0, abs=1e-6) and distances == sorted(distances)
    sheet = np.asarray(Image.open(out / "neighbours.png"))[grid.HEADER :]
    np.testing.assert_array_equal(sheet[:32, :32], sheet[:32, 34:66])


def test_the_way_between_two_pictures_is_straight(use, tmp_path: Path) -> None:
    use(WHOLE)
    ends = [saved(tmp_path / f"{i}.png", np.full((32, 32, 3), v, np.uint8)) for i, v in enumerate((55, 255))]
    arguments = ["interpolate", "--workdir", "w", "--domain", "face", "--output", str(tmp_path / "out")]
    assert cli.main([*arguments, "--count", "5", "--input", *ends]) == 0
    sheet = np.asarray(Image.open(tmp_path / "out" / "interpolation.png"))
    assert sheet.shape == (2 * 34 - 2, 5 * 34 - 2, 3)
    assert [int(sheet[0, 34 * i, 0]) for i in range(5)] == [55, 105, 155, 205, 255]
    assert cli.main([*arguments, "--input", ends[0]]) == 2


def test_styles_go_from_the_source_to_the_target(use, tmp_path: Path) -> None:
    use(WHOLE)
    path = saved(tmp_path / "a.png", np.full((32, 32, 3), 55, np.uint8))
    arguments = ["mix-style", "--workdir", "w", "--input", path, "--output", str(tmp_path / "out")]
    assert cli.main([*arguments, "--direction", "face2anime", "--count", "3"]) == 0
    sheet = np.asarray(Image.open(tmp_path / "out" / "styles.png"))[grid.HEADER :]
    assert [int(sheet[0, 34 * i, 0]) for i in range(4)] == [55, 55, 155, 255]


def test_a_reference_is_followed(use, tmp_path: Path) -> None:
    use(WHOLE)
    photo = saved(tmp_path / "photo.png", np.full((32, 32, 3), 55, np.uint8))
    like = saved(tmp_path / "like.png", np.full((32, 32, 3), 200, np.uint8))
    arguments = ["translate", "--workdir", "w", "--input", photo, "--direction", "face2anime"]
    assert cli.main([*arguments, "--output", str(tmp_path / "out"), "--reference", like]) == 0
    assert (np.asarray(Image.open(tmp_path / "out" / "photo.png")) == 200).all()


def test_a_method_without_the_part_says_so(use, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    use(BARE)
    path = saved(tmp_path / "a.png", np.zeros((32, 32, 3), np.uint8))
    common = ["--workdir", "w", "--input", path, "--output", str(tmp_path / "out")]
    for command, options, sentence in (
        ("neighbours", ["--domain", "face", "--among", "anime"], "xgan has no embedding"),
        ("interpolate", ["--domain", "face"], "xgan has no pictures of embeddings alone"),
        ("mix-style", ["--direction", "face2anime"], "xgan has no style to mix: baselines.twingan has"),
        ("translate", ["--direction", "face2anime", "--reference", path], "xgan follows no reference"),
        ("neighbours", ["--domain", "cat", "--among", "anime"], "is 'cat', which is no domain of this run"),
    ):
        assert cli.main([command, *common, *options]) == 2
        assert sentence in capsys.readouterr().err, command


def photos(folder: Path, *values: int) -> dict[Path, bytes]:
    folder.mkdir()
    paths = [saved(folder / f"{v}.png", np.full((40, 40, 3), v, np.uint8)) for v in values]
    return {Path(path): Path(path).read_bytes() for path in paths}


def test_translating_a_folder_into_itself_keeps_the_photos(use, tmp_path: Path, capsys) -> None:
    """And again: what was made is not translated, but made anew; other files of the user's stay too."""
    use(BARE)
    kept = photos(tmp_path / "p", 40, 90) | {tmp_path / "p/translate.json": b"mine"}
    (tmp_path / "p/translate.json").write_bytes(b"mine")
    arguments = [
        "translate",
        "--workdir",
        "w",
        "--input",
        str(tmp_path / "p"),
        "--output",
        str(tmp_path / "p"),
    ]
    for direction, report, names in (
        ("face2anime", "translate-2.json", ["40-2.png", "90-2.png"]),
        ("face2anime", "translate-2.json", ["40-2.png", "90-2.png"]),
        ("anime2face", "translate-3.json", ["40-3.png", "90-3.png"]),
    ):
        assert cli.main([*arguments, "--direction", direction]) == 0
        said = json.loads((tmp_path / "p" / report).read_text())
        assert list(said["written"].values()) == names and said["found"] == said["translated"] == 2
        assert "'40.png' in" in (out := capsys.readouterr().out) and f"written as {names[0]!r}" in out
    assert all(path.read_bytes() == data for path, data in kept.items())
    assert np.asarray(Image.open(tmp_path / "p/40-2.png"))[0, 0, 0] == 215
    assert len(list((tmp_path / "p").glob("*.png"))) == 6


def test_pictures_of_one_name_come_out_under_several(use, tmp_path: Path) -> None:
    use(BARE)
    kept = photos(tmp_path / "p", 1, 2)
    data = next(iter(kept.values()))
    for name in ("a.jpg", "a.png", "a.jpg.png", "A.JPG", "Mr. Smith", "v1.2"):
        (tmp_path / "p" / name).write_bytes(data)
    arguments = ["--input", str(tmp_path / "p"), "--output", str(tmp_path / "o"), "--direction", "face2anime"]
    assert cli.main(["translate", "--workdir", "w", *arguments]) == 0
    written = json.loads((tmp_path / "o/translate.json").read_text())["written"]
    assert len({name.casefold() for name in written.values()}) == len(written) == 8
    assert written["Mr. Smith"] == "Mr. Smith.png" and written["1.png"] == "1.png"


def test_who_gave_only_damaged_files_hears_of_it(use, tmp_path: Path, capsys) -> None:
    use(WHOLE)
    (tmp_path / "p").mkdir()
    for name, data in {"a.jpg": b"<html>", "b.png": b"", "c.txt": b"x"}.items():
        (tmp_path / "p" / name).write_bytes(data)
    common = ["--workdir", "w", "--input", str(tmp_path / "p"), "--output", str(tmp_path / "o")]
    for command, options in (
        ("translate", ["--direction", "face2anime"]),
        ("neighbours", ["--domain", "face", "--among", "anime"]),
        ("interpolate", ["--domain", "face"]),
        ("mix-style", ["--direction", "face2anime"]),
    ):
        assert cli.main([command, *common, *options]) == 2
        error = capsys.readouterr().err
        assert "none of 2 files can be used, 'a.jpg': the file is HTML" in error and error.count("\n") == 1
    report = json.loads((tmp_path / "o/translate.json").read_text())
    assert (report["found"], report["translated"], report["ignored"]) == (2, 0, ["c.txt"])
    assert [entry["file"] for entry in report["refused"]] == ["a.jpg", "b.png"]


def test_a_refused_file_is_named_beside_what_is_drawn(use, tmp_path: Path, capsys) -> None:
    use(WHOLE)
    photos(tmp_path / "p", 40, 90)
    (tmp_path / "p/bad.jpg").write_bytes(b"<html>")
    common = ["--workdir", "w", "--domain", "face", "--output", str(tmp_path / "p")]
    for command in (["interpolate"], ["neighbours", "--among", "anime"]):
        for _ in range(2):  # what was drawn is no picture to start from
            assert cli.main([*command, *common, "--input", str(tmp_path / "p")]) == 0
            assert "refused 'bad.jpg': the file is HTML" in capsys.readouterr().out
    assert cli.main(["interpolate", *common, "--input", f"{tmp_path}/p/40.png", f"{tmp_path}/p/bad.jpg"]) == 2
    assert "gives 1 pictures ('bad.jpg' is refused, the file is HTML" in capsys.readouterr().err
    drawn = [f"{tmp_path}/p/{name}.png" for name in (40, 90)]
    assert cli.main(["interpolate", *common, "--input", *drawn]) == 0
    assert "interpolation-2.png" in capsys.readouterr().out.splitlines()[-1], "of other pictures"

"""Neighbours, interpolations and mixed styles, of a method whose every part is known."""

import csv
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
        monkeypatch.setattr(explore, "load_run", lambda *_: run)
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

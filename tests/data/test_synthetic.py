"""The embedded data: repeatable, told by attributes, and worth translating."""

import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xgan_jax.data import synthetic
from xgan_jax.data.synthetic import Attributes, draw, draw_dataset, read_attributes, sample_attributes

PLAIN = Attributes("brown", "short", "light", "blue", "none", "neutral", "none", "sky", 0.0, 0.0, 0.0, 1.1)


def people(n: int, **options) -> list[Attributes]:
    rng = np.random.default_rng(0)
    return [sample_attributes(rng, **options) for _ in range(n)]


@pytest.mark.parametrize("style", synthetic.STYLES)
def test_the_same_request_gives_the_same_picture(style: str) -> None:
    a = people(1)[0]
    np.testing.assert_array_equal(draw(a, style, 64, 3), draw(a, style, 64, 3))
    assert np.abs(draw(a, "face", 64, 3).astype(int) - draw(a, "face", 64, 4)).max() > 0


@pytest.mark.parametrize("style", synthetic.STYLES)
@pytest.mark.parametrize("size", [16, 32, 64, 128])
def test_sizes(style: str, size: int) -> None:
    assert draw(PLAIN, style, size).shape == (size, size, 3)


def test_bad_requests() -> None:
    for style, size in (("cat", 64), ("face", 8)):
        with pytest.raises(ValueError, match="use face or anime, and 16 px or more"):
            draw(PLAIN, style, size)


@pytest.mark.parametrize("style", synthetic.STYLES)
@pytest.mark.parametrize("name", synthetic.CATEGORIES)
def test_every_attribute_shows(style: str, name: str) -> None:
    """Each value gives a picture of its own, and changes it where it should."""
    regions = {  # rows and columns of a 64 px picture
        "hair": (slice(0, 26), slice(8, 56)),
        "cut": (slice(0, 64), slice(0, 64)),
        "skin": (slice(26, 54), slice(18, 46)),
        "eyes": (slice(28, 44), slice(16, 48)),
        "glasses": (slice(26, 46), slice(12, 52)),
        "mouth": (slice(42, 52), slice(24, 40)),
        "beard": (slice(38, 58), slice(16, 48)),
        "background": (slice(0, 64), slice(0, 6)),
    }
    pictures = [
        draw(dataclasses.replace(PLAIN, **{name: value}), style, 64, 1).astype(int)[regions[name]]
        for value in synthetic.CATEGORIES[name]
    ]
    for i, a in enumerate(pictures):
        for b in pictures[i + 1 :]:
            assert (np.abs(a - b).max(-1) > 12).sum() >= 4


@pytest.mark.parametrize("style", synthetic.STYLES)
@pytest.mark.parametrize(("name", "by"), [("tilt", 14.0), ("x", 0.05), ("y", 0.04), ("scale", 1.2)])
def test_pose_moves_the_face(style: str, name: str, by: float) -> None:
    moved = draw(dataclasses.replace(PLAIN, **{name: by}), style, 64, 1).astype(int)
    assert (np.abs(moved - draw(PLAIN, style, 64, 1)).max(-1) > 40).sum() > 100


@pytest.mark.parametrize("style", synthetic.STYLES)
def test_hair_colour_can_be_read(style: str) -> None:
    """Nearest mean colour over the top of the head tells it nearly always."""
    crowd = people(400)
    tops = np.stack([draw(a, style, 32, i)[7:11, 13:19].mean((0, 1)) for i, a in enumerate(crowd)])
    labels = np.array([a.hair for a in crowd])
    means = np.stack([tops[:200][labels[:200] == c].mean(0) for c in synthetic.HAIR_COLOURS])
    guess = np.array(synthetic.HAIR_COLOURS)[np.linalg.norm(tops[200:, None] - means, axis=-1).argmin(1)]
    assert (guess == labels[200:]).mean() > 0.8


def test_styles_differ_in_texture_and_palette() -> None:
    """One threshold on high frequencies in the background, or on saturation, tells the domains."""
    crowd = people(60)
    rough, vivid = {}, {}
    for style in synthetic.STYLES:
        x = np.stack([draw(a, style, 64, i) for i, a in enumerate(crowd)]).astype(float)
        rough[style] = np.abs(np.diff(x[:, :, :5], axis=1)).mean((1, 2, 3))
        vivid[style] = x.max(-1).mean((1, 2))
    assert np.median(rough["face"]) > 2 * np.median(rough["anime"])
    assert np.median(vivid["anime"]) > 1.3 * np.median(vivid["face"])


def test_skew_changes_frequencies_on_demand() -> None:
    beards = {
        skew: Counter(a.beard for a in people(500, style="anime", skew=skew))["none"] / 500
        for skew in (False, True)
    }
    assert 0.6 < beards[False] < 0.8 and beards[True] > 0.9
    assert people(20, style="anime") == people(20, style="face")


def test_dataset_counterparts_and_labels(tmp_path: Path) -> None:
    out = tmp_path / "drawn"
    draw_dataset(out, count=3, test_count=4, size=32, seed=5)
    assert sorted(p.name for p in out.iterdir()) == ["dataset.json", "testA", "testB", "trainA", "trainB"]
    faces, animes = (read_attributes(out / f / "attributes.csv") for f in ("testA", "testB"))
    assert len(faces) == 4 and set(faces.values()).isdisjoint(animes.values()), "no pairs"
    for i, (name, attributes) in enumerate(faces.items()):
        again = draw(attributes, "face", 32, synthetic.picture_seed(5, "testA", i))
        np.testing.assert_array_equal(np.asarray(Image.open(out / "testA" / name)), again)


def test_drawing_says_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("xgan_jax.progress.EVERY", -1.0)
    draw_dataset(tmp_path / "drawn", count=2, test_count=1, size=32)
    assert "drawing: 6 of 6 pictures, " in capsys.readouterr().out


def test_dataset_is_not_drawn_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "drawn"
    draw_dataset(out, count=2, test_count=1, size=32)
    draw_dataset(out, count=2, test_count=1, size=32)
    assert "is drawn already" in capsys.readouterr().out
    with pytest.raises(ValueError, match="delete it or give another --out"):
        draw_dataset(out, count=3, test_count=1, size=32)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="delete it or give another --out"):
        draw_dataset(tmp_path / "dangling", count=2, test_count=1, size=32)
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize(
    ("flag", "number", "least"), [("count", 0, 1), ("test-count", -1, 0), ("size", 8, 16), ("seed", -1, 0)]
)
def test_numbers_that_are_too_small_are_refused(
    tmp_path: Path, monkeypatch, capsys, flag: str, number: int, least: int
) -> None:
    command = ["synthetic", "--out", str(tmp_path / "drawn"), f"--{flag}", str(number)]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit) as ended:
        synthetic.main()
    assert ended.value.code == 2 and not list(tmp_path.iterdir())
    assert capsys.readouterr().err == f"synthetic: --{flag} is {number}: use {least} or more.\n"


def test_what_an_interruption_left_is_taken_up_and_nothing_else(tmp_path: Path) -> None:
    partial = tmp_path / "drawn.partial"
    partial.mkdir()
    (partial / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"drawn\.partial is in the way and was not drawn here"):
        draw_dataset(tmp_path / "drawn", count=2, test_count=1, size=32)
    assert (partial / "mine.txt").read_text() == "mine"
    (partial / "mine.txt").rename(partial / ".drawing")
    draw_dataset(tmp_path / "drawn", count=2, test_count=1, size=32)
    assert sorted(p.name for p in (tmp_path / "drawn").iterdir()) == [
        *("dataset.json", "testA", "testB", "trainA", "trainB"),
    ]

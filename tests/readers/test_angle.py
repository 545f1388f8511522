"""Angles: from labels and eyes, of turned pictures, and a network that reads them."""

import dataclasses
import sys
import types

import jax.numpy as jnp
import numpy as np
import pytest

from xgan_jax.config import Config, DataConfig
from xgan_jax.data import pipeline
from xgan_jax.data.prepare import prepare
from xgan_jax.data.synthetic import draw, draw_dataset, sample_attributes
from xgan_jax.readers import angle, eyes


def test_tilt_of_labels_and_of_eyes() -> None:
    np.testing.assert_array_equal(angle.tilts({"tilt": [3.5, -2]}), [3.5, -2])
    # The eye to the right of the picture lower than the other: clockwise.
    eyes = {"lefteye_x": [10, 10], "lefteye_y": [20, 20], "righteye_x": [30, 30], "righteye_y": [40, 20]}
    np.testing.assert_allclose(angle.tilts(eyes), [45, 0])
    assert angle.tilts({"hair": ["red"]}) is None
    # Rows that the CSV lacks, and empty cells, are not tilts of 0.
    some = {"tilt": [0, 4, 5], "labelled": [0, 1, 1]}
    np.testing.assert_array_equal(angle.tilts(some), [np.nan, 4, 5])
    np.testing.assert_array_equal(angle.tilts({"tilt": ["7", "", "-2"]}), [7, np.nan, -2])
    with pytest.raises(ValueError, match=r"'tilt' should be numbers: .*'left'"):
        angle.tilts({"tilt": ["left", "7"]})


def test_turning_is_tilting() -> None:
    """A face drawn with a tilt looks like the upright one turned by it, about the head's own middle."""
    person = dataclasses.replace(sample_attributes(np.random.default_rng(0)), tilt=0.0, x=0.0, y=-0.04)
    tilted = draw(dataclasses.replace(person, tilt=15.0), "anime", 64, 0) / 127.5 - 1
    upright = draw(person, "anime", 64, 0) / 127.5 - 1
    errors = {
        degrees: float(
            jnp.abs(
                angle.turned(jnp.asarray(upright, jnp.float32)[None], jnp.array([degrees])) - tilted
            ).mean()
        )
        for degrees in (-15.0, 0.0, 15.0)
    }
    assert errors[15.0] < 0.6 * errors[0.0] < errors[-15.0]


def test_eyes_are_found_in_drawn_faces() -> None:
    """Their tilts are read off the pictures; none of pictures without eyes; of pairs, the even one."""
    cascade = eyes.eye_cascade()
    rng = np.random.default_rng(3)
    people = [sample_attributes(rng) for _ in range(30)]
    pictures = np.stack([draw(person, "face", 64, i) for i, person in enumerate(people)])
    found = eyes.detected_tilts(cascade, pictures)
    known = np.array([person.tilt for person in people])
    assert np.isnan(found).mean() < 0.1
    assert np.nanmedian(np.abs(found - known)) < 1.5
    assert np.isnan(eyes.detected_tilts(cascade, np.full((2, 64, 64, 3), 90, np.uint8))).all()
    mouth, left, right, low = (
        (128.0, 200.0, 40.0),
        (80.0, 100.0, 40.0),
        (180.0, 120.0, 42.0),
        (180.0, 190.0, 42.0),
    )
    np.testing.assert_allclose(eyes._tilt([mouth, right, left, low]), np.degrees(np.arctan2(20, 100)))
    assert np.isnan(eyes._tilt([left, mouth]))


def test_without_opencv_there_is_no_detector(monkeypatch) -> None:
    """Nor with its version 5, which has no cascades."""
    assert eyes.eye_cascade() is not None
    five = types.ModuleType("cv2")
    data = types.ModuleType("cv2.data")
    data.haarcascades = ""
    monkeypatch.setitem(sys.modules, "cv2", five)
    monkeypatch.setitem(sys.modules, "cv2.data", data)
    assert eyes.eye_cascade() is None
    monkeypatch.setitem(sys.modules, "cv2", None)  # not installed
    assert eyes.eye_cascade() is None


def test_without_labels_the_angle_learns_from_eyes(tmp_path, monkeypatch) -> None:
    """Where OpenCV finds them in at least half; else, or without it, pictures are taken to be upright."""
    draw_dataset(tmp_path / "drawn", count=40, test_count=10, size=64)
    for half in ("trainA", "testA"):
        (tmp_path / "drawn" / half / "attributes.csv").unlink()
    sources = {d: str(tmp_path / f"drawn/train{letter}") for d, letter in (("face", "A"), ("anime", "B"))}
    prepare(sources, tmp_path / "records", size=64)
    data = DataConfig(path=str(tmp_path / "records"), size=64)
    assert angle._labelled(data, "face") is None and angle._labelled(data, "anime") is not None
    source = pipeline.open_pictures(data, "face", "train")
    found = angle._detected(source)
    assert np.isnan(found).mean() < 0.2 and np.nanstd(found) > 4
    monkeypatch.setattr(angle, "detected_tilts", lambda _, x: np.where(np.arange(len(x)) % 3, np.nan, 9.0))
    np.testing.assert_array_equal(angle._detected(source), 0)
    monkeypatch.setattr(angle, "eye_cascade", lambda: None)
    np.testing.assert_array_equal(angle._detected(source), 0)


@pytest.mark.slow  # it learns for a minute
def test_it_reads_the_angle(tmp_path, monkeypatch) -> None:
    """Of faces with their tilts, and of anime pictures whose labels are gone."""
    draw_dataset(tmp_path / "drawn", count=500, test_count=60, size=32)
    for half in ("trainB", "testB"):
        (tmp_path / "drawn" / half / "attributes.csv").unlink()
    labels = tmp_path / "drawn/trainA/attributes.csv"  # of which every third is missing
    head, *rows = labels.read_text().splitlines(keepends=True)
    labels.write_text(head + "".join(row for i, row in enumerate(rows) if i % 3))
    sources = {d: str(tmp_path / f"drawn/train{letter}") for d, letter in (("face", "A"), ("anime", "B"))}
    prepare(sources, tmp_path / "records", size=32)
    config = Config("xgan", None, None, DataConfig(path=str(tmp_path / "records"), size=32))
    assert angle.tilts(pipeline.read_labels(config.data, "anime", "test")) is None
    params, apply = angle.as_angle(config)
    rng = np.random.default_rng(5)
    for style, least in (("face", 0.8), ("anime", 0.6)):
        people = [sample_attributes(rng) for _ in range(60)]
        pictures = np.stack([draw(person, style, 32, i) for i, person in enumerate(people)])
        found = apply(params, jnp.asarray(pictures / 127.5 - 1, jnp.float32))
        known = np.array([person.tilt for person in people])
        assert float(np.corrcoef(found, known)[0, 1]) > least, style
    again, _ = angle.as_angle(config)  # kept beside the data
    np.testing.assert_array_equal(again["params"]["conv1"]["kernel"], params["params"]["conv1"]["kernel"])

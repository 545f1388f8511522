"""What lies on the disk: layouts, versions, encodings, damage. And the order, which must never change."""

import itertools
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xgan_jax.config import DataConfig
from xgan_jax.data import pipeline
from xgan_jax.data.pictures import crop_resize, decode, encode
from xgan_jax.data.prepare import prepare
from xgan_jax.data.tfrecord import TFRecordSource, TFRecordWriter, decode_bytes, encode_example

SIZE = 32


def config(path: Path, **changes: Any) -> DataConfig:
    return DataConfig(**({"path": str(path), "domains": ("face",), "size": SIZE} | changes))


def picture(seed: int, width: int = SIZE, height: int = SIZE) -> np.ndarray:
    """Smooth colours, which JPEG keeps."""
    corners = np.random.default_rng(seed).uniform(0, 255, (4, 3))
    y, x = np.linspace(0, 1, height)[:, None, None], np.linspace(0, 1, width)[None, :, None]
    top, bottom = corners[0] + x * (corners[1] - corners[0]), corners[2] + x * (corners[3] - corners[2])
    return (top + y * (bottom - top)).astype(np.uint8)


def tfds_folder(folder: Path, shards: Sequence[Sequence[np.ndarray]], encoding: str = "jpeg") -> Path:
    """A TFDS dataset of encoded pictures at their own size."""
    folder.mkdir(parents=True)
    for i, pictures in enumerate(shards):
        name = f"celeb_a-train.tfrecord-{i:05d}-of-{len(shards):05d}"
        with TFRecordWriter(folder / name) as writer:
            for image in pictures:
                writer.write(encode_example({"image": encode(image, encoding), "attributes/Smiling": 1}))
    feature = {"image": {"shape": {"dimensions": ["-1", "-1", "3"]}, "encodingFormat": encoding}}
    (folder / "features.json").write_text(json.dumps({"featuresDict": {"features": {"image": feature}}}))
    split = {
        "name": "train",
        "shardLengths": [str(len(pictures)) for pictures in shards],
        "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
    }
    info = {"name": "celeb_a", "fileFormat": "tfrecord", "splits": [split]}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    return folder


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirteen PNGs."""
    folder = tmp_path_factory.mktemp("source")
    for i in range(13):
        (folder / f"{i:02d}.png").write_bytes(encode(picture(i), "png"))
    return folder


@pytest.fixture
def made(source: Path, tmp_path: Path) -> Path:
    """What `prepare` makes of them, to be damaged."""
    prepare({"face": str(source)}, tmp_path / "made", size=SIZE, test_fraction=0.2, workers=1)
    return tmp_path / "made"


# The order.


@given(st.data(), st.integers(1, 40), st.integers(0, 2**32))
def test_every_epoch_is_a_permutation_read_at_random(data: st.DataObject, count: int, seed: int) -> None:
    batch = data.draw(st.integers(1, count))
    order = pipeline._order(count, batch, [seed, 0])
    batches = [order(number).tolist() for number in range(3 * count)]
    indexes = list(itertools.chain(*batches))
    for epoch in range(3):
        assert sorted(indexes[epoch * count : (epoch + 1) * count]) == list(range(count))
    for number in data.draw(st.lists(st.integers(0, 3 * count - 1), max_size=5)):
        assert pipeline._order(count, batch, [seed, 0])(number).tolist() == batches[number]


def test_the_order_is_the_one_that_runs_were_started_with() -> None:
    """A change of these numbers would change every run that is resumed."""
    order = pipeline._order(10, 4, [0, 1])
    assert [order(i).tolist() for i in range(3)] == [[7, 3, 5, 0], [1, 4, 6, 8], [9, 2, 5, 9]]
    assert order(10**9).shape == (4,)


def test_epochs_seeds_and_domains_are_shuffled_apart() -> None:
    orders = [
        pipeline._order(1000, 1000, seed)(epoch) for seed in ([0, 0], [0, 1], [1, 0]) for epoch in (0, 1)
    ]
    for i, one in enumerate(orders):
        assert np.abs(np.corrcoef(one, np.arange(1000))[0, 1]) < 0.15
        for other in orders[:i]:
            assert (one == other).sum() < 10  # by chance one


def test_state_continues_with_other_threads_and_into_the_next_epochs(made: Path) -> None:
    states, batches = [], []
    with_two = pipeline.train_batches(config(made, threads=2), batch_size=3, seed=1)
    for _ in range(30):
        states.append(json.dumps(with_two.get_state()))
        batches.append(next(with_two)["face"])
    with_two.close()
    for k in (0, 3, 4, 17, 29):
        alone = pipeline.train_batches(config(made, threads=1), batch_size=3, seed=1)
        next(alone)  # set_state also goes back
        alone.set_state(json.loads(states[k]))
        for batch in batches[k:]:
            np.testing.assert_array_equal(next(alone)["face"], batch)
        alone.close()


# Encodings.


@pytest.mark.parametrize("encoding", ["uint8", "jpeg", "png"])
def test_prepared_pictures_are_what_the_records_hold(source: Path, tmp_path: Path, encoding: str) -> None:
    prepare(
        {"face": str(source)}, tmp_path / "out", size=SIZE, encoding=encoding, test_fraction=0.2, workers=1
    )
    data = config(tmp_path / "out")
    count = pipeline.picture_counts(data)["face"]["train"]
    read = pipeline.read_pictures(data, "face", "train", range(count))
    records = TFRecordSource(sorted((tmp_path / "out" / "face").glob("face-train.tfrecord-*")))
    assert len(records) == count
    for i, image in enumerate(read):
        stored = decode_bytes(records[i], "image")
        pixels = (
            np.frombuffer(stored, np.uint8).reshape(image.shape) if encoding == "uint8" else decode(stored)
        )
        np.testing.assert_array_equal(image, pixels)
    np.testing.assert_array_equal(pipeline.read_pictures(data, "face", "train", [5, 0, 5]), read[[5, 0, 5]])
    with pytest.raises(IndexError):
        pipeline.read_pictures(data, "face", "train", [count])
    with pytest.raises(
        ValueError, match=r"32.*, but config\.data\.size is 64: prepare it again with --size 64"
    ):
        pipeline.read_pictures(config(tmp_path / "out", size=64), "face", "train", [0])


@pytest.mark.parametrize("rule", ["celeba", "center", "none"])
def test_native_pictures_are_cropped_by_the_rule(tmp_path: Path, rule: str) -> None:
    pictures = [picture(i, 178, 218) for i in range(5)] + [picture(9)]
    tfds_folder(tmp_path / "face" / "2.1.0", [pictures[:2], pictures[2:]])
    read = pipeline.read_pictures(config(tmp_path, crop=rule), "face", "train", range(6))
    for image, original in zip(read[:5], pictures, strict=False):
        expected = crop_resize(decode(encode(original, "jpeg")), SIZE, rule)
        np.testing.assert_array_equal(image, expected)
    np.testing.assert_array_equal(read[5], decode(encode(pictures[5], "jpeg")))  # has the size already


# Layouts.


@pytest.mark.parametrize("config_name", ["", "small"])
def test_the_newest_version_is_read(tmp_path: Path, config_name: str) -> None:
    versions = tmp_path / "face" / config_name
    for seed, version in enumerate(
        ["1.9.0", "1.10.0", "1.2.0", "2.0.0.incompleteX1Y2", "incomplete.9_3.0.0"]
    ):
        tfds_folder(versions / version, [[picture(seed)]], "png")
    (read,) = pipeline.read_pictures(config(tmp_path), "face", "train", [0])
    np.testing.assert_array_equal(read, picture(1))


def test_several_configurations_are_not_guessed_between(tmp_path: Path) -> None:
    for name in ("big", "small"):
        tfds_folder(tmp_path / "face" / name / "1.0.0", [[picture(0)]])
    with pytest.raises(ValueError, match=r"several configurations \(.*big, .*small\): leave one"):
        pipeline.read_pictures(config(tmp_path), "face", "train", [0])


def test_another_file_format_is_named(tmp_path: Path) -> None:
    folder = tfds_folder(tmp_path / "face" / "1.0.0", [[picture(0)]])
    change(folder / "dataset_info.json", fileFormat="array_record")
    with pytest.raises(ValueError, match=r"format array_record, but only tfrecord .* `xgan prepare"):
        pipeline.read_pictures(config(tmp_path), "face", "train", [0])


# Damage.


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def rewrite(path: Path, *payloads: bytes) -> None:
    with TFRecordWriter(path) as writer:
        for payload in payloads:
            writer.write(payload)


def refuse(made: Path, message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        pipeline.read_pictures(config(made), "face", "train", range(3))


def test_damaged_metadata_and_files_are_named(made: Path, tmp_path: Path) -> None:
    (shard,) = (made / "face").glob("face-train.tfrecord-*")
    records = [TFRecordSource([shard])[i] for i in range(len(TFRecordSource([shard])))]

    rewrite(shard, *records[:-1])  # cut at the end of a record: every checksum is right
    refuse(made, rf"{shard} has {len(records) - 1} records, but dataset_info.json says {len(records)}")
    shard.unlink()
    refuse(made, rf"{shard} is missing \(1 of 1 files of the split 'train'\)")
    other = encode_example({"file_name": "x"})
    rewrite(shard, *records[:2], other, *records[3:])
    refuse(made, r"face, split train, record 2: a record has no single bytes feature 'image'")
    rewrite(shard, *records[:2], encode_example({"image": bytes(100)}), *records[3:])
    refuse(made, r"record 2: it holds 100 bytes, not the 32x32x3")
    rewrite(shard, *records[:2], b"\xff\xff", *records[3:])
    refuse(made, r"record 2: a record is not a tf\.train\.Example")

    features = made / "face" / "features.json"
    text = features.read_text()
    features.write_text(text[:50])
    refuse(made, rf"{features} is damaged")
    features.write_text(text.replace('"image": {', '"picture": {', 1))
    refuse(made, r"has no picture feature 'image' \(there is ")
    features.write_text(text)
    (made / "face" / "dataset_info.json").unlink()
    refuse(made, r"dataset_info\.json is missing")


def test_damaged_jpegs_are_named(source: Path, tmp_path: Path) -> None:
    prepare({"face": str(source)}, tmp_path, size=SIZE, encoding="jpeg", test_fraction=0.0, workers=1)
    (shard,) = (tmp_path / "face").glob("face-train.tfrecord-*")
    records = [TFRecordSource([shard])[i] for i in range(13)]
    good = encode(picture(0), "jpeg")
    for stored, reason in (
        (good[: len(good) // 2], ""),
        (b"", ""),
        (encode(picture(0, 8, 8), "jpeg"), "smaller than the 32 px"),
        (encode(picture(0, 64, 64), "jpeg"), "too small"),
    ):
        rewrite(shard, *records[:1], encode_example({"image": stored}), *records[2:])
        refuse(tmp_path, rf"face, split train, record 1: .*{reason}")


def test_training_and_processes_are_checked(made: Path) -> None:
    for index, count in ((2, 2), (-1, 2)):
        with pytest.raises(ValueError, match=rf"process {index} is not one of {count}"):
            pipeline.train_batches(
                config(made), batch_size=4, seed=0, process_index=index, process_count=count
            )
    shutil.rmtree(made / "face")
    with pytest.raises(FileNotFoundError, match=r"no domain 'face' \(there is nothing\)"):
        pipeline.picture_counts(config(made))


def test_the_room_for_pictures_is_where_libjpeg_is_fast() -> None:
    for count in (1, 3, 32):
        room = pipeline.empty_pictures(count, 32)
        assert room.shape == (count, 32, 32, 3) and room.flags.c_contiguous and room.flags.writeable
        assert room.ctypes.data % 32 == 16

"""Batches: exact resume, the same pictures on any number of processes, honest errors."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xgan_jax.config import DataConfig
from xgan_jax.data import pipeline
from xgan_jax.data.prepare import prepare
from xgan_jax.data.tfrecord import CorruptRecordError, TFRecordWriter, encode_example


def data(records: Path, **changes) -> DataConfig:
    return DataConfig(**({"path": str(records), "size": 32} | changes))


def take(iterator, n: int) -> list[dict[str, np.ndarray]]:
    return [next(iterator) for _ in range(n)]


def same(a: list[dict], b: list[dict]) -> bool:
    return len(a) == len(b) and all(
        list(x) == list(y) and all(np.array_equal(x[d], y[d]) for d in x) for x, y in zip(a, b, strict=True)
    )


def test_counts_and_crop_rules(records: Path) -> None:
    counts = pipeline.picture_counts(data(records))
    assert counts["face"]["train"] + counts["face"]["test"] == 60
    assert pipeline.crop_rules(data(records)) == {"face": "center", "anime": "center"}


@pytest.mark.parametrize("threads", [1, 4])
def test_seed_decides_and_threads_do_not(records: Path, threads: int) -> None:
    reference = take(pipeline.train_batches(data(records), batch_size=8, seed=3), 12)
    again = take(pipeline.train_batches(data(records, threads=threads), batch_size=8, seed=3), 12)
    other = take(pipeline.train_batches(data(records), batch_size=8, seed=4), 12)
    assert same(reference, again) and not same(reference, other)
    assert reference[0]["face"].shape == (8, 32, 32, 3) and reference[0]["face"].dtype == np.uint8


@pytest.mark.parametrize("after", [0, 1, 7])
def test_state_continues_exactly(records: Path, after: int) -> None:
    iterator = pipeline.train_batches(data(records), batch_size=8, seed=0)
    take(iterator, after)
    state = json.loads(json.dumps(iterator.get_state()))
    rest = take(iterator, 9)
    fresh = pipeline.train_batches(data(records), batch_size=8, seed=0)
    fresh.set_state(state)
    assert same(take(fresh, 9), rest)


@pytest.mark.parametrize("count", [2, 4])
def test_processes_share_the_batch_of_one(records: Path, count: int) -> None:
    whole = take(pipeline.train_batches(data(records), batch_size=8, seed=0), 6)
    parts = [
        take(
            pipeline.train_batches(data(records), batch_size=8, seed=0, process_index=i, process_count=count),
            6,
        )
        for i in range(count)
    ]
    joined = [{d: np.concatenate([part[k][d] for part in parts]) for d in whole[0]} for k in range(6)]
    assert same(joined, whole)


def test_every_picture_once_an_epoch_and_pairs_change(records: Path) -> None:
    source = pipeline.open_pictures(data(records), "face", "train")
    n = len(source)
    iterator = pipeline.train_batches(data(records), batch_size=4, seed=0)
    batches = take(iterator, 3 * n // 4)
    faces = [x.tobytes() for b in batches for x in b["face"]]
    animes = [x.tobytes() for b in batches for x in b["anime"]]
    every = {x.tobytes() for x in source.read(range(n))}
    epochs = [faces[k * n : (k + 1) * n] for k in range(3)]
    assert all(set(epoch) == every and len(epoch) == len(set(epoch)) for epoch in epochs)
    assert epochs[0] != epochs[1]
    partners = {}
    for face, anime in zip(faces, animes, strict=True):
        partners.setdefault(face, set()).add(anime)
    assert max(len(found) for found in partners.values()) == 3


@pytest.mark.parametrize("encoding", ["jpeg", "png"])
def test_encoded_records(tmp_path: Path, records: Path, encoding: str) -> None:
    pictures = records.parent / "pictures"
    prepare(
        {d: str(pictures / d) for d in ("face", "anime")},
        tmp_path / "out",
        size=32,
        encoding=encoding,
        test_fraction=0.2,
    )
    raw = pipeline.read_pictures(data(records), "face", "train", range(10)).astype(int)
    read = pipeline.read_pictures(data(tmp_path / "out"), "face", "train", range(10)).astype(int)
    assert np.abs(raw - read).mean() < (0.01 if encoding == "png" else 8)
    if encoding == "png":
        np.testing.assert_array_equal(raw, read)
    next(pipeline.train_batches(data(tmp_path / "out"), batch_size=8, seed=0))


def test_tfds_records_at_native_size_are_cropped(tmp_path: Path, records: Path) -> None:
    """A dataset as TFDS lays it out: version folders, encoded pictures of CelebA's size, shards."""
    celeba = np.zeros((218, 178, 3), np.uint8)
    celeba[35 : 35 + 148, 15 : 15 + 148] = (200, 100, 50)
    buffer = io.BytesIO()
    Image.fromarray(celeba).save(buffer, "PNG")
    folder = tmp_path / "d" / "celeb_a" / "2.1.0"
    folder.mkdir(parents=True)
    for shard in range(2):
        with TFRecordWriter(folder / f"celeb_a-train.tfrecord-0000{shard}-of-00002") as writer:
            for _ in range(4):
                writer.write(encode_example({"image": buffer.getvalue()}))
    image = {"pythonClassName": "tensorflow_datasets.core.features.image_feature.Image", "image": {}}
    (folder / "features.json").write_text(json.dumps({"featuresDict": {"features": {"image": image}}}))
    splits = [{"name": "train", "shardLengths": ["4", "4"]}]
    info = {"name": "celeb_a", "splits": splits}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    config = data(tmp_path / "d", domains=("celeb_a", "x"), crop="celeba", test_split="train")
    read = pipeline.read_pictures(config, "celeb_a", "train", range(8))
    np.testing.assert_array_equal(read, np.broadcast_to([200, 100, 50], (8, 32, 32, 3)))


def test_errors_say_what_to_do(records: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"which is not a folder: make it with `xgan prepare`"):
        pipeline.picture_counts(data(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match=r"no domain 'cat' \(there is anime, face\)"):
        pipeline.picture_counts(data(records, domains=("face", "cat")))
    with pytest.raises(ValueError, match="no pictures in its split 'dev'"):
        pipeline.picture_counts(data(records, test_split="dev"))
    with pytest.raises(ValueError, match=r"holds pictures of 32x32x3, but config\.data\.size is 64"):
        pipeline.train_batches(data(records, size=64), batch_size=8, seed=0)
    with pytest.raises(ValueError, match=r"fewer than a batch of 64: lower --config\.run\.batch_size"):
        pipeline.train_batches(data(records), batch_size=64, seed=0)
    with pytest.raises(ValueError, match="cannot be shared by 3 processes"):
        pipeline.train_batches(data(records), batch_size=8, seed=0, process_count=3)


def test_a_flipped_bit_stops_training_with_its_place(records: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(records, copy)
    shard = next((copy / "anime").glob("*train*"))
    content = bytearray(shard.read_bytes())
    content[5000] ^= 1
    shard.write_bytes(bytes(content))
    iterator = pipeline.train_batches(data(copy), batch_size=8, seed=0)
    with pytest.raises(CorruptRecordError, match=r"tfrecord.*: record \d+ at byte \d+"):
        take(iterator, 10)
    shard.unlink()
    with pytest.raises(FileNotFoundError, match=r"is missing \(1 of 1 files of the split 'train'\)"):
        pipeline.train_batches(data(copy), batch_size=8, seed=0)

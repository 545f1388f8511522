"""`xgan prepare` from the outside: what it is given, what it writes, what it says."""

import hashlib
import io
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xgan_jax import cli
from xgan_jax.data import prepare as preparing
from xgan_jax.data.pictures import IGNORED, MENDED, crop_resize, decode, encode
from xgan_jax.data.prepare import prepare
from xgan_jax.data.synthetic import draw, sample_attributes
from xgan_jax.data.tfrecord import TFRecordSource, TFRecordWriter, decode_example, encode_example

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

SIZE = 32


def picture(seed: int, width: int = 20, height: int = 20) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def png(seed: int, width: int = 20, height: int = 20) -> bytes:
    return encode(picture(seed, width, height), "png")


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def pngs(count: int, start: int = 0, prefix: str = "") -> dict[str, bytes]:
    return {f"{prefix}{i:03d}.png": png(start + i) for i in range(count)}


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def records(out: Path, domain: str, split: str) -> list[dict]:
    source = TFRecordSource(sorted((out / domain).glob(f"{domain}-{split}.tfrecord-*")))
    return [decode_example(source[i]) for i in range(len(source))]


def names(out: Path, domain: str, split: str) -> set[str]:
    return {example["file_name"][0].decode() for example in records(out, domain, split)}


def pixels(example: dict) -> np.ndarray:
    return np.frombuffer(example["image"][0], np.uint8).reshape(SIZE, SIZE, 3)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def odd_files() -> dict[str, tuple[bytes, str]]:
    """{name: (bytes, "" when it must be written, else the reason)}."""
    image = Image.fromarray(picture(1, 40, 30))
    exif = image.getexif()
    exif[0x0112] = 6
    jpeg = saved(image, "jpeg", quality=95)
    bomb = bytearray(jpeg)
    at = bomb.index(b"\xff\xc0") + 5
    bomb[at : at + 4] = b"\xff\xdc\xff\xdc"
    flipped = bytearray(jpeg)
    for i in range(len(jpeg) // 2, len(jpeg) - 20, 20):
        flipped[i] ^= 0xFF
    frames = {"save_all": True, "append_images": [Image.new("RGB", (40, 30), "red")]}
    sixteen = Image.fromarray(np.arange(900, dtype=np.uint16).reshape(30, 30) * 70)
    return {
        "16 bit.png": (saved(sixteen, "png"), ""),
        "alpha.png": (saved(image.convert("RGBA"), "png"), ""),
        "animation.gif": (saved(image, "gif", **frames), ""),
        "animation.webp": (saved(image, "webp", **frames), ""),
        "cmyk.jpg": (saved(image.convert("CMYK"), "jpeg"), ""),
        "deep/er/größe 日本.PNG": (saved(image, "png"), ""),
        "grey.jpg": (saved(image.convert("L"), "jpeg"), ""),
        "no extension": (saved(image, "bmp"), ""),
        "palette.png": (saved(image.convert("P"), "png"), ""),
        "turned.jpg": (saved(image, "jpeg", exif=exif), ""),
        "bomb.jpg": (bytes(bomb), "65500x65500 pixels"),
        "empty.jpg": (b"", "empty"),
        "film.mp4": (b"\0\0\0\x18ftypmp42" * 9, "a video (MP4)"),
        "flipped.jpg": (bytes(flipped), "JPEG is damaged"),
        "html.jpg": (b"<html>404</html>", "HTML"),
        "one.png": (png(0, 1, 1), "1x1 pixels"),
        "small.png": (png(0, 40, 15), "40x15 pixels"),
        "truncated.jpg": (jpeg[: len(jpeg) // 2], "JPEG is damaged"),
        "truncated.png": (png(0)[:600], "PNG is damaged"),
    }


@pytest.mark.parametrize("packed", [False, True])
def test_every_odd_file_is_written_or_refused_with_its_reason(tmp_path, packed, capsys):
    odd = odd_files()
    files = {name: data for name, (data, _) in odd.items()}
    files |= {"notes.txt": b"x", "sub/list.csv": b"a,b", ".DS_Store": b"x", "Thumbs.db": b"x"}
    files |= {"__MACOSX/._grey.jpg": b"x"}
    source = zipped(tmp_path / "a.zip", files) if packed else write(tmp_path / "a", files)
    report = prepare({"face": str(source)}, tmp_path / "out", size=SIZE, workers=2)["domains"]["face"]

    good = {name for name, (_, reason) in odd.items() if not reason}
    bad = {name: reason for name, (_, reason) in odd.items() if reason}
    written = names(tmp_path / "out", "face", "train") | names(tmp_path / "out", "face", "test")
    assert written == good
    refused = {entry["file"]: entry["reason"] for entry in report["refused"]}
    assert refused.keys() == bad.keys()
    assert all(bad[name] in refused[name] for name in bad), refused
    assert report["found"] == len(odd) == report["written"] + len(report["refused"])
    assert report["written"] == sum(report["splits"].values()) == len(good)
    assert report["ignored"] == {".csv": 1, ".db": 1, ".jpg": 1, ".txt": 1, ".DS_Store": 1}
    assert len(report["ignored_files"]) == 5
    assert json.loads((tmp_path / "out" / "report.json").read_text())["domains"]["face"] == report
    assert "face: 19 found = 10 written" in capsys.readouterr().out


def test_what_was_read_with_a_remark_is_counted(tmp_path, capsys):
    image = Image.fromarray(picture(1, 40, 30))
    files = {f"broken {i}.webp": saved(image, "webp", icc_profile=b"junk") for i in range(2)}
    files["no end.jpg"] = saved(image, "jpeg")[:-2]
    files |= {f"{i}.png": png(i) for i in range(4)}
    source = write(tmp_path / "a", files)
    prepare({"face": str(source)}, tmp_path / "out", size=SIZE, test_fraction=0.0, workers=2)
    face = json.loads((tmp_path / "out" / "report.json").read_text())["domains"]["face"]
    assert face["written"] == 7
    assert face["remarks"] == {
        IGNORED: {"pictures": 2, "first": "broken 0.webp"},  # in the order in which they are written
        MENDED: {"pictures": 1, "first": "no end.jpg"},
    }
    assert f"2 read with a remark: {IGNORED} (the first: 'broken 0.webp')" in capsys.readouterr().out


def test_pixels_are_those_of_the_one_crop_rule(tmp_path):
    files = {f"{i}.png": png(i, 30 + i, 40) for i in range(6)}
    prepare({"face": str(write(tmp_path / "a", files))}, tmp_path / "out", size=SIZE, workers=2)
    for split in ("train", "test"):
        for example in records(tmp_path / "out", "face", split):
            original = decode(files[example["file_name"][0].decode()])
            assert np.array_equal(pixels(example), crop_resize(original, SIZE, "center"))


@pytest.mark.parametrize("encoding", ["jpeg", "png"])
def test_encoded_records(tmp_path, encoding):
    source = write(tmp_path / "a", pngs(4))
    prepare({"face": str(source)}, tmp_path / "out", size=SIZE, encoding=encoding, workers=1)
    for example in records(tmp_path / "out", "face", "train"):
        expected = crop_resize(
            decode((source / example["file_name"][0].decode()).read_bytes()), SIZE, "center"
        )
        image = decode(example["image"][0])
        assert image.shape == (SIZE, SIZE, 3)
        assert encoding == "jpeg" or np.array_equal(image, expected)
    features = json.loads((tmp_path / "out" / "face" / "features.json").read_text())
    assert features["featuresDict"]["features"]["image"]["image"]["encodingFormat"] == encoding


def test_tfds_opens_what_is_written(tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")
    files = pngs(7) | {"attributes.csv": b"file,hair,age,tilt\n" + b"".join(
        b"%03d.png,%s,%d,%.2f\n" % (i, b"black" if i % 2 else b"fair", i, i / 4) for i in range(7)
    )}  # fmt: skip
    prepare({"face": str(write(tmp_path / "a", files))}, tmp_path / "out", size=SIZE, workers=1)
    builder = tfds.builder_from_directory(tmp_path / "out" / "face")
    counts = {split: info.num_examples for split, info in builder.info.splits.items()}
    assert counts == {s: len(records(tmp_path / "out", "face", s)) for s in ("train", "test")}
    assert sum(counts.values()) == 7
    features = builder.info.features
    assert features["image"].shape == (SIZE, SIZE, 3) and features["image"].np_dtype == np.uint8
    assert isinstance(features["hair"], tfds.features.Text)
    assert features["age"].np_dtype == np.int64 and features["tilt"].np_dtype == np.float32
    for example in records(tmp_path / "out", "face", "train"):
        i = int(example["file_name"][0][:3])
        assert example["hair"] == [b"black" if i % 2 else b"fair"]
        assert example["age"] == [i] and example["tilt"] == [i / 4]


@pytest.mark.tensorflow
def test_tensorflow_reads_what_is_written(tmp_path):
    files = pngs(5) | {"attributes.csv": b"file,hair\n000.png,fair\n"}
    prepare({"face": str(write(tmp_path / "a", files))}, tmp_path / "out", size=SIZE, workers=1)
    program = f"""if True:
        import hashlib, json, tensorflow_datasets as tfds
        found = {{}}
        for split in ("train", "test"):
            for example in tfds.builder_from_directory({str(tmp_path / "out" / "face")!r}).as_dataset(split):
                digest = hashlib.sha256(example["image"].numpy().tobytes()).hexdigest()
                found[example["file_name"].numpy().decode()] = [digest, example["hair"].numpy().decode()]
        print(json.dumps(found))
    """
    done = subprocess.run(
        [os.environ.get("XGAN_TF_PYTHON", sys.executable), "-c", program],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    expected = {
        name: [
            hashlib.sha256(crop_resize(decode(files[name]), SIZE, "center").tobytes()).hexdigest(),
            "fair" if name == "000.png" else "",
        ]
        for name in pngs(5)
    }
    assert found == expected


CELEBA_HEADER = "5_o_Clock_Shadow Young"


def celeba_lists(count: int, form: str) -> dict[str, bytes]:
    """CelebA's three lists as its authors ship them (txt) or Kaggle does (csv)."""
    files = [f"{i + 1:06d}.jpg" for i in range(count)]
    points = "lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x"
    points += " rightmouth_y"
    attributes = [f"{f}  {1 if i % 2 else -1}  1" for i, f in enumerate(files)]
    landmarks = [f"{f} {' '.join(str(10 * i + k) for k in range(10))}" for i, f in enumerate(files)]
    partition = [f"{f} {0 if i < count - 3 else 1 if i < count - 2 else 2}" for i, f in enumerate(files)]
    tables = {"attr": attributes, "landmarks_align": landmarks}
    lists = {}
    for key, rows in tables.items():
        header = CELEBA_HEADER if key == "attr" else points
        if form == "txt":
            text = "\n".join([str(count), header + " ", *rows])
        else:
            text = "\n".join(",".join(row.split()) for row in [f"image_id {header}", *rows])
        lists[f"list_{key}_celeba.{form}"] = text.encode()
    if form == "csv":
        partition = [",".join(row.split()) for row in ["image_id partition", *partition]]
    return lists | {f"list_eval_partition.{form}": "\n".join(partition).encode()}


def celeba_pictures(count: int, prefix: str = "") -> dict[str, bytes]:
    return {f"{prefix}{i + 1:06d}.jpg": encode(picture(i, 178, 218), "jpeg") for i in range(count)}


@pytest.mark.parametrize(
    "layout", ["folder", "zip beside", "official", "kaggle folder", "kaggle zip", "inner"]
)
def test_a_celeba_download_as_it_comes(tmp_path, layout):
    root = tmp_path / "celeba"
    txt, kaggle = celeba_lists(6, "txt"), celeba_lists(6, "csv")
    given = root
    if layout == "folder":
        write(root, txt | celeba_pictures(6, "img_align_celeba/"))
    elif layout == "inner":
        write(root, txt | celeba_pictures(6, "img_align_celeba/"))
        given = root / "img_align_celeba"
    elif layout == "zip beside":
        zipped(write(root, txt) / "img_align_celeba.zip", celeba_pictures(6, "img_align_celeba/"))
    elif layout == "official":
        moved = {("Eval/" if "eval" in name else "Anno/") + name: data for name, data in txt.items()}
        (write(root, moved) / "Img").mkdir()
        zipped(root / "Img" / "img_align_celeba.zip", celeba_pictures(6, "img_align_celeba/"))
    elif layout == "kaggle folder":
        write(root, kaggle | celeba_pictures(6, "img_align_celeba/img_align_celeba/"))
    else:
        given = zipped(
            tmp_path / "archive.zip", kaggle | celeba_pictures(6, "img_align_celeba/img_align_celeba/")
        )
    report = prepare({"face": str(given)}, tmp_path / "out", size=SIZE, workers=2)["domains"]["face"]

    assert report["splits"] == {"train": 3, "validation": 1, "test": 2}
    assert report["crop"] == "celeba"
    assert report["found"] == report["written"] == 6 and not report["refused"]
    assert {n[-10:] for n in names(tmp_path / "out", "face", "test")} == {"000005.jpg", "000006.jpg"}
    for example in records(tmp_path / "out", "face", "train"):
        i = int(example["file_name"][0].decode()[-10:-4]) - 1
        assert example["Young"] == [1] and example["5_o_Clock_Shadow"] == [1 if i % 2 else -1]
        assert example["lefteye_x"] == [10 * i] and example["rightmouth_y"] == [10 * i + 9]
        original = decode(encode(picture(i, 178, 218), "jpeg"))
        assert np.array_equal(pixels(example), crop_resize(original[35:183, 15:163], SIZE, "center"))


def test_celebas_half_size_is_recognised_by_its_aspect(tmp_path):
    half = {f"{i}.png": png(i, 89, 109) for i in range(4)}
    report = prepare({"face": str(write(tmp_path / "a", half))}, tmp_path / "out", size=SIZE, workers=1)
    assert report["domains"]["face"]["crop"] == "celeba"
    mixed = write(tmp_path / "b", {"x.png": png(9, 90, 90), "0.png": png(0, 89, 109)})
    report = prepare({"face": str(mixed)}, tmp_path / "out2", size=SIZE, workers=1)
    assert report["domains"]["face"]["crop"] == "center"


def paired_layout(first: str, second: str, prefix: str = "") -> dict[str, bytes]:
    files = {}
    for i, (split, letter) in enumerate(
        [("train", first), ("test", first), ("train", second), ("test", second)]
    ):
        files |= pngs(3 + i, start=100 * i, prefix=f"{prefix}{split}{letter}/")
    return files


@pytest.mark.parametrize("letters", ["AB", "12"])
@pytest.mark.parametrize("how", ["train folders", "root twice", "zip twice", "inside a zip"])
def test_trainA_and_train1_layouts(tmp_path, letters, how):
    first, second = letters
    if how == "zip twice":
        root = zipped(tmp_path / "root.zip", paired_layout(*letters, prefix="selfie/"))
        domains = {"face": str(root), "anime": str(root)}
    elif how == "inside a zip":
        root = zipped(tmp_path / "root.zip", paired_layout(*letters, prefix="selfie/"))
        domains = {"face": f"{root}/selfie/train{first}", "anime": f"{root}/selfie/train{second}"}
    else:
        root = write(tmp_path / "root", paired_layout(*letters))
        tail = [f"/train{first}", f"/train{second}"] if how == "train folders" else ["", ""]
        domains = {"face": f"{root}{tail[0]}", "anime": f"{root}{tail[1]}"}
    report = prepare(domains, tmp_path / "out", size=SIZE, workers=1)["domains"]
    assert report["face"]["splits"] == {"train": 3, "test": 4}
    assert report["anime"]["splits"] == {"train": 5, "test": 6}
    assert all(f"test{first}/" in name for name in names(tmp_path / "out", "face", "test"))
    assert all(f"train{second}/" in name for name in names(tmp_path / "out", "anime", "train"))


def test_a_root_of_two_domains_needs_both_or_a_choice(tmp_path):
    root = write(tmp_path / "root", paired_layout("A", "B"))
    with pytest.raises(ValueError, match=r"holds two domains: give .*trainA or .*trainB"):
        prepare({"face": str(root)}, tmp_path / "out")
    plain = write(tmp_path / "plain", pngs(3))
    with pytest.raises(ValueError, match="given for two domains"):
        prepare({"face": str(plain), "anime": str(plain)}, tmp_path / "out")


def test_train_val_test_folders_are_the_splits(tmp_path):
    files = pngs(4, prefix="train/x/") | pngs(2, 10, "val/") | pngs(3, 20, "Test/") | {"lost.png": png(99)}
    report = prepare({"face": str(write(tmp_path / "a", files))}, tmp_path / "out", size=SIZE, workers=1)
    face = report["domains"]["face"]
    assert face["splits"] == {"train": 4, "validation": 2, "test": 3}
    assert [entry["file"] for entry in face["refused"]] == ["lost.png"]
    assert face["found"] == 10 == face["written"] + len(face["refused"])

    files = pngs(4, prefix="train/") | pngs(2, 10, "val/")
    report = prepare({"face": str(write(tmp_path / "b", files))}, tmp_path / "out2", size=SIZE, workers=1)
    assert report["domains"]["face"]["splits"] == {"train": 4, "test": 2}


@pytest.mark.parametrize(("folder", "other"), [("test", "train"), ("Test/x", "lost"), ("val", "train")])
def test_a_test_folder_without_training_pictures_is_named(tmp_path, folder, other):
    files = pngs(6, prefix=f"{folder}/") | {f"{other}/notes.txt": b"x"}
    if other == "lost":
        files |= pngs(3, 10, "lost/")
    report = prepare({"face": str(write(tmp_path / "a", files))}, tmp_path / "out", size=SIZE, workers=1)
    said = (
        f"{folder.partition('/')[0]}/ is no split, for no picture lies in a train/ beside it; no split given"
    )
    assert report["domains"]["face"]["notes"][0].startswith(said)
    report = prepare({"face": str(tmp_path / "a" / folder)}, tmp_path / "one", size=SIZE, workers=1)
    assert report["domains"]["face"]["notes"][0].startswith("no split given")


def test_hashed_split_is_not_moved_by_adding_pictures(tmp_path):
    source = write(tmp_path / "a", pngs(60))
    prepare({"face": str(source)}, tmp_path / "few", size=SIZE, workers=2)
    write(source, pngs(60, start=60, prefix="more/"))
    prepare({"face": str(source)}, tmp_path / "many", size=SIZE, workers=2, test_fraction=0.1)
    before, after = (names(tmp_path / out, "face", "test") for out in ("few", "many"))
    assert 0 < len(before) < 20
    assert {name for name in after if "/" not in name} == before


def test_a_few_pictures_still_give_two_splits(tmp_path):
    report = prepare({"face": str(write(tmp_path / "a", pngs(2)))}, tmp_path / "out", size=SIZE, workers=1)
    assert report["domains"]["face"]["splits"] == {"train": 1, "test": 1}


def test_test_list_and_labels_file(tmp_path, capsys):
    source = write(tmp_path / "a", pngs(5, prefix="x y/"))
    (tmp_path / "test.txt").write_text("001.png\nx y/003.png\n\n")
    (tmp_path / "labels.csv").write_text("file,hair,count\n001.png,'black',3\n002.png,,4\nelse.png,a,5\n")
    arguments = ["prepare", "--domain", f"face={source}", "--out", str(tmp_path / "out"), "--size", str(SIZE)]
    arguments += [
        "--test-list",
        f"face={tmp_path / 'test.txt'}",
        "--labels",
        f"face={tmp_path / 'labels.csv'}",
    ]
    assert cli.main(arguments) == 0
    assert names(tmp_path / "out", "face", "test") == {"x y/001.png", "x y/003.png"}
    by_name = {
        e["file_name"][0].decode(): e for s in ("train", "test") for e in records(tmp_path / "out", "face", s)
    }
    first, second, third = (by_name[f"x y/00{i}.png"] for i in (1, 2, 3))
    assert (first["hair"], first["count"], first["labelled"]) == ([b"'black'"], [3], [1])
    assert (second["hair"], second["count"], second["labelled"]) == ([b""], [4], [1])
    assert (third["hair"], third["count"], third["labelled"]) == ([b""], [0], [0])

    said = capsys.readouterr().out
    assert (
        "warning: " in said and "labels.csv: 2 of 3 rows name 2 of 5 pictures, for example no picture" in said
    )
    assert "no picture is 'else.png' and no row has 'x y/000.png'" in said
    assert "test.txt: 2 of 2 rows name 2 of 5 pictures\n" in said

    (tmp_path / "test.txt").write_text("# mine\n001.png\nabsent.png\n")
    arguments[4] = str(tmp_path / "part")
    assert cli.main(arguments) == 0
    assert "test.txt: 1 of 2 rows name 1 of 5 pictures, for example no picture is 'absent.png'\n" in (
        capsys.readouterr().out
    )
    (tmp_path / "test.txt").write_text("".join(f"{i:03d}.png\n" for i in range(5)))
    assert cli.main(arguments) == 2
    assert "names all 5 pictures, and leaves none to train on: take" in capsys.readouterr().err
    (tmp_path / "test.txt").write_text("absent.png\n")
    arguments[4] = str(tmp_path / "none")
    assert cli.main(arguments) == 2
    assert "test.txt names none of the pictures, 0 of its 1 rows match" in capsys.readouterr().err


def test_evil_zip_members_are_refused_and_nothing_is_unpacked(tmp_path):
    path = tmp_path / "evil.zip"
    inner = zipped(tmp_path / "inner.zip", pngs(2)).read_bytes()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in pngs(3).items():
            archive.writestr(name, data)
        archive.writestr("../outside.png", png(50))
        archive.writestr("/absolute.png", png(51))
        archive.writestr("a/../../b.png", png(52))
        archive.writestr("C:\\windows.png", png(53))
        archive.writestr("nested.zip", inner)
        link = zipfile.ZipInfo("link.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("000.png", png(54))
    # A flipped bit in a stored member: the zip's CRC finds it.
    data = bytearray(path.read_bytes())
    data[data.index(b"002.png") + 200] ^= 1
    path.write_bytes(bytes(data))
    before = sorted(tmp_path.rglob("*"))
    report = prepare({"face": str(path)}, tmp_path / "out", size=SIZE, workers=1)["domains"]["face"]
    refused = {entry["file"]: entry["reason"] for entry in report["refused"]}
    reasons = {
        "../outside.png": "leads outside",
        "/absolute.png": "absolute",
        "a/../../b.png": "leads outside",
        "C:\\windows.png": "absolute",
        "nested.zip": "not a picture",
        "link.png": "symbolic link",
        "000.png": "twice",
        "002.png": "CRC",
    }
    assert refused.keys() == reasons.keys()
    assert all(reasons[name] in refused[name] for name in reasons), refused
    assert report["found"] == 10 and report["written"] == 2
    new = set(tmp_path.rglob("*")) - set(before)
    assert all(p.is_relative_to(tmp_path / "out") for p in new)


def test_a_zip_that_would_unpack_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("xgan_jax.data.zips.MAX_ZIP_BYTES", 1000)
    with pytest.raises(ValueError, match="would unpack to"):
        prepare({"face": str(zipped(tmp_path / "a.zip", pngs(3)))}, tmp_path / "out")


def test_folder_links(tmp_path):
    source = write(tmp_path / "a", pngs(2))
    other = write(tmp_path / "b", pngs(1, start=10))
    (source / "linked.png").symlink_to(other / "000.png")
    (source / "dangling.png").symlink_to(tmp_path / "nowhere.png")
    (source / "folder").symlink_to(other)
    os.mkfifo(source / "pipe.png")
    report = prepare({"face": str(source)}, tmp_path / "out", size=SIZE, workers=1)["domains"]["face"]
    assert report["written"] == 3
    reasons = {entry["file"]: entry["reason"] for entry in report["refused"]}
    assert reasons.keys() == {"dangling.png", "folder", "pipe.png"}
    assert "No such file" in reasons["dangling.png"] and "link to a folder" in reasons["folder"]


def test_the_same_pictures_give_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr("xgan_jax.data.shards.SHARD_BYTES", 5000)
    one = write(tmp_path / "one", pngs(20))
    two = tmp_path / "two"
    two.mkdir()
    for name, data in reversed(pngs(20).items()):
        (two / name).write_bytes(data)
    packed = zipped(tmp_path / "three.zip", dict(reversed(pngs(20).items())))
    written = []
    for i, (source, workers) in enumerate([(one, 1), (two, 2), (packed, 2)]):
        prepare({"face": str(source)}, tmp_path / f"out{i}", size=SIZE, workers=workers)
        written.append(contents(tmp_path / f"out{i}" / "face"))
    assert written[0] == written[1] == written[2]
    shards = [name for name in written[0] if "train.tfrecord" in name]
    assert len(shards) > 2 and all(name.endswith(f"-of-{len(shards):05d}") for name in shards)
    order = [e["file_name"][0] for e in records(tmp_path / "out0", "face", "train")]
    assert order != sorted(order)


def test_a_repeated_command_does_nothing_and_another_is_refused(tmp_path, capsys):
    source = write(tmp_path / "a", pngs(5))
    out = tmp_path / "out"
    first = prepare({"face": str(source)}, out, size=SIZE, workers=1)
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*")}
    assert prepare({"face": str(source)}, out, size=SIZE, workers=1) == first
    assert "already prepared" in capsys.readouterr().out
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*")} == before
    with pytest.raises(ValueError, match=r"another dataset \(size was 32, now 64\): delete it or"):
        prepare({"face": str(source)}, out, size=64)
    with pytest.raises(ValueError, match="face was split into train and test in another way"):
        prepare({"face": str(source)}, out, size=SIZE, test_fraction=0.7)
    with pytest.raises(ValueError, match="of face, not face, cat"):
        prepare({"face": str(source), "cat": str(write(tmp_path / "b", pngs(3)))}, out, size=SIZE)
    write(source, {"new.png": png(77)})
    with pytest.raises(ValueError, match="the pictures or labels of face have changed since"):
        prepare({"face": str(source)}, out, size=SIZE)
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*")} == before


def without_contents(path):
    """A report or a journal as it was written before contents were looked at."""
    content = json.loads(path.read_text())
    for domain in content["request"]["domains"].values():
        del domain["contents"]
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("kind", ["folder", "zip", "two folders"])
def test_a_picture_of_other_contents_is_another_picture(tmp_path, kind):
    """Even under its name and of its size."""

    def place(folder, seed):
        files = {f"{i}.bmp": saved(Image.fromarray(picture(seed + i)), "BMP") for i in range(3)}
        return zipped(folder, files) if kind == "zip" else write(folder, files)

    given = [str(place(tmp_path / name, seed=0)) for name in ("a", "b")[: 1 + (kind == "two folders")]]
    out = tmp_path / "out"
    first = prepare({"face": given}, out, size=SIZE, workers=1)
    place(Path(given[-1]), seed=1)
    with pytest.raises(ValueError, match="the pictures or labels of face have changed since"):
        prepare({"face": given}, out, size=SIZE)
    without_contents(out / "report.json")
    if kind != "zip":  # whose checksums have always counted
        assert prepare({"face": given}, out, size=SIZE)["domains"] == first["domains"]
        (two := tmp_path / "two.txt").write_text("a/0.bmp\na/1.bmp\n" if len(given) > 1 else "0.bmp\n1.bmp\n")
        with pytest.raises(ValueError, match="face was split into train and test in another way"):
            prepare({"face": given}, out, size=SIZE, test_lists={"face": str(two)})
    place(Path(given[-1]), seed=0)
    assert prepare({"face": given}, out, size=SIZE)["domains"] == first["domains"]


def test_an_interrupted_domain_is_kept_only_for_the_same_contents(tmp_path, monkeypatch, capsys):
    def draw(seed):
        for folder in domains.values():
            write(Path(folder), {"1.bmp": saved(Image.fromarray(picture(seed)), "BMP")})

    def stopped(domain, *_):
        if domain.name == "anime":
            raise KeyboardInterrupt
        return write_domain(domain, *_)

    domains, out = {name: str(tmp_path / name) for name in ("face", "anime")}, tmp_path / "out"
    write_domain = preparing._write_domain
    draw(0)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(preparing, "_write_domain", stopped)
        prepare(domains, out, size=SIZE, workers=1, test_fraction=0.0)
    draw(1)
    with pytest.raises(
        ValueError, match=r"interrupted prepare .*the pictures or labels of face have changed"
    ):
        prepare(domains, out, size=SIZE, test_fraction=0.0)
    without_contents(tmp_path / "out.partial/journal.json")
    report = prepare(domains, out, size=SIZE, workers=1, test_fraction=0.0)
    assert "face: was finished before the interruption" in capsys.readouterr().out
    assert "contents" not in report["request"]["domains"]["face"], "which nobody knows"


@pytest.mark.parametrize("lost", ["face/face-train.tfrecord-*", "face/dataset_info.json", "face/*"])
def test_a_dataset_that_is_not_whole_is_refused(tmp_path, capsys, lost):
    out, source = tmp_path / "out", write(tmp_path / "a", pngs(3))
    command = ["prepare", "--domain", f"face={source}", "--out", str(out), "--size", str(SIZE)]
    assert cli.main(command) == 0
    for path in out.glob(lost):
        path.unlink()
    capsys.readouterr()
    assert cli.main(command) == 2
    said = capsys.readouterr()
    assert "already prepared" not in said.out and said.err.count("\n") == 1
    assert said.err.endswith(f"To prepare it again, delete {out}, or choose another --out.\n")


def test_a_dataset_that_was_cut_is_refused(tmp_path):
    out, source = tmp_path / "out", write(tmp_path / "a", pngs(3))
    prepare({"face": str(source)}, out, size=SIZE, workers=1)
    (shard,) = out.glob("face/face-train.tfrecord-*")
    shard.write_bytes(shard.read_bytes()[:-5])
    with pytest.raises(ValueError, match=r"face-train.* To prepare it again, delete .*out"):
        prepare({"face": str(source)}, out, size=SIZE, workers=1)


def test_killed_in_the_middle_and_repeated(tmp_path, capsys):
    """kill -9 while the second domain is written: no OUT; the same command finishes it."""
    face, anime = write(tmp_path / "a", pngs(6)), write(tmp_path / "b", pngs(40, start=50))
    out, partial = tmp_path / "out", tmp_path / "out.partial"
    program = f"""if True:
        import os, time
        from xgan_jax.data import prepare, records
        read = records.read
        def slow(data):
            time.sleep(0.1 if os.path.exists({str(partial / "anime")!r}) else 0)
            return read(data)
        records.read = slow
        domains = {{"face": {str(face)!r}, "anime": {str(anime)!r}}}
        prepare.prepare(domains, {str(out)!r}, size={SIZE}, workers=1)
    """
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while not list(partial.glob("anime/*.tfrecord-*")):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        # While it runs, nobody else may write there.
        with pytest.raises(ValueError, match="another prepare is writing"):
            prepare({"face": str(face), "anime": str(anime)}, out, size=SIZE)
        process.send_signal(signal.SIGKILL)
    assert not out.exists() and (partial / "journal.json").exists()
    with pytest.raises(
        ValueError, match=r"left by an interrupted prepare of another kind .*delete .*partial"
    ):
        prepare({"face": str(face), "anime": str(anime)}, out, size=64)
    capsys.readouterr()
    prepare({"face": str(face), "anime": str(anime)}, out, size=SIZE, workers=1)
    assert "face: was finished before the interruption" in capsys.readouterr().out
    assert not partial.exists()
    prepare({"face": str(face), "anime": str(anime)}, tmp_path / "whole", size=SIZE, workers=1)
    assert contents(out) == contents(tmp_path / "whole")


@pytest.mark.slow
def test_ten_kills_and_the_same_dataset(tmp_path):
    """At random moments, from before the first picture to the last rename."""
    face, anime = write(tmp_path / "a", pngs(30)), write(tmp_path / "b", pngs(40, start=50))
    out = tmp_path / "out"
    program = f"""if True:
        import time
        from xgan_jax.data import prepare, records
        read = records.read
        def slow(data):
            time.sleep(0.03)
            return read(data)
        records.read = slow
        domains = {{"face": {str(face)!r}, "anime": {str(anime)!r}}}
        prepare.prepare(domains, {str(out)!r}, size={SIZE}, workers=1)
    """
    random, kills = np.random.default_rng(), 0
    while kills < 10:
        with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.DEVNULL) as process:
            try:
                process.wait(random.uniform(0.3, 4))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                kills += 1
            else:
                assert process.returncode == 0
                shutil.rmtree(out)
        assert not out.exists() or (out / "report.json").exists()
    prepare({"face": str(face), "anime": str(anime)}, out, size=SIZE, workers=1)
    prepare({"face": str(face), "anime": str(anime)}, tmp_path / "whole", size=SIZE, workers=1)
    assert contents(out) == contents(tmp_path / "whole")
    assert not (tmp_path / "out.partial").exists()


def test_a_failure_leaves_nothing_behind(tmp_path):
    good = write(tmp_path / "a", pngs(3))
    bad = write(tmp_path / "b", {"x.jpg": b"no picture", "y.jpg": b""})
    with pytest.raises(ValueError, match=r"anime .* no usable training picture of 2 found: x\.jpg: .*; y"):
        prepare({"face": str(good), "anime": str(bad)}, tmp_path / "out", size=SIZE, workers=1)
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.partial").exists()


def test_how_far_it_is_is_printed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("xgan_jax.progress.EVERY", -1.0)
    prepare({"face": str(write(tmp_path / "a", pngs(5)))}, tmp_path / "out", size=SIZE, workers=1)
    lines = [line for line in capsys.readouterr().out.splitlines() if " of 5 pictures, " in line]
    assert [line.split(" of ")[0] for line in lines] == [f"face: {i}" for i in range(1, 6)]


def test_the_next_command_is_printed(tmp_path, capsys):
    for name in ("a", "b"):
        write(tmp_path / name, pngs(3))
    domains = {"face": str(tmp_path / "a"), "cat": str(tmp_path / "b")}
    prepare(domains, tmp_path / "out", size=32, workers=1)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Next:")]
    assert f"--config.data.path={tmp_path / 'out'} " in line
    assert line.endswith("""'--config.data.domains=("face", "cat")' --config.data.size=32""")


@pytest.mark.parametrize(
    ("files", "options"),
    [
        (pngs(3), ["--test-fraction", "0"]),
        (pngs(1), []),
        (pngs(1) | {"1.png": b""}, ["--test-fraction", ".99"]),
    ],
)
def test_a_domain_without_test_pictures_is_told(tmp_path, capsys, files, options):
    """It may be meant, to train with other splits; but train.py would refuse the command that others get."""
    command = ["prepare", "--size", str(SIZE), "--out", str(tmp_path / "out"), *options]
    command += ["--domain", f"face={write(tmp_path / 'a', files)}"]
    command += ["--domain", f"anime={write(tmp_path / 'b', {'train/1.png': png(1), 'test/2.png': png(2)})}"]
    assert cli.main(command) == cli.main(command) == 0
    said = capsys.readouterr().out
    assert (
        "Next:" not in said
        and said.count("Note: train.py refuses a domain without test pictures, as face:") == 2
    )


def test_a_domain_without_training_pictures_says_where_they_are(tmp_path):
    table = {"attributes.csv": b"file,age\n000.png,1\n001.png,1\n002.png,2\n003.png,2\n"}
    source = write(tmp_path / "a", pngs(4) | table)
    (tmp_path / "list.txt").write_text("002.png\n003.png\n")
    with pytest.raises(
        ValueError, match=r"no usable .* of 4 found: 2 in test; 2 left out by --where: give it"
    ):
        prepare(
            {"face": str(source)},
            tmp_path / "out",
            size=SIZE,
            where={"face": {"age": "2"}},
            test_lists={"face": str(tmp_path / "list.txt")},
        )


def test_contact_sheet(tmp_path):
    prepare({"face": str(write(tmp_path / "a", pngs(11)))}, tmp_path / "out", size=SIZE, workers=1)
    sheet = decode((tmp_path / "out" / "face" / "contact_sheet.png").read_bytes())
    assert sheet.shape == (2 * (SIZE + 2) + 2, 8 * (SIZE + 2) + 2, 3)
    first = records(tmp_path / "out", "face", "train")[0]
    assert np.array_equal(sheet[2 : SIZE + 2, 2 : SIZE + 2], pixels(first))


def test_equal_files_are_reported(tmp_path):
    files = pngs(3) | {"copy.png": png(0)}
    report = prepare({"face": str(write(tmp_path / "a", files))}, tmp_path / "out", size=SIZE, workers=1)
    (entry,) = report["domains"]["face"]["duplicates"]
    assert set(entry.values()) == {"000.png", "copy.png"}
    assert report["domains"]["face"]["written"] == 4


def test_pictures_are_chosen_by_their_labels(tmp_path, capsys):
    """Text, whole numbers and several at once; a picture without a label is in no choice."""
    rows = ["name,male,hair", "000.png,1,black", "001.png,-1,black", "002.png,-1,red", "003.png,0,red"]
    folder = write(tmp_path / "a", pngs(5) | {"attributes.csv": "\n".join(rows).encode()})
    common = ["prepare", "--domain", f"face={folder}", "--size", str(SIZE), "--test-fraction", "0"]

    def chosen(out, *where):
        options = [option for text in where for option in ("--where", text)]
        assert cli.main([*common, "--out", str(tmp_path / out), *options]) == 0
        return names(tmp_path / out, "face", "train")

    assert chosen("one", "face:male=-1") == {"001.png", "002.png"}
    report = json.loads((tmp_path / "one/report.json").read_text())["domains"]["face"]
    assert (report["found"], report["written"], report["left_out"]) == (5, 2, 3)
    assert "5 found = 2 written (2 train) + 0 refused + 3 by --where" in capsys.readouterr().out
    assert chosen("two", "face:male=-1", "face:hair=red") == {"002.png"}
    assert chosen("three", "face:male=0") == {"003.png"}, "004.png has no label"
    assert chosen("all", "male=-1") == {"001.png", "002.png"}
    for where, message in (
        ("face:age=3", "--where face:age: its labels are male, hair, labelled"),
        ("cat:male=1", "--where names the domain 'cat', which no --domain gives"),
        ("age=3", "--where age: no domain has this label"),
        (":male=1", "--where is ':male=1': write NAME:LABEL=VALUE"),
    ):
        assert cli.main([*common, "--out", str(tmp_path / "four"), "--where", where]) == 2
        assert message in capsys.readouterr().err
    assert cli.main([*common, "--out", str(tmp_path / "one"), "--where", "face:male=1"]) == 2
    assert "face was chosen by other labels" in capsys.readouterr().err


def test_why_nothing_is_left_to_train_on_is_said(tmp_path):
    rows = "".join(f"{i:03d}.png,{'b' if i else 'a'}\n" for i in range(3))
    source = write(tmp_path / "a", pngs(3) | {"attributes.csv": b"file,hair\n" + rows.encode()})
    (tmp_path / "test.txt").write_text("000.png\n")
    choice = {"test_lists": {"face": str(tmp_path / "test.txt")}, "where": {"face": {"hair": "a"}}}
    with pytest.raises(ValueError, match="of 3 found: 1 in test; 2 left out by --where: give it"):
        prepare({"face": str(source)}, tmp_path / "out", size=SIZE, workers=1, **choice)


def test_pictures_that_look_the_same_are_written_once(tmp_path, capsys):
    """Saved as JPEG, scaled, a little brighter: the same; other faces, drawn by us, are others."""
    rng = np.random.default_rng(0)
    faces = [draw(sample_attributes(rng), "anime", 64, i) for i in range(40)]
    originals = {f"train/{i:03d}.png": encode(face, "png") for i, face in enumerate(faces)}
    first, second, third = (Image.fromarray(face) for face in faces[:3])
    buffer = io.BytesIO()
    first.save(buffer, "JPEG", quality=60)
    brighter = np.asarray(third, np.int16) + 12
    copies = {
        "test/jpeg.jpg": buffer.getvalue(),
        "test/scaled.png": encode(np.asarray(second.resize((150, 150))), "png"),
        "test/brighter.png": encode(brighter.clip(0, 255).astype(np.uint8), "png"),
        "test/other.png": encode(draw(sample_attributes(rng), "anime", 64, 99), "png"),
    }
    folder = write(tmp_path / "a", originals | copies)
    report = prepare({"anime": str(folder)}, tmp_path / "out", size=64, dedup=True)["domains"]["anime"]
    found = {entry["file"]: entry["same_as"] for entry in report["near_duplicates"]}
    assert found == {
        "test/jpeg.jpg": "train/000.png",
        "test/scaled.png": "train/001.png",
        "test/brighter.png": "train/002.png",
    }
    assert report["splits"] == {"train": 40, "test": 1}
    assert "44 found = 41 written (40 train, 1 test) + 0 refused + 3 by --dedup" in capsys.readouterr().out
    assert prepare({"anime": str(folder)}, tmp_path / "all", size=64)["domains"]["anime"]["written"] == 44


def test_sets_of_several_places_are_one_domain(tmp_path, capsys):
    """A folder and a zip with a picture in common, labels in the one."""
    pictures = pngs(12)
    labels = b"file,hair\n" + b"".join(b"%03d.png,h%d\n" % (i, i) for i in range(8))
    first = {name: data for name, data in pictures.items() if name < "008.png"}
    write(tmp_path / "crawled", first | {"attributes.csv": labels})
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as file:
        for name in ("007.png", "008.png", "009.png"):
            file.writestr(name, pictures[name])
    given = ["--domain", f"anime={tmp_path}/crawled", "--domain", f"anime={tmp_path}/other.zip"]
    out = ["--out", str(tmp_path / "out"), "--size", str(SIZE)]
    assert cli.main(["prepare", *given, *out, "--dedup"]) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())["domains"]["anime"]
    assert report["found"] == 11 and report["written"] == 10 and report["kind"] == "folder, zip"
    [near] = report["near_duplicates"]
    assert {near["file"], near["same_as"]} == {"crawled/007.png", "other.zip/007.png"}
    examples = {
        e["file_name"][0].decode(): e
        for split in report["splits"]
        for e in records(tmp_path / "out", "anime", split)
    }
    assert examples["crawled/003.png"]["hair"] == [b"h3"] and examples["crawled/003.png"]["labelled"] == [1]
    assert examples["other.zip/008.png"]["hair"] == [b""] and examples["other.zip/008.png"]["labelled"] == [0]
    assert np.array_equal(
        pixels(examples["other.zip/009.png"]), crop_resize(decode(pictures["009.png"]), SIZE, "center")
    )
    assert cli.main(["prepare", *given, *out, "--dedup"]) == 0
    assert "already prepared from the same pictures" in capsys.readouterr().out
    assert cli.main(["prepare", *given, *out, "--labels", f"anime={tmp_path}/x.csv"]) == 2
    assert "anime has several sets, put an attributes.csv into each" in capsys.readouterr().err
    write(tmp_path / "third", {"001.png": pictures["001.png"], "attributes.csv": b"file,hair\n001.png,3\n"})
    assert cli.main(["prepare", *given, "--domain", f"anime={tmp_path}/third", *out]) == 2
    assert "the label 'hair' is int64 in one set and text in another" in capsys.readouterr().err


def test_sets_of_one_domain_keep_the_labels_they_share(tmp_path):
    """What a set does not say is not made up; splits are those that each set has alone."""
    labels = {
        "a/x": b"file,hair,male\n" + b"".join(b"%03d.png,red,1\n" % i for i in range(6)),
        "b/x": b"file,hair\n" + b"".join(b"%03d.png,blue\n" % i for i in range(6)),
    }
    for folder, table in labels.items():
        write(tmp_path / folder, pngs(6) | {"attributes.csv": table})
    alone = prepare({"anime": str(tmp_path / "a/x")}, tmp_path / "alone", size=SIZE, test_fraction=0.5)
    given = [str(tmp_path / folder) for folder in labels]
    both = prepare({"anime": given}, tmp_path / "both", size=SIZE, test_fraction=0.5)["domains"]["anime"]
    assert both["labels"] == ["hair"] and both["written"] == 12
    assert any("not all sets have are not kept: male" in note for note in both["notes"])
    for split in alone["domains"]["anime"]["splits"]:
        ours = {name for name in names(tmp_path / "both", "anime", split) if name.startswith("1_x/")}
        assert ours == {f"1_x/{name}" for name in names(tmp_path / "alone", "anime", split)}


def test_sets_of_one_domain_are_cropped_alike(tmp_path):
    write(tmp_path / "celeba", {"0.png": encode(picture(0, 178, 218), "png")})
    write(tmp_path / "square", pngs(2))
    both = {"face": [str(tmp_path / "celeba"), str(tmp_path / "square")]}
    with pytest.raises(ValueError, match=r"the sets of face ask for different crops \(celeba celeba, square"):
        prepare(both, tmp_path / "out", size=SIZE)
    assert prepare(both, tmp_path / "out", size=SIZE, crop="none")["domains"]["face"]["written"] == 3
    with pytest.raises(ValueError, match="the domain face has no path"):
        prepare({"face": []}, tmp_path / "none", size=SIZE)


def test_sets_that_lie_in_each_other_are_refused(tmp_path):
    outer = write(tmp_path / "all", pngs(6) | pngs(3, 6, "anime/"))
    archive = str(zipped(tmp_path / "all.zip", pngs(4, prefix="a/") | pngs(4, 4, prefix="b/")))
    (tmp_path / "link").symlink_to(outer / "anime")
    for domains in (
        {"face": str(outer), "anime": str(outer / "anime")},
        {"face": str(tmp_path / "link"), "anime": str(outer)},
        {"face": [str(outer), str(outer / "anime")]},
        {"face": archive, "anime": f"{archive}/b"},
    ):
        with pytest.raises(ValueError, match=r"^[34] files of .* too, .* that do not lie in each other"):
            prepare(domains, tmp_path / "out", size=SIZE)
    assert not (tmp_path / "out.partial").exists()
    prepare({"a": f"{archive}/a", "b": f"{archive}/b"}, tmp_path / "out", size=SIZE, workers=1)


@pytest.mark.parametrize("encoding", ["uint8", "jpeg"])
def test_a_prepared_tfds_dataset(tmp_path, monkeypatch, encoding):
    files = pngs(8) | {
        "attributes.csv": b"file,hair\n" + b"".join(b"%03d.png,h%d\n" % (i, i) for i in range(8))
    }
    source = write(tmp_path / "a", files)
    first = prepare({"face": str(source)}, tmp_path / "made", size=64, encoding=encoding, workers=1)
    shutil.copytree(tmp_path / "made" / "face", tmp_path / "tfds" / "face" / "1.0.0")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    report = prepare({"photo": "tfds:face"}, tmp_path / "out", size=SIZE, workers=2)["domains"]["photo"]
    assert report["kind"] == "TFDS face/1.0.0"
    assert report["splits"] == first["domains"]["face"]["splits"] and not report["refused"]
    for before, after in zip(
        sorted(records(tmp_path / "made", "face", "train"), key=lambda e: e["hair"]),
        sorted(records(tmp_path / "out", "photo", "train"), key=lambda e: e["hair"]),
        strict=True,
    ):
        assert after["hair"] == before["hair"] and after["source_file_name"] == before["file_name"]
        stored = before["image"][0]
        image = np.frombuffer(stored, np.uint8).reshape(64, 64, 3) if encoding == "uint8" else decode(stored)
        assert np.array_equal(pixels(after), crop_resize(image, SIZE, "center"))


@pytest.mark.parametrize("file_format", ["tfrecord", "array_record"])
def test_tfds_records_as_celeb_a_has_them(tmp_path, file_format):
    """Nested features, native size, JPEG; a feature that is no label; a damaged picture."""
    import tensorflow_datasets as tfds
    from array_record.python.array_record_module import ArrayRecordWriter

    folder = tmp_path / "celeb" / "2.1.0"
    folder.mkdir(parents=True)
    tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(218, 178, 3), encoding_format="jpeg"),
            "attributes": {"Smiling": np.bool_},
            "landmarks": {"nose_x": np.int64},
            "points": tfds.features.Tensor(shape=(2,), dtype=np.float32),
        }
    ).save_config(folder)
    jpegs = [encode(picture(i, 178, 218), "jpeg") for i in range(5)]
    jpegs[3] = jpegs[3][:4000]
    examples = [
        encode_example({"image": j, "attributes/Smiling": i % 2, "landmarks/nose_x": i, "points": [0.5, 1.5]})
        for i, j in enumerate(jpegs)
    ]
    splits = []
    for split, part in (("train", examples[:4]), ("test", examples[4:])):
        path = folder / f"celeb-{split}.{file_format}-00000-of-00001"
        writer = (
            TFRecordWriter(path)
            if file_format == "tfrecord"
            else ArrayRecordWriter(str(path), "group_size:1")
        )
        for example in part:
            writer.write(example)
        writer.close()
        template = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
        splits.append({"name": split, "shardLengths": [str(len(part))], "filepathTemplate": template})
    info = {"name": "celeb", "version": "2.1.0", "fileFormat": file_format, "splits": splits}
    (folder / "dataset_info.json").write_text(json.dumps(info))

    report = prepare({"face": f"tfds:{folder}"}, tmp_path / "out", size=SIZE, workers=1)["domains"]["face"]
    assert report["crop"] == "celeba" and report["labels"] == ["Smiling", "nose_x"]
    assert report["splits"] == {"train": 3, "test": 1}
    assert [entry["file"] for entry in report["refused"]] == ["train/00000003"]
    assert "not kept: points" in report["notes"]
    (example,) = records(tmp_path / "out", "face", "test")
    assert (example["Smiling"], example["nose_x"]) == ([0], [4])
    assert np.array_equal(pixels(example), crop_resize(decode(jpegs[4]), SIZE, "celeba"))

    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="the pictures or labels of face have changed since"):
        prepare({"face": f"tfds:{folder}"}, tmp_path / "out", size=SIZE)


def test_tfds_that_is_not_prepared(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"tfds:celeb_a is not prepared in .*nothing is downloaded"):
        prepare({"face": "tfds:celeb_a"}, tmp_path / "out")
    with pytest.raises(ValueError, match="knows no dataset 'no_such_thing'"):
        prepare({"face": "tfds:no_such_thing"}, tmp_path / "out")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--domain", "face={}/absent"], "absent does not exist: give a folder, a zip or tfds:NAME"),
        (["--domain", "face={}/empty"], "holds no pictures: give a folder or a zip with pictures"),
        (["--domain", "face={}/texts"], "holds no pictures (2 other files)"),
        (["--domain", "face={}/a/000.png"], "000.png is neither a folder nor an intact zip"),
        (
            ["--domain", "face={}/a", "--domain", "face={}/a"],
            "/a is given twice for face: give each set once",
        ),
        (["--domain", "face"], "--domain is 'face': write NAME=PATH"),
        (["--domain", "Fa ce={}/a"], "the domain name 'Fa ce' cannot be used"),
        (
            ["--domain", "face={}/a", "--size", "96"],
            "--size is 96, for which there are no networks: use 64 or 128 pixels",
        ),
        (
            ["--domain", "face={}/a", "--size", "4"],
            "--size is 4, for which there are no networks: use 32 or 64 pixels",
        ),
        (["--domain", "face={}/a", "--test-fraction", "1"], "--test-fraction is 1.0"),
        (["--domain", "face={}/a", "--workers", "0"], "--workers is 0"),
        (["--domain", "face={}/a", "--test-list", "cat=x"], "--test-list names the domain 'cat'"),
        (["--domain", "face={}/a", "--test-list", "face=x"], "x does not exist: --test-list wants"),
        (
            ["--domain", "face={}/a", "--test-list", "face={}/texts"],
            "texts is a folder: --test-list wants NAME=",
        ),
        (
            ["--domain", "face={}/a", "--labels", "face={}/texts"],
            "texts is a folder: --labels wants NAME=FILE",
        ),
        (["--domain", "face={}/a", "--labels", "face={}/texts/a.csv"], "names none of the pictures"),
        (["--domain", "face={}/a", "--out", "{}/a/out"], "lies inside the pictures of face"),
        (["--domain", "face={}/a", "--out", "{}/texts/b.txt/out"], "cannot be made (Not a directory)"),
        (["--domain", "face={}/a", "--out", "{}/texts/a.csv"], "is a file: choose another"),
        (["--domain", "face={}/a", "--out", "{}/texts"], "is not empty and was not written by prepare"),
        (["--domain", "face={}/a", "--out", "{}/link"], "is a link or a mount point"),
        (["--domain", "face={}/a", "--out", "{}/dangling"], "is a link to nothing: choose another"),
        (["--domain", "face={}/a", "--out", "."], "is the folder you are in: give one inside it, data"),
        (["--domain", "face={}/a", "--out", ""], "--out is empty: give a path"),
        (["--domain", "face={}/a", "--out", "{}/foreign"], "foreign.partial is in the way"),
    ],
)
def test_wrong_input_is_one_sentence(tmp_path, capsys, monkeypatch, arguments, message):
    write(tmp_path / "a", pngs(2))
    write(tmp_path / "texts", {"a.csv": b"file,b\nz,1\n", "b.txt": b"x"})
    write(tmp_path / "foreign.partial", {"something": b"x"})
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    monkeypatch.chdir(tmp_path / "empty")
    out = [] if "--out" in arguments else ["--out", str(tmp_path / "out")]
    assert cli.main(["prepare", *(a.format(tmp_path) for a in arguments), *out]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("xgan prepare: ") and error.count("\n") == 1 and "Traceback" not in error
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.partial").exists()


@pytest.mark.parametrize("empty", ["workdir", "input", "output", "out"])
def test_an_empty_path_is_refused_before_anything_else(capsys, empty):
    paths = dict.fromkeys(("workdir", "input", "output"), "x")
    command = ["neighbours", "--domain", "a", "--among", "b"]
    if empty == "out":
        paths, command = {"weights": "x", "out": "x"}, ["convert", "--method", "no_such"]
    for name, path in (paths | {empty: ""}).items():
        command += [f"--{name}", *(["x"] if name == "input" else []), path]
    assert cli.main(command) == 2
    assert capsys.readouterr().err == f"xgan {command[0]}: --{empty} is empty: give a path.\n"


def test_translate_arguments_reach_the_function(monkeypatch):
    from xgan_jax.evaluation import translate

    calls = []
    monkeypatch.setattr(translate, "translate_files", lambda *args, **options: calls.append((args, options)))
    common = ["translate", "--workdir", "w", "--input", "i", "--output", "o", "--direction", "face2anime"]
    assert cli.main([*common, "--step", "7"]) == 0
    options = {"step": 7, "batch_size": 32, "crop": "auto", "reference": None}
    assert calls == [(("w", "i", "o", "face2anime"), options)]


def test_help_imports_nothing_heavy():
    program = """if True:
        import sys
        from xgan_jax import cli
        try:
            cli.main(["prepare", "--help"])
        except SystemExit:
            sys.exit(str({"jax", "numpy", "tensorflow_datasets", "PIL"} & set(sys.modules)))
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "set()"
    assert "xgan prepare --domain face=photos --domain anime=anime.zip --out data/faces" in done.stdout


@pytest.mark.parametrize(
    "content",
    ["[]", "{}", '{"request": null}', '{"request": {"id": 3}}', '{"request": {"domains": {"face": 1}}}'],
)
def test_a_report_of_another_program(tmp_path, content):
    for name in ("out/report.json", "new.partial/journal.json"):
        write(tmp_path, {name: content.encode()})
    write(tmp_path / "face", {"1.bmp": saved(Image.fromarray(picture(0)), "BMP")})
    with pytest.raises(ValueError, match="is not empty and was not written by prepare"):
        prepare({"face": str(tmp_path / "face")}, tmp_path / "out", size=SIZE)
    with pytest.raises(ValueError, match=r"journal.json is damaged"):
        prepare({"face": str(tmp_path / "face")}, tmp_path / "new", size=SIZE)

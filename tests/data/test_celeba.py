"""CelebA's versions and lists. No picture is read here, so none has content."""

import zipfile
from pathlib import Path

import pytest

from xgan_jax.data import splits
from xgan_jax.data.sources import Source, open_source

COUNT = 6
PARTITION = ["0", "0", "0", "1", "2", "2"]


def lists(form: str = "txt") -> dict[str, str]:
    """Its attributes and splits, which call the pictures .jpg."""
    names = [f"{i + 1:06d}.jpg" for i in range(COUNT)]
    attributes = [f"{name}  {1 if i % 2 else -1} -1" for i, name in enumerate(names)]
    partition = [f"{name} {split}" for name, split in zip(names, PARTITION, strict=True)]
    if form == "csv":
        attributes = [",".join(line.split()) for line in ["image_id Male Young", *attributes]]
        partition = [",".join(line.split()) for line in ["image_id partition", *partition]]
    else:
        attributes = [str(COUNT), "Male Young ", *attributes]
    return {
        f"list_attr_celeba.{form}": "\n".join(attributes) + "\n",
        f"list_eval_partition.{form}": "\n".join(partition) + "\n",
    }


def pictures(prefix: str, kind: str, count: int = COUNT) -> dict[str, str]:
    return {f"{prefix}{i + 1:06d}.{kind}": "x" for i in range(count)}


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def zipped(path: Path, files: dict[str, str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def rule(source: Source) -> str:
    return splits.assign(source, 0.1, None, None).rule


LAYOUTS = [
    "jpg's name",
    "png's name",
    "given itself",
    "zip",
    "zip in Img",
    "one zip",
    "inside a zip",
    "other name",
]


@pytest.mark.parametrize("form", ["txt", "csv"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_png_version_has_its_labels_and_splits(tmp_path, layout, form):
    root = tmp_path / "celeba"
    given = root
    folder = {"jpg's name": "img_align_celeba/", "other name": "faces/"}.get(layout, "img_align_celeba_png/")
    files = lists(form) | pictures(folder, "png")
    if layout == "given itself":
        given = write(root, files) / folder
    elif layout == "zip":
        zipped(write(root, lists(form)) / "img_align_celeba_png.zip", pictures(folder, "png"))
    elif layout == "zip in Img":
        moved = {("Eval/" if "eval" in name else "Anno/") + name: text for name, text in lists(form).items()}
        zipped(write(root, moved) / "Img" / "img_align_celeba_png.zip", pictures(folder, "png"))
    elif layout in ("one zip", "inside a zip"):
        given = zipped(tmp_path / "archive.zip", files)
        given = given / folder if layout == "inside a zip" else given
    else:
        write(root, files)
    source = open_source(str(given))
    assert [source.splits[name] for name in source.names] == ["train"] * 3 + ["validation"] + ["test"] * 2
    assert source.columns == {"Male": "int64", "Young": "int64"} and len(source.names) == COUNT
    assert source.load(source.names[1])[1] == {"Male": 1, "Young": -1}
    assert rule(source) == f"splits are CelebA's own (list_eval_partition.{form})"
    assert [(t.rows_matched, t.pictures_matched) for t in source.tables] == [(COUNT, COUNT)] * 2


@pytest.mark.parametrize("folder", ["", "Img/img_align_celeba_png.7z/"])
def test_7z_is_named_with_what_to_do(tmp_path, folder):
    write(tmp_path / "celeba", lists() | {f"{folder}img_align_celeba_png.7z.{i:03d}": "7z" for i in (1, 2)})
    with pytest.raises(
        ValueError, match=r"img_align_celeba_png.7z.* is a 7z archive, which is not read: unpack"
    ):
        open_source(str(tmp_path / "celeba"))


def test_only_what_was_used_is_claimed(tmp_path):
    """A test list comes before CelebA's splits, which need something to train and to test on."""
    root = write(tmp_path / "celeba", lists() | pictures("img_align_celeba/", "jpg"))
    (tmp_path / "test.txt").write_text("000001.jpg\n")
    assigned = splits.assign(open_source(str(root)), 0.1, str(tmp_path / "test.txt"), None)
    assert assigned.rule == "the test split is that of test.txt" and assigned.names["test"] == ["000001.jpg"]

    few = write(tmp_path / "few", lists() | pictures("img_align_celeba/", "jpg", 3))
    source = open_source(str(few))
    assert source.splits == {} and source.columns == {"Male": "int64", "Young": "int64"}
    assert rule(source).startswith(
        "CelebA's own splits are not used, for they have no test picture here; no split"
    )
    assert "CelebA" not in rule(open_source(str(write(tmp_path / "plain", pictures("a/", "jpg")))))


def test_a_part_is_counted_and_none_is_an_error(tmp_path):
    some = pictures("img_align_celeba/", "png", 5) | {"img_align_celeba/extra.png": "x"}
    source = open_source(str(write(tmp_path / "part", lists() | some)))
    attributes = next(table for table in source.tables if "attr" in table.file)
    assert (attributes.rows_matched, attributes.pictures_matched) == (5, 5)
    assert (attributes.row_without_picture, attributes.picture_without_row) == ("000006.jpg", "extra.png")
    assert rule(source).endswith("; 1 pictures in no split went to train")
    write(tmp_path / "none", lists() | {"img_align_celeba/0.png": "x"})
    with pytest.raises(ValueError, match=r"list_eval_partition.txt names none of the pictures, 0 of its 6"):
        open_source(str(tmp_path / "none"))


def test_a_damaged_list_is_named_by_its_line(tmp_path):
    root = write(tmp_path / "celeba", lists() | pictures("img_align_celeba/", "jpg"))
    (root / "list_eval_partition.txt").write_text("000001.jpg 0\n000002.jpg train\n")
    with pytest.raises(
        ValueError, match=r"list_eval_partition.txt, line 2: a split is 0 \(train\).*not 'train'"
    ):
        open_source(str(root))


def test_litter_is_no_list(tmp_path):
    """What macOS and notebooks leave in a zip."""
    litter = {"__MACOSX/list_attr_celeba.txt": "\0", ".ipynb_checkpoints/list_attr_celeba.csv": "a,b\n"}
    files = lists() | pictures("img_align_celeba/", "jpg") | litter
    assert len(open_source(str(zipped(tmp_path / "a.zip", files))).tables) == 2


def test_folders_are_splits_where_no_list_gives_them(tmp_path):
    attributes = {"list_attr_celeba.txt": lists()["list_attr_celeba.txt"]}
    train = pictures("train/", "jpg", 4)
    test = {name.replace("train", "test"): "x" for name in list(pictures("train/", "jpg"))[4:]}
    source = open_source(str(write(tmp_path / "a", attributes | train | test)))
    assert rule(source) == "splits are those of test/, train/" and source.splits["test/000005.jpg"] == "test"
    assert source.load("test/000006.jpg")[1] == {"Male": 1, "Young": -1}
    listed = open_source(str(write(tmp_path / "b", lists() | train | test)))
    assert rule(listed) == "splits are CelebA's own (list_eval_partition.txt)"


def test_a_list_beside_two_domains_is_for_the_pictures_that_it_names(tmp_path):
    other = dict.fromkeys(["trainB/b1.jpg", "testB/b2.jpg"], "x")
    files = pictures("trainA/", "jpg", 4) | {"testA/000005.jpg": "x"} | other
    root = str(write(tmp_path, lists() | files))
    one, other = open_source(root, half=0), open_source(root, half=1)
    assert one.names[0] == "testA/000005.jpg" and one.columns == {"Male": "int64", "Young": "int64"}
    assert one.splits["testA/000005.jpg"] == "test" and rule(one) == "splits are those of trainA/, testA/"
    assert other.names == ["testB/b2.jpg", "trainB/b1.jpg"] and other.columns == {} and other.tables == []


def test_other_labels_stand_beside_those_of_the_lists(tmp_path):
    own = {"img_align_celeba/attributes.csv": "file,hair\n000001.jpg,red\n"}
    source = open_source(str(write(tmp_path, lists() | pictures("img_align_celeba/", "jpg") | own)))
    assert source.load("000001.jpg")[1] == {"Male": -1, "Young": -1, "hair": "red"}
    assert source.notes[0] == "3 labels from list_attr_celeba.txt, attributes.csv"


def test_what_lies_beside_the_aligned_pictures_is_named(tmp_path):
    others = {"selfies/1.jpg": "x", "top.jpg": "x", "attributes.csv": "file,hair\n"}
    source = open_source(str(write(tmp_path, lists() | pictures("img_align_celeba/", "jpg") | others)))
    assert len(source.names) == COUNT and source.notes[:2] == [
        "2 files outside img_align_celeba are not used, for example 'selfies/1.jpg': to use them give a "
        "folder that holds them and no img_align_celeba",
        "attributes.csv outside img_align_celeba is not used: put it there, or give it by --labels",
    ]


@pytest.mark.parametrize("form", ["CSV", "csv.zip"])
def test_lists_in_capitals_or_packed_one_by_one(tmp_path, form):
    root = write(tmp_path, pictures("img_align_celeba/", "jpg"))
    for name, text in lists("csv").items():
        if form == "CSV":
            (root / name).with_suffix(".CSV").write_text(text)
        else:
            zipped(root / f"{name}.zip", {name: text})
    source = open_source(str(root))
    assert source.columns == {"Male": "int64", "Young": "int64"} and "test" in source.splits.values()
    zipped(root / "list_landmarks_align_celeba.csv.zip", {"x.csv": "x"})
    with pytest.raises(ValueError, match=r"list_landmarks_align_celeba.csv.zip holds no list_landmarks"):
        open_source(str(root))


def test_an_empty_folder_beside_the_zip_is_passed_over(tmp_path):
    zipped(tmp_path / "img_align_celeba.zip", pictures("img_align_celeba/", "jpg"))
    write(tmp_path, {"img_align_celeba/.DS_Store": "x"})
    assert len(open_source(str(tmp_path)).names) == COUNT


def test_one_celeba_is_two_domains_that_labels_tell_apart(tmp_path):
    root = write(tmp_path / "c", pictures("img_align_celeba/", "jpg") | lists())
    for half in (0, 1):
        source = open_source(str(root), half=half)
        assert len(source.splits) == COUNT and list(source.columns) == ["Male", "Young"]

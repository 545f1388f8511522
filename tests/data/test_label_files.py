"""Labels of a user's own tables, from the file to what training reads of the records."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from xgan_jax import cli
from xgan_jax.config import DataConfig
from xgan_jax.data.pictures import encode
from xgan_jax.data.pipeline import read_labels
from xgan_jax.data.sources import open_source

COUNT = 6


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(COUNT):
        pixels = np.random.default_rng(i).integers(0, 256, (20, 20, 3), dtype=np.uint8)
        (folder / f"{i:02d}.png").write_bytes(encode(pixels, "png"))
    return folder


def hair(words: tuple[str, ...], line: str = "{:02d}.png,{}") -> str:
    return "file,hair\n" + "".join(line.format(i, words[i % len(words)]) + "\n" for i in range(COUNT))


def prepare(photos: Path, out: str, *options: str) -> int:
    given = ["--domain", f"face={photos}", "--out", str(photos.parent / out), "--size", "32", *options]
    return cli.main(["prepare", *given])


def classes(photos: Path, out: str) -> Counter:
    data = DataConfig(path=str(photos.parent / out), domains=("face", "face"), size=32)
    return Counter(word for split in ("train", "test") for word in read_labels(data, "face", split)["hair"])


@pytest.mark.parametrize(("encoding", "words"), [("gbk", ("黑", "金")), ("shift_jis", ("黒", "金"))])
@pytest.mark.parametrize("beside", [False, True])
def test_a_table_of_another_encoding_is_refused_then_read(photos, capsys, encoding, words, beside):
    path = photos / "attributes.csv" if beside else photos.parent / "hair.csv"
    path.write_bytes(hair(words).encode(encoding))
    options = [] if beside else ["--labels", f"face={path}"]
    assert prepare(photos, "out", *options) == 2
    said = capsys.readouterr().err
    assert f"{path} is not UTF-8; it seems to be {encoding}" in said and said.count("\n") == 1
    for out, named in (("out", encoding), ("again", f"face={encoding}")):
        assert prepare(photos, out, *options, "--labels-encoding", named) == 0
        assert classes(photos, out) == dict.fromkeys(words, COUNT // 2)
        table = json.loads((photos.parent / out / "report.json").read_text())["domains"]["face"]["tables"]
        assert table == [
            {
                "file": str(path),
                "rows": COUNT,
                "rows_matched": COUNT,
                "pictures": COUNT,
                "pictures_matched": COUNT,
                "row_without_picture": None,
                "picture_without_row": None,
            }
        ]
        assert f"  {path}: 6 of 6 rows name 6 of 6 pictures\n" in capsys.readouterr().out


def test_a_changed_table_is_recognised(photos, capsys):
    """A value, and the name of a column; the same table in another form is the same."""
    table = photos.parent / "hair.csv"
    options = ["--labels", f"face={table}"]
    table.write_text(hair(("black", "red")))
    assert prepare(photos, "out", *options) == 0
    table.write_bytes(hair(("black", "red"), "{:02d}.png;{}").replace(",", ";").encode("utf-16"))
    assert prepare(photos, "out", *options) == 0
    assert "already prepared from the same pictures" in capsys.readouterr().out
    for changed in (hair(("black", "blue")), hair(("black", "red")).replace("hair", "colour")):
        table.write_text(changed)
        assert prepare(photos, "out", *options) == 2
        assert "the pictures or labels of face have changed since" in capsys.readouterr().err


def test_arguments_that_mean_nothing_are_named(photos, capsys):
    (photos / "attributes.csv").write_text(hair(("black", "black", "red")))
    for options, message in (
        (["--labels-encoding", "gbkk"], "--labels-encoding is 'gbkk', which is no encoding of text"),
        (
            ["--labels-encoding", "cat=gbk"],
            "--labels-encoding names the domain 'cat', which no --domain gives",
        ),
        (["--labels-encoding", "gbk", "--labels-encoding", "big5"], "is gbk and big5: write NAME=ENCODING"),
        (
            ["--where", "face:hair=blck"],
            "--where face:hair=blck: no picture has this value; the commonest are black (4), red (2).",
        ),
        (["--where", "hair=blck"], "--where face:hair=blck: no picture has this value"),
    ):
        assert prepare(photos, "out", *options) == 2
        assert message in capsys.readouterr().err
        assert not (photos.parent / "out").exists()


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def labels(folder: Path) -> dict[str, dict]:
    source = open_source(str(folder))
    return {name: source.load(name)[1] for name in source.names}


def test_tables_name_pictures_from_where_they_stand(tmp_path):
    """In a folder, its subfolders, and not by what hides there."""
    files = {name: "x" for name in ("a/1.png", "a/2.png", "b/1.png", "b/c/3.png")}
    files |= {
        "a/attributes.csv": "file,hair\n1.png,red\n2.PNG,blue\n",
        "b/Attributes.CSV": "file;hair;age\n1.png;red;1,5\nb\\c\\3.png;;\n",
        "b/.ipynb_checkpoints/attributes.csv": "file,hair\n9.png,red\n",
    }
    found = labels(write(tmp_path, files))
    assert {name: row["hair"] for name, row in found.items()} == {
        "a/1.png": "red",
        "a/2.png": "blue",
        "b/1.png": "red",
        "b/c/3.png": "",
    }
    assert found["b/1.png"]["age"] == 1.5 and np.isnan(found["a/1.png"]["age"])


def test_tables_that_contradict_each_other_are_named(tmp_path):
    files = {"a/1.png": "x", "attributes.csv": "file,hair\na/1.png,red\n"}
    write(tmp_path, files | {"a/attributes.csv": "file,hair,age\n1.png,red,3\n"})
    assert labels(tmp_path) == {"a/1.png": {"hair": "red", "age": 3}}
    write(tmp_path, {"a/attributes.csv": "file,hair,age\n1.png,blue,3\n"})
    with pytest.raises(ValueError, match=r"line 2: hair of 'a/1.png' is .* in another table: remove one"):
        labels(tmp_path)


def test_what_was_read_of_a_column_is_told(tmp_path):
    rows = "".join(f"{i}.png,{i if i else 'old'},{10**19 + i}\n" for i in range(4))
    source = open_source(
        str(write(tmp_path, {f"{i}.png": "x" for i in range(4)} | {"attributes.csv": f"f,age,id\n{rows}"}))
    )
    assert source.columns == {"age": "text", "id": "text"}
    assert source.notes[1:] == [
        "the label age is read as text: 3 of its 4 values are numbers, but '0.png' has 'old'",
        "the label id is kept as text, for 10000000000000000000 would be rounded as a number",
    ]


def test_a_table_that_cannot_be_read_is_named(tmp_path):
    write(tmp_path, {"1.png": "x"})
    (tmp_path / "attributes.csv").symlink_to("nowhere.csv")
    with pytest.raises(ValueError, match=r"attributes.csv: the file cannot be read: No such file"):
        labels(tmp_path)


def test_labels_that_look_alike_are_named(tmp_path):
    write(tmp_path, {"1.png": "x", "attributes.csv": "file,hair,Hair\n1.png,red,blue\n"})
    source = open_source(str(tmp_path))
    assert source.notes == [
        "2 labels from attributes.csv",
        "two labels differ only by letter case or blanks: 'hair' and 'Hair'",
    ]

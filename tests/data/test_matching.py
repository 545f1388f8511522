"""Which picture a row means, and what is said where it means none or several."""

import unicodedata

import pytest

from xgan_jax.data.matching import Pictures, match
from xgan_jax.data.tables import Row, Table


def table(*rows: tuple[str, str]) -> Table:
    return Table("a.csv", ["hair"], [Row(i, picture, [cell]) for i, (picture, cell) in enumerate(rows, 2)])


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("x/1.png", ["x/1.png"]),
        ("./x/1.png", ["x/1.png"]),
        ("x\\1.png", ["x/1.png"]),
        ("C:\\Users\\me\\photos\\x\\1.png", ["x/1.png"]),
        ("/data/photos/x/1.png", ["x/1.png"]),
        ("1.png", ["x/1.png", "y/1.png"]),
        ("y/1.PNG", ["y/1.png"]),
        ("Y/1", ["y/1.png"]),
        ("z/1.png", []),
        ("2.png", ["2.png"]),  # to the letter, although x has one too
        ("x/2.png", ["x/2.png"]),
        ("3.jpg", ["x/3.png"]),
        ("3", ["x/3.png"]),
        ("4.PNG", ["4.PNG"]),
        ("4.png", ["4.png"]),
        ("4.Png", ["4.PNG", "4.png"]),
        ("5.v2", ["5.v2.png"]),
        ("5", []),
        (unicodedata.normalize("NFD", "é.png"), ["é.png"]),
        (unicodedata.normalize("NFC", "ö.png"), [unicodedata.normalize("NFD", "ö.png")]),
        ("01.png", []),
        ("", []),
    ],
)
def test_what_a_word_means(word, meant):
    names = ["x/1.png", "y/1.png", "2.png", "x/2.png", "x/3.png", "4.PNG", "4.png", "5.v2.png", "é.png"]
    assert Pictures([*names, unicodedata.normalize("NFD", "ö.png")]).find(word).names == meant


def test_counts_and_examples():
    rows, matched = match(
        table(("0.png", "a"), ("7.png", "b"), ("1.png", "c"), ("1.png", "c")), ["0.png", "1.png", "2.png"]
    )
    assert {name: row.cells for name, row in rows.items()} == {"0.png": ["a"], "1.png": ["c"]}
    assert (matched.rows, matched.rows_matched, matched.pictures, matched.pictures_matched) == (4, 3, 3, 2)
    assert str(matched) == (
        "warning: a.csv: 3 of 4 rows name 2 of 3 pictures, for example no picture is '7.png' and no row has "
        "'2.png'"
    )
    _, matched = match(table(("0.png", "a")), ["0.png"])
    assert str(matched) == "a.csv: 1 of 1 rows name 1 of 1 pictures"


def test_rows_of_other_folders_are_not_meant():
    """A table of train and test, of which only one is given."""
    both = table(("train/0.png", "a"), ("test/0.png", "b"), ("train/1.png", "c"))
    rows, matched = match(both, ["0.png", "1.png"], "/data/Faces/train")
    assert {name: row.cells for name, row in rows.items()} == {"0.png": ["a"], "1.png": ["c"]}
    assert matched.row_without_picture == "test/0.png"
    with pytest.raises(ValueError, match=r"a.csv says two things of '0.png' \(lines 2 and 3\): remove one"):
        match(both, ["0.png", "1.png"], "/data/elsewhere")


def test_a_row_to_the_letter_comes_before_others():
    rows, matched = match(table(("0.jpg", "a"), ("0.png", "b")), ["0.png"])
    assert rows["0.png"].cells == ["b"] and matched.rows_matched == 1


def test_none_and_several_are_refused():
    with pytest.raises(
        ValueError, match=r"none of the pictures, 0 of its 1 rows match \(its first row has 'z"
    ):
        match(table(("z.png", "a")), ["0.png"])
    with pytest.raises(ValueError, match="0 of its 0 rows match"):
        match(table(), ["0.png"])
    with pytest.raises(
        ValueError, match=r"a.csv, line 2: '0.png' can be 'x/0.png' or 'y/0.png': write its folder"
    ):
        match(table(("0.png", "a")), ["x/0.png", "y/0.png"])
    with pytest.raises(ValueError, match=r"says two things of '0.png' \(lines 2 and 3\)"):
        match(table(("0.png", "a"), ("0.png", "b")), ["0.png"])


def test_numbers_of_rows_are_no_file_names_beside_a_column_of_them():
    pictures = ["0.png", "1.png"]
    rows = [Row(2, "0", ["1.png"]), Row(3, "1", ["0.png"])]
    with pytest.raises(ValueError, match=r"line 2: '0' in its first column and '1.png' in file name two"):
        match(Table("a.csv", ["file"], rows), pictures)
    for word, cell in (("0", "0.png"), ("0.png", "1.png"), ("0", "x.png"), ("0", "1")):
        assert match(Table("a.csv", ["file"], [Row(2, word, [cell])]), pictures)[0].keys() == {"0.png"}
    twins = Table("a.csv", ["twin"], [Row(2, "a1", ["a2.png"])])  # a label
    assert match(twins, ["a1.png", "a2.png"])[0].keys() == {"a1.png"}


def test_a_header_that_names_a_picture_is_none():
    pictures = ["a.png", "b.png"]
    with pytest.raises(
        ValueError, match=r"a.csv has no header, its first line is that of 'a.png': put a line"
    ):
        match(Table("a.csv", ["black"], [Row(2, "b", ["red"])], "a"), pictures)
    with_folders = [Row(2, "1/image.png", ["red"])]  # whose header may well be called as they are
    found, _ = match(Table("a.csv", ["hair"], with_folders, "image"), ["1/image.png", "2/image.png"])
    assert found.keys() == {"1/image.png"}
    both = [Row(2, "a", ["red"]), Row(3, "b", ["red"])]
    assert (
        match(Table("a.csv", ["hair"], both, "a"), pictures)[1].rows_matched == 2
    )  # the picture has its row

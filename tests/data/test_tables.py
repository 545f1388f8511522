"""Tables are read as written, in every encoding, dialect and way of quoting, or refused by the line."""

import codecs
import unicodedata

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from xgan_jax.data.tables import Row, read_list, read_table
from xgan_jax.data.text import decode_text

LETTERS = {
    "utf-8": "aZ ,;'\"#|/\\-é黑髪검ж\U0001f600",
    "gbk": "aZ ,;'\"#黑金发微笑",
    "big5": "aZ ,;'\"#黑金髮微笑",
    "shift_jis": "aZ ,;'\"#黒金髪はいブロンド",
    "euc_kr": "aZ ,;'\"#검정금발예",
    "cp1252": "aZ ,;'\"#äößéñ",
    "cp1251": "aZ ,;'\"#чёрные",
}
ENCODINGS = {  # how it is written: (letters, what --labels-encoding says)
    "utf-8": ("utf-8", None),
    "utf-8-sig": ("utf-8", None),
    "utf-16": ("utf-8", None),
    "utf-16-be": ("utf-8", None),
    **{name: (name, name) for name in LETTERS if name != "utf-8"},
}


def words(letters: str) -> st.SearchStrategy[str]:
    return st.text(letters, max_size=6).map(lambda word: unicodedata.normalize("NFC", word.strip()))


def written(cells: list[str], delimiter: str, quoted: bool, blanks: str) -> str:
    """A line; words are quoted where they have to be, or all; blanks stand around them, and inside quotes."""
    line = []
    for cell in cells:
        if quoted or any(c in cell for c in f'"\n{delimiter}'):
            line.append(f'{blanks}"{blanks}{cell.replace(chr(34), chr(34) * 2)}{blanks}"{blanks}')
        else:
            line.append(blanks + cell + blanks)
    return delimiter.join(line)


@given(st.data())
def test_what_is_written_is_read(data):
    encoding = data.draw(st.sampled_from(sorted(ENCODINGS)))
    letters, named = ENCODINGS[encoding]
    delimiter = data.draw(st.sampled_from(",;\t"))
    quoted, blanks = data.draw(st.booleans()), data.draw(st.sampled_from(["", " ", "  "]))
    end = data.draw(st.sampled_from(["\n", "\r\n", "\r"]))
    text = words(LETTERS[letters])
    header = ["file", *data.draw(st.lists(text.filter(bool), min_size=1, max_size=3, unique=True))]
    stems = data.draw(st.lists(text, min_size=1, max_size=5))
    rows = [
        [f"{stem.lstrip('# ')}{i}.png", *(data.draw(text) for _ in header[1:])]
        for i, stem in enumerate(stems)
    ]
    # An empty line and a comment are no rows, wherever they stand.
    lines = [written(cells, delimiter, quoted, blanks) for cells in [header, *rows]]
    lines = ["# mine", lines[0], "", *lines[1:], ""]
    raw = end.join(lines).encode(encoding)
    if encoding == "utf-16-be":
        raw = codecs.BOM_UTF16_BE + raw

    table = read_table(decode_text(raw, "a.csv", named), "a.csv")
    assert table.columns == header[1:]
    assert [[row.picture, *row.cells] for row in table.rows] == rows
    assert [row.line for row in table.rows] == list(range(4, 4 + len(rows)))


@given(st.data())
def test_another_encoding_is_never_read_as_other_words(data):
    """Whoever forgets to name an encoding is told so. (Letters of two bytes can be UTF-8 by chance.)"""
    encoding = data.draw(st.sampled_from(sorted(set(LETTERS) - {"utf-8"})))
    text = f"file,hair\n0.png,{data.draw(words(LETTERS[encoding]))}\n"
    raw = text.encode(encoding)
    assume(not text.isascii())
    try:
        raw.decode()
    except UnicodeDecodeError:
        with pytest.raises(ValueError, match="is not UTF-8"):
            decode_text(raw, "a.csv")


def cells(text: str) -> list[list[str]]:
    table = read_table(text, "a.csv")
    return [["", *table.columns], *([row.picture, *row.cells] for row in table.rows)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("file;a,b\nx.png;1,2\n", [["", "a,b"], ["x.png", "1.2"]]),  # the header's first delimiter
        ("file,a\nx;y.png,1;2\n", [["", "a"], ["x;y.png", "1;2"]]),
        ('"file;1";a\nx.png;y\n', [["", "a"], ["x.png", "y"]]),
        ("sep=;\nfile;a\nx.png;y\n", [["", "a"], ["x.png", "y"]]),
        ('file,a\nx.png,"two\nlines"\ny.png,z\n', [["", "a"], ["x.png", "two\nlines"], ["y.png", "z"]]),
        ("file,a,,\nx.png,y,,\n,,,\nz.png,w\n", [["", "a"], ["x.png", "y"], ["z.png", "w"]]),  # Excel's
        ("file,a\n# x.png,old\n#1.png,y\n", [["", "a"], ["#1.png", "y"]]),
        ("file;a;b\nx.png;1,5;-\ny.png;,5;1,5\nz.png;2;1.5\nw.png;;\n", [
            ["", "a", "b"], ["x.png", "1.5", "-"], ["y.png", ".5", "1,5"], ["z.png", "2", "1.5"],
            ["w.png", "", ""],
        ]),
        ('file,a\nx.png,"1,500"\n', [["", "a"], ["x.png", "1,500"]]),  # thousands, or not: as it is
        ("file;a\nx.png;1,234\ny.png;12,500\nz.png;7\n", [
            ["", "a"], ["x.png", "1,234"], ["y.png", "12,500"], ["z.png", "7"]
        ]),  # so too where a comma can be decimal
        ("file\ta\nx.png\t1,234\ny.png\t0,500\n", [["", "a"], ["x.png", "1.234"], ["y.png", "0.500"]]),
        ("file;a;b\nx.png;1,234;0,5\n", [["", "a", "b"], ["x.png", "1.234", "0.5"]]),
        ("file\ta b\nx y.png\t1\n", [["", "a b"], ["x y.png", "1"]]),
        ("2\nMale Old \nx.jpg  1 -1\ny.jpg -1 1\n", [
            ["", "Male", "Old"], ["x.jpg", "1", "-1"], ["y.jpg", "-1", "1"]
        ]),
        ('"file" , "a" \n"x.png" , "y "" , z" \n', [["", "a"], ["x.png", 'y " , z']]),
        ("file Male\nx.jpg 1\n", [["", "Male"], ["x.jpg", "1"]]),
        (",hair\nx.png,y\n", [["", "hair"], ["x.png", "y"]]),
    ],
)  # fmt: skip
def test_dialects(text, expected):
    assert cells(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a.csv is empty: it must have a header"),
        ("\n# x\n", "a.csv is empty"),
        (
            "x.png,black\ny.png,red\n",
            "a.csv has no header, its first line is that of 'x.png': put a line such as",
        ),
        ("000001;1\n000002;0\n", "no header, its first line is that of '000001'"),
        ("x.jpg 1\ny.jpg 0\n", "no header, its first line is that of 'x.jpg'"),
        ("#a.png,b\nx.png,c\n", "no header, its first line is that of 'x.png'"),
        ("file|hair\nx.png|y\n", "a.csv is no table: .* between them commas, semicolons or tabs"),
        ('"file;hair"\n"x.png;y"\n', "a.csv is no table"),
        ("file,hair, hair\nx.png,a,b\n", "2 columns are called 'hair': rename or remove"),
        ("file,,hair\nx.png,a,b\n", "column 2 has no name"),
        (",file,hair\n0,x.png,b\n", "the first column has no name and no file names"),
        ("file,hair\nx.png,a\n\ny.png\n", r"line 4 \(y.png\): it has 1 columns, the header 2"),
        ("file,hair\nx.png,a,b\n", r"line 2 \(x.png\): it has 3 columns, the header 2"),
        ("file,hair\n,a\n", "line 2: it names no picture"),
        (
            "file;a\nx.png;1.234\ny.png;7\n",
            "a.csv: a has '1.234', and its points seem to part",
        ),
        ("file;a\nx.png;1.234.567\n", "a has '1.234.567', .* write 1234567,"),
        ('file,hair\nx.png,"a\ny.png,b\n', "line 2: a quoted word has no end"),
        ('file,hair\nx.png,"a\ny.png,"b"\n', "line 2: a quoted word has no end, or text behind its end"),
        ("2\nMale Young\nx.jpg 1 1\ny.jpg 1\n", r"line 4 \(y.jpg\): it has 2 columns, the header 3"),
    ],
)
def test_what_is_no_table_is_named(text, message):
    with pytest.raises(ValueError, match=message):
        read_table(text, "a.csv")


def test_a_table_that_may_have_no_header():
    for text in ("x.jpg 0\ny.jpg 2\n", "x.jpg,0\ny.jpg,2\n", "image_id,partition\nx.jpg,0\ny.jpg,2\n"):
        table = read_table(text, "a", ["partition"])
        assert table.columns == ["partition"]
        assert [(row.picture, row.cells) for row in table.rows] == [("x.jpg", ["0"]), ("y.jpg", ["2"])]


def test_lists():
    text = '# test\n\n x y.png \n"a,b.png"\n#1.png\n'
    assert read_list(text, "a.txt").rows == [
        Row(3, "x y.png", []),
        Row(4, "a,b.png", []),
        Row(5, "#1.png", []),
    ]


def test_points_that_may_part_thousands_are_named():
    table = read_table("file;a\nx.png;1.234\ny.png;12.500\n", "a.csv")
    assert [row.cells for row in table.rows] == [["1.234"], ["12.500"]]
    assert table.notes == ["the label a has '1.234', read as a decimal number: write 1234 for thousands"]
    for decimal in ("0.500", "1.2340", "1234"):
        assert not read_table(f"file;a\nx.png;1.234\ny.png;7\nz.png;{decimal}\n", "a.csv").notes

"""What is read of a file's bytes, and what is refused by which name."""

import codecs

import pytest

from xgan_jax.data.text import check_encoding, decode_text

WORDS = {
    "gbk": [("黑", "金"), ("男", "女"), ("是", "否"), ("黑色", "金色", "棕色"), ("黑发", "金发")],
    "big5": [("黑", "金"), ("男", "女"), ("黑髮", "金髮", "棕髮"), ("微笑", "不笑")],
    "shift_jis": [("黒", "金"), ("男", "女"), ("黒髪", "金髪"), ("ブラック", "ブロンド"), ("はい", "いいえ")],
    "cp932": [("黒髪①", "金髪")],
    "euc_jp": [("ブラック", "ブロンド"), ("はい", "いいえ"), ("黒い髪", "金の髪")],
    "euc_kr": [("검정", "금발"), ("예", "아니오"), ("남", "여"), ("검은색", "갈색")],
    "cp1252": [("größe", "klein"), ("noir", "châtain"), ("marrón", "rubio"), ("weiß", "café")],
    "cp1250": [("czarny", "brązowy", "żółty"), ("černá", "hnědá")],
    "cp1251": [("чёрные", "светлые"), ("да", "нет"), ("мужской", "женский")],
    "koi8_r": [("чёрные", "светлые")],
    "cp1253": [("μαύρα", "ξανθά")],
    "cp1254": [("siyah", "kızıl", "gümüş")],
    "mac_roman": [("größe", "châtain")],
    "cp850": [("größe", "klein")],
    "iso2022_jp": [("黒", "金")],
    "utf-16-le": [("black", "red"), ("黒", "金")],
    "utf-16-be": [("black", "red"), ("黒", "金")],
}


def table(words: tuple[str, ...]) -> str:
    return "file,hair\n" + "".join(f"{i:02d}.png,{words[i % len(words)]}\n" for i in range(40))


@pytest.mark.parametrize(("encoding", "words"), [(e, w) for e, many in WORDS.items() for w in many])
def test_other_encodings_are_refused_by_name_and_read_when_named(encoding, words):
    data = table(words).encode(encoding)
    with pytest.raises(ValueError, match=f"hair.csv is not UTF-8; it seems to be {encoding}") as refused:
        decode_text(data, "hair.csv")
    assert f"add --labels-encoding {encoding}, or save it as UTF-8." in str(refused.value)
    assert (
        encoding.startswith(("utf", "iso"))
        or words[0] in str(refused.value)
        or words[1] in str(refused.value)
    )
    assert decode_text(data, "hair.csv", encoding) == table(words)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("named", [None, "gbk", "cp1252"])
def test_marks_and_unmistakable_utf8_count_more_than_a_name(encoding, named):
    """So one --labels-encoding serves several tables of which one is not in it."""
    text = table(("黑发", "金发"))
    assert decode_text(text.encode(encoding), "a.csv", named) == text


def test_big_endian_and_several_marks():
    assert decode_text(codecs.BOM_UTF16_BE + "a,é".encode("utf-16-be"), "a.csv") == "a,é"
    joined = "\ufefffile,hair\n\ufeff0.png,é\n"  # two files in one, by cat
    assert decode_text(joined.encode(), "a.csv") == "file,hair\n0.png,é\n"


def test_lines_and_letters_have_one_form():
    assert decode_text("e\u0301\r\na\rb\n\x1a".encode(), "a.csv") == "é\na\nb\n"


@pytest.mark.parametrize(
    ("data", "encoding", "message"),
    [
        (b"PK\x03\x04rest", None, "a.csv is a zip or an Excel workbook: save the table as CSV"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", None, "an Excel workbook"),
        (b"\x1f\x8b\x08\0", None, "packed by gzip: unpack it"),
        (b"\n<!DOCTYPE html><p>", None, "a web page"),
        (
            b"a,b\n0,\xff\xfe\0\x01\n",
            None,
            "not UTF-8, nor in an encoding that is recognised: add --labels-enc",
        ),
        (b"a,b\n0.png,x\x07\n", None, r"is no text \(it has the control character '\\x07'\)"),
        ("a,b\n0.png,br\ufffdn\n".encode(), None, "line 2: letters were lost when it was saved"),
        (codecs.BOM_UTF16_LE + b"a\0b", None, "line 1: this is not utf-16: name its encoding"),
        (codecs.BOM_UTF8 + b"a,b\n0.png,\xba\xda\n", None, "line 2: this is not utf-8"),
        (b"a,b\n0.png,\xba\xda\xff\n", "gbk", "line 2: this is not gbk: name its encoding"),
    ],
)
def test_what_is_no_text_is_named(data, encoding, message):
    with pytest.raises(ValueError, match=message):
        decode_text(data, "a.csv", encoding)


def test_names_of_encodings():
    for name in ("gbk", "Shift-JIS", "euc-kr", "utf-16-le", "cp1252"):
        check_encoding(name)
    for name in ("gbkk", "base64", "rot13"):
        with pytest.raises(ValueError, match=f"--labels-encoding is '{name}', which is no encoding of text"):
            check_encoding(name)

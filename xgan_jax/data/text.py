"""Text that people bring: UTF-8, what its byte order mark says, or the encoding that was named.

Nothing is guessed: other text is refused, with the encoding that it seems to be and words as that has them.
"""

import codecs
import re
import unicodedata
from contextlib import suppress
from pathlib import Path

from xgan_jax.data.listing import MAX_FILE_BYTES

# Longer marks first: UTF-32's begins with UTF-16's.
_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_OTHER_KINDS = {
    b"PK\x03\x04": "a zip or an Excel workbook: save the table as CSV (UTF-8)",
    b"\xd0\xcf\x11\xe0": "an Excel workbook: save the table as CSV (UTF-8)",
    b"\x1f\x8b": "packed by gzip: unpack it",
    b"<!doctype": "a web page: get the file itself",
    b"<html": "a web page: get the file itself",
}
_NO_TEXT = re.compile("[\0-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")
_RESAVE = "add --labels-encoding NAME, or save it as UTF-8"

# What text in an encoding is mostly made of: the bytes of its usual characters (the parts of the East Asian
# standards that hold them), or the commonest letters themselves. Where two fit alike, the first is named.
_USUAL_BYTES = {
    "gbk": rb"[\xb0-\xd7][\xa1-\xfe]",
    "euc_jp": rb"[\xa4\xa5\xb0-\xcf][\xa1-\xfe]",
    "shift_jis": rb"[\x82\x83\x88-\x97][\x40-\x7e\x80-\xfc]",
    "cp932": rb"[\x82\x83\x88-\x97][\x40-\x7e\x80-\xfc]",
    "big5": rb"[\xa4-\xc6][\x40-\x7e\xa1-\xfe]",
}
_LATIN_LETTERS = {
    "cp1252": "äöüßÄÖÜéèêàâçîôûñáíóúãõåøæÅØœ",
    "cp1250": "ąćęłńśźżóčěřšžýáíéůúďťňőűľĽŁŚŻČŘŠŽ",
    "cp1254": "ıİşŞğĞçöüÇÖÜ",
    "mac_roman": "äöüßÄÖÜéèêàâçîôûñáíóúãõåøæ",
    "cp850": "äöüßÄÖÜéèêàçîôûñáíóúãõåøæ",
}
_SYLLABLES = (
    "가각간갈감갑강개거건검것게겨경계고곤공과관교구국군권귀그근금급기긴길김까나난날남내너네년노녹는니"
    "다단달당대더도독동되된두드들등때라람랑래러런레려력로록료루류르른를름리린립마만말매머먼면명모무문"
    "물미민바박반발밝방배백버번벌법변별병보복부북분불비빛빨사산상색생서석선설성세소속손수순술스습시식"
    "신실아안알았앞애야약양어언얼없에여역연열염영예오온와외요용우운울원웨위유육으은을음의이인일임입있"
    "자작잘장재저적전절점정제조족존종주준중즈지직진집짧차참처천청체초추출치카커코크큰키타탈태터토통트"
    "특파평포표품프피하학한할함합해행향허현형호화확환활황회후흑희흰히"
)
_OTHER_LETTERS = {
    "euc_kr": _SYLLABLES,
    "cp949": _SYLLABLES,
    "cp1251": "абвгдеёжзийклмнопрстуфхцчшщъыьэюя",
    "koi8_r": "абвгдеёжзийклмнопрстуфхцчшщъыьэюя",
    "cp1253": "αάβγδεέζηήθιίκλμνξοόπρσςτυύφχψωώ",
    "cp1255": "אבגדהוזחטיךכלםמןנסעףפץצקרשת",
}


def decode_text(data: bytes, origin: str, encoding: str | None = None) -> str:
    """The text of a file: Unicode in composed form (NFC), its lines end in "\\n".

    Args:
      data: the whole file.
      origin: what messages call it.
      encoding: what it is in, unless a mark at its start or all its bytes say something else; None is UTF-8.

    Raises:
      ValueError: it is in another encoding, or no text.
    """
    _refuse_other_kinds(data, origin)
    marked = next((name for mark, name in _MARKS.items() if data.startswith(mark)), None)
    named = marked or ("utf-8" if encoding is None or _is_surely_utf8(data) else encoding)
    try:
        text = data.decode(named).replace("\ufeff", "")
    except UnicodeDecodeError as error:
        if named != "utf-8" or marked:
            line = data[: error.start].decode(named, "ignore").count("\n") + 1
            raise ValueError(
                f"{origin}, line {line}: this is not {named}: name its encoding, or save it as UTF-8."
            ) from None
        raise ValueError(_not_utf8(data, origin)) from None
    text = text.rstrip("\x1a")  # the end of a file of DOS
    if no_text := _NO_TEXT.search(text):
        raise ValueError(_control_character(data, origin, no_text[0]))
    if "\ufffd" in text:
        line = text.count("\n", 0, text.index("\ufffd")) + 1
        raise ValueError(
            f"{origin}, line {line}: letters were lost when it was saved (there stands U+FFFD): save the "
            "original as UTF-8."
        )
    return unicodedata.normalize("NFC", text).replace("\r\n", "\n").replace("\r", "\n")


def read_text_file(path: str, wanted: str, encoding: str | None = None) -> str:
    """`decode_text` of the file at `path`; `wanted` says what should be there.

    Raises:
      FileNotFoundError: nothing is there.
      ValueError: it is no file, or none of text.
    """
    file = Path(path)
    if not file.exists():
        raise FileNotFoundError(f"{path} does not exist: {wanted}.")
    if not file.is_file():
        raise ValueError(f"{path} is {'a folder' if file.is_dir() else 'no regular file'}: {wanted}.")
    return decode_text(file.read_bytes(), path, encoding)


def check_encoding(name: str) -> None:
    """Raises ValueError where Python knows no such encoding of text."""
    try:
        "".encode(name)
    except LookupError:
        raise ValueError(
            f"--labels-encoding is {name!r}, which is no encoding of text: use for example gbk, big5, "
            "shift_jis, euc_kr or cp1252."
        ) from None


def guess_encodings(data: bytes) -> dict[str, str]:
    """{encoding: the text}, the likeliest first, of text that is not UTF-8; empty where none fits."""
    texts = {}
    for name in (*_OTHER_LETTERS, *_USUAL_BYTES, *_LATIN_LETTERS):
        with suppress(UnicodeDecodeError):
            texts[name] = data.decode(name)
    likeness = {name: _likeness(name, text) for name, text in texts.items() if not _NO_TEXT.search(text)}
    fitting: dict[str, str] = {}
    for name in sorted(likeness, key=lambda name: -likeness[name]):
        if likeness[name] > 0.5 and texts[name] not in fitting.values():  # cp932 has all that shift_jis has
            fitting[name] = texts[name]
    return fitting


def _likeness(encoding: str, text: str) -> float:
    """The share of the characters beyond ASCII that are as usual in `encoding`, 0 to 1."""
    words = re.findall(r"[^\W\d_]*[^\W\d_\x00-\x7f][^\W\d_]*", text)
    # Only Latin words have letters of ASCII beside them.
    latin = encoding in _LATIN_LETTERS
    letters = [c for w in words if bool(re.search("[A-Za-z]", w)) == latin for c in w if c > "\x7f"]
    total = max(1, sum(c > "\x7f" for c in text))
    if encoding not in _USUAL_BYTES:
        usual = (_LATIN_LETTERS | _OTHER_LETTERS)[encoding]
        return sum(c in usual for c in letters) / total
    pattern = re.compile(_USUAL_BYTES[encoding])
    # Thousands of characters: to be among them says less than to be among a few letters.
    return 0.8 * sum(pattern.fullmatch(c.encode(encoding)) is not None for c in letters) / total


def _is_surely_utf8(data: bytes) -> bool:
    """Two bytes of GBK can be UTF-8 by chance; three and more, and all the rest with them, are not."""
    try:
        return any(character >= "\u0800" for character in data.decode())
    except UnicodeDecodeError:
        return False


def _refuse_other_kinds(data: bytes, origin: str) -> None:
    if len(data) > MAX_FILE_BYTES:
        raise ValueError(
            f"{origin} has more than the {MAX_FILE_BYTES // 2**20} MiB that are read of a table."
        )
    for start, kind in _OTHER_KINDS.items():
        if data[:64].lstrip().lower().startswith(start.lower()):
            raise ValueError(f"{origin} is {kind}.")


def _not_utf8(data: bytes, origin: str) -> str:
    if name := _by_signs(data):
        return _seems(origin, name, name)
    fitting = guess_encodings(data)
    if not fitting:
        return f"{origin} is not UTF-8, nor in an encoding that is recognised: {_RESAVE}."
    best, *others = [f"{name} ({_words(text)})" for name, text in list(fitting.items())[:3]]
    other = f", less likely {' or '.join(others)}" if others else ""
    return _seems(origin, next(iter(fitting)), best + other)


def _seems(origin: str, name: str, what: str) -> str:
    return f"{origin} is not UTF-8; it seems to be {what}: add --labels-encoding {name}, or save it as UTF-8."


def _words(text: str) -> str:
    """The first words beyond ASCII, for a person to recognise."""
    words = dict.fromkeys(re.findall(r"[^\W_]*[^\x00-\x7f][^\W_]*", text))
    return ", ".join(word[:12] for word in list(words)[:2])


def _control_character(data: bytes, origin: str, character: str) -> str:
    if name := _by_signs(data):
        return _seems(origin, name, name)
    return f"{origin} is no text (it has the control character {character!r}): {_RESAVE}."


def _by_signs(data: bytes) -> str:
    """An encoding that control characters tell, or ""."""
    for sign, names in ((b"\0", ("utf-16-le", "utf-16-be")), (b"\x1b", ("iso2022_jp",))):
        for name in names if sign in data else ():
            with suppress(UnicodeDecodeError):
                text = data.decode(name)
                if "\n" in text and not _NO_TEXT.search(text):
                    return name
    return ""

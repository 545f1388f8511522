"""PNG: its chunks, checked; what they say of colours and of which way is up (PNG, third edition)."""

import binascii
import struct
import zlib
from typing import NamedTuple

from xgan_jax.data import colour
from xgan_jax.data.kinds import PictureError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_END = b"\0\0\0\0IEND\xaeB`\x82"
_MAX_INFLATED = 1 << 23  # bytes; profiles and EXIF blocks are far smaller, what is not may be a bomb
_COLOURS = (b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM")


class Png(NamedTuple):
    """`pixels`: a PNG of the chunks that pixels are made of. `colours`: the chunks that say what these mean,
    by their kind, empty where the checksum is wrong. `damaged`: that of another chunk is."""

    pixels: bytes
    colours: dict[bytes, bytes]
    exif: list[bytes]
    xmp: bytes
    damaged: bool


def read(data: bytes) -> Png:
    """All chunks, looked through and sorted. No text is inflated but what can hold an orientation.

    Raises:
      PictureError: a chunk that pixels are made of is damaged, or the end is missing.
    """
    pixels: list[bytes] = [SIGNATURE]
    colours: dict[bytes, bytes] = {}
    exif, raw, xmp, damaged = [], [], b"", False
    at, kind = len(SIGNATURE), b""
    while kind != b"IEND":
        if at + 8 > len(data):
            raise PictureError("the PNG is damaged: it ends before its last chunk")
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        content = data[at + 8 : end - 4]
        whole = end <= len(data) and zlib.crc32(data[at + 4 : end - 4]) == int.from_bytes(data[end - 4 : end])
        # A capital letter: no picture without it.
        if kind[:1].isupper() or kind == b"tRNS":
            if not whole and kind != b"IEND":
                raise PictureError(f"the PNG is damaged: the chunk {kind.decode('latin-1')} is not whole")
            pixels.append(data[at:end] if kind != b"IEND" else _END)
        elif kind in _COLOURS:
            colours.setdefault(kind, content if whole else b"")
        elif not whole:
            damaged = True
        elif kind == b"eXIf":
            exif.append(content)
        elif kind in (b"tEXt", b"zTXt", b"iTXt"):
            keyword, _, text = content.partition(b"\0")
            if keyword == b"XML:com.adobe.xmp":
                xmp = _text(kind, text)
            elif keyword in (b"Raw profile type exif", b"Raw profile type APP1"):
                raw.append(_raw_profile(_text(kind, text)))
        at = end
    return Png(b"".join(pixels), colours, exif + raw, xmp, damaged)


def profile(chunks: dict[bytes, bytes], mode: str) -> tuple[bytes | None, bool]:
    """The ICC profile that the chunks mean for pixels of `mode`, None for sRGB; and whether one was ignored.

    cICP goes before iCCP, this before sRGB, and this before gAMA and cHRM; what cannot be used is ignored.

    Raises:
      PictureError: the brightness is that of an HDR screen.
    """
    ignored = False
    for kind, meaning in ((b"cICP", _of_cicp), (b"iCCP", _of_iccp)):
        if kind in chunks:
            try:
                return meaning(chunks[kind], mode), ignored
            except colour.ProfileError:
                ignored = True
    if b"sRGB" in chunks or not {b"gAMA", b"cHRM"} & chunks.keys():
        return None, ignored
    try:
        return _of_gamma(chunks, mode), ignored
    except colour.ProfileError:
        return None, True


def _of_cicp(content: bytes, mode: str) -> bytes | None:
    if len(content) != 4 or content[2] != 0 or content[3] != 1:
        raise colour.ProfileError("cICP of other than full-range RGB")
    return colour.of_code_points(mode, content[0], content[1])


def _of_iccp(content: bytes, mode: str) -> bytes:
    found = _inflated(content.partition(b"\0")[2][1:])
    colour.changes(found, mode)  # or raises
    return found


def _of_gamma(chunks: dict[bytes, bytes], mode: str) -> bytes | None:
    gamma = primaries = None
    try:
        if b"gAMA" in chunks:
            gamma = struct.unpack(">I", chunks[b"gAMA"])[0] / 100_000
        if b"cHRM" in chunks:
            white_x, white_y, *colours = (v / 100_000 for v in struct.unpack(">8I", chunks[b"cHRM"]))
            primaries = (*colours, white_x, white_y)
    except struct.error:
        raise colour.ProfileError("gAMA or cHRM of another length") from None
    return colour.of_gamma(mode, gamma, primaries)


def _text(kind: bytes, content: bytes) -> bytes:
    """A text chunk's text, from what follows its keyword; empty where it cannot be read."""
    packed = kind == b"zTXt" or (kind == b"iTXt" and content[:1] == b"\1")
    if kind == b"iTXt":
        content = content[2:].split(b"\0", 2)[-1]  # after the language and the keyword in it
    elif kind == b"zTXt":
        content = content[1:]
    try:
        return _inflated(content) if packed else content
    except colour.ProfileError:
        return b""


def _raw_profile(text: bytes) -> bytes:
    """ImageMagick's way to store EXIF: a name, a length and hexadecimal digits."""
    try:
        return binascii.unhexlify(b"".join(text.split(b"\n")[3:]).replace(b" ", b""))
    except binascii.Error:
        return b""


def _inflated(packed: bytes) -> bytes:
    inflater = zlib.decompressobj()
    try:
        found = inflater.decompress(packed, _MAX_INFLATED)
    except zlib.error as error:
        raise colour.ProfileError(str(error)) from None
    if not inflater.eof:
        raise colour.ProfileError("it is not whole, or too long")
    return found

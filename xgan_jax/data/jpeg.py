"""JPEG: what the header says, and the pixels, strictly.

libjpeg-turbo goes on after damage with a warning, and invents the pixels that follow. Its strict mode makes
an error of every warning, also of those that touch no pixel, and tells only the first. So what it frowns at
in a header is mended (`_mended`), and the strict mode asked again: it finds what is damaged beside.
"""

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import simplejpeg
from jaxtyping import UInt8

from xgan_jax.data.kinds import PictureError

_SOI, _EOI, _SOS, _SCAN = 0xD8, 0xD9, 0xDA, 0
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15; those three are no frames
_SEQUENTIAL = (0xC0, 0xC1, 0xC9)
_READ = (0xC0, 0xC1, 0xC2, 0xC9, 0xCA)
_BARE = frozenset(range(0xD0, 0xD8)) | {0x01}  # markers without a length
_NEXT = re.compile(rb"\xff+([^\x00\xff])")
_AFTER_SCAN = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]")
_DROPPED = {*range(0xE1, 0xEE), 0xEF, 0xFE}  # APP1 to APP13, APP15, comments: no pixel depends on them

# Of libjpeg-turbo's warnings (jerror.h, JWRN_*) these may leave every pixel whole. The others are damage in a
# scan: "premature end of data segment", "bad Huffman code", "bad arithmetic code", "found marker ... instead
# of RST...", "Inconsistent progression sequence" (a scan refines what was not sent).
_MENDABLE = re.compile(
    "Invalid SOS parameters"  # Samsung's cameras write zeros, which a sequential JPEG does not read
    "|unknown JFIF revision"
    "|Unknown Adobe color transform"
    "|bad ICC marker"
    "|extraneous bytes before marker"  # padding; or the rest of a damaged scan, see `_mended` and `_unpadded`
    "|Premature end of JPEG file"  # EOI is missing; or more
)


class Header(NamedTuple):
    """`width`, `height` in pixels as stored; `colours` of a pixel: 1, 3 or 4; `frame`: the SOF marker.

    `exif`: blocks in their order; `profile`: ICC's, empty where it is broken, None where there is none.
    """

    width: int
    height: int
    colours: int
    frame: int
    exif: list[bytes]
    xmp: bytes
    profile: bytes | None


def read_header(data: bytes) -> Header:
    """What stands before the first scan.

    Raises:
      PictureError: there is no whole header, or a kind of JPEG that is not read here.
    """
    frame, exif, xmp, icc = None, [], b"", []
    for part in _parts(data):
        if part.marker in _FRAMES:
            frame = frame or part
        elif part.marker == 0xE1 and part.content[:5] == b"Exif\0":
            exif.append(part.content)
        elif part.marker == 0xE1 and part.content.startswith(b"http://ns.adobe.com/xap/1.0/\0"):
            xmp = part.content
        elif part.marker == 0xE2 and part.content.startswith(b"ICC_PROFILE\0"):
            icc.append(part.content)
        elif part.marker == _SOS:
            break
    if frame is None or len(frame.content) < 6:
        raise PictureError("the JPEG is damaged: its header is not whole")
    bits, height, width, colours = struct.unpack_from(">BHHB", frame.content)
    _check_kind(frame.marker, bits, colours)
    return Header(width, height, colours, frame.marker, exif, xmp, _joined(icc) if icc else None)


def decode(data: bytes, header: Header, colours: str) -> tuple[UInt8[np.ndarray, "h w c"], bool]:
    """Pixels as stored, of `colours` "RGB", "GRAY" or "CMYK" (0: no ink); and whether the header was mended.

    Raises:
      PictureError: the data is damaged where it touches pixels.
    """
    reason = None
    for candidate in _candidates(data, header):
        try:
            return _strict(candidate, header, colours), candidate is not data
        except (ValueError, OSError, MemoryError) as error:
            reason = reason or error
            if not _MENDABLE.search(str(error)):
                break
    if "subsampling level" in str(reason):
        raise PictureError("the JPEG stores its colours at a resolution that is not read here: save it anew")
    raise PictureError(f"the JPEG is damaged: {reason}")


class _Part(NamedTuple):
    """A segment (its marker, what follows its length, and bytes before it that belong to none) or a scan."""

    marker: int
    content: bytes
    junk: bytes = b""


def _parts(data: bytes) -> Iterator[_Part]:
    """Segments and scans as libjpeg finds them, up to EOI or where the data ends."""
    at = junk_from = 2
    while found := _NEXT.search(data, at):
        marker = found[1][0]
        at = found.end()
        if marker in _BARE:
            continue
        junk = data[junk_from : found.start()]
        if marker == _EOI:
            yield _Part(_EOI, b"", junk)
            return
        length = int.from_bytes(data[at : at + 2], "big")
        if length < 2 or at + length > len(data):
            return
        yield _Part(marker, data[at + 2 : at + length], junk)
        at += length
        if marker == _SOS:
            after = _AFTER_SCAN.search(data, at)
            end = after.start() if after else len(data)
            yield _Part(_SCAN, data[at:end])
            at = end
        junk_from = at


def _check_kind(frame: int, bits: int, colours: int) -> None:
    if frame == 0xC3:
        raise PictureError("it is a lossless JPEG (as in raw files and medicine), which is not read here")
    if frame not in _READ:
        raise PictureError("it is a hierarchical JPEG, which is not read here: save it as an ordinary one")
    if bits != 8:
        raise PictureError(f"the JPEG has {bits} bits a colour, which is not read here: save it with 8")
    if colours not in (1, 3, 4):
        raise PictureError(f"the JPEG has {colours} colours a pixel, which is not read here")


def _joined(icc: list[bytes]) -> bytes:
    """A profile's pieces in their order; empty where one is missing or there are too many."""
    pieces = {part[12]: part[14:] for part in icc if len(part) > 14}
    if sorted(pieces) != list(range(1, len(icc) + 1)) or any(part[13] != len(icc) for part in icc):
        return b""
    return b"".join(pieces[number] for number in sorted(pieces))


def _strict(data: bytes, header: Header, colours: str) -> UInt8[np.ndarray, "h w c"]:
    # Into an array of the size that was checked: a header that libjpeg reads differently does not fit.
    shape = (header.height, header.width, {"RGB": 3, "GRAY": 1, "CMYK": 4}[colours])
    pixels = simplejpeg.decode_jpeg(data, colours, buffer=np.empty(shape, np.uint8))
    if pixels.shape != shape:
        raise ValueError("its size is not clear")
    # All who write four colours write them inverted, as Adobe did first.
    return 255 - pixels if colours == "CMYK" else pixels


def _candidates(data: bytes, header: Header) -> Iterator[bytes]:
    yield data
    mended = _mended(data, header)
    if mended is not None:
        yield mended
        yield _unpadded(mended)


def _mended(data: bytes, header: Header) -> bytes | None:
    """The same scans under a header that is as it should be; None where that could hide damage.

    Between segments it leaves out up to eight bytes (a length that is a little wrong; no segment that matters
    fits there) or any number of zeros. A missing EOI is added when the scans hold every bit of every
    coefficient.
    """
    kept, scans, ended = [b"\xff\xd8"], [], False
    for part in _parts(data):
        if len(part.junk) > 8 and part.junk.strip(b"\0"):
            return None
        if part.marker == _SCAN:
            kept.append(part.content)
        elif part.marker == _EOI:
            ended = True
        elif part.marker not in _DROPPED:
            content = _mended_segment(part, header)
            kept.append(struct.pack(">BBH", 0xFF, part.marker, len(content) + 2) + content)
            if part.marker == _SOS:
                scans.append(content)
    if not ended and not _is_complete(scans, header):
        return None
    return b"".join(kept) + b"\xff\xd9"


def _mended_segment(part: _Part, header: Header) -> bytes:
    content = bytearray(part.content)
    if part.marker == 0xE0 and content[:5] == b"JFIF\0":
        content[5:6] = b"\1"
    elif part.marker == 0xEE and content[:5] == b"Adobe" and len(content) >= 12 and content[11] > 2:
        content[11] = 1 if header.colours == 3 else 2  # what libjpeg takes it for
    elif part.marker == _SOS and header.frame in _SEQUENTIAL:
        content[-3:] = b"\0\x3f\0"
    return bytes(content)


def _is_complete(scans: list[bytes], header: Header) -> bool:
    """Whether every coefficient of every colour is sent to its last bit."""
    last_bit: dict[int, list[int]] = {}
    for scan in scans:
        start, end, low = scan[-3], scan[-2], scan[-1] & 15
        for component in scan[1:-3:2]:
            bits = last_bit.setdefault(component, [-1] * 64)
            bits[start : end + 1] = [low] * (end + 1 - start)
    return len(last_bit) == header.colours and all(set(bits) == {0} for bits in last_bit.values())


def _unpadded(mended: bytes) -> bytes:
    """Without the padding at the end of the last scan: the same byte, five times or more.

    All of it: what a damaged scan leaves over is hardly ever all of such a run, and the strict decoder misses
    the others. Fewer bytes are not warned of. Anything else that is left over is taken for damage.
    """
    scan = mended[:-2].rstrip(mended[-3:-2])
    if len(mended) - len(scan) < 7:
        return mended
    return scan + (b"\0" if scan[-1:] == b"\xff" else b"") + b"\xff\xd9"

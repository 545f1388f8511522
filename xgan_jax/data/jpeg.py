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
_NO_SEGMENT = frozenset(range(0xD0, 0xDA)) | {0x00, 0x01, 0xFF}  # markers without a length; no markers
_SEGMENT = struct.Struct(">BBH")
_NEXT = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])")
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
    frame, content, exif, xmp, icc = 0, b"", [], b"", []
    for marker, said, _ in _parts(data):
        if marker == _SOS:
            break
        if marker in _FRAMES:
            frame, content = frame or marker, content or said
        elif marker == 0xE1 and said[:5] == b"Exif\0":
            exif.append(said)
        elif marker == 0xE1 and said.startswith(b"http://ns.adobe.com/xap/1.0/\0"):
            xmp = said
        elif marker == 0xE2 and said.startswith(b"ICC_PROFILE\0"):
            icc.append(said)
    if len(content) < 6:
        raise PictureError("the JPEG is damaged: its header is not whole")
    bits, height, width, colours = struct.unpack_from(">BHHB", content)
    _check_kind(frame, bits, colours)
    return Header(width, height, colours, frame, exif, xmp, _joined(icc) if icc else None)


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


def _parts(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Segments and scans as libjpeg finds them, up to EOI or where the data ends: the marker (`_SCAN`), what
    follows the marker's length, and bytes before the marker that belong to nothing."""
    at = 2
    while True:
        start = at
        lead, marker, length = _SEGMENT.unpack_from(data, at) if at + 4 <= len(data) else (0, 0, 0)
        if lead != 0xFF or marker in _NO_SEGMENT:
            found = _NEXT.search(data, at)
            if found is None:
                return
            start, marker = found.end() - 2, found[1][0]
            length = int.from_bytes(data[found.end() : found.end() + 2])
        junk = data[at:start].rstrip(b"\xff")  # 0xFF may fill
        if marker == _EOI:
            yield _EOI, b"", junk
            return
        end = start + 2 + length
        if length < 2 or end > len(data):
            return
        yield marker, data[start + 4 : end], junk
        at = end
        if marker == _SOS:
            after = _AFTER_SCAN.search(data, at)
            at = after.start() if after else len(data)
            yield _SCAN, data[end:at], b""


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
    # By libjpeg's own reading of the header: what it will make is of the size that was checked.
    if simplejpeg.decode_jpeg_header(data)[:2] != (header.height, header.width):
        raise ValueError("its size is not clear")
    pixels = simplejpeg.decode_jpeg(data, colours)
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
    for marker, content, junk in _parts(data):
        if len(junk) > 8 and junk.strip(b"\0"):
            return None
        if marker == _SCAN:
            kept.append(content)
        elif marker == _EOI:
            ended = True
        elif marker not in _DROPPED:
            content = _mended_segment(marker, content, header)
            kept.append(struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content)
            if marker == _SOS:
                scans.append(content)
    if not ended and not _is_complete(scans, header):
        return None
    return b"".join(kept) + b"\xff\xd9"


def _mended_segment(marker: int, content: bytes, header: Header) -> bytes:
    mended = bytearray(content)
    if marker == 0xE0 and content[:5] == b"JFIF\0":
        mended[5:6] = b"\1"
    elif marker == 0xEE and content[:5] == b"Adobe" and len(content) >= 12 and content[11] > 2:
        mended[11] = 1 if header.colours == 3 else 2  # what libjpeg takes it for
    elif marker == _SOS and header.frame in _SEQUENTIAL:
        mended[-3:] = b"\0\x3f\0"
    return bytes(mended)


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

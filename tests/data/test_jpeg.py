"""JPEGs: refused for damage that touches pixels, read for all else, and which way is up."""

import io
import re
import struct

import numpy as np
import pytest
from PIL import Image

from xgan_jax.data.pictures import MENDED, PictureError, decode, dimensions, read

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


def picture(height: int = 96, width: int = 80, seed: int = 0) -> Image.Image:
    """Smooth colours with some noise, so that the scan has something to say."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (8, 6, 3), dtype=np.uint8)).resize((width, height), 3)
    noisy = np.asarray(coarse) + rng.normal(0, 6, (height, width, 3))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def jpeg(image: Image.Image | None = None, **options: object) -> bytes:
    buffer = io.BytesIO()
    (image or picture()).save(buffer, "jpeg", **{"quality": 85} | options)
    return buffer.getvalue()


PLAIN, PROGRESSIVE, CMYK = jpeg(), jpeg(progressive=True), jpeg(picture().convert("CMYK"))
RESTARTS = jpeg(restart_marker_rows=1)


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def inserted(data: bytes, *segments: bytes) -> bytes:
    return data[:2] + b"".join(segments) + data[2:]


def zero_scan_parameters(data: bytes) -> bytes:
    """As Samsung's cameras write: spectral selection 0 to 0."""
    at = data.index(b"\xff\xda")
    end = at + 2 + int.from_bytes(data[at + 2 : at + 4])
    return data[: end - 3] + bytes(3) + data[end:]


def with_adobe_transform(data: bytes, transform: int) -> bytes:
    at = data.index(b"Adobe") + 11
    return data[:at] + bytes([transform]) + data[at + 1 :]


HARMLESS = {
    "Samsung's scan parameters": (PLAIN, zero_scan_parameters(PLAIN)),
    "an unknown revision of JFIF": (PLAIN, PLAIN.replace(b"JFIF\0\1", b"JFIF\0\7")),
    "an unknown colour transform": (with_adobe_transform(CMYK, 2), with_adobe_transform(CMYK, 9)),
    "a broken profile": (PLAIN, inserted(PLAIN, segment(0xE2, b"ICC_PROFILE\0\3\1" + bytes(40)))),
    "bytes between segments": (PLAIN, PLAIN[:20] + b"odd" + PLAIN[20:]),
    "zeros between segments": (PLAIN, PLAIN[:20] + bytes(999) + PLAIN[20:]),
    "padding after the scan": (PLAIN, PLAIN[:-2] + bytes(500) + PLAIN[-2:]),
    "spaces after the scan": (PLAIN, PLAIN[:-2] + b" " * 300 + PLAIN[-2:]),
    "no EOI": (PLAIN, PLAIN[:-2]),
    "no EOI, progressive": (PROGRESSIVE, PROGRESSIVE[:-2]),
    "several at once": (PLAIN, zero_scan_parameters(PLAIN)[:-2] + bytes(40)),
}
UNREMARKED = {
    "bytes after EOI": (PLAIN, PLAIN + b"trailer" * 1000),
    "another picture after EOI": (PLAIN, PLAIN + CMYK),
    "filling before EOI": (PLAIN, PLAIN[:-2] + b"\xff" * 99 + PLAIN[-2:]),
    "a thumbnail": (PLAIN, inserted(PLAIN, segment(0xE7, jpeg(picture(20, 20))))),
    "restart markers": (RESTARTS, RESTARTS),
}


@pytest.mark.parametrize("kind", HARMLESS)
def test_what_touches_no_pixel_is_read_and_remarked(kind):
    whole, odd = HARMLESS[kind]
    pixels, remarks = read(odd)
    assert np.array_equal(pixels, decode(whole)) and MENDED in remarks
    assert dimensions(odd) == dimensions(whole)


@pytest.mark.parametrize("kind", UNREMARKED)
def test_what_is_as_it_should_be_is_not_remarked(kind):
    whole, odd = UNREMARKED[kind]
    assert np.array_equal(decode(odd), decode(whole)) and read(odd).remarks == ()


def scans(data: bytes) -> list[int]:
    return [found.start() for found in re.finditer(rb"\xff\xda", data)]


def damaged_scan(data: bytes) -> bytes:
    """A flip that the decoder notices."""
    start = scans(data)[0] + 20
    rng = np.random.default_rng(0)
    while True:
        at = int(rng.integers(start, len(data) - 20))
        flipped = data[:at] + bytes([data[at] ^ 1 << int(rng.integers(8))]) + data[at + 1 :]
        try:
            decode(flipped)
        except PictureError:
            return flipped


RESTART_AT = [found.start() for found in re.finditer(rb"\xff[\xd0-\xd7]", RESTARTS)]
DAMAGED = {
    "cut in the middle": PLAIN[: len(PLAIN) // 2],
    "the last byte of the scan is missing": PLAIN[:-3],
    "cut, with EOI": PLAIN[:-60] + b"\xff\xd9",
    "cut and filled with zeros": PLAIN[: len(PLAIN) // 2] + bytes(len(PLAIN) // 2),
    "cut and filled with zeros, EOI": PLAIN[: len(PLAIN) // 2] + bytes(len(PLAIN)) + b"\xff\xd9",
    "progressive, cut between scans": PROGRESSIVE[: scans(PROGRESSIVE)[5]],
    "progressive, cut in a scan": PROGRESSIVE[:-300],
    "a flip in the scan": damaged_scan(PLAIN),
    "a flip in the scan, Samsung's parameters": zero_scan_parameters(damaged_scan(PLAIN)),
    "a flip in the scan, padding": damaged_scan(PLAIN)[:-2] + bytes(500) + PLAIN[-2:],
    "something after the scan": PLAIN[:-2] + bytes(range(1, 200)) + PLAIN[-2:],
    "a lost restart marker": RESTARTS[: RESTART_AT[1]] + RESTARTS[RESTART_AT[1] + 2 :],
    "a wrong restart marker": RESTARTS[: RESTART_AT[1] + 1] + b"\xd7" + RESTARTS[RESTART_AT[1] + 2 :],
    "the colour transform is lost": inserted(CMYK, segment(0xFE, b"")).replace(b"\xff\xee", b"\xfe\xee"),
    "a table is lost": PLAIN.replace(b"\xff\xc4", b"\xfe\xc4", 1),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damage_is_refused(kind):
    with pytest.raises(PictureError, match="JPEG is damaged"):
        decode(DAMAGED[kind])


@pytest.mark.parametrize("whole", [PLAIN, jpeg(optimize=True), PROGRESSIVE, RESTARTS])
def test_what_is_mended_never_hides_a_flip(whole):
    """Whatever single bit is flipped: what is read with the remark has every pixel of the whole picture."""
    rng = np.random.default_rng(0)
    expected, refused = decode(whole), 0
    for _ in range(400):
        damaged = bytearray(whole)
        damaged[rng.integers(2, len(damaged))] ^= 1 << int(rng.integers(8))
        try:
            pixels, remarks = read(bytes(damaged))
        except PictureError:
            refused += 1
            continue
        if MENDED in remarks:
            assert np.array_equal(pixels, expected)
    assert refused > 40


def with_frame(data: bytes, marker: int | None = None, bits: int | None = None) -> bytes:
    at = data.index(b"\xff\xc0")
    new = bytearray(data)
    new[at + 1] = marker or new[at + 1]
    new[at + 4] = bits or new[at + 4]
    return bytes(new)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (with_frame(PLAIN, bits=12), "12 bits a colour"),
        (with_frame(PLAIN, marker=0xC3), "lossless JPEG"),
        (with_frame(PLAIN, marker=0xC5), "hierarchical JPEG"),
        (PLAIN[:100], "header is not whole"),
    ],
)
def test_kinds_that_are_not_read_are_named(data, reason):
    with pytest.raises(PictureError, match=reason):
        decode(data)


def exif_of(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def xmp_of(text: str) -> bytes:
    return segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta>" + text.encode() + b"</x:xmpmeta>")


def filling() -> list[bytes]:
    return [segment(0xED, b"Photoshop 3.0\0" + bytes(60_000))] * 3


TURNED = {
    "EXIF": [segment(0xE1, exif_of(6))],
    "EXIF beyond 64 kB": [*filling(), segment(0xE1, exif_of(6))],
    "EXIF after XMP": [xmp_of("nothing"), segment(0xE1, exif_of(6))],
    "EXIF after a broken block": [segment(0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff"), segment(0xE1, exif_of(6))],
    "XMP": [xmp_of('<rdf:Description tiff:Orientation="6"/>')],
    "XMP as an element": [xmp_of("<tiff:Orientation>6</tiff:Orientation>")],
    "EXIF before XMP": [xmp_of('<a tiff:Orientation="3"/>'), segment(0xE1, exif_of(6))],
    "XMP where EXIF cannot be": [
        xmp_of("<a tiff:Orientation='6'/>"),
        segment(0xE1, exif_of(0)),
    ],
}


@pytest.mark.parametrize("where", TURNED)
def test_orientation_wherever_it_stands(where):
    data = inserted(PLAIN, *TURNED[where])
    assert np.array_equal(decode(data), np.rot90(decode(PLAIN), -1))
    assert dimensions(data) == (96, 80)

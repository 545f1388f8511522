"""What EXIF and XMP say of a picture that changes its pixels: which way is up, and Adobe RGB."""

import re
import struct
from collections.abc import Iterable

from PIL import Image

_ORIENTATION, _EXIF_IFD, _COLOUR_SPACE, _INTEROP_IFD, _INTEROP_INDEX = 0x0112, 0x8769, 0xA001, 0xA005, 1
_XMP_ORIENTATION = re.compile(rb"tiff:Orientation(?:\s*=\s*[\"']|>)\s*([1-8])\b")
# What Pillow raises on a broken block.
_BROKEN = (ValueError, TypeError, OSError, SyntaxError, KeyError, EOFError, AttributeError, struct.error)


def parse(blocks: Iterable[bytes]) -> Image.Exif | None:
    """The first of the blocks, each with or without "Exif\\0\\0", that can be read and says something."""
    for block in blocks:
        exif = Image.Exif()
        try:
            exif.load(block if block.startswith(b"Exif\0\0") else b"Exif\0\0" + block)
            dict(exif)
        except _BROKEN:
            continue
        if exif:
            return exif
    return None


def of_image(image: Image.Image) -> Image.Exif | None:
    """What Pillow finds; None where there is nothing that can be read."""
    try:
        return image.getexif() or None
    except _BROKEN:
        return None


def orientation(exif: Image.Exif | None, xmp: bytes = b"") -> int:
    """1 to 8; 1 (upright) where neither EXIF nor, after it, XMP says a valid one."""
    try:
        value = exif.get(_ORIENTATION) if exif is not None else None
    except _BROKEN:
        value = None
    if isinstance(value, int) and 1 <= value <= 8:
        return value
    found = _XMP_ORIENTATION.search(xmp)
    return int(found[1]) if found else 1


def is_adobe_rgb(exif: Image.Exif | None) -> bool:
    """Whether the numbers are Adobe RGB's, as cameras say it without a profile (DCF 2.0: "R03")."""
    if exif is None:
        return False
    try:
        space = exif.get_ifd(_EXIF_IFD).get(_COLOUR_SPACE)
        index = exif.get_ifd(_INTEROP_IFD).get(_INTEROP_INDEX)
    except _BROKEN:
        return False
    return space == 2 or (space != 1 and str(index).startswith("R03"))

"""What a file is that holds no picture which can be read here: said by name, with what helps."""

import io
import re
from importlib.util import find_spec

from PIL import Image
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION, SUBIFD, ImageFileDirectory_v2


class PictureError(ValueError):
    """Why a picture is refused: one short sentence, without the file's name."""


_EXPORT = "export it as JPEG or PNG"
_RAW = f"a camera's raw file ({{}}), which holds no finished picture: {_EXPORT} with the camera's software"
_VIDEO = "a video ({}): take pictures out of it first, for example with ffmpeg"
_HEIC = (
    'a HEIC picture (as iPhones take): pip install "xgan-jax[heic]", or export it as JPEG'
    if find_spec("pillow_heif") is None
    else "a HEIC picture that is damaged or of a kind that pillow-heif does not read"
)
_AVIF = (
    "an AVIF picture, which the installed Pillow does not read: pip install --upgrade pillow"
    if find_spec("PIL._avif") is None
    else "an AVIF picture that is damaged"
)
# The first bytes of a file, where a name helps more than "not a picture".
_STARTS = {
    rb"\xff\x0a|\0\0\0\x0cJXL ": f"a JPEG XL picture, which is not read here: {_EXPORT}",
    rb"II\*\0....CR": _RAW.format("Canon CR2"),
    rb"....ftypcrx ": _RAW.format("Canon CR3"),
    rb"FUJIFILMCCD-RAW": _RAW.format("Fujifilm RAF"),
    rb"IIR[OS]|MMOR": _RAW.format("Olympus ORF"),
    rb"IIU\0": _RAW.format("Panasonic RW2"),
    rb"FOVb": _RAW.format("Sigma X3F"),
    rb"\0MRM": _RAW.format("Minolta MRW"),
    rb"8BPS": f"a Photoshop file that holds no finished picture: {_EXPORT}",
    rb"%!PS|\xc5\xd0\xd3\xc6": f"a PostScript drawing: {_EXPORT}",
    rb"%PDF": f"a PDF document: {_EXPORT}",
    rb"gimp xcf": f"a GIMP file: {_EXPORT}",
    rb"....ftyp(avif|avis)": _AVIF,
    rb"....ftyp(hei[cxms]|hev[cxms]|mif[12]|msf1)": _HEIC,
    rb"....ftypqt  |....(moov|mdat|wide)": _VIDEO.format("QuickTime"),
    rb"....ftyp": _VIDEO.format("MP4"),
    rb"\x1a\x45\xdf\xa3": _VIDEO.format("WebM or Matroska"),
    rb"RIFF....AVI ": _VIDEO.format("AVI"),
    rb"\0\0\x01[\xb3\xba]|\x47.{187}\x47": _VIDEO.format("MPEG"),
    rb"FLV\x01": _VIDEO.format("Flash"),
    rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11": _VIDEO.format("WMV"),
    rb"version https://git-lfs": "a Git LFS pointer, not the picture itself: run git lfs pull",
    rb"\x1f\x8b": "gzip-compressed data, not a picture: unpack it first",
    rb"PK(\x03\x04|\x05\x06)": "a zip archive, not a picture: unpack it first",
    rb"BZh[1-9]1AY|\xfd7zXZ|7z\xbc\xaf|Rar!|\x28\xb5\x2f\xfd": "an archive, not a picture: unpack it first",
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*|<!DOCTYPE svg[^>]*>\s*)*<svg[\s>]": (
        f"an SVG drawing (XML): {_EXPORT}"
    ),
    rb"(?:\xef\xbb\xbf)?\s*<": "HTML or XML, not a picture (a failed download?)",
}
_PATTERNS = [(re.compile(start, re.DOTALL), name) for start, name in _STARTS.items()]
_SUBFILE, _DNG_VERSION = 254, 50706  # TIFF tags, beside those that Pillow names
# By the TIFF tag PhotometricInterpretation.
_COLOURS = {0: "grey", 1: "grey", 2: "RGB", 3: "palette", 5: "CMYK", 6: "YCbCr", 8: "Lab"}


def named(data: bytes) -> str | None:
    """What a file that cannot be read is, to follow "the file is "; None where that is not known."""
    start = data[:1024]
    return next((name for pattern, name in _PATTERNS if pattern.match(start)), None)


def of_tiff(data: bytes) -> str:
    """What a TIFF is of which Pillow does not know the pixels, to follow "the file is "."""
    try:
        file = io.BytesIO(data)
        tags = ImageFileDirectory_v2(file.read(8))
        file.seek(tags.next)
        tags.load(file)
        bits, colours = tags[BITSPERSAMPLE], _COLOURS[tags[PHOTOMETRIC_INTERPRETATION]]
    except Exception:  # whatever a stranger's tags lead to
        return f"a TIFF that is damaged or of a kind that is not read here: {_EXPORT}"
    channels = f"{len(bits)} channels of {bits[0]} bits" if len(bits) > 1 else f"{bits[0]} bits"
    return f"a TIFF of {colours} pixels with {channels}, which are not read here: {_EXPORT}"


def refuse_foreign(data: bytes) -> None:
    """Refuses what Pillow would open, but not as the picture that it is.

    Raises:
      PictureError: a program in PostScript, which Pillow has run by an interpreter; Canon's raw files, whose
        previews it takes for the picture.
    """
    if data[:2] in (b"%!", b"\xc5\xd0") or (data[:4] == b"II*\0" and data[8:10] == b"CR"):
        raise PictureError(f"the file is {named(data)}")


def refuse_raw(image: Image.Image) -> None:
    """Refuses a raw file that is a TIFF: Pillow takes the small preview that comes first for the picture.

    Raises:
      PictureError: it has a DNG version, or its first picture says that it is reduced from another.
    """
    tags = getattr(image, "tag_v2", {})
    if _DNG_VERSION in tags:
        raise PictureError(f"the file is {_RAW.format('DNG')}")
    if tags.get(_SUBFILE) == 1 and SUBIFD in tags:
        raise PictureError(f"the file is {_RAW.format('such as NEF or ARW')}")

"""Picture files and arrays: strict decoding, the one crop rule, antialiased resizing, encoding.

`prepare`, the input pipeline and `translate` all go through `decode` and `crop_resize`, so that a
picture is treated alike wherever it enters.
"""

import functools
import io
import re
import warnings
from typing import NamedTuple

import numpy as np
import simplejpeg
from jaxtyping import UInt8
from PIL import Image, ImageFile
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION

from xgan_jax.data import colour, exif, jpeg, kinds, png
from xgan_jax.data.kinds import PictureError

Picture = UInt8[np.ndarray, "h w 3"]

# A 50-megapixel telephone photo passes; decoding takes at most about 0.5 GB.
MAX_PIXELS = 64_000_000
CROPS = ("center", "celeba", "none")

# What is worth knowing of a picture that was read.
CONVERTED = "converted to sRGB from the colours that the file says it has"
IGNORED = "a colour profile that is broken or not for such pixels, ignored"
MENDED = "a part of the file that touches no pixel is not as it should be"

_CELEBA_WIDTH, _CELEBA_HEIGHT, _CELEBA_SIDE = 178, 218, 148
_ALPHA = {"RGBA", "LA", "PA", "La", "RGBa"}
_GREY = {"1", "L", "LA", "La"}
_TO_RGB = {"P", "RGBX", "YCbCr", "HSV"}
_JPEG = b"\xff\xd8\xff"
# Colour boxes: in AVIF and HEIC primaries and transfer, in JPEG 2000 a profile.
_NCLX = re.compile(rb"colrnclx(..)(..)", re.DOTALL)
_JP2_PROFILE = re.compile(rb"colr[\x02\x03]..", re.DOTALL)

# What Pillow only warns of is an error here (size) or does not matter (a broken EXIF block).
warnings.filterwarnings("ignore", module=r"PIL\.")


class Decoded(NamedTuple):
    """Pixels, and what is worth knowing of how they were read (CONVERTED, IGNORED, MENDED)."""

    pixels: Picture
    remarks: tuple[str, ...]


def decode(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """The sRGB pixels of a picture file of any format that Pillow reads, turned upright.

    Grey, palette and CMYK become RGB, 16 bits are scaled to 8, an animation gives its first frame, and the
    orientation is applied that EXIF or XMP says. Pixels that are not sRGB's (an ICC profile, PNG's cICP, gAMA
    and cHRM, Adobe RGB in EXIF) are converted, then transparency is laid over white; those that are sRGB's
    are not touched. The size is read from the header, and refused, before any pixel is decoded. JPEG decoding
    is strict: damage in a scan, which libjpeg would only warn of, is an error here, because the pixels after
    it are invented. So is a PNG with a wrong checksum of a chunk that pixels are made of.

    Raises:
      PictureError: the bytes are no picture, are damaged, or hold more than `max_pixels` pixels.
    """
    return read(data, max_pixels=max_pixels).pixels


def read(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Decoded:
    """`decode`, with what is worth knowing of the file. Raises: as there."""
    if data[:3] == _JPEG:
        return _read_jpeg(data, max_pixels)
    if data[:8] == png.SIGNATURE:
        return _read_png(data, max_pixels)
    return _read_other(data, max_pixels)


def dimensions(data: bytes) -> tuple[int, int]:
    """Width and height in pixels after turning upright, without decoding a pixel.

    Raises:
      PictureError: the bytes do not begin like a picture.
    """
    if data[:3] == _JPEG:
        header = jpeg.read_header(data)
        (width, height), turn = header[:2], exif.orientation(exif.parse(header.exif), header.xmp)
    elif data[:8] == png.SIGNATURE:
        chunks = png.read(data)
        width, height = _open(chunks.pixels).size
        turn = exif.orientation(exif.parse(chunks.exif), chunks.xmp)
    else:
        image = _open(data)
        width, height = image.size
        # Pillow turns TIFFs by itself, and says so in their size.
        turn = 1 if image.format == "TIFF" else exif.orientation(exif.of_image(image))
    return (height, width) if turn >= 5 else (width, height)


def has_celeba_aspect(width: int, height: int) -> bool:
    """Whether width:height is 178:218 within the rounding to whole pixels."""
    return height == round(width * _CELEBA_HEIGHT / _CELEBA_WIDTH) or width == round(
        height * _CELEBA_WIDTH / _CELEBA_HEIGHT
    )


def crop_box(width: int, height: int, rule: str) -> tuple[int, int, int, int]:
    """The part of a picture that is kept: left, top, right, bottom in pixels (right, bottom exclusive).

    "center" is the largest square, centred. "celeba" is the square that most work on CelebA uses: the
    central 148x148 of the aligned 178x218, hence (15, 35, 163, 183), scaled for other sizes (89x109
    gives (7, 17, 81, 91)); a picture of another aspect is first cut to 178:218 about its centre.
    "none" is everything: resized to a square it is distorted unless it is one.

    Raises:
      ValueError: an unknown rule.
    """
    if rule == "none":
        return 0, 0, width, height
    if rule == "center":
        side = min(width, height)
    elif rule == "celeba":
        side = round(min(width * _CELEBA_SIDE / _CELEBA_WIDTH, height * _CELEBA_SIDE / _CELEBA_HEIGHT))
        side = max(1, side)
    else:
        raise ValueError(f"the crop rule {rule!r} is unknown: use one of {', '.join(CROPS)}.")
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def crop_resize(image: Picture, size: int, rule: str) -> UInt8[np.ndarray, "{size} {size} 3"]:
    """Cuts `crop_box(..., rule)` out and resizes it to `size` pixels a side.

    Pillow's bicubic filter widened by the scale, that is antialiased ("On Aliased Resizing",
    Parmar et al. 2022, section 3). A box that already has the size is returned unchanged.
    """
    height, width = image.shape[:2]
    left, top, right, bottom = crop_box(width, height, rule)
    # Cut first: Pillow's own `box` would let the filter reach across the edge.
    part = Image.fromarray(image[top:bottom, left:right])
    return np.array(part.resize((size, size), Image.Resampling.BICUBIC))


def encode(image: Picture, encoding: str) -> bytes:
    """`image` as a "jpeg" (quality 95, full-resolution colour) or a "png" (lossless) file.

    Raises:
      ValueError: another encoding.
    """
    if encoding == "jpeg":
        return simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality=95, colorsubsampling="444")
    if encoding == "png":
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "png")
        return buffer.getvalue()
    raise ValueError(f"the encoding {encoding!r} is unknown: use jpeg or png.")


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise PictureError(
            f"the header says {width}x{height} pixels, more than the {max_pixels:,} that are allowed"
        )


def _read_jpeg(data: bytes, max_pixels: int) -> Decoded:
    header = jpeg.read_header(data)
    _check_size(header.width, header.height, max_pixels)
    tags = exif.parse(header.exif)
    mode = {1: "L", 3: "RGB", 4: "CMYK"}[header.colours]
    profile, remarks = _needed(header.profile, tags, mode)
    if mode == "L" and profile is None:
        mode = "RGB"  # libjpeg repeats the grey
    pixels, mended = jpeg.decode(data, header, {"L": "GRAY"}.get(mode, mode))
    if profile is not None or mode == "CMYK":
        image = Image.frombytes(mode, (header.width, header.height), pixels.tobytes())
        pixels = np.array(_in_srgb(image, profile))
    remarks += (MENDED,) * mended
    return Decoded(_turn(pixels, exif.orientation(tags, header.xmp)), remarks)


def _read_png(data: bytes, max_pixels: int) -> Decoded:
    chunks = png.read(data)
    base, alpha = _png_layers(chunks.pixels, max_pixels)
    tags = exif.parse(chunks.exif)
    found, ignored = png.profile(chunks.colours, base.mode)
    profile, remarks = _needed(found, None if chunks.colours else tags, base.mode)
    remarks += (IGNORED,) * ignored + (MENDED,) * chunks.damaged
    pixels = _over_white(_in_srgb(base, profile), alpha)
    return Decoded(_turn(pixels, exif.orientation(tags, chunks.xmp)), remarks)


def _read_other(data: bytes, max_pixels: int) -> Decoded:
    kinds.refuse_foreign(data)
    image = _load(data, max_pixels)
    kinds.refuse_raw(image)
    base, alpha = _layers(image)
    tags = exif.of_image(image)
    found = image.info.get("icc_profile") or _of_boxes(data, image.format, base.mode)
    profile, remarks = _needed(found, tags, base.mode)
    return Decoded(_turn(_over_white(_in_srgb(base, profile), alpha), exif.orientation(tags)), remarks)


def _needed(
    profile: bytes | None, tags: Image.Exif | None, mode: str
) -> tuple[bytes | None, tuple[str, ...]]:
    """The profile by which pixels of `mode` have to be converted, if any, and what to remark.

    It is the file's own, or where it has none Adobe RGB if EXIF says so.
    """
    if profile is None and mode in ("RGB", "L") and exif.is_adobe_rgb(tags):
        profile = colour.adobe_rgb(mode)
    try:
        if profile is not None and colour.changes(profile, mode):
            return profile, (CONVERTED,)
    except colour.ProfileError:
        return None, (IGNORED,)
    return None, ()


def _of_boxes(data: bytes, kind: str | None, mode: str) -> bytes | None:
    """What a colour box says that Pillow does not look at; an empty profile where that cannot be."""
    if kind in ("AVIF", "HEIF") and (found := _NCLX.search(data, 0, 65536)):
        try:
            return colour.of_code_points(mode, *(int.from_bytes(part) for part in found.groups()))
        except colour.ProfileError:
            return b""
    if kind == "JPEG2000" and (found := _JP2_PROFILE.search(data, 0, 65536)):
        return data[found.end() : found.end() + int.from_bytes(data[found.end() : found.end() + 4])]
    return None


def _load(data: bytes, max_pixels: int) -> Image.Image:
    image = _open(data)
    _check_size(*image.size, max_pixels)
    # Pillow's plugins report damage by whatever exception it led to (OSError, SyntaxError, EOFError,
    # struct.error, zlib.error, IndexError, ...), and what they decode comes from strangers.
    try:
        image.load()
    except Exception as error:
        if name := kinds.named(data):
            raise PictureError(f"the file is {name}") from None
        raise PictureError(f"the {image.format} is damaged: {error}") from None
    return image


def _open(data: bytes) -> Image.Image:
    """Reads the header only."""
    if not data:
        raise PictureError("the file is empty (0 bytes)")
    if data[4:8] == b"ftyp":
        _register_heic()
    try:
        return Image.open(io.BytesIO(data))
    except Image.DecompressionBombError:
        raise PictureError("the header says more pixels than are allowed") from None
    except Exception as error:  # as in _load
        if name := kinds.named(data):
            raise PictureError(f"the file is {name}") from None
        if isinstance(error, Image.UnidentifiedImageError):
            if data[:4] in (b"II*\0", b"MM\0*"):
                raise PictureError(f"the file is {kinds.of_tiff(data)}") from None
            raise PictureError("the file is not a picture in any format that is read here") from None
        raise PictureError(f"the header is damaged: {error}") from None


@functools.cache
def _register_heic() -> None:
    """Lets Pillow read HEIC where the extra is installed."""
    try:
        import pillow_heif
    except ImportError:
        return
    pillow_heif.register_heif_opener()


def _layers(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Colours, of a mode of `colour.changes`, and their opacity (mode L) where there is transparency."""
    mode = image.mode
    if mode.startswith("I"):
        return _sixteen_bits(image)
    if mode in _ALPHA or "transparency" in image.info:
        rgba = image.convert("RGBA")
        grey = mode in _GREY
        return (rgba.getchannel("R") if grey else rgba.convert("RGB")), rgba.getchannel("A")
    if mode in ("RGB", "L", "CMYK", "LAB"):
        return image, None
    if mode == "1":
        return image.convert("L"), None
    if mode in _TO_RGB:
        return image.convert("RGB"), None
    raise PictureError(f"the pixels are of Pillow's mode {mode}, whose range is not defined")


def _png_layers(data: bytes, max_pixels: int) -> tuple[Image.Image, Image.Image | None]:
    """`_layers` of a PNG. The colour that is transparent is one of the file's depth; Pillow holds it against
    pixels of 8 bits."""
    image, depth = _load(data, max_pixels), data[24]
    key = image.info.get("transparency")
    if key is not None and image.mode == "L":
        image.info["transparency"] = key % 2**depth * {2: 85, 4: 17}.get(depth, 1)
    elif key is not None and image.mode == "RGB" and depth == 16:
        del image.info["transparency"]
        high, low = np.asarray(image), np.asarray(_low_bytes(data))
        same = (high == [value >> 8 for value in key]) & (low == [value & 255 for value in key])
        return image, Image.fromarray(255 * (~same.all(-1)).astype(np.uint8))
    return _layers(image)


def _low_bytes(data: bytes) -> Image.Image:
    """The second byte of each value of a 16-bit PNG, of which Pillow gives the first."""
    image = Image.open(io.BytesIO(data))
    assert isinstance(image, ImageFile.ImageFile)
    image.tile = [tile._replace(args="RGB;16L") for tile in image.tile]
    return image


def _sixteen_bits(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """`_layers` of 16-bit grey, which some plugins hold in 32 bits."""
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise PictureError("the pixels are 32-bit integers, whose range is not defined")
    tags = getattr(image, "tag_v2", {})
    if tags.get(BITSPERSAMPLE) == (12,):
        values = (values * 65535 + 2047) // 4095
    if tags.get(PHOTOMETRIC_INTERPRETATION) == 0:  # white is zero, which Pillow heeds up to 8 bits
        values = 65535 - values
    transparent = image.info.get("transparency")
    alpha = None if transparent is None else Image.fromarray(255 * (values != transparent).astype(np.uint8))
    return Image.fromarray(values.astype(np.uint16)), alpha


def _in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """RGB of an image of `_layers`; `profile` as from `_needed`."""
    if profile is not None:
        return colour.to_srgb(image, profile)
    if image.mode == "I;16":
        values = np.asarray(image).astype(np.uint32)
        image = Image.fromarray(((values + 128) // 257).astype(np.uint8))  # 65535 becomes 255
    return image if image.mode == "RGB" else image.convert("RGB")


def _over_white(rgb: Image.Image, alpha: Image.Image | None) -> np.ndarray:
    if alpha is None:
        return np.array(rgb)
    rgb.putalpha(alpha)
    white = Image.new("RGBA", rgb.size, "white")
    return np.array(Image.alpha_composite(white, rgb).convert("RGB"))


def _turn(image: np.ndarray, orientation: int) -> np.ndarray:
    """Undoes an EXIF orientation (TIFF 6.0 / EXIF 2.3, tag 274)."""
    if orientation == 1:
        return image
    if orientation >= 5:
        image = image.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)

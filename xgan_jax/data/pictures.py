"""Picture files and arrays: strict decoding, the one crop rule, antialiased resizing, encoding.

`prepare`, the input pipeline and `translate` all go through `decode` and `crop_resize`, so that a
picture is treated alike wherever it enters.
"""

import io
import struct
import warnings

import numpy as np
import simplejpeg
from jaxtyping import UInt8
from PIL import Image

Picture = UInt8[np.ndarray, "h w 3"]

# A 50-megapixel telephone photo passes; decoding takes at most about 0.5 GB.
MAX_PIXELS = 64_000_000
CROPS = ("center", "celeba", "none")

_CELEBA_WIDTH, _CELEBA_HEIGHT, _CELEBA_SIDE = 178, 218, 148
_ORIENTATION = 0x0112  # the EXIF tag
_TO_RGBA = {"RGBA", "LA", "PA", "La", "RGBa"}
_TO_RGB = {"1", "L", "P", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"}

# What Pillow only warns of is an error here (size) or does not matter (a broken EXIF block).
warnings.filterwarnings("ignore", module=r"PIL\.")


class PictureError(ValueError):
    """Why a picture is refused: one short sentence, without the file's name."""


def decode(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """The RGB pixels of a picture file of any format that Pillow reads, turned upright.

    Grey, palette and CMYK become RGB, transparency is laid over white, 16 bits are scaled to 8, an
    animation gives its first frame, and the EXIF orientation is applied. The size is read from the
    header, and refused, before any pixel is decoded. JPEG decoding is strict: what libjpeg would only
    warn of (a truncated or damaged scan) is an error here, because the pixels after it are invented. So
    is a PNG with a wrong checksum.

    Raises:
      PictureError: the bytes are no picture, are damaged, or hold more than `max_pixels` pixels.
    """
    if not data:
        raise PictureError("the file is empty (0 bytes)")
    if data[:3] == b"\xff\xd8\xff":
        image, orientation = _decode_jpeg(data, max_pixels)
    else:
        image, orientation = _decode_other(data, max_pixels)
    return _turn(image, orientation)


def dimensions(data: bytes) -> tuple[int, int]:
    """Width and height in pixels after turning upright, from the header alone.

    Raises:
      PictureError: the bytes do not begin like a picture.
    """
    image = _open(data)
    width, height = image.size
    # Pillow turns TIFFs by itself, and says so in their size.
    turned = image.format != "TIFF" and _orientation(image) >= 5
    return (height, width) if turned else (width, height)


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


def _decode_jpeg(data: bytes, max_pixels: int) -> tuple[np.ndarray, int]:
    """Pixels as stored, and the EXIF orientation."""
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
        _check_size(width, height, max_pixels)
        # simplejpeg takes four-channel JPEGs for plain CMYK; Adobe writes them inverted, which Pillow
        # knows. The strict decoding is still wanted, to find damage.
        if colours in ("CMYK", "YCCK"):
            simplejpeg.decode_jpeg(data, colorspace="CMYK")
            image = np.array(_open(data).convert("RGB"))
        else:
            image = simplejpeg.decode_jpeg(data)
    except PictureError:
        raise
    except (ValueError, OSError, MemoryError) as error:
        raise PictureError(f"the JPEG is damaged: {error}") from None
    # EXIF stands in the first segments of a file; looking for its marker spares most files the parsing.
    orientation = _orientation(_open(data)) if b"Exif\0" in data[:65536] else 1
    return image, orientation


def _decode_other(data: bytes, max_pixels: int) -> tuple[np.ndarray, int]:
    image = _open(data)
    _check_size(*image.size, max_pixels)
    kind = image.format
    # Pillow's plugins report damage by whatever exception it led to (OSError, SyntaxError, EOFError,
    # struct.error, zlib.error, IndexError, ...), and what they decode comes from strangers.
    try:
        if kind == "PNG":
            image.verify()  # every chunk's CRC; load() alone does not look at them
            image = _open(data)
        image.load()
        orientation = _orientation(image)
        return _to_rgb(image), orientation
    except PictureError:
        raise
    except Exception as error:
        raise PictureError(f"the {kind} is damaged: {error}") from None


def _open(data: bytes) -> Image.Image:
    """Reads the header only."""
    if not data:
        raise PictureError("the file is empty (0 bytes)")
    try:
        return Image.open(io.BytesIO(data))
    except Image.DecompressionBombError:
        raise PictureError("the header says more pixels than are allowed") from None
    except Exception as error:  # as in _decode_other
        start = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n")
        if start.startswith(b"<"):
            raise PictureError("the file is HTML or XML, not a picture (a failed download?)") from None
        if isinstance(error, Image.UnidentifiedImageError):
            raise PictureError("the file is not a picture in any format that is read here") from None
        raise PictureError(f"the header is damaged: {error}") from None


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1 to 8; 1 (upright) where there is none or it cannot be read."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except (ValueError, TypeError, OSError, SyntaxError, KeyError, struct.error):
        return 1
    return value if value in range(1, 9) else 1


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


def _to_rgb(image: Image.Image) -> np.ndarray:
    mode = image.mode
    if mode == "RGB" and "transparency" not in image.info:
        return np.array(image)
    if mode.startswith("I"):
        # 16-bit grey, which some plugins hold in 32 bits; 65535 becomes 255.
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise PictureError("the pixels are 32-bit integers, whose range is not defined")
        grey = ((values + 128) // 257).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if mode in _TO_RGBA or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return np.array(Image.alpha_composite(white, rgba).convert("RGB"))
    if mode in _TO_RGB:
        return np.array(image.convert("RGB"))
    raise PictureError(f"the pixels are of Pillow's mode {mode}, whose range is not defined")

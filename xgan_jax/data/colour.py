"""From the colours that a file says it has to sRGB: ICC profiles by LittleCMS, and what stands for a profile.

A profile is the bytes of an ICC profile. PNG's gAMA and cHRM, the code points of PNG's cICP and of AVIF's and
HEIC's nclx, and the Adobe RGB of cameras are made into profiles here, so that one way leads to sRGB.
"""

import functools
import io
import struct
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from xgan_jax.data.kinds import PictureError

# The colour space that a profile must be of, by Pillow's mode.
_SPACES = {"RGB": "RGB ", "L": "GRAY", "I;16": "GRAY", "CMYK": "CMYK", "LAB": "Lab "}
# What LittleCMS computes for other writers' sRGB differs by up to 2 of 255; a plain gamma of 2.2 by 9.
_SAME = 3

_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_D65 = (0.3127, 0.3290)

Primaries = tuple[float, ...]  # x and y of red, green, blue and white

_SRGB: Primaries = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, *_D65)
_ADOBE_RGB: Primaries = (0.64, 0.33, 0.21, 0.71, 0.15, 0.06, *_D65)
# ITU-T H.273, table 2.
_PRIMARIES: dict[int, Primaries] = {
    1: _SRGB,
    4: (0.67, 0.33, 0.21, 0.71, 0.14, 0.08, 0.310, 0.316),
    5: (0.64, 0.33, 0.29, 0.60, 0.15, 0.06, *_D65),
    6: (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, *_D65),
    7: (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, *_D65),
    9: (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, *_D65),
    11: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, 0.314, 0.351),
    12: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, *_D65),
    22: (0.630, 0.340, 0.295, 0.605, 0.155, 0.077, *_D65),
}
# H.273, table 3. The curves of television (1, 6, 14, 15) describe cameras; what they made is shown like sRGB.
_LIKE_SRGB = (1, 2, 6, 13, 14, 15)
_GAMMAS = {4: 2.2, 5: 2.8, 8: 1.0}
_HDR = {16: "PQ", 18: "HLG"}


class ProfileError(ValueError):
    """A profile that cannot be used."""


def changes(profile: bytes, mode: str) -> bool:
    """Whether pixels of the mode RGB, L, I;16, CMYK or LAB have to be converted: False where they are sRGB's.

    Raises:
      ProfileError: the profile is broken, or is not of such pixels.
    """
    return _transform(profile, mode) is not None


def to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """RGB of an image whose profile `changes` its pixels.

    Relative colorimetric: a colour that sRGB has is kept as it is, the file's white becomes sRGB's; with
    black point compensation, or the black of a printer's profile would be a grey. (Perceptual would move
    every colour, and by tables that only some profiles have.)
    """
    transform = _transform(profile, image.mode)
    assert transform is not None
    return transform.apply(image)


def adobe_rgb(mode: str) -> bytes:
    """Adobe RGB (1998), for pixels of a mode of `changes`."""
    return _profile(mode, _gamma(563 / 256), _ADOBE_RGB)


def of_code_points(mode: str, primaries: int, transfer: int) -> bytes | None:
    """The profile that two of H.273's code points say; None for sRGB and where they say nothing.

    Raises:
      PictureError: the brightness is that of an HDR screen.
      ProfileError: unknown code points.
    """
    if transfer in _HDR:
        raise PictureError(
            f"it is an HDR picture ({_HDR[transfer]}), whose brightness does not fit into 8 bits of sRGB: "
            "export it as SDR"
        )
    primaries = 1 if primaries == 2 else primaries
    if primaries not in _PRIMARIES or not (transfer in _LIKE_SRGB or transfer in _GAMMAS):
        raise ProfileError(f"unknown code points {primaries} and {transfer}")
    if transfer in _LIKE_SRGB:
        return None if primaries == 1 else _profile(mode, _srgb_curve(), _PRIMARIES[primaries])
    return _profile(mode, _gamma(_GAMMAS[transfer]), _PRIMARIES[primaries])


def of_gamma(mode: str, gamma: float | None, primaries: Primaries | None) -> bytes | None:
    """The profile that PNG's gAMA (as written: 0.45455) and cHRM say; None for sRGB.

    Raises:
      ProfileError: values that cannot be.
    """
    if gamma is not None and not 0.1 <= gamma <= 10:
        raise ProfileError(f"a gamma of {gamma}")
    srgb = primaries is None or np.abs(np.subtract(primaries, _SRGB)).max() < 0.005
    # 1/2.2 is what writers of sRGB put there for readers that know nothing else.
    if gamma is None or (srgb and 0.45 <= gamma <= 0.46):
        return None if srgb else _profile(mode, _srgb_curve(), primaries or _SRGB)
    return _profile(mode, _gamma(1 / gamma), primaries or _SRGB)


@functools.lru_cache(64)  # a data set has few; LittleCMS's transforms may be used by several threads
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """None for sRGB, by what it computes: its writers are many, and its names more."""
    flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
    if mode == "I;16":
        flags |= ImageCms.Flags.NOOPTIMIZE  # its tables are too coarse for dark linear values
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = opened.profile.xcolor_space
        if space != _SPACES[mode]:
            raise ProfileError(f"a profile of {space.strip()} for pixels of {mode}")
        transform = ImageCms.ImageCmsTransform(
            opened,
            ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=flags,
        )
    except (OSError, TypeError, ValueError, ImageCms.PyCMSError) as error:
        raise ProfileError(str(error)) from None
    return None if _changes_nothing(transform, mode) else transform


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether a grid of colours, and all greys, come out as they are."""
    if mode not in ("RGB", "L", "I;16"):
        return False
    grey = np.arange(256, dtype=np.uint8)[:, None]
    if mode == "RGB":
        steps = np.arange(0, 256, 15, dtype=np.uint8)
        grid = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 1, 3)
        colours: Any = np.concatenate([grid, np.repeat(grey[..., None], 3, axis=2)])
    else:
        colours = grey if mode == "L" else grey.astype(np.uint16) * 257
    found = np.asarray(transform.apply(Image.fromarray(colours))).astype(int)
    meant = colours if mode == "RGB" else grey[..., None]
    return bool(np.abs(found - meant).max() <= _SAME)


def _profile(mode: str, curve: bytes, primaries: Primaries) -> bytes:
    """An ICC profile (ICC.1:2010) of one curve, and for colours of three primaries."""
    white = b"XYZ \0\0\0\0" + _numbers(*_D50)
    if mode in ("L", "I;16"):
        return _icc(b"GRAY", {b"wtpt": white, b"kTRC": curve})
    tags = {b"wtpt": white, b"rTRC": curve, b"gTRC": curve, b"bTRC": curve}
    for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), _to_d50(primaries).T, strict=True):
        tags[name] = b"XYZ \0\0\0\0" + _numbers(*column)
    return _icc(b"RGB ", tags)


def _to_d50(primaries: Primaries) -> np.ndarray:
    """XYZ of the primaries as columns, their white turned into ICC's by Bradford's method."""
    try:
        *colours, white = (
            np.array([x / y, 1.0, (1 - x - y) / y])
            for x, y in zip(primaries[::2], primaries[1::2], strict=True)
        )
        matrix = np.stack(colours, axis=1)
        matrix = matrix * np.linalg.solve(matrix, white)
    except (ZeroDivisionError, np.linalg.LinAlgError):
        raise ProfileError("primaries that span no colours") from None
    scale = np.diag((_BRADFORD @ _D50) / (_BRADFORD @ white))
    matrix = np.linalg.solve(_BRADFORD, scale @ _BRADFORD @ matrix)
    if not np.abs(matrix).max() < 100:
        raise ProfileError("primaries that span no colours")
    return matrix


def _icc(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">II", start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    head = bytearray(128)
    head[0:4] = struct.pack(">I", start + len(body))
    head[8:24] = b"\x04\x30\0\0mntr" + space + b"XYZ "
    head[36:40] = b"acsp"
    head[68:80] = _numbers(*_D50)
    return bytes(head) + table + body


def _gamma(exponent: float) -> bytes:
    return b"para" + bytes(8) + _numbers(exponent)


def _srgb_curve() -> bytes:
    return b"para\0\0\0\0\0\x03\0\0" + _numbers(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def _numbers(*values: float) -> bytes:
    """ICC's s15Fixed16Number."""
    return struct.pack(f">{len(values)}i", *(round(float(value) * 65536) for value in values))

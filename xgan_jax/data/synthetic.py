"""Embedded data: faces drawn in two styles, photo-like and anime, from one set of attributes.

    python -m xgan_jax.data.synthetic --out data/drawn --count 3000 --test-count 500

writes trainA, trainB, testA, testB (A the photo-like faces, B the anime ones), PNG files with an
`attributes.csv` in each folder. Training pictures of the two domains come from different people, so there
are no pairs; the test split's attributes let `draw` render the true counterpart of every test picture in
the other style, against which a translation can be measured.

The styles differ in what a network sees first (shading, texture, blur and noise against flat colour and
outlines; proportions; palettes) and agree in what should be kept: the attributes.
"""

import argparse
import csv
import dataclasses
import json
import math
import multiprocessing
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFilter

from xgan_jax import faults
from xgan_jax.progress import Progress

STYLES = ("face", "anime")
_SMALLEST = 16  # pixels
_LEAST = {"count": 1, "test_count": 0, "size": _SMALLEST, "seed": 0}
_DRAWING = ".drawing"  # in the folder of a dataset that is not finished
HAIR_COLOURS = ("black", "brown", "blond", "red", "gray")
CUTS = ("short", "bob", "long", "spiky", "bun")
SKINS = ("pale", "light", "tan", "dark")
EYES = ("brown", "blue", "green", "gray")
GLASSES = ("none", "round", "square")
MOUTHS = ("smile", "neutral", "open")
BEARDS = ("none", "full", "moustache")
BACKGROUNDS = ("sky", "leaf", "rose", "sand", "night")


@dataclass(frozen=True)
class Attributes:
    """What both styles show. Angles in degrees (clockwise), positions as parts of the picture's side."""

    hair: str
    cut: str
    skin: str
    eyes: str
    glasses: str
    mouth: str
    beard: str
    background: str
    tilt: float  # -16 to 16
    x: float  # offset to the right, -0.05 to 0.05
    y: float  # offset downwards, -0.04 to 0.04
    scale: float  # 1.05 to 1.2


CATEGORIES: dict[str, tuple[str, ...]] = {
    "hair": HAIR_COLOURS,
    "cut": CUTS,
    "skin": SKINS,
    "eyes": EYES,
    "glasses": GLASSES,
    "mouth": MOUTHS,
    "beard": BEARDS,
    "background": BACKGROUNDS,
}

_FREQUENCIES = {"glasses": (0.7, 0.15, 0.15), "beard": (0.7, 0.15, 0.15)}
# With `skew` the domains' people differ as those of real collections do.
_SKEWED = {
    "face": {"hair": (0.35, 0.35, 0.15, 0.05, 0.1), "beard": (0.6, 0.25, 0.15)},
    "anime": {
        "hair": (0.15, 0.15, 0.3, 0.3, 0.1),
        "beard": (0.96, 0.02, 0.02),
        "glasses": (0.9, 0.05, 0.05),
        "cut": (0.1, 0.25, 0.4, 0.2, 0.05),
        "skin": (0.45, 0.4, 0.1, 0.05),
    },
}


def sample_attributes(rng: np.random.Generator, style: str | None = None, skew: bool = False) -> Attributes:
    """One person. With `skew` the frequencies are those of `style`, else the same for both."""
    frequencies = _FREQUENCIES | (_SKEWED[style] if skew and style else {})
    values: dict[str, str | float] = {
        name: str(rng.choice(options, p=frequencies.get(name))) for name, options in CATEGORIES.items()
    }
    for name, low, high in (("tilt", -16, 16), ("x", -0.05, 0.05), ("y", -0.04, 0.04), ("scale", 1.05, 1.2)):
        values[name] = round(float(rng.uniform(low, high)), 4)
    return Attributes(**values)  # type: ignore[arg-type]


# --- Palettes: the same words, other colours -----------------------------------------------------------

Colour = tuple[int, int, int]
_HAIR: dict[str, dict[str, Colour]] = {
    "face": {
        "black": (28, 24, 24),
        "brown": (92, 58, 34),
        "blond": (204, 168, 104),
        "red": (150, 62, 28),
        "gray": (150, 148, 146),
    },
    "anime": {
        "black": (48, 46, 74),
        "brown": (140, 88, 60),
        "blond": (252, 222, 110),
        "red": (232, 72, 64),
        "gray": (196, 204, 222),
    },
}
_SKIN: dict[str, dict[str, Colour]] = {
    "face": {
        "pale": (236, 204, 188),
        "light": (218, 174, 146),
        "tan": (182, 130, 96),
        "dark": (112, 74, 54),
    },
    "anime": {
        "pale": (255, 240, 228),
        "light": (255, 222, 198),
        "tan": (232, 180, 138),
        "dark": (168, 116, 88),
    },
}
_EYE: dict[str, dict[str, Colour]] = {
    "face": {"brown": (82, 52, 30), "blue": (84, 126, 168), "green": (84, 128, 82), "gray": (126, 132, 138)},
    "anime": {
        "brown": (176, 96, 40),
        "blue": (50, 120, 240),
        "green": (40, 180, 90),
        "gray": (140, 146, 170),
    },
}
_BACKGROUND: dict[str, dict[str, Colour]] = {
    "face": {
        "sky": (120, 146, 172),
        "leaf": (86, 108, 72),
        "rose": (156, 112, 112),
        "sand": (176, 158, 128),
        "night": (48, 50, 62),
    },
    "anime": {
        "sky": (150, 214, 255),
        "leaf": (164, 232, 150),
        "rose": (255, 186, 206),
        "sand": (255, 236, 176),
        "night": (96, 92, 158),
    },
}
_INK: Colour = (46, 32, 44)


def _mix(a: Colour, b: Colour, amount: float) -> Colour:
    return tuple(round(x + (y - x) * amount) for x, y in zip(a, b, strict=True))  # type: ignore[return-value]


# --- Drawing --------------------------------------------------------------------------------------------

_SUPERSAMPLE = 4
Number = float | int  # the type checker of the tests takes float at its word
Points = Sequence[tuple[Number, Number]]


def _arc(
    cx: Number, cy: Number, rx: Number, ry: Number, start: Number = 0, end: Number = 360, n: int = 28
) -> Points:
    """Points of an ellipse from angle `start` to `end`, degrees clockwise from the right."""
    angles = np.radians(np.linspace(start, end, n))
    return list(zip((cx + rx * np.cos(angles)).tolist(), (cy + ry * np.sin(angles)).tolist(), strict=True))


class _Canvas:
    """Draws polygons in the head's own coordinates (origin between the eyes' height and the nose, unit
    the picture's side, y down) on a supersampled picture, and which material they are on a second one."""

    def __init__(self, a: Attributes, size: int, background: Colour):
        self.side = size * _SUPERSAMPLE
        self.image = Image.new("RGB", (self.side, self.side), background)
        self.material = Image.new("RGB", (self.side, self.side), (0, 0, 255))
        self._draw = ImageDraw.Draw(self.image)
        self._mark = ImageDraw.Draw(self.material)
        angle = math.radians(a.tilt)
        self._cos, self._sin = math.cos(angle) * a.scale, math.sin(angle) * a.scale
        self._x, self._y = 0.5 + a.x, 0.54 + a.y

    def _place(self, points: Points) -> list[tuple[float, float]]:
        return [
            (
                self.side * (self._x + self._cos * x - self._sin * y),
                self.side * (self._y + self._sin * x + self._cos * y),
            )
            for x, y in points
        ]

    def fill(
        self,
        points: Points,
        colour: Colour,
        material: str = "other",
        outline: Number = 0.0,
        ink: Colour = _INK,
    ) -> None:
        """A filled polygon; `outline` is the width of a line around it."""
        placed = self._place(points)
        self._draw.polygon(placed, fill=colour)
        marks = {"skin": (255, 0, 0), "hair": (0, 255, 0), "other": (0, 0, 0)}
        self._mark.polygon(placed, fill=marks[material])
        if outline:
            self.line([*points, points[0]], ink, outline)

    def line(self, points: Points, colour: Colour, width: Number) -> None:
        pixels = max(1, round(width * self.side))
        self._draw.line(self._place(points), fill=colour, width=pixels, joint="curve")
        self._mark.line(self._place(points), fill=(0, 0, 0), width=pixels)

    def reduced(self) -> tuple[Float[np.ndarray, "s s 3"], Float[np.ndarray, "s s 3"]]:
        """The picture (0 to 255) and the shares of (skin, hair, background), at the final size."""
        return tuple(  # type: ignore[return-value]
            np.asarray(image.reduce(_SUPERSAMPLE), np.float32) for image in (self.image, self.material)
        )

    def frame(self, size: int) -> tuple[Float[np.ndarray, "s s"], Float[np.ndarray, "s s"]]:
        """Head coordinates of every final pixel."""
        grid = (np.arange(size, dtype=np.float32) + 0.5) / size
        dx, dy = grid[None, :] - self._x, grid[:, None] - self._y
        norm = self._cos**2 + self._sin**2
        return (self._cos * dx + self._sin * dy) / norm, (-self._sin * dx + self._cos * dy) / norm


def _both_sides(points: Points) -> Iterable[Points]:
    return points, [(-x, y) for x, y in points]


def _head(w: Number, h: Number, chin: Number) -> Points:
    """A head's outline: an ellipse above, narrowing by `chin` (0 round, 1 pointed) below."""
    upper = _arc(0, 0, w, h * 0.95, 180, 360)
    lower = []
    for s in np.linspace(0, 1, 16)[1:]:
        round_x = math.sqrt(max(0.0, 1 - s**2.4))
        pointed = (1 - s**1.7) * 0.96 + 0.04
        lower.append((w * ((1 - chin) * round_x + chin * pointed), h * s))
    return [*upper, *lower, *[(-x, y) for x, y in reversed(lower)]]


def _back_hair(c: _Canvas, a: Attributes, w: Number, h: Number, colour: Colour, outline: Number) -> None:
    if a.cut == "long":
        c.fill(
            [*_arc(0, -0.05, w * 1.32, h * 1.05, 180, 360), (w * 1.5, 0.62), (-w * 1.5, 0.62)],
            colour, "hair", outline,
        )  # fmt: skip
    elif a.cut == "bob":
        c.fill(
            [*_arc(0, -0.04, w * 1.34, h * 1.06, 180, 360), (w * 1.42, h * 0.72), (w * 0.9, h * 0.86),
             (-w * 0.9, h * 0.86), (-w * 1.42, h * 0.72)],
            colour, "hair", outline,
        )  # fmt: skip
    elif a.cut == "bun":
        c.fill(_arc(0, -h * 1.24, w * 0.46, h * 0.3), colour, "hair", outline)
    elif a.cut == "spiky":
        spikes = []
        for i in range(13):
            angle = math.radians(180 + 15 * i)
            reach = 1.5 if i % 2 else 1.12
            spikes.append((w * reach * math.cos(angle), -0.04 + h * reach * 0.98 * math.sin(angle)))
        c.fill(spikes, colour, "hair", outline)


def _photo(a: Attributes, size: int, rng: np.random.Generator) -> UInt8[np.ndarray, "size size 3"]:
    hair, skin, eye = (_HAIR["face"][a.hair], _SKIN["face"][a.skin], _EYE["face"][a.eyes])
    background = _BACKGROUND["face"][a.background]
    c = _Canvas(a, size, background)
    w, h = 0.215, 0.285
    dark_skin, dark_hair = _mix(skin, (40, 10, 10), 0.35), _mix(hair, (0, 0, 0), 0.35)

    _back_hair(c, a, w, h, dark_hair, 0.0)
    cloth = _mix(background, tuple(rng.integers(30, 220, 3).tolist()), 0.7)
    c.fill([(-0.13, 0.2), (0.13, 0.2), (0.14, 0.42), (-0.14, 0.42)], dark_skin, "skin")
    c.fill([(-0.12, 0.36), (0.12, 0.36), (0.34, 0.44), (0.5, 0.8), (-0.5, 0.8), (-0.34, 0.44)], cloth)
    for ear in _both_sides(_arc(w * 0.99, 0.02, 0.03, 0.06)):
        c.fill(ear, _mix(skin, dark_skin, 0.4), "skin")
    c.fill(_head(w, h, 0.12), skin, "skin")

    for socket in _both_sides(_arc(0.09, -0.04, 0.066, 0.042)):
        c.fill(socket, _mix(skin, dark_skin, 0.3), "skin")
    for white in _both_sides(_arc(0.09, -0.035, 0.047, 0.024)):
        c.fill(white, (226, 222, 216))
    for iris in _both_sides(_arc(0.09, -0.036, 0.024, 0.024)):
        c.fill(iris, eye)
    for pupil in _both_sides(_arc(0.09, -0.036, 0.011, 0.011)):
        c.fill(pupil, (14, 12, 12))
    for lid in _both_sides(_arc(0.09, -0.03, 0.05, 0.034, 200, 340)):
        c.line(lid, dark_hair if a.hair in ("black", "brown") else (70, 48, 40), 0.011)
    for brow in _both_sides([(0.04, -0.09), (0.09, -0.105), (0.145, -0.088)]):
        c.line(brow, _mix(dark_hair, skin, 0.15), 0.02)
    c.fill(
        [(-0.012, -0.03), (0.012, -0.03), (0.036, 0.085), (-0.036, 0.085)],
        _mix(skin, dark_skin, 0.18),
        "skin",
    )
    for nostril in _both_sides(_arc(0.018, 0.086, 0.012, 0.007)):
        c.fill(nostril, _mix(dark_skin, (0, 0, 0), 0.3))

    _photo_mouth(c, a, w, h)
    _photo_hair(c, a, w, h)
    _glasses(c, a, 0.09, -0.036, 0.066, (30, 28, 30), 0.011)
    return _photo_light(c, size, w, h, rng)


def _photo_mouth(c: _Canvas, a: Attributes, w: Number, h: Number) -> None:
    """Beard and mouth."""
    hair, skin = _HAIR["face"][a.hair], _SKIN["face"][a.skin]
    lip = _mix(skin, (150, 40, 50), 0.5)
    if a.beard == "full":
        jaw = [(x, y) for x, y in _head(w * 1.0, h * 1.01, 0.12) if y > 0.06]
        jaw = sorted(jaw, key=lambda p: math.atan2(p[1] - 0.06, p[0]))
        inner = [(-w * 0.62, 0.1), (-0.07, 0.108), (0.07, 0.108), (w * 0.62, 0.1)]
        c.fill([*jaw, *inner], _mix(hair, skin, 0.12), "hair")
    elif a.beard == "moustache":
        c.fill([(0, 0.1), (0.08, 0.115), (0.095, 0.145), (0, 0.135), (-0.095, 0.145), (-0.08, 0.115)],
               _mix(hair, skin, 0.1), "hair")  # fmt: skip
    if a.mouth == "smile":
        c.fill([*_arc(0, 0.145, 0.085, 0.05, 0, 180), *_arc(0, 0.145, 0.085, 0.012, 180, 360)], lip)
        c.fill([*_arc(0, 0.15, 0.064, 0.026, 0, 180)], (238, 234, 226))
    elif a.mouth == "open":
        c.fill(_arc(0, 0.166, 0.052, 0.044), lip)
        c.fill(_arc(0, 0.168, 0.036, 0.03), (60, 18, 20))
    else:
        c.fill(_arc(0, 0.155, 0.064, 0.02), lip)
        c.line([(-0.06, 0.155), (0.06, 0.155)], _mix(lip, (40, 0, 0), 0.5), 0.008)


def _photo_hair(c: _Canvas, a: Attributes, w: Number, h: Number) -> None:
    """The cap of hair, with a hairline over the forehead."""
    outer = _arc(0, -0.03, w * 1.13, h * 1.06, 172, 368)
    if a.cut in ("bob", "long"):
        inner = [(w * 0.98, 0.1), (w * 0.8, -0.06), (w * 0.3, -0.19), (-w * 0.55, -0.13), (-w * 0.86, -0.04),
                 (-w * 0.98, 0.1)]  # fmt: skip
    elif a.cut == "spiky":
        inner = [(w, -0.02), (w * 0.7, -0.15), (w * 0.45, -0.1), (w * 0.2, -0.17), (-w * 0.1, -0.1),
                 (-w * 0.4, -0.17), (-w * 0.7, -0.11), (-w, -0.02)]  # fmt: skip
    else:
        inner = [(w, -0.02), (w * 0.86, -0.12), (w * 0.4, -0.18), (-w * 0.4, -0.18), (-w * 0.86, -0.12),
                 (-w, -0.02)]  # fmt: skip
    c.fill([*outer, *inner], _HAIR["face"][a.hair], "hair")


def _photo_light(
    c: _Canvas, size: int, w: Number, h: Number, rng: np.random.Generator
) -> UInt8[np.ndarray, "size size 3"]:
    """The picture as a camera sees it: light, strands, a background out of focus, blur and noise."""
    picture, material = c.reduced()
    skin_part, hair_part, back_part = np.moveaxis(material / 255.0, -1, 0)[..., None]
    x, y = c.frame(size)
    # Light from one side and above, on a head like an ellipsoid.
    side = rng.uniform(-1, 1)
    nx, ny = np.clip(x / (w * 1.25), -1, 1), np.clip(y / (h * 1.25), -1, 1)
    nz = np.sqrt(np.clip(1 - nx**2 - ny**2, 0.02, 1))
    light = 0.55 * nz + 0.5 * side * nx - 0.35 * ny
    picture *= 1 + (skin_part + 0.6 * hair_part) * (0.75 * (light - 0.42))[..., None]
    # Strands of hair, a blurred and blotchy background, and a little of the light on everything.
    strands = rng.normal(0, 1, (1, size)).repeat(size, 0) + 0.5 * rng.normal(0, 1, (size, size))
    picture *= 1 + 0.1 * hair_part * strands[..., None].astype(np.float32)
    spots = rng.uniform(-1, 1, (5, 5, 1)) + 0.4 * rng.uniform(-1, 1, (5, 5, 3))
    blotches = Image.fromarray((127 + 90 * spots).clip(0, 255).astype(np.uint8))
    blotches = blotches.resize((size, size), Image.Resampling.BICUBIC)
    picture += back_part * (np.asarray(blotches, np.float32) - 127) * 0.5
    picture *= 1 + 0.1 * side * (np.linspace(-1, 1, size, dtype=np.float32))[None, :, None]
    blurred = Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).filter(
        ImageFilter.GaussianBlur(size / 64 * rng.uniform(0.25, 0.55))
    )
    noisy = np.asarray(blurred, np.float32) + rng.normal(0, rng.uniform(2, 6), (size, size, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def _glasses(
    c: _Canvas, a: Attributes, x: Number, y: Number, radius: Number, colour: Colour, width: float
) -> None:
    if a.glasses == "none":
        return
    if a.glasses == "round":
        rim: Points = _arc(x, y, radius, radius)
    else:
        r, q = radius * 1.05, radius * 0.8
        rim = [(x - r, y - q), (x + r, y - q), (x + r, y + q), (x - r, y + q), (x - r, y - q)]
    for one in _both_sides(rim):
        c.line(one, colour, width)
    c.line([(-(x - radius), y), (x - radius, y)], colour, width)


def _anime(a: Attributes, size: int, rng: np.random.Generator) -> UInt8[np.ndarray, "size size 3"]:
    hair, skin = _HAIR["anime"][a.hair], _SKIN["anime"][a.skin]
    background = _BACKGROUND["anime"][a.background]
    c = _Canvas(a, size, background)
    w, h, line = 0.255, 0.285, 0.011
    skin_shadow = _mix(skin, (200, 96, 110), 0.32)
    hair_shadow = _mix(hair, (40, 20, 80), 0.3)

    _back_hair(c, a, w, h, hair_shadow, line)
    cloth: Colour = ((245, 245, 250), (70, 80, 140), (210, 80, 90))[int(rng.integers(3))]
    c.fill([(-0.08, 0.2), (0.08, 0.2), (0.09, 0.42), (-0.09, 0.42)], skin_shadow, "skin", line)
    c.fill([(-0.1, 0.36), (0, 0.43), (0.1, 0.36), (0.3, 0.46), (0.42, 0.8), (-0.42, 0.8), (-0.3, 0.46)],
           cloth, "other", line)  # fmt: skip
    head = _head(w, h, 0.62)
    c.fill(head, skin, "skin", line)
    # The hair's shadow on the forehead: one hard edge, as cels have.
    c.fill([*_arc(0, -0.02, w * 0.95, h * 0.9, 190, 350), (w * 0.9, -0.06), (0, -0.1), (-w * 0.9, -0.06)],
           skin_shadow, "skin")  # fmt: skip

    x, y = 0.118, 0.035
    _anime_eyes(c, x, y, _EYE["anime"][a.eyes])
    for brow in _both_sides([(0.06, -0.085), (0.12, -0.1), (0.175, -0.08)]):
        c.line(brow, hair_shadow, 0.012)
    c.line([(0.0, 0.11), (-0.01, 0.124), (0.004, 0.128)], _mix(skin_shadow, _INK, 0.4), 0.008)
    for blush in _both_sides(_arc(0.165, 0.13, 0.035, 0.014)):
        c.fill(blush, _mix(skin, (255, 110, 130), 0.35), "skin")

    if a.beard == "full":
        jaw = sorted(((px, py) for px, py in head if py > 0.1), key=lambda p: math.atan2(p[1] - 0.1, p[0]))
        c.fill([*jaw, (-0.1, 0.135), (0.1, 0.135)], hair, "hair", line)
    elif a.beard == "moustache":
        c.fill([(0, 0.142), (0.075, 0.15), (0.1, 0.176), (0, 0.166), (-0.1, 0.176), (-0.075, 0.15)],
               hair, "hair", line * 0.8)  # fmt: skip
    if a.mouth == "smile":
        c.fill([*_arc(0, 0.178, 0.06, 0.04, 0, 180)], (250, 250, 250), "other", line)
    elif a.mouth == "open":
        c.fill(_arc(0, 0.196, 0.03, 0.034), (200, 60, 70), "other", line)
    else:
        c.line([(-0.036, 0.188), (0.036, 0.188)], _INK, 0.012)

    _anime_bangs(c, a, w, h, line)
    _glasses(c, a, x, y, 0.088, (60, 40, 90), 0.013)

    picture, material = c.reduced()
    back_part = material[..., 2:] / 255.0
    # Flat colour everywhere; the background is a clean gradient.
    picture += back_part * np.linspace(28, -28, size, dtype=np.float32)[:, None, None]
    return np.clip(picture, 0, 255).astype(np.uint8)


def _anime_eyes(c: _Canvas, x: Number, y: Number, eye: Colour) -> None:
    for white in _both_sides(_arc(x, y, 0.072, 0.078)):
        c.fill(white, (255, 255, 255))
    for iris in _both_sides(_arc(x, y + 0.004, 0.054, 0.072)):
        c.fill(iris, _mix(eye, (0, 0, 30), 0.35))
    for glow in _both_sides(_arc(x, y + 0.03, 0.042, 0.042)):
        c.fill(glow, _mix(eye, (255, 255, 255), 0.25))
    for pupil in _both_sides(_arc(x, y + 0.004, 0.022, 0.034)):
        c.fill(pupil, (24, 16, 36))
    for dx in (x, -x):
        c.fill(_arc(dx - 0.02, y - 0.028, 0.02, 0.022), (255, 255, 255))
        c.fill(_arc(dx + 0.022, y + 0.04, 0.01, 0.01), (255, 255, 255))
    for lash in _both_sides(_arc(x, y + 0.01, 0.076, 0.09, 190, 350)):
        c.line(lash, _INK, 0.022)


def _anime_bangs(c: _Canvas, a: Attributes, w: Number, h: Number, line: Number) -> None:
    """Bangs in pointed locks, a highlight across them."""
    hair = _HAIR["anime"][a.hair]
    hair_light = _mix(hair, (255, 255, 255), 0.5)
    outer = _arc(0, -0.05, w * 1.16, h * 1.06, 170, 370)
    tips = {
        "short": (0.0, -0.06, -0.11, -0.05, -0.1, -0.05, 0.0),
        "bun": (0.02, -0.1, -0.16, -0.18, -0.16, -0.1, 0.02),
        "spiky": (0.0, -0.1, -0.02, -0.12, -0.02, -0.1, 0.0),
        "bob": (0.2, -0.02, -0.06, -0.02, -0.06, -0.02, 0.2),
        "long": (0.3, -0.06, -0.12, -0.03, -0.13, -0.06, 0.3),
    }[a.cut]
    bangs: list[tuple[float, float]] = []
    for i, tip in enumerate(tips):
        across = 1.02 - 2.04 * i / (len(tips) - 1)
        if i:
            bangs.append((w * (across + 0.17), -0.15))
        bangs.append((w * across, tip))
    c.fill([*outer, *bangs], hair, "hair", line)
    for lock in ([(0.5, -0.2), (0.42, -0.17), (0.3, -0.21)], [(0.2, -0.22), (0.0, -0.18), (-0.3, -0.23)]):
        c.line([(w * px * 1.4, py) for px, py in lock], hair_light, 0.02)


_DRAW: dict[str, Callable[[Attributes, int, np.random.Generator], np.ndarray]] = {
    "face": _photo,
    "anime": _anime,
}


def draw(
    attributes: Attributes, style: str, size: int = 64, seed: int = 0
) -> UInt8[np.ndarray, "size size 3"]:
    """A picture of `attributes` in a style, "face" or "anime".

    `seed` decides what is no attribute: light, noise, blur, clothes. The same arguments give the same
    picture; the same attributes in the other style give its true counterpart.

    Raises:
      ValueError: unknown style, or a size below 16.
    """
    if style not in STYLES or size < _SMALLEST:
        raise ValueError(
            f"cannot draw style {style!r} at {size} px: use face or anime, and {_SMALLEST} px or more."
        )
    return _DRAW[style](attributes, size, np.random.default_rng(seed))


# --- Datasets -------------------------------------------------------------------------------------------


def read_attributes(path: str | os.PathLike[str]) -> dict[str, Attributes]:
    """The attributes in an `attributes.csv`, by file name."""
    types = get_type_hints(Attributes)
    with Path(path).open(newline="") as file:
        return {
            row.pop("file_name"): Attributes(**{k: types[k](v) for k, v in row.items()})
            for row in csv.DictReader(file)
        }


def picture_seed(seed: int, split: str, index: int) -> int:
    """The seed `draw` was given for picture `index` of a split folder, such as "testA"."""
    numbers = np.random.SeedSequence([seed, *split.encode(), index]).generate_state(1)
    return int(numbers[0])


def _draw_file(folder: str, style: str, size: int, job: tuple[str, Attributes, int]) -> None:
    name, attributes, seed = job
    Image.fromarray(draw(attributes, style, size, seed)).save(Path(folder) / name, compress_level=1)


def _begin(folder: Path) -> None:
    """Makes the folder of an unfinished dataset, in the place of one that was left by an interruption.

    Raises:
      ValueError: it is there and holds something else.
    """
    if (folder / _DRAWING).exists():
        shutil.rmtree(folder)
    elif folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ValueError(f"{folder} is in the way and was not drawn here: delete it or give another --out.")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _DRAWING).touch()


def draw_dataset(
    out: str | os.PathLike[str],
    *,
    count: int = 3000,
    test_count: int = 500,
    size: int = 64,
    seed: int = 0,
    skew: bool = False,
) -> None:
    """Draws `count` training and `test_count` test pictures of each style into `out`.

    `out` appears when it is complete. A dataset drawn by the same request is left as it is.

    Raises:
      ValueError: `out` holds something else, or a number is too small.
    """
    out = Path(out)
    request = {"count": count, "test_count": test_count, "size": size, "seed": seed, "skew": skew}
    for name, least in _LEAST.items():
        if request[name] < least:
            raise ValueError(f"--{name.replace('_', '-')} is {request[name]}: use {least} or more.")
    if os.path.lexists(out):
        said = out / "dataset.json"
        if said.is_file() and said.read_text(errors="replace") == json.dumps(request) + "\n":
            print(f"{out} is drawn already.")
            return
        raise ValueError(f"{out} exists and was not drawn by this request: delete it or give another --out.")
    partial_out = out.with_name(out.name + ".partial")
    _begin(partial_out)
    # Not forked: this process may have jax's threads.
    spawn = multiprocessing.get_context("spawn")
    total = 2 * (count + test_count)
    with (
        Progress("drawing", total, "pictures") as progress,
        ProcessPoolExecutor(mp_context=spawn) as pool,
    ):
        for split, n in (("train", count), ("test", test_count)):
            for letter, style in zip("AB", STYLES, strict=True):
                folder = partial_out / f"{split}{letter}"
                folder.mkdir()
                rng = np.random.default_rng([seed, *folder.name.encode()])
                people = [sample_attributes(rng, style, skew) for _ in range(n)]
                jobs = [
                    (f"{i:06d}.png", person, picture_seed(seed, folder.name, i))
                    for i, person in enumerate(people)
                ]
                task = partial(_draw_file, str(folder), style, size)
                for _ in pool.map(task, jobs, chunksize=32):
                    progress.advance()
                with (folder / "attributes.csv").open("w", newline="") as file:
                    writer = csv.writer(file)
                    writer.writerow(["file_name", *get_type_hints(Attributes)])
                    writer.writerows([job[0], *dataclasses.astuple(job[1])] for job in jobs)
    (partial_out / "dataset.json").write_text(json.dumps(request) + "\n")
    (partial_out / _DRAWING).unlink()
    partial_out.rename(out)
    print(f"{out}: {count} training and {test_count} test pictures of each style, {size} px")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Draws the embedded data.")
    parser.add_argument("--out", type=os.path.expanduser, required=True)
    parser.add_argument("--count", type=int, default=3000, help="training pictures of each style")
    parser.add_argument("--test-count", type=int, default=500, help="test pictures of each style")
    parser.add_argument("--size", type=int, default=64, help="side, pixels")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--skew", action="store_true", help="let attribute frequencies differ")
    arguments = vars(parser.parse_args())
    out = arguments.pop("out")
    sys.exit(faults.run("synthetic", lambda: _draw(out, arguments)))


def _draw(out: str, arguments: dict[str, Any]) -> None:
    with faults.writing(out):
        draw_dataset(out, **arguments)


if __name__ == "__main__":
    main()

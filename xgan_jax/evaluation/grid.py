"""Picture grids: real pictures, and translations with their input, reconstruction and round trip."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8
from PIL import Image, ImageDraw

from xgan_jax.data.augment import to_float, to_uint8
from xgan_jax.data.pictures import PictureError, decode, encode
from xgan_jax.method import Attends, Method
from xgan_jax.outputs import put
from xgan_jax.progress import say

Picture = UInt8[np.ndarray, "_ _ 3"]  # of any height and width
Pictures = UInt8[np.ndarray, "_ s s 3"]

_GAP, HEADER = 2, 14  # pixels
_BACKGROUND, _INK = 255, (40, 40, 40)


def tile(pictures: UInt8[np.ndarray, "rows columns s s 3"]) -> Picture:
    """Pictures in rows and columns with thin white gaps."""
    rows, columns, s = pictures.shape[:3]
    pitch = s + _GAP
    sheet = np.full((rows * pitch - _GAP, columns * pitch - _GAP, 3), _BACKGROUND, np.uint8)
    for r in range(rows):
        for c in range(columns):
            sheet[r * pitch : r * pitch + s, c * pitch : c * pitch + s] = pictures[r, c]
    return sheet


def titled(sheet: Picture, titles: Sequence[str]) -> Picture:
    """`sheet` under a line of evenly spaced column titles."""
    canvas = np.full((sheet.shape[0] + HEADER, sheet.shape[1], 3), _BACKGROUND, np.uint8)
    canvas[HEADER:] = sheet
    image = Image.fromarray(canvas)
    draw = ImageDraw.Draw(image)
    for i, title in enumerate(titles):
        draw.text((i * sheet.shape[1] // len(titles) + 2, 1), title, fill=_INK)
    return np.asarray(image)


def beside(sheets: Sequence[Picture], gap: int = 12) -> Picture:
    """Sheets side by side, aligned at the top."""
    height = max(sheet.shape[0] for sheet in sheets)
    columns = []
    for i, sheet in enumerate(sheets):
        column = np.full((height, sheet.shape[1] + (gap if i else 0), 3), _BACKGROUND, np.uint8)
        column[: sheet.shape[0], -sheet.shape[1] :] = sheet
        columns.append(column)
    return np.concatenate(columns, 1)


def reals(pictures: Mapping[str, Pictures], columns: int = 8) -> Picture:
    """What training sees: a block of pictures of each domain, under its name."""
    blocks = []
    for domain, images in pictures.items():
        rows = len(images) // columns
        block = images[: rows * columns].reshape(rows, columns, *images.shape[1:])
        blocks.append(titled(tile(block), [domain]))
    return beside(blocks)


Sampler = Callable[[Any, Any, dict[str, Pictures]], dict[tuple[str, str], Array]]


def make_sampler(method: Method, domains: Sequence[str]) -> Sampler:
    """A compiled function from (params, extra, {domain: uint8 pictures}) to every picture of a grid.

    The result, uint8: {(s, s): reconstructions, (s, t): translations, (s, "round trip t"): back again}, and
    where the method has attention (s, "attention t"): where it looks.
    """

    @jax.jit
    def sample(params: Any, extra: Any, pictures: dict[str, Array]) -> dict[tuple[str, str], Array]:
        results = {}
        for s in domains:
            x = to_float(pictures[s])
            results[s, s] = method.translate(params, extra, x, s, s)
            for t in domains:
                if t != s:
                    translated = method.translate(params, extra, x, s, t)
                    results[s, t] = translated
                    results[s, f"round trip {t}"] = method.translate(params, extra, translated, t, s)
                    if isinstance(method, Attends):
                        attention = method.attend(params, extra, x, s, t)
                        results[s, f"attention {t}"] = highlighted(x, attention)
        return jax.tree.map(to_uint8, results)

    return sample


def highlighted(images: Float[Array, "b s s 3"], attention: Float[Array, "b h w"]) -> Float[Array, "b s s 3"]:
    """Pictures in [-1, 1] under their attention, blue where it is least in a picture to red where most."""
    low, high = attention.min((1, 2), keepdims=True), attention.max((1, 2), keepdims=True)
    heat = jax.image.resize((attention - low) / (high - low + 1e-6), images.shape[:3], "linear")[..., None]
    colours = jnp.clip(1.5 - jnp.abs(4 * heat - jnp.array([3.0, 2.0, 1.0])), 0, 1)
    return 0.5 * images + 0.5 * (2 * colours - 1)


def translations(
    sampler: Sampler, params: Any, extra: Any, pictures: Mapping[str, Pictures]
) -> dict[str, Picture]:
    """One grid a direction, {"face2anime": ...}: a row a picture; input, reconstruction, where the network
    looks (if it has attention), translation, round trip from left to right."""
    results = jax.device_get(sampler(params, extra, dict(pictures)))
    grids = {}
    for s, inputs in pictures.items():
        for t in pictures:
            if t != s:
                columns = {s: inputs, "rec.": results[s, s]}
                if (s, f"attention {t}") in results:
                    columns["where"] = results[s, f"attention {t}"]
                columns |= {t: results[s, t], "back": results[s, f"round trip {t}"]}
                sheet = tile(np.stack([np.asarray(column) for column in columns.values()], 1))
                grids[f"{s}2{t}"] = titled(sheet, list(columns))
    return grids


def save_png(path: str, picture: Picture) -> None:
    """Writes a PNG file, whole or not at all; what was there is replaced."""
    put(Path(path), encode(picture, "png"))


def sampled(samples: Path) -> list[int]:
    """The steps of which a run's `samples/` has a sheet, ascending; other files there are nobody's."""
    found = (re.fullmatch(r"step_(\d{7}|[1-9]\d{7,})\.png", path.name) for path in samples.glob("step_*.png"))
    return sorted(int(name[1]) for name in found if name)


def sheet_of(samples: Path, step: int) -> Picture | None:
    """The sheet of `step`; None, with a word, where it cannot be read any more."""
    path = samples / f"step_{step:07d}.png"
    try:
        return decode(path.read_bytes())
    except PictureError as error:
        say(f"note: {path} is left out: {error}")
        return None

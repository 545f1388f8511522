"""A domain's first pictures in one, for the eye: were they cropped well, is it what was meant?"""

import numpy as np
from jaxtyping import UInt8

from xgan_jax.data.pictures import encode

_SIDE = 8  # pictures along a side


class ContactSheet:
    """The first 64 pictures that are added, which all have one size."""

    def __init__(self) -> None:
        self._images: list[np.ndarray] = []

    def add(self, image: UInt8[np.ndarray, "h w 3"]) -> None:
        """One more picture, if there is room."""
        if len(self._images) < _SIDE**2:
            self._images.append(image)

    def png(self) -> bytes:
        """The pictures, one at least, in rows on white, 2 pixels apart."""
        side = self._images[0].shape[0] + 2
        columns = min(len(self._images), _SIDE)
        rows = -(-len(self._images) // columns)
        sheet = np.full((rows * side + 2, columns * side + 2, 3), 255, np.uint8)
        for i, image in enumerate(self._images):
            top, left = i // columns * side + 2, i % columns * side + 2
            sheet[top : top + side - 2, left : left + side - 2] = image
        return encode(sheet, "png")

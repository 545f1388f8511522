"""Whether two pictures look the same, saved or scaled in another way: near-duplicates."""

import numpy as np
from jaxtyping import UInt8
from PIL import Image

# Pictures are the same up to these differences: bits of 256 (`fingerprint`; other faces of 3,000 of a kind
# differ in 22 at least), and the mean of the colours at 8x8 places, of 255.
NEAR, NEAR_COLOURS = 16, 12


def fingerprint(image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "32"]:
    """256 bits of what a picture looks like: is it brighter to the right, at 16x16 places (dHash)."""
    grey = Image.fromarray(image).convert("L").resize((17, 16), Image.Resampling.BOX)
    pixels = np.asarray(grey)
    return np.packbits(pixels[:, 1:] > pixels[:, :-1])


class Looks:
    """What the pictures seen so far look like."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._prints = np.zeros((1024, 4), np.uint64)
        self._colours = np.zeros((1024, 8, 8, 3), np.uint8)

    def same(self, name: str, image: UInt8[np.ndarray, "h w 3"]) -> str | None:
        """The first picture seen that looks like this one; None where it is new, and is kept in mind."""
        n = len(self._names)
        look = fingerprint(image).view(np.uint64)
        small = Image.fromarray(image).resize((8, 8), Image.Resampling.BOX)
        colours = np.asarray(small, np.int16)
        bits = np.bitwise_count(self._prints[:n] ^ look).sum(1, dtype=np.int64)
        for i in np.flatnonzero(bits <= NEAR):
            # Flat drawings have few edges: their colours must agree too.
            if np.abs(self._colours[i] - colours).mean() <= NEAR_COLOURS:
                return self._names[i]
        if n == len(self._prints):
            self._prints = np.concatenate([self._prints, np.zeros_like(self._prints)])
            self._colours = np.concatenate([self._colours, np.zeros_like(self._colours)])
        self._prints[n], self._colours[n] = look, colours
        self._names.append(name)
        return None

"""The tilt of faces without labels, by OpenCV's detector of eyes where OpenCV is installed.

    pip install -e '.[detector]'

Its cascade (Viola & Jones 2001) was learnt on photos, and finds the eyes of most drawn faces too.
"""

from itertools import permutations
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from xgan_jax.progress import tracked

_SIDE = 256  # pictures are enlarged to this, for the cascade's eyes are 20 pixels wide and more
_LOWEST = 0.66  # of the side; below it are mouths


def eye_cascade() -> Any:
    """OpenCV's cascade classifier, or None where it is missing: without OpenCV, and in its version 5."""
    try:
        import cv2
        from cv2.data import haarcascades

        cascade = cv2.CascadeClassifier(haarcascades + "haarcascade_eye.xml")
    except (ImportError, AttributeError):
        return None
    return None if cascade.empty() else cascade


def detected_tilts(cascade: Any, pictures: UInt8[np.ndarray, "n s s 3"]) -> Float[np.ndarray, "n"]:
    """Degrees, clockwise, of the line through the two eyes; NaN where no pair is found (20 pictures/s)."""
    import cv2

    found = np.full(len(pictures), np.nan, np.float32)
    for i, picture in enumerate(tracked(pictures, len(pictures), "looking for eyes", "pictures")):
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        grey = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_CUBIC)
        boxes = cascade.detectMultiScale(grey, 1.05, 4, minSize=(24, 24), maxSize=(90, 90))
        found[i] = _tilt([(x + w / 2, y + h / 2, w) for x, y, w, h in np.asarray(boxes, float).tolist()])
    return found


def _tilt(eyes: list[tuple[float, float, float]]) -> float:
    """Of the pair (x, y, width) of like size that lies most evenly about the middle; NaN for none."""
    best = (np.inf, np.nan)
    for (x1, y1, w1), (x2, y2, w2) in permutations(eyes, 2):
        right, down = x2 - x1, y2 - y1
        if max(y1, y2) > _LOWEST * _SIDE or right < 0.14 * _SIDE or abs(down) > 0.6 * right:
            continue
        if 0.6 < w1 / w2 < 1.6:
            uneven = abs((x1 + x2 - _SIDE) / 2) + abs(w1 - w2)
            best = min(best, (uneven, float(np.degrees(np.arctan2(down, right)))))
    return best[1]

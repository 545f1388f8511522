"""What a person hears of long work: lines, how far it is, and how long it will take."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import TypeVar

from tqdm import tqdm

EVERY = 5.0  # seconds between lines, where there is no terminal

T = TypeVar("T")


def say(text: str) -> None:
    """One line to the terminal, from process 0 only; it passes above a progress bar."""
    import jax  # not by those who only want the rest

    # Where nobody reads on, or the log's disk is full, the work that is told of goes on.
    with contextlib.suppress(OSError):
        if jax.process_index() == 0:
            tqdm.write(text, file=sys.stdout)
            sys.stdout.flush()


def duration(seconds: float) -> str:
    """Seconds as 12s, 3m20s, 4h05m or 2d03h."""
    s = round(seconds)
    if s < 60:
        return f"{s}s"
    if s < 3600:
        return f"{s // 60}m{s % 60:02d}s"
    if s < 86400:
        return f"{s // 3600}h{s % 3600 // 60:02d}m"
    return f"{s // 86400}d{s % 86400 // 3600:02d}h"


def _print(text: str) -> None:
    print(text, flush=True)


class Progress:
    """How far some work is: a bar on a terminal, elsewhere a line every few seconds."""

    def __init__(self, label: str, total: int, unit: str, tell: Callable[[str], None] = _print):
        """`label`: what is done; `unit`: of what there are `total`, a plural; `tell`: takes the lines."""
        self._label, self._total, self._unit, self._tell = label, total, unit, tell
        self._done = 0
        self._start = self._said = time.monotonic()
        self._bar = tqdm(total=total, desc=label, unit=unit, leave=False) if sys.stderr.isatty() else None

    def advance(self) -> None:
        """One more is done."""
        self._done += 1
        if self._bar is not None:
            self._bar.update()
        elif (now := time.monotonic()) - self._said > EVERY:
            self._said = now
            rate = self._done / (now - self._start)
            left = duration((self._total - self._done) / rate)
            done = f"{self._done:,} of {self._total:,} {self._unit}"
            self._tell(f"{self._label}: {done}, {rate:,.{0 if rate >= 10 else 1}f}/s, {left} left")

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()


def tracked(
    items: Iterable[T], total: int, label: str, unit: str, tell: Callable[[str], None] = say
) -> Iterator[T]:
    """`items`, of which there are `total`, while a `Progress` shows how many have been dealt with."""
    with Progress(label, total, unit, tell) as progress:
        for item in items:
            yield item
            progress.advance()

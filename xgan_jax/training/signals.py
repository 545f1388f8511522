"""SIGTERM and Ctrl-C end a run after the step that is under way, with a checkpoint."""

import signal
from typing import Any

import jax
from jax.experimental import multihost_utils

from xgan_jax.progress import say


class Stopped(SystemExit):
    """The run was asked to stop (SIGTERM, Ctrl-C) and has saved; the code is 128 + the signal."""


class StopSignals:
    """Remembers SIGTERM and Ctrl-C instead of dying of them; a second one kills as usual."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        # With several processes SIGTERM is left to jax.distributed, which lets all of them agree
        # on the step after which to stop.
        signals = [signal.SIGINT] + ([signal.SIGTERM] if jax.process_count() == 1 else [])
        for number in signals:
            self._previous[number] = signal.signal(number, self._remember)
        return self

    def _remember(self, number: int, frame: Any) -> None:
        self.received = number
        signal.signal(number, self._previous[number])
        say(f"{signal.Signals(number).name}: stopping after this step ...")

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def stop_after(self, step: int) -> bool:
        """Whether the run is to save and exit now, after `step` updates: all processes alike."""
        if jax.process_count() == 1:
            return self.received is not None
        if multihost_utils.reached_preemption_sync_point(step):
            self.received = signal.SIGTERM
            return True
        return False

"""`benchmarks/soak.py`: its figures are right for a journal whose times are known, and a short soak holds."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.soak import Event, account, rates, steadiness

ROOT = Path(__file__).parents[1]


def test_where_the_time_of_a_killed_run_went() -> None:
    """100 steps of a second: killed at step 60, of which 40 are saved; 2 and 3 s to start, 1 s to save."""
    first = [Event("born", 10.5), Event("begin", 12)]
    first += [Event("step", 12 + step, step) for step in (20, 40)]
    first += [Event("saved", 53, seconds=1), Event("step", 73, 60)]
    second = [Event("born", 74), Event("begin", 76, 40)]
    second += [Event("step", 76 + step - 40, step) for step in (60, 80, 100)]
    second += [Event("saved", 137, seconds=1), Event("ended", 137, 100, hash="x")]
    seconds = account([*first, *second], began=10, steps=100)
    assert seconds == {
        "wall": 127,
        "productive": 40 + 60,
        "starting": 2 + 3,
        "saving": 2,
        "made_again": 20,
    }


def test_a_run_killed_before_its_first_step_is_starting() -> None:
    events = [
        Event("born", 1),
        Event("born", 4),
        Event("begin", 6),
        Event("step", 26, 20),
        Event("ended", 26),
    ]
    seconds = account(events, began=0, steps=20)
    assert (seconds["productive"], seconds["starting"], seconds["made_again"]) == (20, 6, 0)


def test_memory_that_grows_is_seen() -> None:
    watched = [{"step": s, "mb": 100 + s / 500, "files": 9, "compiled": 4} for s in range(0, 4001, 250)]
    assert steadiness(watched)["mb_per_1000_steps"] == 2
    assert steadiness([w | {"compiled": i} for i, w in enumerate(watched)])["compiled_after_the_first_step"]


def test_a_machine_of_two_speeds() -> None:
    slow = [Event("step", step / 100, step) for step in range(20, 1001, 20)]
    fast = [Event("step", 10 + (step - 1000) / 200, step) for step in range(1020, 2001, 20)]
    assert rates([*slow, *fast]) == pytest.approx((100, 200))


@pytest.mark.slow
def test_a_short_soak(tmp_path: Path) -> None:
    """10,000 steps from within; and a third of a minute, undisturbed and under two kills."""
    options = ["--folder", str(tmp_path), "--json", str(tmp_path / "soak.json")]
    options += ["--minutes", "0.3", "--kills", "2", "--save-seconds", "5"]
    command = [sys.executable, str(ROOT / "benchmarks" / "soak.py"), *options]
    subprocess.run(command, env=os.environ | {"XLA_FLAGS": ""}, check=True)  # on one device
    figures = json.loads((tmp_path / "soak.json").read_text())
    steady, killed = figures["steady"], figures["disturbed"]
    assert steady["mb_per_1000_steps"] < 3  # a step keeps nothing, a save (one in 1,000) some of Orbax's
    assert len(steady["open_files"]) == 1 and steady["compiled_after_the_first_step"] == 0
    assert killed["kills"] == 2 and killed["launches"] == 3
    assert figures["same_bits"]
    assert figures["share_of_saving"] < 0.1 and figures["undisturbed_goodput"] > 0.6

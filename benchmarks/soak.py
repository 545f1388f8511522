"""Long runs: memory and files of many steps, and an hour under `kill -9`.

    python benchmarks/soak.py --folder /tmp/soak --json benchmarks/results/soak.json      # two hours
    python benchmarks/soak.py --folder /tmp/soak --minutes 3 --kills 3                    # seven minutes

Three runs of a small model (`configs/regression.py`, 32 px, on pictures that are drawn first), one after the
other: `--steps` steps, watched from within; as many steps as take `--minutes`, undisturbed; and the same,
killed without warning at `--kills` random moments and started again by the same command. Parts that are
finished stay in the folder, so an interrupted soak goes on with the next part.

Goodput is MaxText's (docs/guides/monitoring_and_debugging/monitor_goodput.md): time of steps that were kept
over wall time. What is lost is starting (until the first step begins), steps that were made again, and
saving (what the loop waits for).
"""

import argparse
import hashlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

BORN = time.monotonic()  # of a trainer: before its imports
EVERY = 20  # steps between lines of the journal


@dataclass(frozen=True)
class Event:
    """Something that a trainer did. `at`: seconds on the machine's monotonic clock, one for all processes."""

    kind: str  # "born", "begin" (the first step is about to be made), "step" (made), "saved", "ended"
    at: float
    step: int = 0
    seconds: float = 0.0  # of "saved": how long the loop waited
    hash: str = ""  # of "ended": of the final state


# --- The trainer: `train`, with a journal ----------------------------------------------------------------


class Journal:
    """Events, a line each, on the disk at once: who writes it may be killed."""

    def __init__(self, path: Path):
        self._file = path.open("a")

    def add(self, kind: str, at: float | None = None, **more: Any) -> None:
        event = Event(kind, time.monotonic() if at is None else at, **more)
        self._file.write(json.dumps(event.__dict__) + "\n")
        self._file.flush()


def watch_saving(journal: Journal) -> None:
    """Every wait for a checkpoint goes into the journal."""
    from xgan_jax.runs.checkpoint import Checkpoints

    for name in ("save", "poll", "wait"):
        inner = getattr(Checkpoints, name)

        def timed(self: Any, *arguments: Any, inner: Any = inner) -> None:
            outermost = not getattr(self, "timing", False)
            self.timing, began = True, time.monotonic()
            inner(self, *arguments)
            if outermost:
                self.timing = False
                journal.add("saved", seconds=time.monotonic() - began)

        setattr(Checkpoints, name, timed)


def watch_steps(journal: Journal) -> None:
    """The first step's begin and every `EVERY`th step's end go into the journal."""
    from xgan_jax.training.loop import _Launch

    inner = _Launch.call

    def call(self: Any, state: Any, done: int) -> Any:
        if done == self.run.step + 1:
            journal.add("begin", step=done - 1)
        state = inner(self, state, done)
        if done % EVERY == 0:
            journal.add("step", step=done)
        return state

    _Launch.call = call  # type: ignore[method-assign]


def watch_process(watched: list[dict[str, float]]) -> None:
    """Memory, open files and compilations, every 250 steps."""
    import jax

    from xgan_jax.training.loop import _Launch

    compiled = [0]

    def count(name: str, *rest: Any, **more: Any) -> None:
        compiled[0] += name == "/jax/core/compile/backend_compile_duration"

    jax.monitoring.register_event_duration_secs_listener(count)
    inner = _Launch.call

    def call(self: Any, state: Any, done: int) -> Any:
        state = inner(self, state, done)
        if done == 1 or done % 250 == 0:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            watched.append(
                {
                    "step": done,
                    "mb": pages * os.sysconf("SC_PAGE_SIZE") / 1e6,
                    "files": len(os.listdir("/proc/self/fd")),
                    "compiled": compiled[0],
                }
            )
        return state

    _Launch.call = call  # type: ignore[method-assign]


def digest(state: Any) -> str:
    """SHA-256 of every array of a state: parameters, average, moments, step, key."""
    import jax

    state = jax.device_get(state.replace(key=jax.random.key_data(state.key)))
    whole = hashlib.sha256()
    for leaf in jax.tree.leaves(state):
        whole.update(np.ascontiguousarray(leaf).tobytes())
    return whole.hexdigest()


def run_config(data: str, steps: int, save_every: int) -> Any:
    from xgan_jax.baselines.regression import Networks, Weights
    from xgan_jax.config import Config, DataConfig, RunConfig

    run = RunConfig(steps=steps, batch_size=8, log_every=200, sample_every=steps, checkpoint_every=save_every)
    data_config = DataConfig(path=data, size=32, threads=2)
    return Config("baselines.regression", Networks(0.25), Weights(), data_config, run=run)


def be_trainer(arguments: argparse.Namespace) -> None:
    """One launch of the run in `--workdir`, as train.py does it."""
    journal = Journal(arguments.journal)
    journal.add("born", at=BORN)
    from xgan_jax import startup
    from xgan_jax.training.loop import train

    startup.keep_compiled_programs()
    watched: list[dict[str, float]] = []
    watch_saving(journal)
    watch_steps(journal)
    if arguments.watch:
        watch_process(watched)
    state = train(run_config(arguments.data, arguments.steps, arguments.save_every), arguments.workdir)
    journal.add("ended", step=arguments.steps, hash=digest(state))
    if arguments.watch:
        arguments.watch.write_text(json.dumps(watched))


# --- What is made of journals ----------------------------------------------------------------------------


def read_journal(path: Path) -> list[Event]:
    """Its events; the last line may be cut."""
    events = []
    for line in path.read_text().splitlines():
        try:
            events.append(Event(**json.loads(line)))
        except (ValueError, TypeError):
            continue
    return events


def launches(events: list[Event]) -> list[list[Event]]:
    """The events of each process."""
    found: list[list[Event]] = []
    for event in events:
        if event.kind == "born":
            found.append([])
        found[-1].append(event)
    return found


def kept_time(launch: list[Event], until: int) -> float:
    """Seconds from the first step's begin to the end of step `until`, without those of saving."""
    begin = next((event for event in launch if event.kind == "begin"), None)
    if begin is None or until <= begin.step:
        return 0.0
    # Of the last line at or before `until`, and how fast it went on.
    steps = [begin, *(event for event in launch if event.kind == "step")]
    before = max((event for event in steps if event.step <= until), key=lambda event: event.step)
    after = next((event for event in steps if event.step > until), None)
    end = before.at
    if after is not None:
        end += (after.at - before.at) * (until - before.step) / (after.step - before.step)
    saving = sum(event.seconds for event in launch if event.kind == "saved" and event.at <= end)
    return end - begin.at - saving


def account(events: list[Event], began: float, steps: int) -> dict[str, float]:
    """Where the wall time of a run of several launches went, in seconds; `began`: of the first command."""
    found = launches(events)
    ended = events[-1].at
    wall = ended - began
    starts = [next((e.step for e in launch if e.kind == "begin"), None) for launch in found]
    productive = starting = saving = 0.0
    previous_end = began
    for i, launch in enumerate(found):
        later = [step for step in starts[i + 1 :] if step is not None]
        productive += kept_time(launch, later[0] if later else steps)
        begin = next((event.at for event in launch if event.kind == "begin"), launch[-1].at)
        starting += begin - previous_end
        saving += sum(event.seconds for event in launch if event.kind == "saved")
        previous_end = launch[-1].at
    return {
        "wall": wall,
        "productive": productive,
        "starting": starting,
        "saving": saving,
        "made_again": wall - productive - starting - saving,
    }


def steadiness(watched: list[dict[str, float]]) -> dict[str, Any]:
    """Of the later three quarters of a run: pools and caches have filled by then."""
    late = watched[len(watched) // 4 :]
    slope = float(np.polyfit([w["step"] / 1000 for w in late], [w["mb"] for w in late], 1)[0])
    return {
        "mb_per_1000_steps": round(slope, 3),
        "mb": [round(late[0]["mb"], 1), round(late[-1]["mb"], 1)],
        "open_files": sorted({int(w["files"]) for w in late}),
        "compiled_after_the_first_step": int(watched[-1]["compiled"] - watched[0]["compiled"]),
    }


def rates(steps: list[Event]) -> tuple[float, float]:
    """Steps a second, in the slowest tenth of a run and in the fastest."""
    ends = steps[:: max(1, len(steps) // 10)]
    pairs = itertools.pairwise(ends)
    found = [(after.step - before.step) / (after.at - before.at) for before, after in pairs]
    return min(found), max(found)


# --- The soak --------------------------------------------------------------------------------------------


class Soak:
    """The three runs, in a folder of their own."""

    def __init__(self, folder: Path, seed: int):
        self.folder = folder
        self.random = np.random.default_rng(seed)
        folder.mkdir(parents=True, exist_ok=True)
        self.data = folder / "records"
        self.environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(folder / "compiled")}

    def draw(self) -> None:
        """The pictures to train on, once."""
        if self.data.exists():
            return
        pictures = self.folder / "pictures"
        python = [sys.executable, "-m"]
        draw = [*python, "xgan_jax.data.synthetic", "--out", str(pictures), "--size", "32"]
        prepare = [*python, "xgan_jax.cli", "prepare", "--out", str(self.data), "--size", "32"]
        for domain, part in (("face", "trainA"), ("anime", "trainB")):
            prepare += ["--domain", f"{domain}={pictures / part}"]
        for command in ([*draw, "--count", "400", "--test-count", "20"], prepare):
            subprocess.run(command, check=True, cwd=Path(__file__).parents[1], stdout=subprocess.DEVNULL)

    def command(self, part: str, steps: int, save_every: int) -> list[str]:
        options = ["--trainer", "--data", str(self.data), "--workdir", str(self.folder / part)]
        options += ["--steps", str(steps), "--save-every", str(save_every)]
        if part == "watched":
            options += ["--watch", str(self.folder / "watched.json")]
        return [sys.executable, __file__, *options, "--journal", str(self.folder / f"{part}.jsonl")]

    def launch(self, part: str, steps: int, save_every: int) -> subprocess.Popen[bytes]:
        log = (self.folder / f"{part}.log").open("a")
        with log:
            return subprocess.Popen(
                self.command(part, steps, save_every), env=self.environment, stdout=log, stderr=log
            )

    def anew(self, part: str) -> None:
        """Removes what an interrupted soak left of a part."""
        subprocess.run(["rm", "-rf", str(self.folder / part)], check=True)
        for end in (".jsonl", ".log"):
            (self.folder / f"{part}{end}").unlink(missing_ok=True)

    def undisturbed(self, part: str, steps: int, save_every: int) -> list[Event]:
        """The events of a run to its end, without a kill."""
        self.anew(part)
        with ending(self.launch(part, steps, save_every)) as process:
            if process.wait():
                sys.exit(f"soak: the run failed, see {self.folder / part}.log")
        return read_journal(self.folder / f"{part}.jsonl")

    def killed(self, steps: int, save_every: int, moments: list[float]) -> dict[str, Any]:
        """The same, killed at these seconds after its start, and started again each time."""
        self.anew("killed")
        began, kills = time.monotonic(), 0
        moments = sorted(moments)
        while True:
            with ending(self.launch("killed", steps, save_every)) as process:
                left = moments[kills] - (time.monotonic() - began) if kills < len(moments) else None
                try:
                    status = process.wait(None if left is None else max(left, 0.0))
                except subprocess.TimeoutExpired:
                    process.send_signal(signal.SIGKILL)
                    process.wait()
                    kills += 1
                    continue
            if status:
                sys.exit(f"soak: the run failed, see {self.folder / 'killed.log'}")
            break
        events = read_journal(self.folder / "killed.jsonl")
        return {
            "kills": kills,
            "seconds": account(events, began, steps),
            "hash": events[-1].hash,
            "launches": len(launches(events)),
        }


class ending:
    """A process that does not outlive this one, Ctrl-C included."""

    def __init__(self, process: subprocess.Popen[bytes]):
        self.process = process

    def __enter__(self) -> subprocess.Popen[bytes]:
        return self.process

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def remembered(path: Path, key: str, made: Iterator[Any]) -> Any:
    """What `made` gives first, or gave when `path` was written."""
    parts = json.loads(path.read_text()) if path.exists() else {}
    if key not in parts:
        parts[key] = next(made)
        path.write_text(json.dumps(parts))
    return parts[key]


def soak(arguments: argparse.Namespace) -> dict[str, Any]:
    work = Soak(arguments.folder, arguments.seed)
    work.draw()
    parts = work.folder / "parts.json"

    def watched() -> Iterator[Any]:
        events = work.undisturbed("watched", arguments.steps, 1000)
        steps = [event for event in events if event.kind == "step"]
        yield {"rates": rates(steps)} | steadiness(json.loads((work.folder / "watched.json").read_text()))

    steady = remembered(parts, f"watched {arguments.steps} steps", watched())
    slow, fast = steady["rates"]
    print(f"{arguments.steps} steps at {slow:.0f} to {fast:.0f}/s: {steady}", flush=True)
    # Machines are not steady: as many steps as fill the time at the fastest, and saves often enough at the
    # slowest.
    save_every = max(EVERY, int(slow * arguments.save_seconds / EVERY) * EVERY)
    steps = max(save_every, round(fast * 60 * arguments.minutes / save_every) * save_every)

    def whole() -> Iterator[Any]:
        began = time.monotonic()
        events = work.undisturbed("whole", steps, save_every)
        yield {"hash": events[-1].hash, "seconds": account(events, began, steps)}

    undisturbed = remembered(parts, f"whole {steps} {save_every}", whole())
    print(f"undisturbed: {steps} steps, {undisturbed}", flush=True)
    last = undisturbed["seconds"]["wall"]
    disturbed = work.killed(steps, save_every, (last * work.random.uniform(size=arguments.kills)).tolist())
    seconds = disturbed["seconds"]
    return {
        "steady": steady,
        "steps": steps,
        "save_every": save_every,
        "seconds_between_saves": undisturbed["seconds"]["productive"] / (steps / save_every),
        "undisturbed": undisturbed,
        "disturbed": disturbed,
        "same_bits": undisturbed["hash"] == disturbed["hash"],
        "goodput": seconds["productive"] / seconds["wall"],
        "undisturbed_goodput": undisturbed["seconds"]["productive"] / last,
        "share_of_saving": seconds["saving"] / seconds["wall"],
        "arguments": {name: str(value) for name, value in vars(arguments).items() if value is not None},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where the runs are, and what a soak goes on from")
    parser.add_argument("--steps", type=int, default=10_000, help="of the run that is watched")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--save-seconds", type=float, default=30.0, help="the longest between checkpoints")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    parser.add_argument("--json", help="where to write the figures")
    for name in ("journal", "workdir", "watch"):
        parser.add_argument(f"--{name}", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--trainer", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--data", help=argparse.SUPPRESS)
    parser.add_argument("--save-every", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.trainer:
        be_trainer(arguments)
        return
    if arguments.folder is None:
        parser.error("give a --folder for the runs")
    from benchmarks import machine

    figures = soak(arguments)
    seconds = figures["disturbed"]["seconds"]
    for name, value in seconds.items():
        print(f"  {name:12}{value:9.1f} s {value / seconds['wall']:8.2%}")
    print(f"goodput {figures['goodput']:.2%}, saving {figures['share_of_saving']:.2%} of wall time")
    print(f"the same bits as undisturbed: {figures['same_bits']}")
    machine.write(arguments.json, figures)


if __name__ == "__main__":
    main()

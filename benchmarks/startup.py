"""Seconds a user waits: imports, the quickstart's first step (cold and warm), a translation.

    python benchmarks/startup.py --json benchmarks/results/startup_cpu.json

Each figure is of a process of its own, from its start. "First step" is train.py with the quickstart's recipe
until its first step is done (data opened, networks made, first grids drawn, step compiled and run);
cold has an empty folder of compiled programs, warm the one that the cold run filled.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import machine
from xgan_jax.data.prepare import prepare

ROOT = Path(__file__).parents[1]


def seconds_until(marker: str, command: list[str], environment: dict[str, str]) -> float:
    """From the start of the command to the line that begins with `marker`; then lets it end."""
    start = time.perf_counter()
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = next((time.perf_counter() for line in process.stdout if line.startswith(marker)), None)
        process.stdout.read()
    if found is None or process.returncode:
        sys.exit(f"startup: {' '.join(command)} failed.")
    return found - start


def seconds(command: list[str], environment: dict[str, str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", help="where to write the figures")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        draw = [sys.executable, "-m", "xgan_jax.data.synthetic", "--out", str(root / "pictures")]
        subprocess.run([*draw, "--count", "100", "--test-count", "64"], check=True)
        sources = {"face": str(root / "pictures/trainA"), "anime": str(root / "pictures/trainB")}
        prepare(sources, root / "records", size=64)
        environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(root / "compiled")}

        def train(run: str) -> list[str]:
            return [
                sys.executable,
                str(ROOT / "train.py"),
                f"--config={ROOT / 'configs' / 'quickstart.py'}",
                f"--workdir={root / run}",
                f"--config.data.path={root / 'records'}",
                "--config.run.steps=2",
                "--config.run.log_every=1",
            ]

        translate = [sys.executable, "-m", "xgan_jax.cli", "translate", "--workdir", str(root / "cold")]
        picture = next((root / "pictures/trainA").glob("*.png"))
        translate += ["--input", str(picture), "--direction", "face2anime", "--output", str(root / "out")]
        imports = [sys.executable, "-c", "import xgan_jax.training.loop, xgan_jax.xgan"]
        figures = {
            "import_seconds": min(seconds(imports, environment) for _ in range(3)),
            "first_step_cold_seconds": seconds_until("step 1/", train("cold"), environment),
            "first_step_warm_seconds": seconds_until("step 1/", train("warm"), environment),
            "first_translation_cold_seconds": seconds(translate, environment),
            "first_translation_warm_seconds": seconds(translate, environment),
        }
    for name, value in figures.items():
        print(f"{name:32}{value:6.1f}")
    machine.write(arguments.json, figures)


if __name__ == "__main__":
    main()

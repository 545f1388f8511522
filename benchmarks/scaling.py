"""The step on 1, 2, 4 and 8 CPU devices: the same batch split (strong), and a batch that grows (weak).

    python benchmarks/scaling.py --json benchmarks/results/scaling_cpu.json

All devices share this machine's cores, so nothing can become faster: the figures show what splitting the
step costs. Efficiency is the time of the same pictures on one device over the time on n; ideal is 1.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import machine


def measure(batches: list[int], width: float, steps: int) -> list[dict[str, Any]]:
    """In a process that has its devices: seconds a step for each batch size, and what devices exchange."""
    import jax

    from benchmarks.bare_step import BareStep, random_pictures
    from xgan_jax.config import Config, DataConfig
    from xgan_jax.xgan import Networks, Weights

    found = []
    for batch in batches:
        networks = Networks(width=width, discriminator_width=width, embedding_size=int(1024 * width))
        config = Config(method="xgan", networks=networks, weights=Weights(), data=DataConfig())
        config.run.batch_size = batch
        step = BareStep(config, random_pictures(config))
        times = []
        for _ in range(steps + 2):
            start = time.perf_counter()
            jax.block_until_ready(step())
            times.append(time.perf_counter() - start)
        exchanged = re.findall(
            r" (all-\w+|reduce-scatter|collective-\w+)(?:-start)?\(", step.compiled.as_text()
        )
        found.append({"batch": batch, "seconds": statistics.median(times[2:]), "exchanges": len(exchanged)})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--batch", type=int, default=64, help="pictures of a domain, strong scaling")
    parser.add_argument("--per-device", type=int, default=8, help="of a domain, weak scaling")
    parser.add_argument("--width", type=float, default=0.5)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--json", help="where to write the figures")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        batches = json.loads(arguments.measure)
        print("FOUND" + json.dumps(measure(batches, arguments.width, arguments.steps)))
        return
    devices = (1, 2, 4, 8)
    weak_batches = [arguments.per_device * n for n in devices]
    seconds: dict[int, dict[int, dict[str, Any]]] = {}
    for n in devices:
        batches = sorted(
            {arguments.batch, arguments.per_device * n} | (set(weak_batches) if n == 1 else set())
        )
        options = [f"--width={arguments.width}", f"--steps={arguments.steps}"]
        result = subprocess.run(
            [sys.executable, __file__, *options, f"--measure={json.dumps(batches)}"],
            env=os.environ
            | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": f"--xla_force_host_platform_device_count={n}"},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        line = next(line for line in result.stdout.splitlines() if line.startswith("FOUND"))
        seconds[n] = {row["batch"]: row for row in json.loads(line.removeprefix("FOUND"))}
    rows = []
    print(f"{'devices':>8}{'strong s':>10}{'eff.':>7}{'weak s':>10}{'eff.':>7}{'exchanges':>11}")
    for n in devices:
        weak_batch = arguments.per_device * n
        strong_s = seconds[n][arguments.batch]["seconds"]
        weak_s = seconds[n][weak_batch]["seconds"]
        row = {
            "devices": n,
            "strong_seconds": strong_s,
            "strong_efficiency": seconds[1][arguments.batch]["seconds"] / strong_s,
            "weak_seconds": weak_s,
            "weak_efficiency": seconds[1][weak_batch]["seconds"] / weak_s,
            "exchanges": seconds[n][arguments.batch]["exchanges"],
        }
        rows.append(row)
        print(
            f"{n:8}{strong_s:10.3f}{row['strong_efficiency']:7.2f}{weak_s:10.3f}"
            f"{row['weak_efficiency']:7.2f}{row['exchanges']:11}"
        )
    figures = {"strong_batch": arguments.batch, "weak_batch_a_device": arguments.per_device, "rows": rows}
    machine.write(arguments.json, figures)


if __name__ == "__main__":
    main()

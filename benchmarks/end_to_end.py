"""A whole training run, data and all, beside the bare step on pictures that are already on the device.

    python benchmarks/end_to_end.py --json benchmarks/results/end_to_end_cpu.json
    python benchmarks/end_to_end.py --data data/faces --cache device --steps-per-call 8 --dtype bfloat16

The run is `train`, with its log, its checks and the pictures read from records (`--cache none`) or kept on
the devices; its images/s are the median of the log's figures, without the first. Without `--data` the
embedded pictures are drawn first.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import jax

from benchmarks import machine
from benchmarks.bare_step import BareStep, random_pictures
from xgan_jax import startup, xgan
from xgan_jax.config import Config, DataConfig, RunConfig
from xgan_jax.data.prepare import prepare
from xgan_jax.training.loop import train


def bare_step(config: Config, steps: int) -> float:
    """Images/s of the step alone, one call after the other without waiting."""
    config.data.cache, config.run.steps_per_call = "none", 1
    step = BareStep(config, random_pictures(config))
    rates = []
    for _ in range(4):
        start = time.perf_counter()
        for _ in range(steps):
            metrics = step()
        jax.block_until_ready(metrics)
        rates.append(steps * 2 * config.run.batch_size / (time.perf_counter() - start))
    return statistics.median(rates[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", help="a folder that `xgan prepare` wrote, 64 px")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--log-every", type=int, default=20)
    parser.add_argument("--cache", choices=("none", "device"), default="none")
    parser.add_argument("--steps-per-call", type=int, default=1)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--json", help="where to write the figures")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        data = arguments.data
        if not data:
            draw = [sys.executable, "-m", "xgan_jax.data.synthetic", "--out", str(root / "pictures")]
            subprocess.run([*draw, "--count", "1000", "--test-count", "64"], check=True)
            data = str(root / "records")
            sources = {"face": str(root / "pictures/trainA"), "anime": str(root / "pictures/trainB")}
            prepare(sources, data, size=64)
        run = RunConfig(
            steps=arguments.steps,
            batch_size=arguments.batch,
            compute_dtype=arguments.dtype,
            steps_per_call=arguments.steps_per_call,
            log_every=arguments.log_every,
            sample_every=arguments.steps,
            checkpoint_every=arguments.steps,
        )
        config = Config(
            method="xgan",
            networks=xgan.Networks(),
            weights=xgan.Weights(),
            data=DataConfig(path=data, size=64, cache=arguments.cache),
            run=run,
        )
        train(config, root / "run")
        lines = [json.loads(line) for line in (root / "run" / "metrics.jsonl").read_text().splitlines()]
        rates = [line["images_per_second"] for line in lines if "images_per_second" in line]
        waits = [line["data_wait"] for line in lines if "data_wait" in line]
        whole, bare = statistics.median(rates[1:]), bare_step(config, arguments.log_every)
    figures = {
        "ratio": whole / bare,
        "images_per_second": {"whole": whole, "bare_step": bare},
        "data_wait": statistics.median(waits),
        "arguments": vars(arguments),
    }
    print(f"whole run {whole:.1f} images/s, bare step {bare:.1f}: ratio {figures['ratio']:.2f}")
    print(f"share of time waiting for data: {figures['data_wait']:.2%}")
    machine.write(arguments.json, figures)


if __name__ == "__main__":
    startup.use_large_pages()
    main()

"""Our training step beside the same step in PyTorch, alternating in one run.

    python benchmarks/train_step.py --json benchmarks/results/train_step_cpu.json
    python benchmarks/train_step.py --case cyclegan --size 64 --blocks 6

Both do all of a step: augmentation (flip, shift), every loss with both discriminators, all gradients,
Adam, the weights' moving average, on pictures that are already on the device. Blocks of steps alternate,
the order turns round every time; figures are medians over steps, after warm-up; compiling is timed apart.
Images are pictures of both domains. For XGAN a third runner is ours with R1 every 16 steps, whose mean
over all steps is held against the mean without. Needs torch beside the project's packages
(`pip install '.[bench]'`). On a GPU PyTorch runs compiled, with channels last and, with bfloat16, autocast.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import jax
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import machine, torch_twin
from benchmarks.bare_step import BareStep, random_pictures
from xgan_jax import startup, xgan
from xgan_jax.baselines import cyclegan
from xgan_jax.config import Config, OptimizerConfig
from xgan_jax.training.profile import copy_rate


def make_config(case: str, size: int, batch: int, dtype: str, blocks: int) -> Config:
    """The recipe of a case, at this size."""
    if case == "cyclegan":
        config = Config(
            method="baselines.cyclegan",
            networks=cyclegan.Networks(blocks=blocks),
            weights=cyclegan.Weights(pool=0),  # the twin has none
            optimizer=OptimizerConfig(learning_rate=2e-4),
        )
    else:
        weights = xgan.Weights(cycle=10.0 if case == "xgan_cycle" else 0.0)
        config = Config(method="xgan", networks=xgan.Networks(), weights=weights)
    config.data.size, config.run.batch_size, config.run.compute_dtype = size, batch, dtype
    return config


def matrix_product_rates(on_gpu: bool, bf16: bool) -> tuple[float, float]:
    """FLOP/s of a large matrix product in JAX and in PyTorch: the peaks that shares are given of."""
    n = 8192 if on_gpu else 2048
    dtype = "bfloat16" if bf16 else "float32"
    x = jax.numpy.ones((n, n), dtype)
    product = jax.jit(lambda x: x @ x)
    y = torch.ones(n, n, dtype=getattr(torch, dtype), device="cuda" if on_gpu else "cpu")

    def synced() -> None:
        y @ y
        if on_gpu:
            torch.cuda.synchronize()

    rates = []
    for run in (lambda: product(x).block_until_ready(), synced):
        run()
        times = []
        for _ in range(5):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
        rates.append(2 * n**3 / min(times))
    return rates[0], rates[1]


def waited(step: BareStep) -> Callable[[], None]:
    """A call that returns when its step is done."""

    def run() -> None:
        jax.block_until_ready(step())

    return run


def timed(run: Callable[[], None], n: int) -> list[float]:
    """Seconds of each of n calls."""
    times = []
    for _ in range(n):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--case", choices=("xgan", "xgan_cycle", "cyclegan"), default="xgan")
    parser.add_argument("--size", type=int, help="pixels; default 64, CycleGAN 256")
    parser.add_argument("--batch", type=int, help="of each domain; default 32, CycleGAN 1")
    parser.add_argument("--blocks", type=int, default=9, help="residual blocks of CycleGAN")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--steps", type=int, default=50, help="timed steps of each")
    parser.add_argument("--block", type=int, default=5, help="steps before the next has its turn")
    parser.add_argument("--compile", action="store_true", help="torch.compile also on CPU")
    parser.add_argument("--json", help="where to write the figures")
    arguments = parser.parse_args()
    size = arguments.size or (256 if arguments.case == "cyclegan" else 64)
    batch_size = arguments.batch or (1 if arguments.case == "cyclegan" else 32)
    config = make_config(arguments.case, size, batch_size, arguments.dtype, arguments.blocks)
    on_gpu = jax.default_backend() == "gpu"
    device = "cuda" if on_gpu else "cpu"
    if on_gpu and not torch.cuda.is_available():
        sys.exit("train_step: JAX sees a GPU but PyTorch does not: install a CUDA build of torch.")
    torch.backends.cudnn.benchmark = True
    if on_gpu and arguments.dtype == "float32":  # JAX's default precision on such GPUs is TF32
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True

    batch = random_pictures(config)
    ours = BareStep(config, batch)

    theirs_batch = [torch.tensor(x.transpose(0, 3, 1, 2).copy(), device=device) for x in batch.values()]
    make_twin = torch_twin.CycleGAN if arguments.case == "cyclegan" else torch_twin.XGAN
    twins = {}
    for channels_last in (False, True) if not on_gpu else (True,):
        twin = make_twin(config, device, channels_last, compiled=on_gpu or arguments.compile)
        twin.load_ours(jax.device_get(ours.state.params))
        twins[channels_last] = twin
    counts = [
        sum(x.size for x in jax.tree.leaves(ours.state.params)),
        sum(p.numel() for p in twin.parameters),
    ]
    if counts[0] != counts[1]:
        sys.exit(f"train_step: the networks differ: {counts[0]} parameters against {counts[1]}.")

    def theirs(twin: torch_twin.Twin) -> Callable[[], None]:
        def run() -> None:
            twin.step(theirs_batch)
            if on_gpu:
                torch.cuda.synchronize()

        return run

    start = time.perf_counter()
    theirs(twin)()
    compile_theirs = time.perf_counter() - start
    # PyTorch in the memory format that suits it better here.
    trial = {key: min(timed(theirs(t), 4)) for key, t in twins.items()} if len(twins) > 1 else {True: 0.0}
    channels_last = min(trial, key=lambda key: trial[key])
    twin = twins[channels_last]
    del twins
    # Counted on a plain step with one picture: what torch.compile makes of it can't be counted.
    plain = make_twin(config, "cpu", channels_last, compiled=False)
    with FlopCounterMode(display=False) as counter:
        plain.step([x[:1].cpu() for x in theirs_batch])
    del plain

    runs: dict[str, Callable[[], None]] = {"ours": waited(ours), "pytorch": theirs(twin)}
    if arguments.case == "xgan":
        config.weights.r1, config.weights.r1_every = 1.0, 16
        runs["ours with R1"] = waited(BareStep(config, batch))
    for run in runs.values():
        timed(run, 3)
    times: dict[str, list[float]] = {name: [] for name in runs}
    order = list(runs)
    # Of R1 whole rounds of 16 steps are timed, so that each has its share of penalties.
    block = {name: 16 if name == "ours with R1" else arguments.block for name in runs}
    while len(times["ours"]) < arguments.steps:
        for name in order:
            times[name] += timed(runs[name], block[name])
        order.reverse()

    seconds = {name: statistics.median(values) for name, values in times.items()}
    images = {name: 2 * batch_size / value for name, value in seconds.items()}
    cost = ours.compiled.cost_analysis() or {}
    flops = {"ours": float(cost["flops"]), "pytorch": float(batch_size * counter.get_total_flops())}
    if not 0.7 < flops["ours"] / flops["pytorch"] < 1.4:
        sys.exit(f"train_step: not the same work: {flops} FLOP.")
    peaks = dict(zip(runs, matrix_product_rates(on_gpu, arguments.dtype == "bfloat16"), strict=False))
    memory = ours.compiled.memory_analysis()
    bandwidth = copy_rate()
    figures = {
        "case": arguments.case,
        "ratio": images["ours"] / images["pytorch"],
        "images_per_second": images,
        "step_seconds": seconds,
        "step_seconds_quartiles": {n: statistics.quantiles(v, n=4) for n, v in times.items()},
        "flops_per_step": flops,
        "matrix_product_flops_per_second": peaks,
        "share_of_peak": {n: flops[n] / seconds[n] / peaks[n] for n in peaks},
        "bytes_per_step_ours": float(cost["bytes accessed"]),
        "copy_bytes_per_second": bandwidth,
        "share_of_bandwidth_ours": float(cost["bytes accessed"]) / seconds["ours"] / bandwidth,
        "compile_seconds": {"ours": ours.compile_seconds, "pytorch": compile_theirs},
        "memory_bytes": {
            "ours": memory.temp_size_in_bytes + memory.argument_size_in_bytes,
            "pytorch": torch.cuda.max_memory_allocated() if on_gpu else None,
        },
        "parameters": counts[0],
        "batch": batch_size,
        "size": size,
        "dtype": arguments.dtype,
        "steps": len(times["ours"]),
        "pytorch_channels_last": channels_last,
        "large_pages": "hugetlb" in os.environ.get("GLIBC_TUNABLES", ""),
        "device": str(jax.devices()[0].device_kind),
    }
    print(f"{arguments.case} {size} px, batch {batch_size}, {arguments.dtype}, {figures['device']}")
    print(f"{'':14}{'images/s':>10}{'s/step':>10}{'GFLOP':>9}{'of peak':>9}{'compile s':>11}")
    for name in peaks:
        print(
            f"{name:14}{images[name]:10.1f}{seconds[name]:10.4f}{flops[name] / 1e9:9.1f}"
            f"{figures['share_of_peak'][name]:9.1%}{figures['compile_seconds'][name]:11.1f}"
        )
    print(f"ratio (ours / PyTorch, images per second): {figures['ratio']:.2f}")
    print(
        f"ours: {figures['share_of_bandwidth_ours']:.0%} of {bandwidth / 1e9:.1f} GB/s (XLA's count of bytes)"
    )
    if arguments.case == "xgan":
        means = [statistics.fmean(times[name]) for name in ("ours with R1", "ours")]
        figures["r1_every_16_step_ratio"] = means[0] / means[1]
        print(f"a step with R1 every 16: {figures['r1_every_16_step_ratio']:.2f} of one without (means)")
    machine.write(arguments.json, figures)


if __name__ == "__main__":
    startup.use_large_pages()  # as train.py does; PyTorch, in the same process, has them too
    main()

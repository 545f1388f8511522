"""Our training step beside the same step in PyTorch, alternating in one run.

    python benchmarks/train_step.py --json benchmarks/results/train_step_cpu.json

Both do all of a step: augmentation (flip, shift), every loss of the paper's XGAN with both
discriminators, all gradients, Adam, the weights' moving average. Blocks of steps alternate, the order turns
round every time; figures are medians over steps, after warm-up; compiling is timed apart.
Images are pictures of both domains. Needs torch beside the project's packages (`pip install '.[bench]'`).
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import jax
import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import machine
from benchmarks.torch_twin import Twin
from xgan_jax import method as methods
from xgan_jax import startup
from xgan_jax.training import sharding
from xgan_jax.training import state as states
from xgan_jax.training.step import make_step


def load_config(path: str):
    """The `get_config()` of a recipe file."""
    scope: dict = {}
    exec(compile(Path(path).read_text(), path, "exec"), scope)
    return scope["get_config"]()


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--config", default=str(Path(__file__).parents[1] / "configs" / "xgan.py"))
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--steps", type=int, default=50, help="timed steps of each")
    parser.add_argument("--block", type=int, default=5, help="steps before the other has its turn")
    parser.add_argument("--compile", action="store_true", help="torch.compile also on CPU")
    parser.add_argument("--json", help="where to write the figures")
    arguments = parser.parse_args()

    config = load_config(arguments.config)
    config.data.size, config.run.batch_size = arguments.size, arguments.batch
    config.run.compute_dtype = arguments.dtype
    on_gpu = jax.default_backend() == "gpu"
    device = "cuda" if on_gpu else "cpu"
    if on_gpu and not torch.cuda.is_available():
        sys.exit("train_step: JAX sees a GPU but PyTorch does not: install a CUDA build of torch.")
    torch.backends.cudnn.benchmark = True
    if on_gpu and arguments.dtype == "float32":  # JAX's default precision on such GPUs is TF32
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True

    rng = np.random.default_rng(0)
    shape = (arguments.batch, arguments.size, arguments.size, 3)
    batch = {d: rng.integers(0, 256, shape, dtype=np.uint8) for d in config.data.domains}

    method = methods.load(config)
    mesh = sharding.make_mesh()
    state = jax.jit(lambda: states.create(method, config), out_shardings=sharding.replicated(mesh))()
    ours_batch = sharding.to_devices(batch, sharding.split(mesh))
    start = time.perf_counter()
    compiled = make_step(method, config, mesh).lower(state, ours_batch).compile()
    compile_ours = time.perf_counter() - start
    ours_flops = float(compiled.cost_analysis()["flops"])
    ours_memory = compiled.memory_analysis()

    theirs_batch = [torch.tensor(x.transpose(0, 3, 1, 2).copy(), device=device) for x in batch.values()]
    twins = {}
    for channels_last in (False, True) if not on_gpu else (True,):
        twin = Twin(config, device, channels_last, compiled=on_gpu or arguments.compile)
        twin.load_ours(jax.device_get(state.params))
        twins[channels_last] = twin
    counts = [sum(x.size for x in jax.tree.leaves(state.params)), sum(p.numel() for p in twin.parameters)]
    if counts[0] != counts[1]:
        sys.exit(f"train_step: the networks differ: {counts[0]} parameters against {counts[1]}.")

    def ours() -> None:
        nonlocal state
        state, metrics = compiled(state, ours_batch)
        jax.block_until_ready(metrics)

    def theirs(twin: Twin) -> Callable[[], None]:
        def run() -> None:
            twin.step(theirs_batch)
            if on_gpu:
                torch.cuda.synchronize()

        return run

    start = time.perf_counter()
    theirs(twin)()
    compile_theirs = time.perf_counter() - start

    def timed(run: Callable[[], None], n: int) -> list[float]:
        times = []
        for _ in range(n):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
        return times

    # PyTorch in the memory format that suits it better here.
    trial = {key: min(timed(theirs(t), 4)) for key, t in twins.items()}
    channels_last = min(trial, key=lambda key: trial[key])
    twin = twins[channels_last]
    with FlopCounterMode(display=False) as counter:
        if not (on_gpu or arguments.compile):
            twin.step(theirs_batch)
    runs = {"ours": ours, "pytorch": theirs(twin)}
    for run in runs.values():
        timed(run, 3)
    times: dict[str, list[float]] = {"ours": [], "pytorch": []}
    order = list(runs)
    while len(times["ours"]) < arguments.steps:
        for name in order:
            times[name] += timed(runs[name], arguments.block)
        order.reverse()

    seconds = {name: statistics.median(values) for name, values in times.items()}
    images = {name: 2 * arguments.batch / value for name, value in seconds.items()}
    peaks = dict(zip(runs, matrix_product_rates(on_gpu, arguments.dtype == "bfloat16"), strict=True))
    flops = {"ours": ours_flops, "pytorch": float(counter.get_total_flops()) or ours_flops}
    figures = {
        "ratio": images["ours"] / images["pytorch"],
        "images_per_second": images,
        "step_seconds": seconds,
        "step_seconds_quartiles": {n: statistics.quantiles(v, n=4) for n, v in times.items()},
        "flops_per_step": flops,
        "share_of_peak": {n: flops[n] / seconds[n] / peaks[n] for n in runs},
        "matrix_product_flops_per_second": peaks,
        "compile_seconds": {"ours": compile_ours, "pytorch": compile_theirs},
        "memory_bytes_ours": ours_memory.temp_size_in_bytes + ours_memory.argument_size_in_bytes,
        "parameters": counts[0],
        "batch": arguments.batch,
        "size": arguments.size,
        "dtype": arguments.dtype,
        "steps": len(times["ours"]),
        "pytorch_channels_last": channels_last,
        "device": str(jax.devices()[0].device_kind),
    }
    print(f"XGAN {arguments.size} px, batch {arguments.batch}, {arguments.dtype}, {figures['device']}")
    print(f"{'':10}{'images/s':>10}{'s/step':>10}{'GFLOP':>8}{'of peak':>9}{'compile s':>11}")
    for name in runs:
        print(
            f"{name:10}{images[name]:10.1f}{seconds[name]:10.4f}{flops[name] / 1e9:8.1f}"
            f"{figures['share_of_peak'][name]:9.1%}{figures['compile_seconds'][name]:11.1f}"
        )
    print(f"ratio (ours / PyTorch, images per second): {figures['ratio']:.2f}")
    machine.write(arguments.json, figures)


if __name__ == "__main__":
    startup.use_large_pages()  # as train.py does; PyTorch, in the same process, has them too
    main()

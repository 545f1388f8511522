"""Strided and transposed convolutions of XGAN's layers: our forms, lax's own, and PyTorch's.

    python benchmarks/conv_layers.py --json benchmarks/results/conv_layers_cpu.json

Milliseconds (best of several) for the output, the input gradient and the weight gradient at 64 px and width
1, to see which form is fast on the backend at hand and to catch a slow kernel. Ours are compiled with
the training step's options, lax's with XLA's defaults. PyTorch, where it is installed, has channels last.
"""

import argparse
import importlib.util
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import jax
import jax.numpy as jnp
from jax import Array, lax

from benchmarks import machine
from xgan_jax.nets import layers
from xgan_jax.startup import compiler_options

DIMENSIONS = ("NHWC", "HWIO", "NHWC")
# (side of the input, channels in, channels out, domains that share it)
STRIDED = [
    *((64, 3, 32, 1), (32, 32, 64, 1), (16, 64, 128, 2), (8, 128, 256, 2)),  # encoder
    *((64, 3, 16, 1), (32, 16, 32, 1)),  # discriminator
]
TRANSPOSED = [(4, 512, 256, 2), (8, 256, 128, 2), (16, 128, 64, 2), (32, 64, 3, 2)]
WHAT = ("output", "input_gradient", "weight_gradient")


def lax_strided(x: Array, kernel: Array) -> Array:
    return lax.conv_general_dilated(x, kernel, (2, 2), ((1, 1), (1, 1)), dimension_numbers=DIMENSIONS)


def lax_transposed(x: Array, kernel: Array) -> Array:
    return lax.conv_transpose(x, kernel, (2, 2), "SAME", dimension_numbers=DIMENSIONS, transpose_kernel=True)


def best(run: Callable[[], object]) -> float:
    """Milliseconds of the fastest of some calls."""
    run()
    times = []
    for _ in range(9):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return 1e3 * min(times)


def in_jax(form: Callable[[Array, Array], Array], x: Array, kernel: Array, options: Any) -> dict[str, float]:
    g = jnp.ones(jax.eval_shape(form, x, kernel).shape)
    functions = (
        lambda x, k, g: form(x, k),
        lambda x, k, g: jax.vjp(lambda x: form(x, k), x)[1](g),
        lambda x, k, g: jax.vjp(lambda k: form(x, k), k)[1](g),
    )
    found = {}
    for what, function in zip(WHAT, functions, strict=True):
        compiled = jax.jit(function, compiler_options=options).lower(x, kernel, g).compile()
        found[what] = best(lambda compiled=compiled: jax.block_until_ready(compiled(x, kernel, g)))
    return found


def in_torch(batch: int, side: int, i: int, o: int, transposed: bool) -> dict[str, float]:
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    last = {"device": device, "memory_format": torch.channels_last}
    x = torch.randn(batch, i, side, side).to(**last)
    kernel = torch.randn((i, o, 4, 4) if transposed else (o, i, 4, 4)).to(**last)

    def forward() -> torch.Tensor:
        if transposed:
            return torch.nn.functional.conv_transpose2d(x, kernel, stride=2, padding=1)
        return torch.nn.functional.conv2d(x, kernel, stride=2, padding=1)

    g = torch.randn_like(forward())

    def backward(mask: list[bool]) -> Any:
        return torch.ops.aten.convolution_backward(
            g, x, kernel, None, [2, 2], [1, 1], [1, 1], transposed, [0, 0], 1, mask
        )

    def synced(run: Callable[[], object]) -> Callable[[], object]:
        def call() -> None:
            run()
            if device == "cuda":
                torch.cuda.synchronize()

        return call

    runs = (forward, lambda: backward([True, False, False]), lambda: backward([False, True, False]))
    return {what: best(synced(run)) for what, run in zip(WHAT, runs, strict=True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--batch", type=int, default=32, help="pictures of a domain")
    parser.add_argument("--json", help="where to write the figures")
    arguments = parser.parse_args()
    sides = ["ours", "lax"] + (["pytorch"] if importlib.util.find_spec("torch") else [])
    print(f"{'ms':28}" + "".join(f"{side:>8} {short:>4}" for side in sides for short in ("out", "dx", "dw")))
    rows = []
    for kind, shapes, ours, laxs in (
        ("strided", STRIDED, layers.strided_conv, lax_strided),
        ("transposed", TRANSPOSED, layers.transposed_conv, lax_transposed),
    ):
        for side, i, o, domains in shapes:
            batch = domains * arguments.batch
            x = jax.random.normal(jax.random.key(0), (batch, side, side, i))
            channels = (i, o) if kind == "strided" else (o, i)
            kernel = 0.05 * jax.random.normal(jax.random.key(1), (4, 4, *channels))
            row = {
                "ours": in_jax(ours, x, kernel, compiler_options()),
                "lax": in_jax(laxs, x, kernel, None),
            }
            if "pytorch" in sides:
                row["pytorch"] = in_torch(batch, side, i, o, kind == "transposed")
            name = f"{kind} {side}x{side} {i}->{o}"
            print(f"{name:28}" + "".join(f"{v:13.2f}" for r in row.values() for v in r.values()), flush=True)
            rows.append({"layer": name, "batch": batch} | row)
    totals = {s: sum(sum(row[s].values()) for row in rows) for s in sides}
    print(f"{'all':28}" + "".join(f"{totals[side]:39.1f}" for side in sides))
    machine.write(arguments.json, {"milliseconds": rows, "total_milliseconds": totals})


if __name__ == "__main__":
    main()

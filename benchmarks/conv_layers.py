"""Strided and transposed convolutions of XGAN's layers: our forms beside lax's own.

    python benchmarks/conv_layers.py --json benchmarks/results/conv_layers_cpu.json

Milliseconds (best of several) for the output, the input gradient and the weight gradient, to see which
form is fast on the backend at hand and to catch a slow kernel.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import jax
import jax.numpy as jnp
from jax import Array, lax

from benchmarks import machine
from xgan_jax.nets import layers

DIMENSIONS = ("NHWC", "HWIO", "NHWC")
# (side of the input, channels in, channels out) at 64 px and width 1.
STRIDED = [(64, 3, 32), (32, 32, 64), (16, 64, 128), (8, 128, 256)]
TRANSPOSED = [(4, 512, 256), (8, 256, 128), (16, 128, 64), (32, 64, 3)]


def lax_strided(x: Array, kernel: Array) -> Array:
    return lax.conv_general_dilated(x, kernel, (2, 2), ((1, 1), (1, 1)), dimension_numbers=DIMENSIONS)


def lax_transposed(x: Array, kernel: Array) -> Array:
    return lax.conv_transpose(x, kernel, (2, 2), "SAME", dimension_numbers=DIMENSIONS)


def milliseconds(run: Callable[..., object], *inputs: Array) -> float:
    run = jax.jit(run)
    jax.block_until_ready(run(*inputs))
    times = []
    for _ in range(7):
        start = time.perf_counter()
        jax.block_until_ready(run(*inputs))
        times.append(time.perf_counter() - start)
    return 1e3 * min(times)


def measure(form: Callable[[Array, Array], Array], x: Array, kernel: Array) -> dict[str, float]:
    g = jnp.ones(jax.eval_shape(form, x, kernel).shape)
    return {
        "forward": milliseconds(form, x, kernel),
        "input_gradient": milliseconds(lambda x, k, g: jax.vjp(lambda x: form(x, k), x)[1](g), x, kernel, g),
        "weight_gradient": milliseconds(lambda x, k, g: jax.vjp(lambda k: form(x, k), k)[1](g), x, kernel, g),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--json", help="where to write the figures")
    arguments = parser.parse_args()
    rows = []
    columns = [f"{side} {what}" for side in ("ours", "lax") for what in ("out", "dx", "dw")]
    print(f"{'ms':28}" + "".join(f"{column:>9} " for column in columns))
    for kind, shapes, ours, laxs in (
        ("strided", STRIDED, layers.strided_conv, lax_strided),
        ("transposed", TRANSPOSED, layers.transposed_conv, lax_transposed),
    ):
        for side, i, o in shapes:
            x = jax.random.normal(jax.random.key(0), (arguments.batch, side, side, i))
            kernel = 0.05 * jax.random.normal(jax.random.key(1), (4, 4, i, o))
            row = {"ours": measure(ours, x, kernel), "lax": measure(laxs, x, kernel)}
            name = f"{kind} {side}x{side} {i}->{o}"
            print(f"{name:28}" + "".join(f"{v:9.1f} " for r in row.values() for v in r.values()), flush=True)
            rows.append({"layer": name} | row)
    machine.write(arguments.json, {"batch": arguments.batch, "milliseconds": rows})


if __name__ == "__main__":
    main()

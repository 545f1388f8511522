"""The arithmetic of every recipe, from its lowered training step: what a run costs on another device.

    python benchmarks/costs.py --only cyclegan ugatit

No step is computed or compiled; FLOPs are those of the program before the compiler merges what losses share,
and of each player's dearest branch (Twin-GAN's largest side, XGAN's R1 in every step), so they are high. A
recipe that first learns a network on data does so on `--data`, a prepared dataset of its size, and is left
out without.
"""

import argparse
import importlib.util
import math
from pathlib import Path

import jax
import jax.numpy as jnp

from xgan_jax import method as methods
from xgan_jax.config import Config
from xgan_jax.runs import state as states
from xgan_jax.training import sharding
from xgan_jax.training.step import batch_sharding, make_step

CONFIGS = Path(__file__).parents[1] / "configs"


def recipe(name: str) -> Config:
    """`configs/NAME.py`, as it is."""
    spec = importlib.util.spec_from_file_location(name, CONFIGS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config: Config = module.get_config()
    return config


def flops_a_step(config: Config) -> float:
    """Of one training step.

    Raises:
      ValueError, FileNotFoundError: the recipe learns a network on data, and there are none.
    """
    method, mesh = methods.load(config), sharding.make_mesh()
    abstract = jax.eval_shape(lambda: states.create(method, config))
    shape = (config.run.batch_size, config.data.size, config.data.size, 3)
    picture = jax.ShapeDtypeStruct(shape, jnp.uint8, sharding=batch_sharding(config, mesh))
    lowered = make_step(method, config, mesh).lower(abstract, {d: picture for d in config.data.domains})
    return float((lowered.cost_analysis() or {}).get("flops", math.nan))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    names = sorted(path.stem for path in CONFIGS.glob("*.py"))
    parser.add_argument("--only", nargs="*", choices=names, help="of the recipes, these alone")
    parser.add_argument("--data", default="", help="for recipes that learn a network first")
    parser.add_argument("--rate", type=float, default=20.0, help="TFLOP/s that the device keeps up (20)")
    arguments = parser.parse_args()
    hours_at = f"hours at {arguments.rate:g} TFLOP/s"
    print(f"{'recipe':16}{'GFLOP a step':>14}{'steps':>11}{'PFLOP':>9}{hours_at:>22}")
    for name in arguments.only or names:
        config = recipe(name)
        config.data.path = arguments.data or "none"
        try:
            flops = flops_a_step(config)
        except (ValueError, FileNotFoundError) as error:
            print(f"{name:16}{'-':>14}   {error}")
            continue
        total = flops * config.run.steps
        hours = total / (arguments.rate * 1e12) / 3600
        print(f"{name:16}{flops / 1e9:14.1f}{config.run.steps:11,}{total / 1e15:9.2f}{hours:22.1f}")


if __name__ == "__main__":
    main()

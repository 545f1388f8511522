"""Runs made of weights that the authors' PyTorch codes saved: to translate with, or to train on from."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from xgan_jax import config as configs
from xgan_jax import method as methods
from xgan_jax.baselines import cyclegan, ugatit
from xgan_jax.config import Config, DataConfig, OptimizerConfig, RunConfig
from xgan_jax.method import Params
from xgan_jax.nets import from_torch
from xgan_jax.runs import state as states
from xgan_jax.runs.checkpoint import Checkpoints, check_path
from xgan_jax.torch_weights import read_torch

METHODS = ("cyclegan", "ugatit")


def _state(tree: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """A state dict without the prefix that DataParallel gives."""
    return {name.removeprefix("module."): x for name, x in tree.items() if isinstance(x, np.ndarray)}


def _cyclegan(source: Path, a: str, b: str) -> tuple[Any, Params]:
    """Networks and parameters from a folder with latest_net_G_A.pth and latest_net_G_B.pth, and perhaps the
    discriminators: D_A judges B."""
    files = {part: source / f"latest_net_{part}.pth" for part in ("G_A", "G_B", "D_A", "D_B")}
    generators = {
        direction: from_torch.cyclegan_generator(_state(read_torch(files[part])))
        for direction, part in ((f"{a}2{b}", "G_A"), (f"{b}2{a}", "G_B"))
    }
    first = generators[f"{a}2{b}"]
    networks = cyclegan.Networks(
        first["blocks"]["conv1"]["kernel"].shape[0], first["stem"]["kernel"].shape[-1]
    )
    params: Params = {"generator": generators}
    if files["D_A"].is_file() and files["D_B"].is_file():
        params["discriminator"] = {
            domain: from_torch.cyclegan_discriminator(_state(read_torch(files[part])))
            for domain, part in ((b, "D_A"), (a, "D_B"))
        }
        networks.discriminator_width = params["discriminator"][a]["conv1"]["kernel"].shape[-1]
    return networks, params


def _ugatit(source: Path, a: str, b: str) -> tuple[Any, Params]:
    """Networks and parameters from a file with genA2B, genB2A, and perhaps the four discriminators."""
    saved = read_torch(source)
    if not isinstance(saved, dict) or not {"genA2B", "genB2A"} <= set(saved):
        raise ValueError(f"{source} holds no genA2B and genB2A: give the file that UGATIT-pytorch saved.")
    params: Params = {
        "generator": {
            direction: from_torch.ugatit_generator(_state(saved[part]))
            for direction, part in ((f"{a}2{b}", "genA2B"), (f"{b}2{a}", "genB2A"))
        }
    }
    first = params["generator"][f"{a}2{b}"]
    flat, deepest = first["fc1"]["kernel"].shape
    blocks = sum(name.endswith("_norm1") for name in first)
    networks = ugatit.Networks(blocks, first["stem"]["kernel"].shape[-1], light=flat == deepest)
    parts = {f"global_{a}": "disGA", f"global_{b}": "disGB", f"local_{a}": "disLA", f"local_{b}": "disLB"}
    if set(parts.values()) <= set(saved):
        params["discriminator"] = {
            name: from_torch.ugatit_discriminator(_state(saved[part])) for name, part in parts.items()
        }
        networks.discriminator_width = params["discriminator"][f"local_{a}"]["conv1"]["kernel"].shape[-1]
    return networks, params


def convert(
    method: str,
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    domains: Sequence[str] = ("face", "anime"),
    size: int = 256,
    crop: str = "center",
) -> Config:
    """A run at step 0 with the weights in `source`, for `xgan translate`, `eval.py --data` and `train.py`.

    Args:
      method: one of `METHODS`.
      source: for "cyclegan" the folder with latest_net_G_A.pth and latest_net_G_B.pth, for "ugatit" the file.
        Discriminators that are there come along; others begin anew.
      out: the run's folder; it may not have checkpoints yet.
      domains: the names of the authors' A and B.
      size: side of the pictures that the networks were trained on.
      crop: how pictures are cut before translation: center, celeba or none.

    Returns:
      the run's configuration: networks as the weights have them, the method's own losses, the authors' rate
      and batch, no decay.

    Raises:
      ValueError: the weights are of something else, `out` is a run already, or no checkpoint could be kept
        there.
      FileNotFoundError: a file is missing.
    """
    a, b = domains
    source, out = Path(source), Path(out)
    check_path(out)
    if (out / "config.json").exists():
        raise ValueError(f"{out} is a run already: give another --out.")
    networks, found = {"cyclegan": _cyclegan, "ugatit": _ugatit}[method](source, a, b)
    module = {"cyclegan": cyclegan, "ugatit": ugatit}[method]
    config = Config(
        method=f"baselines.{method}",
        networks=networks,
        weights=module.Weights(),
        data=DataConfig(domains=(a, b), size=size),
        optimizer=OptimizerConfig(learning_rate=2e-4 if method == "cyclegan" else 1e-4, ema_decay=0.0),
        run=RunConfig(batch_size=1),
    )
    state = states.create(methods.load(config), config)
    for network, tree in found.items():
        if jax.tree.map(np.shape, tree) != jax.tree.map(np.shape, state.params[network]):
            raise ValueError(
                f"the {network} in {source} has other layers than {method}'s at {size} px: is --size right?"
            )
    params = state.params | jax.tree.map(jnp.asarray, found)
    state = state.replace(params=params, ema=jax.tree.map(jnp.copy, params))
    out.mkdir(parents=True, exist_ok=True)
    checkpoints = Checkpoints(out / "checkpoints")
    checkpoints.save(state, 0, {"iterator": None, "counts": None, "crop": dict.fromkeys((a, b), crop)})
    checkpoints.close()
    (out / "config.json").write_text(configs.to_json(config))
    return config

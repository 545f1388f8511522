"""Runs made of weights that the authors' PyTorch codes saved: to translate with, or to train on from."""

import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from xgan_jax import config as configs
from xgan_jax import method as methods
from xgan_jax.baselines import cyclegan, ugatit
from xgan_jax.config import Config, DataConfig, OptimizerConfig, RunConfig
from xgan_jax.method import Params
from xgan_jax.nets import from_torch
from xgan_jax.progress import say
from xgan_jax.runs import state as states
from xgan_jax.runs.checkpoint import Checkpoints, check_path
from xgan_jax.torch_weights import read_state, read_torch, state_of

METHODS = ("cyclegan", "ugatit")
_PARTS = ("G_A", "G_B", "G", "D_A", "D_B")


@dataclass
class Found:
    """What weight files hold: parameters by direction and by discriminator, the method's networks, and
    the side of the pictures where the weights tell it."""

    networks: Any
    generators: Params
    discriminators: Params = field(default_factory=dict)
    size: int | None = None


def _cyclegan_files(source: Path, epoch: str | None) -> dict[str, Path]:
    """{part: file} of a folder of EPOCH_net_PART.pth, or of one of its files; "G" for one generator alone.

    Raises:
      ValueError, FileNotFoundError: there are none; the sentence says what there is.
    """
    named = re.fullmatch(r"(.+)_net_(G_A|G_B|G|D_A|D_B)\.pth", source.name)
    if not source.is_dir():
        if epoch is not None:
            raise ValueError(f"--epoch goes with a folder, and --weights {source} is none: leave one away.")
        if named is None or named[2] == "G" or not source.is_file():
            return {"G": source}
        files = _of_epoch(source.parent, named[1])
        return files if {"G_A", "G_B"} <= set(files) else {named[2]: source}
    files = _of_epoch(source, epoch or "latest")
    if {"G_A", "G_B"} <= set(files) or "G" in files:
        return files
    epochs = sorted({path.name.rpartition("_net_")[0] for path in source.glob("*_net_G*.pth")})
    there = ", ".join(sorted(path.name for path in source.iterdir())[:6]) or "nothing"
    raise FileNotFoundError(
        f"{source} has no {epoch or 'latest'}_net_G_A.pth with its _net_G_B.pth, and no "
        f"{epoch or 'latest'}_net_G.pth, one generator alone (there is {there}): give "
        + (f"--epoch {epochs[-1]}, or " if epochs else "")
        + "the folder or the file that pytorch-CycleGAN-and-pix2pix saved."
    )


def _of_epoch(folder: Path, epoch: str) -> dict[str, Path]:
    files = {part: folder / f"{epoch}_net_{part}.pth" for part in _PARTS}
    return {part: path for part, path in files.items() if path.is_file()}


def _cyclegan(source: Path, epoch: str | None, a: str, b: str) -> Found:
    """Of a folder with latest_net_G_A.pth and latest_net_G_B.pth, and perhaps the discriminators: D_A judges
    B. Or of one generator alone, from A to B."""
    files = _cyclegan_files(source, epoch)
    say(f"{source}: CycleGAN's files {', '.join(path.name for path in files.values())}")
    directions = {"G_A": f"{a}2{b}", "G_B": f"{b}2{a}"} if "G" not in files else {"G": f"{a}2{b}"}
    generators = {
        direction: _read(files[part], from_torch.cyclegan_generator)
        for part, direction in directions.items()
        if part in files
    }
    first = next(iter(generators.values()))
    networks = cyclegan.Networks(
        first["blocks"]["conv1"]["kernel"].shape[0], first["stem"]["kernel"].shape[-1]
    )
    if not {"D_A", "D_B"} <= set(files):
        return Found(networks, generators)
    discriminators = {
        domain: _read(files[part], from_torch.cyclegan_discriminator)
        for domain, part in ((b, "D_A"), (a, "D_B"))
    }
    networks.discriminator_width = discriminators[a]["conv1"]["kernel"].shape[-1]
    return Found(networks, generators, discriminators)


def _read(path: Path, network: Any) -> Any:
    """A network's parameters, from the one state dict in a file."""
    state = read_state(path)
    try:
        return network(state)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _ugatit_file(source: Path, epoch: str | None) -> Path:
    """`source` itself, or the file of that epoch in a folder of UGATIT-pytorch's.

    Raises:
      FileNotFoundError: the folder has none, or several.
    """
    if not source.is_dir():
        return source
    files = sorted(source.glob(f"*_params_{epoch or 'latest'}.pt"))
    if len(files) == 1:
        return files[0]
    there = ", ".join(sorted(path.name for path in source.iterdir())[:6]) or "nothing"
    raise FileNotFoundError(
        f"{source} has {len(files)} files *_params_{epoch or 'latest'}.pt (there is {there}): give "
        "the file that UGATIT-pytorch saved."
    )


def _ugatit(source: Path, epoch: str | None, a: str, b: str) -> Found:
    """Of a file with genA2B, genB2A, and perhaps the four discriminators; full or light."""
    source = _ugatit_file(source, epoch)
    saved = read_torch(source)
    if not isinstance(saved, dict) or not {"genA2B", "genB2A"} <= set(saved):
        there = (
            ", ".join(list(map(str, saved))[:4]) if isinstance(saved, dict) and saved else "something else"
        )
        raise ValueError(
            f"{source} holds no genA2B and genB2A (it holds {there}): give the file that "
            "UGATIT-pytorch saved."
        )
    generators = {
        direction: _part(source, saved, part, from_torch.ugatit_generator)
        for direction, part in ((f"{a}2{b}", "genA2B"), (f"{b}2{a}", "genB2A"))
    }
    first = generators[f"{a}2{b}"]
    flat, deepest = first["fc1"]["kernel"].shape
    blocks = sum(name.endswith("_norm1") for name in first)
    networks = ugatit.Networks(blocks, first["stem"]["kernel"].shape[-1], light=flat == deepest)
    size = None if networks.light else 4 * math.isqrt(flat // max(1, deepest))
    say(f"{source}: U-GAT-IT, {'light' if networks.light else f'full, of {size} px'}")
    parts = {f"global_{a}": "disGA", f"global_{b}": "disGB", f"local_{a}": "disLA", f"local_{b}": "disLB"}
    if not set(parts.values()) <= set(saved):
        return Found(networks, generators, size=size)
    discriminators = {
        name: _part(source, saved, part, from_torch.ugatit_discriminator) for name, part in parts.items()
    }
    networks.discriminator_width = discriminators[f"local_{a}"]["conv1"]["kernel"].shape[-1]
    return Found(networks, generators, discriminators, size)


def _part(source: Path, saved: dict[str, Any], part: str, network: Any) -> Any:
    state = state_of(saved[part], f"{part} of {source}")
    try:
        return network(state)
    except ValueError as error:
        raise ValueError(f"{part} of {source}: {error}") from error


def _size(found: Found, size: int | None) -> int:
    """Raises:
    ValueError: the weights are of pictures of another size.
    """
    if size is not None and found.size is not None and size != found.size:
        raise ValueError(f"--size is {size}, but the weights are of {found.size} px: leave it away.")
    return found.size or size or 256


def _difference(theirs: Any, ours: Any) -> str | None:
    """The first layer that two trees of arrays or shapes do not have alike."""
    a, b = (
        {jax.tree_util.keystr(path, simple=True, separator="/"): x.shape for path, x in leaves}
        for leaves in (jax.tree_util.tree_leaves_with_path(tree) for tree in (theirs, ours))
    )
    name = next((name for name in sorted(a.keys() | b.keys()) if a.get(name) != b.get(name)), None)
    return name and f"{name} is {a.get(name, 'missing')}, not {b.get(name, 'there')}"


def convert(
    method: str,
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    domains: Sequence[str] = ("face", "anime"),
    size: int | None = None,
    crop: str = "center",
    epoch: str | None = None,
) -> Config:
    """A run at step 0 with the weights in `source`, for `xgan translate`, `eval.py --data` and `train.py`.

    Args:
      method: one of `METHODS`.
      source: for "cyclegan" the folder with latest_net_G_A.pth and latest_net_G_B.pth, or latest_net_G.pth
        alone, or a file of one generator; for "ugatit" the file, or its folder. Discriminators that are there
        come along, unless they have another depth than ours; others, and a generator that is not there, begin
        anew.
      out: the run's folder; it may not have checkpoints yet.
      domains: the names of the authors' A and B.
      size: side of the pictures that the networks were trained on; None for what the weights say, else 256.
      crop: how pictures are cut before translation: center, celeba or none.
      epoch: of several in a folder; None for the latest.

    Returns:
      the run's configuration: networks as the weights have them, the method's own losses, the authors' rate
      and batch, no decay.

    Raises:
      ValueError: the weights are of something else, `out` is a run already, or no checkpoint could be kept
        there.
      FileNotFoundError: a file is missing.
    """
    if method not in METHODS:
        raise ValueError(f"--method is {method!r}: use cyclegan, or ugatit (light or full: the file tells).")
    configs.check_domains(domains, "--domains")
    a, b = domains
    source, out = Path(source), Path(out)
    check_path(out)
    if (out / "config.json").exists():
        raise ValueError(f"{out} is a run already: give another --out.")
    if any((out / "checkpoints").glob("[!.]*")):
        raise ValueError(f"{out} is no run, but has checkpoints: give another --out.")
    found = {"cyclegan": _cyclegan, "ugatit": _ugatit}[method](source, epoch, a, b)
    config = _configuration(method, found, (a, b), _size(found, size))
    state = _begun(source, config, found)
    out.mkdir(parents=True, exist_ok=True)
    checkpoints = Checkpoints(out / "checkpoints")
    checkpoints.save(state, 0, {"iterator": None, "counts": None, "crop": dict.fromkeys((a, b), crop)})
    checkpoints.close()
    (out / "config.json").write_text(configs.to_json(config))
    return config


def _configuration(method: str, found: Found, domains: tuple[str, str], size: int) -> Config:
    config = Config(
        method=f"baselines.{method}",
        networks=found.networks,
        weights={"cyclegan": cyclegan, "ugatit": ugatit}[method].Weights(),
        data=DataConfig(domains=domains, size=size),
        optimizer=OptimizerConfig(learning_rate=2e-4 if method == "cyclegan" else 1e-4, ema_decay=0.0),
        run=RunConfig(batch_size=1),
    )
    configs.check_fields(config, "data", "networks")
    return config


def _begun(source: Path, config: Config, found: Found) -> states.TrainState:
    """The state of step 0, with the weights that are there; others as they are at the beginning of a run.

    Raises:
      ValueError: a generator has other layers than the method's.
    """
    method = methods.load(config)
    ours = jax.eval_shape(lambda: states.create(method, config)).params  # nothing is made for a wrong file
    for direction, theirs in found.generators.items():
        if difference := _difference(theirs, ours["generator"][direction]):
            raise ValueError(
                f"{source} is no generator of {config.method} at {config.data.size} px, whose layers are "
                f"others: {difference}."
            )
    discriminators = found.discriminators
    if discriminators and (difference := _difference(discriminators, ours["discriminator"])):
        say(f"  the discriminators begin anew, for theirs have other layers: {difference}")
        discriminators = {}
    for direction in ours["generator"].keys() - found.generators.keys():
        say(f"  {direction} is not among the weights: it is not trained, and translates to noise")
    state = states.create(method, config)
    params = dict(state.params)
    for network, theirs in (("generator", found.generators), ("discriminator", discriminators)):
        params[network] = params[network] | jax.tree.map(jnp.asarray, theirs)
    return state.replace(params=params, ema=jax.tree.map(jnp.copy, params))

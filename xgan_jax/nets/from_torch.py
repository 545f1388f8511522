"""Weights of the authors' PyTorch codes as parameters of our networks.

Each function takes a state dict, `{name: array}` as `torch_weights.read_state` reads it, and returns a
network's parameters. Kernels `[out, in, h, w]` become `[h, w, in, out]`, and those of transposed
convolutions, which PyTorch has as `[in, out, h, w]`, `[h, w, out, in]`: the same transposition.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from xgan_jax.nets.vgg import BLOCKS

State = Mapping[str, np.ndarray]
Params = dict[str, Any]


def _kernel(weight: np.ndarray) -> np.ndarray:
    return weight.transpose(2, 3, 1, 0) if weight.ndim == 4 else weight.T


def _numbered(name: str) -> list[Any]:
    """Sorts model.10 behind model.9."""
    return [int(part) if part.isdigit() else part for part in re.split(r"\.", name)]


def _convolutions(state: State) -> list[Params]:
    """Every convolution of a sequence, in its order: kernel and, where it has one, bias."""
    found = []
    for name in sorted(state, key=_numbered):
        stem, _, kind = name.rpartition(".")
        if state[name].ndim == 4 and kind in ("weight", "weight_orig"):
            layer = {"kernel": _kernel(state[name])}
            if f"{stem}.bias" in state:
                layer["bias"] = state[f"{stem}.bias"]
            found.append(layer)
    return found


def _stacked(layers: list[Params]) -> Params:
    shapes = [{name: x.shape for name, x in layer.items()} for layer in layers]
    if any(shape != shapes[0] for shape in shapes):
        raise ValueError("its residual blocks are not alike: not a generator of CycleGAN.")
    return {name: np.stack([layer[name] for layer in layers]) for name in layers[0]}


def _check_cyclegan(state: State) -> None:
    """Refuses what would be left out of a network without a word.

    Raises:
      ValueError: it is a U-Net, or its normalisation has weights.
    """
    if any("model.model." in name for name in state):
        raise ValueError("it is a U-Net, as pix2pix has: only residual generators (--netG resnet_...) fit.")
    weights = [name for name, x in state.items() if name.endswith(".weight") and x.ndim == 1]
    if weights:
        raise ValueError(
            f"its normalisation has weights ({weights[0]}), as --norm batch writes: only the authors' --norm "
            "instance, which has none, fits."
        )


def cyclegan_generator(state: State) -> Params:
    """Parameters of `resnet.ResNetGenerator` from a `latest_net_G_*.pth` of pytorch-CycleGAN-and-pix2pix.

    Raises:
      ValueError: it holds something else.
    """
    _check_cyclegan(state)
    convolutions = _convolutions(state)
    blocks = (len(convolutions) - 6) // 2
    if blocks < 1 or len(convolutions) % 2:
        raise ValueError(f"{len(convolutions)} convolutions are not those of a CycleGAN generator.")
    first, middle, last = convolutions[:3], convolutions[3 : 3 + 2 * blocks], convolutions[3 + 2 * blocks :]
    return {
        **dict(zip(("stem", "down1", "down2"), first, strict=True)),
        "blocks": {"conv1": _stacked(middle[0::2]), "conv2": _stacked(middle[1::2])},
        **dict(zip(("up1", "up2", "picture"), last, strict=True)),
    }


def cyclegan_discriminator(state: State) -> Params:
    """Parameters of `resnet.PatchDiscriminator` from a `latest_net_D_*.pth`.

    Raises:
      ValueError: it holds something else.
    """
    _check_cyclegan(state)
    convolutions = _convolutions(state)
    names = ("conv1", "conv2", "conv3", "conv4", "logits")
    if len(convolutions) != len(names):
        raise ValueError(f"{len(convolutions)} convolutions are not those of a 70x70 PatchGAN.")
    return dict(zip(names, convolutions, strict=True))


def vgg19(state: State) -> Params:
    """Parameters of `vgg.VGG19` from torchvision's VGG-19 (without batch normalisation).

    Raises:
      ValueError: it holds something else.
    """
    convolutions = _convolutions(state)
    names = [f"conv{i}_{j + 1}" for i, block in enumerate(BLOCKS, 1) for j in range(len(block))]
    if len(convolutions) != 16:
        raise ValueError(f"{len(convolutions)} convolutions are not those of VGG-19.")
    return dict(zip(names, convolutions, strict=False))


def _attention(state: State) -> Params:
    """CAM. Under spectral normalisation the weights that scale the maps are the ones before it."""
    params: Params = {"conv1x1": {"kernel": _kernel(state["conv1x1.weight"]), "bias": state["conv1x1.bias"]}}
    for name in ("gap_fc", "gmp_fc"):
        original = f"{name}.weight_orig"
        params[name] = _kernel(state[original if original in state else f"{name}.weight"])
    return params


def ugatit_generator(state: State) -> Params:
    """Parameters of `ugatit.Generator` from genA2B or genB2A of UGATIT-pytorch.

    Raises:
      ValueError: it holds something else.
    """
    try:
        down = _convolutions({k: v for k, v in state.items() if k.startswith("DownBlock.")})
        enlarging = {k: v for k, v in state.items() if k.startswith("UpBlock2.")}
        norms = sorted({k.rpartition(".")[0] for k in enlarging if k.endswith(".rho")}, key=_numbered)
        params: Params = dict(zip(("stem", "down1", "down2"), down, strict=False))
        for i, layer in enumerate(down[3:]):
            params[f"block{i // 2 + 1}_conv{i % 2 + 1}"] = layer
        params["attention"] = _attention(state)
        for ours, theirs in (("fc1", "FC.0"), ("fc2", "FC.2"), ("gamma", "gamma"), ("beta", "beta")):
            params[ours] = {"kernel": _kernel(state[f"{theirs}.weight"])}
        for i in range(1, len(down[3:]) // 2 + 1):
            for j in (1, 2):
                weight = state[f"UpBlock1_{i}.conv{j}.weight"]
                params[f"up_block{i}_conv{j}"] = {"kernel": _kernel(weight)}
                params[f"up_block{i}_norm{j}"] = {"rho": state[f"UpBlock1_{i}.norm{j}.rho"].reshape(-1)}
        last = _convolutions(enlarging)
        params |= dict(zip(("up1", "up2", "picture"), last, strict=True))
        for i, norm in enumerate(norms):
            params[f"up{i + 1}_norm"] = {
                name: state[f"{norm}.{name}"].reshape(-1) for name in ("rho", "gamma", "beta")
            }
    except KeyError as error:
        raise ValueError(f"no {error} among the weights: not a generator of U-GAT-IT.") from error
    except ValueError as error:  # more or fewer layers than names for them
        raise ValueError(f"its layers are other ones ({error}): not a generator of U-GAT-IT.") from error
    return params


def ugatit_discriminator(state: State) -> Params:
    """Parameters of `ugatit.Discriminator` from disGA, disGB, disLA or disLB of UGATIT-pytorch.

    Raises:
      ValueError: it holds something else.
    """
    try:
        layers = _convolutions({k: v for k, v in state.items() if k.startswith("model.")})
        params: Params = {f"conv{i + 1}": layer for i, layer in enumerate(layers)}
        params["attention"] = _attention(state)
        params["logits"] = {"kernel": _kernel(state["conv.weight_orig"])}
    except KeyError as error:
        raise ValueError(f"no {error} among the weights: not a discriminator of U-GAT-IT.") from error
    return params

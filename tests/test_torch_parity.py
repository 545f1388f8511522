"""Our methods and their PyTorch twins (benchmarks/torch_twin.py) compute the same numbers."""

import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from xgan_jax import method as methods
from xgan_jax.baselines import cyclegan
from xgan_jax.config import Config, DataConfig, RunConfig
from xgan_jax.runs import state as states
from xgan_jax.training import sharding
from xgan_jax.training.step import make_step
from xgan_jax.xgan import Networks, Weights

pytestmark = pytest.mark.torch


def xgan_config(norm: str, gan_form: str, size: int, cycle: float = 0.0) -> Config:
    return Config(
        method="xgan",
        networks=Networks(width=0.25, embedding_size=64, classifier_layers=2, norm=norm),
        weights=Weights(gan_form=gan_form, cycle=cycle),
        data=DataConfig(path="none", size=size, flip=False, shift=0),
        run=RunConfig(batch_size=8),
    )


def cyclegan_config() -> Config:
    return Config(
        method="baselines.cyclegan",
        networks=cyclegan.Networks(blocks=2, width=8, discriminator_width=8),
        weights=cyclegan.Weights(pool=0),
        data=DataConfig(path="none", size=64, flip=False, shift=0),
        run=RunConfig(batch_size=8),
    )


CASES = {
    "xgan": xgan_config("instance", "lsgan", 64),
    "without normalisation": xgan_config("none", "ns", 64),
    "32 px": xgan_config("instance", "ns", 32),
    "pixel cycle": xgan_config("instance", "lsgan", 32, cycle=10.0),
    "cyclegan": cyclegan_config(),
}


@pytest.mark.parametrize("name", CASES)
def test_losses_and_update_agree(name: str) -> None:
    import torch

    sys.path.insert(0, str(Path(__file__).parents[1]))
    from benchmarks import torch_twin

    config = CASES[name]
    size = config.data.size
    make_twin = torch_twin.CycleGAN if name == "cyclegan" else torch_twin.XGAN
    method = methods.load(config)
    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:1])
    state = states.create(method, config)
    before = jax.device_get(state.params)
    twin = make_twin(config, "cpu", channels_last=False, compiled=False)
    twin.load_ours(before)
    ours = sum(x.size for x in jax.tree.leaves(before))
    assert ours == sum(p.numel() for p in twin.parameters)

    rng = np.random.default_rng(0)
    batch = {d: rng.integers(0, 256, (8, size, size, 3), dtype=np.uint8) for d in config.data.domains}
    state = jax.device_put(state, sharding.replicated(mesh))
    new, metrics = make_step(method, config, mesh)(state, sharding.to_devices(batch, sharding.split(mesh)))
    floats = [torch.tensor(x.transpose(0, 3, 1, 2)).float() / 127.5 - 1 for x in batch.values()]
    terms = twin.step(floats, augmented=False)
    assert {f"loss/{name}" for name in terms} == {n for n in metrics if n.startswith("loss/")}
    for name, value in terms.items():
        np.testing.assert_allclose(float(metrics[f"loss/{name}"]), value.item(), rtol=2e-4, err_msg=name)

    # Adam's first step is the sign of the gradient, times the rate: parameters must move alike.
    reference = make_twin(config, "cpu", channels_last=False, compiled=False)
    reference.load_ours(jax.device_get(new.params))
    rate = config.optimizer.learning_rate
    differs, total = 0, 0
    for ours_p, theirs in zip(reference.parameters, twin.parameters, strict=True):
        difference = (ours_p - theirs).abs()
        # Gradients that are zero but for rounding have no stable sign (biases before a norm).
        differs += int((difference > 0.05 * rate).sum())
        total += difference.numel()
    assert differs < 0.02 * total

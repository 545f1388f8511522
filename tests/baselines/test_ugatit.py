"""U-GAT-IT: its networks to the parameter and, beside PyTorch, to the number; its losses; rho's clipping."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xgan_jax import losses
from xgan_jax import method as methods
from xgan_jax.baselines.ugatit import Networks, Weights
from xgan_jax.config import Config, DataConfig
from xgan_jax.method import Moment
from xgan_jax.nets.ugatit import Attention, Discriminator, Generator, layer_instance_norm

KEY = jax.random.key(0)


def tiny(**weights) -> Config:
    return Config(
        method="baselines.ugatit",
        networks=Networks(blocks=1, width=4, discriminator_width=4, light=True),
        weights=Weights(**weights),
        data=DataConfig(path="none", size=32),
    )


def batch(n: int = 2):
    keys = jax.random.split(jax.random.key(7), 2)
    return {
        d: jax.random.uniform(k, (n, 32, 32, 3), minval=-1)
        for d, k in zip(("face", "anime"), keys, strict=True)
    }


def count(network, size: int = 256) -> int:
    x = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    return sum(x.size for x in jax.tree.leaves(jax.eval_shape(network.init, KEY, x)))


def test_parameters_are_those_of_the_authors() -> None:
    assert count(Generator()) == 278_959_808
    assert count(Generator(light=True)) == 10_589_888
    # Convolutions with biases, CAM's two maps, the mixing 1x1, the logits.
    for layers, deepest in ((5, 512), (7, 2048)):
        expected, channels = 0, 3
        for i in range(layers - 1):
            expected += 16 * channels * (64 << i) + (64 << i)
            channels = 64 << i
        assert channels == deepest
        expected += 2 * deepest + 2 * deepest**2 + deepest + 16 * deepest
        assert count(Discriminator(layers)) == expected


@pytest.mark.parametrize(("size", "local", "whole"), [(64, 30, 6), (256, 30, 6)])
def test_shapes(size: int, local: int, whole: int) -> None:
    x = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
    picture, cam, attended = jax.eval_shape(lambda x: Generator(8, light=True).init_with_output(KEY, x)[0], x)
    assert picture.shape == x.shape and cam.shape == (2, 2) and attended.shape == (2, size // 4, size // 4)
    deepest = size.bit_length() - 2
    for layers, side in ((deepest - 2, local), (deepest, whole)):
        logits, cam, _ = jax.eval_shape(
            lambda x, n=layers: Discriminator(n, 4).init_with_output(KEY, x)[0], x
        )
        assert logits.shape == (2, side, side) and cam.shape == (2, 2)


def test_layer_instance_norm_by_hand() -> None:
    x = jax.random.normal(KEY, (2, 4, 4, 3)) * jnp.array([1.0, 5.0, 2.0]) + 3
    one, zero = jnp.ones((2, 3)), jnp.zeros((2, 3))
    instance = layer_instance_norm(x, jnp.ones(3), one, zero)
    np.testing.assert_allclose(instance.mean((1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(instance.std((1, 2), ddof=1), 1, rtol=1e-4)
    layer = layer_instance_norm(x, jnp.zeros(3), one, zero)
    np.testing.assert_allclose(layer.mean((1, 2, 3)), 0, atol=1e-5)
    assert float(layer[..., 1].std()) > 2 * float(layer[..., 0].std()), "channels keep their proportions"
    mixed = layer_instance_norm(x, jnp.full(3, 0.25), 2 * one, one)
    np.testing.assert_allclose(mixed, 2 * (0.25 * instance + 0.75 * layer) + 1, atol=1e-5)


@pytest.mark.slow  # a minute of compiling
def test_terms_and_players() -> None:
    method = methods.load(tiny())
    params, extra = jax.jit(method.init)(KEY)
    images = batch()

    @jax.jit
    def both(params):
        def total(params, player):
            terms = method.losses(player, Moment(params, extra, images, KEY, jnp.int32(0)))
            return sum(terms.losses.values()), terms

        return {p: jax.grad(total, has_aux=True)(params, p) for p in method.players}

    result = both(params)
    gradients, terms = result["generator"]
    directions = ("face2anime", "anime2face")
    assert set(terms.losses) == {
        f"{name}/{d}" for name in ("gan", "cycle", "identity", "cam") for d in directions
    } | {"decay/generator"}
    # At the start the classifier is at chance: two cross-entropies of ln 2, and CAM's logits are small.
    for direction in directions:
        assert terms.losses[f"cam/{direction}"] == pytest.approx(1000 * 2 * np.log(2), rel=1e-2)
    fake = method.translate(params, extra, images["face"], "face", "anime")
    expected = 0.0
    for name, layers in (("local", 2), ("global", 4)):
        variables = {"params": params["discriminator"][f"{name}_anime"]}
        for x in Discriminator(layers, 4).apply(variables, fake)[:2]:  # its logits and CAM's
            expected += float(jnp.square(x - 1).mean())
    assert terms.losses["gan/face2anime"] == pytest.approx(expected, rel=1e-4)
    assert terms.losses["decay/generator"] == pytest.approx(1e-4 * losses.weight_decay(params["generator"]))
    assert all(jnp.abs(x).max() > 0 for x in jax.tree.leaves(gradients["generator"]))
    gradients, terms = result["discriminator"]
    assert all((x == 0).all() for x in jax.tree.leaves(gradients["generator"])), "fakes are detached"
    for network in gradients["discriminator"].values():
        assert all(jnp.abs(x).max() > 0 for x in jax.tree.leaves(network))


def test_rho_is_clipped_and_nothing_else() -> None:
    method = methods.load(tiny())
    params, _ = jax.jit(method.init)(KEY)
    far = jax.tree.map(lambda x: x + 5.0, params)
    projected = method.project(far)
    flat, after = (jax.tree_util.tree_leaves_with_path(tree) for tree in (far, projected))
    clipped = 0
    for (path, x), (_, y) in zip(flat, after, strict=True):
        if path[-1].key == "rho":
            np.testing.assert_array_equal(y, 1.0)
            clipped += 1
        else:
            np.testing.assert_array_equal(x, y)
    assert clipped == 2 * (2 + 2), "two AdaLIN a block and two LIN, in both generators"


def test_a_domain_to_itself_is_the_identity_pass() -> None:
    method = methods.load(tiny())
    params, extra = jax.jit(method.init)(KEY)
    x = batch()["anime"]
    same = method.translate(params, extra, x, "anime", "anime")
    np.testing.assert_array_equal(same, method.translate(params, extra, x, "face", "anime"))
    assert method.attend(params, extra, x, "anime", "face").shape == (2, 8, 8)


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match=r"config.weights.cam is -1.0: use zero or more"):
        methods.load(tiny(cam=-1.0))
    config = tiny()
    config.data.domains = ("a", "b", "c")
    with pytest.raises(ValueError, match="U-GAT-IT needs two domains"):
        methods.load(config)


# --- Beside PyTorch ---------------------------------------------------------------------------------------


def torch_parts():
    """AdaLIN and CAM as plain PyTorch modules, from the paper's equations and the authors' layout."""
    import torch
    from torch import nn

    class TorchAdaLIN(nn.Module):
        def __init__(self, channels: int):
            super().__init__()
            self.rho = nn.Parameter(torch.full((1, channels, 1, 1), 0.9))

        def forward(self, x, gamma, beta):
            of_instance = (x - x.mean([2, 3], keepdim=True)) / torch.sqrt(x.var([2, 3], keepdim=True) + 1e-5)
            everything = [1, 2, 3]
            of_layer = (x - x.mean(everything, keepdim=True)) / torch.sqrt(
                x.var(everything, keepdim=True) + 1e-5
            )
            mixed = self.rho * of_instance + (1 - self.rho) * of_layer
            return mixed * gamma[:, :, None, None] + beta[:, :, None, None]

    class TorchCAM(nn.Module):
        def __init__(self, channels: int):
            super().__init__()
            self.gap_fc = nn.Linear(channels, 1, bias=False)
            self.gmp_fc = nn.Linear(channels, 1, bias=False)
            self.conv1x1 = nn.Conv2d(2 * channels, channels, 1)

        def forward(self, x):
            gap = nn.functional.adaptive_avg_pool2d(x, 1).flatten(1)
            gmp = nn.functional.adaptive_max_pool2d(x, 1).flatten(1)
            logits = torch.cat([self.gap_fc(gap), self.gmp_fc(gmp)], 1)
            maps = [x * fc.weight[:, :, None, None] for fc in (self.gap_fc, self.gmp_fc)]
            return self.conv1x1(torch.cat(maps, 1)), logits

    return TorchAdaLIN, TorchCAM


@pytest.mark.torch
def test_adalin_is_pytorchs() -> None:
    import torch

    twin = torch_parts()[0](6)
    rng = np.random.default_rng(0)
    x = rng.normal(2, 3, (3, 5, 7, 6)).astype(np.float32)
    gamma, beta = rng.normal(0, 1, (2, 3, 6)).astype(np.float32)
    rho = rng.uniform(0, 1, 6).astype(np.float32)
    twin.rho.data = torch.tensor(rho)[None, :, None, None]
    theirs = twin(torch.tensor(x.transpose(0, 3, 1, 2)), torch.tensor(gamma), torch.tensor(beta))
    ours = layer_instance_norm(jnp.asarray(x), jnp.asarray(rho), jnp.asarray(gamma), jnp.asarray(beta))
    np.testing.assert_allclose(ours, theirs.detach().numpy().transpose(0, 2, 3, 1), atol=1e-5)


@pytest.mark.torch
def test_cam_is_pytorchs() -> None:
    import torch

    twin = torch_parts()[1](6)
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1, (3, 5, 7, 6)).astype(np.float32)
    params = {
        "gap_fc": twin.gap_fc.weight.detach().numpy().T,
        "gmp_fc": twin.gmp_fc.weight.detach().numpy().T,
        "conv1x1": {
            "kernel": twin.conv1x1.weight.detach().numpy().transpose(2, 3, 1, 0),
            "bias": twin.conv1x1.bias.detach().numpy(),
        },
    }
    features, logits = Attention().apply({"params": params}, jnp.asarray(x))
    theirs, their_logits = twin(torch.tensor(x.transpose(0, 3, 1, 2)))
    np.testing.assert_allclose(features, theirs.detach().numpy().transpose(0, 2, 3, 1), atol=1e-5)
    np.testing.assert_allclose(logits, their_logits.detach().numpy(), atol=1e-5)

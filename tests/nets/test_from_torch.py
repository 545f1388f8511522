"""The authors' networks, written down in PyTorch with their names, give what ours give on their weights."""

from collections import OrderedDict
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xgan_jax import cli
from xgan_jax.nets import from_torch, resnet, ugatit, vgg
from xgan_jax.runs.load import load_run
from xgan_jax.training import loop

pytestmark = pytest.mark.torch


def pictures(n: int = 2, size: int = 32) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (n, size, size, 3)).astype(np.float32)


def their(module: Any, x: np.ndarray) -> list[np.ndarray]:
    """What a PyTorch module makes of pictures: every result, channels last."""
    import torch

    with torch.no_grad():
        results = module.eval()(torch.tensor(x.transpose(0, 3, 1, 2)))
    results = results if isinstance(results, tuple) else (results,)
    return [r.numpy().transpose(0, 2, 3, 1) if r.ndim == 4 else r.numpy() for r in results]


def state(module: Any) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in module.state_dict().items()}


def enlivened(module: Any) -> Any:
    """Weights of a scale at which signals neither die nor saturate, and biases that are not zero."""
    import torch

    torch.manual_seed(0)
    for name, weight in module.named_parameters():
        if weight.ndim > 1 and not name.endswith("rho"):
            torch.nn.init.normal_(weight, 0, weight[0].numel() ** -0.5)
        elif name.endswith("bias"):
            torch.nn.init.normal_(weight, 0, 0.1)
    return module


def cyclegan_generator(width: int, blocks: int) -> Any:
    """networks.ResnetGenerator."""
    from torch import nn

    class Block(nn.Module):
        def __init__(self, c: int):
            super().__init__()
            half = [nn.ReflectionPad2d(1), nn.Conv2d(c, c, 3), nn.InstanceNorm2d(c)]
            again = [nn.ReflectionPad2d(1), nn.Conv2d(c, c, 3), nn.InstanceNorm2d(c)]
            self.conv_block = nn.Sequential(*half, nn.ReLU(), *again)

        def forward(self, x):
            return x + self.conv_block(x)

    class Generator(nn.Module):
        def __init__(self):
            super().__init__()
            layers = [nn.ReflectionPad2d(3), nn.Conv2d(3, width, 7), nn.InstanceNorm2d(width), nn.ReLU()]
            for c in (width, 2 * width):
                layers += [nn.Conv2d(c, 2 * c, 3, 2, 1), nn.InstanceNorm2d(2 * c), nn.ReLU()]
            layers += [Block(4 * width) for _ in range(blocks)]
            for c in (4 * width, 2 * width):
                layers += [nn.ConvTranspose2d(c, c // 2, 3, 2, 1, 1), nn.InstanceNorm2d(c // 2), nn.ReLU()]
            layers += [nn.ReflectionPad2d(3), nn.Conv2d(width, 3, 7), nn.Tanh()]
            self.model = nn.Sequential(*layers)

        def forward(self, x):
            return self.model(x)

    return enlivened(Generator())


def cyclegan_discriminator(width: int) -> Any:
    """networks.NLayerDiscriminator."""
    from torch import nn

    layers: list[Any] = [nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2)]
    for c, stride in ((width, 2), (2 * width, 2), (4 * width, 1)):
        layers += [nn.Conv2d(c, 2 * c, 4, stride, 1), nn.InstanceNorm2d(2 * c), nn.LeakyReLU(0.2)]
    layers.append(nn.Conv2d(8 * width, 1, 4, 1, 1))
    return enlivened(nn.Sequential(OrderedDict(model=nn.Sequential(*layers))))


def cam_parts(module: Any, x: Any, weights: list[Any]) -> tuple[Any, Any]:
    """The maps of both poolings, and the logits."""
    import torch

    pooled = [torch.nn.functional.adaptive_avg_pool2d(x, 1), torch.nn.functional.adaptive_max_pool2d(x, 1)]
    fcs = (module.gap_fc, module.gmp_fc)
    logits = torch.cat([fc(p.flatten(1)) for fc, p in zip(fcs, pooled, strict=True)], 1)
    return torch.cat([x * w[:, :, None, None] for w in weights], 1), logits


def ugatit_generator(width: int, blocks: int, size: int, light: bool) -> Any:
    """networks.ResnetGenerator of UGATIT-pytorch."""
    import torch
    from torch import nn

    deep = 4 * width

    class Norm(nn.Module):
        def __init__(self, c: int, rho: float, own: bool):
            super().__init__()
            self.rho = nn.Parameter(torch.full((1, c, 1, 1), rho))
            if own:
                self.gamma = nn.Parameter(torch.full((1, c, 1, 1), 1.2))
                self.beta = nn.Parameter(torch.full((1, c, 1, 1), 0.1))

        def forward(self, x, gamma=None, beta=None):
            def normal(axes):
                return (x - x.mean(axes, True)) / torch.sqrt(x.var(axes, keepdim=True) + 1e-5)

            y = self.rho * normal([2, 3]) + (1 - self.rho) * normal([1, 2, 3])
            if gamma is None:
                return y * self.gamma + self.beta
            return y * gamma[:, :, None, None] + beta[:, :, None, None]

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            half = [nn.ReflectionPad2d(1), nn.Conv2d(deep, deep, 3, bias=False), nn.InstanceNorm2d(deep)]
            again = [nn.ReflectionPad2d(1), nn.Conv2d(deep, deep, 3, bias=False), nn.InstanceNorm2d(deep)]
            self.conv_block = nn.Sequential(*half, nn.ReLU(), *again)

        def forward(self, x):
            return x + self.conv_block(x)

    class AdaptiveBlock(nn.Module):
        def __init__(self):
            super().__init__()
            self.pad = nn.ReflectionPad2d(1)
            self.conv1, self.conv2 = (nn.Conv2d(deep, deep, 3, bias=False) for _ in range(2))
            self.norm1, self.norm2 = Norm(deep, 0.9, False), Norm(deep, 0.7, False)

        def forward(self, x, gamma, beta):
            y = torch.relu(self.norm1(self.conv1(self.pad(x)), gamma, beta))
            return x + self.norm2(self.conv2(self.pad(y)), gamma, beta)

    class Generator(nn.Module):
        def __init__(self):
            super().__init__()
            down = [
                nn.ReflectionPad2d(3),
                nn.Conv2d(3, width, 7, bias=False),
                nn.InstanceNorm2d(width),
                nn.ReLU(),
            ]
            for c in (width, 2 * width):
                down += [nn.ReflectionPad2d(1), nn.Conv2d(c, 2 * c, 3, 2, bias=False)]
                down += [nn.InstanceNorm2d(2 * c), nn.ReLU()]
            self.gap_fc, self.gmp_fc = (nn.Linear(deep, 1, bias=False) for _ in range(2))
            self.conv1x1 = nn.Conv2d(2 * deep, deep, 1)
            self.gamma, self.beta = (nn.Linear(deep, deep, bias=False) for _ in range(2))
            flat = deep if light else deep * (size // 4) ** 2
            for i in range(blocks):
                setattr(self, f"UpBlock1_{i + 1}", AdaptiveBlock())
            up: list[Any] = []
            for c in (deep, deep // 2):
                up += [nn.Upsample(scale_factor=2), nn.ReflectionPad2d(1)]
                up += [nn.Conv2d(c, c // 2, 3, bias=False), Norm(c // 2, 0.3, True), nn.ReLU()]
            up += [nn.ReflectionPad2d(3), nn.Conv2d(width, 3, 7, bias=False), nn.Tanh()]
            self.DownBlock = nn.Sequential(*down, *[Block() for _ in range(blocks)])
            first, second = nn.Linear(flat, deep, bias=False), nn.Linear(deep, deep, bias=False)
            self.FC = nn.Sequential(first, nn.ReLU(), second, nn.ReLU())
            self.UpBlock2 = nn.Sequential(*up)

        def forward(self, x):
            x = self.DownBlock(x)
            maps, logits = cam_parts(self, x, [self.gap_fc.weight, self.gmp_fc.weight])
            x = torch.relu(self.conv1x1(maps))
            heat = x.sum(1)
            flat = self.FC(x.mean([2, 3]) if light else x.flatten(1))
            gamma, beta = self.gamma(flat), self.beta(flat)
            for i in range(blocks):
                x = getattr(self, f"UpBlock1_{i + 1}")(x, gamma, beta)
            return self.UpBlock2(x), logits, heat

    return enlivened(Generator())


def ugatit_discriminator(width: int, layers: int) -> Any:
    """networks.Discriminator of UGATIT-pytorch."""
    import torch
    from torch import nn
    from torch.nn.utils import spectral_norm

    deep = width << (layers - 2)

    class Discriminator(nn.Module):
        def __init__(self):
            super().__init__()
            model: list[Any] = []
            c = 3
            for i in range(layers - 1):
                stride = 2 if i < layers - 2 else 1
                model += [nn.ReflectionPad2d(1), spectral_norm(nn.Conv2d(c, width << i, 4, stride))]
                model.append(nn.LeakyReLU(0.2))
                c = width << i
            self.gap_fc, self.gmp_fc = (spectral_norm(nn.Linear(deep, 1, bias=False)) for _ in range(2))
            self.conv1x1 = nn.Conv2d(2 * deep, deep, 1)
            self.pad = nn.ReflectionPad2d(1)
            self.conv = spectral_norm(nn.Conv2d(deep, 1, 4, bias=False))
            self.model = nn.Sequential(*model)

        def forward(self, x):
            x = self.model(x)
            weights = [next(self.gap_fc.parameters()), next(self.gmp_fc.parameters())]
            maps, logits = cam_parts(self, x, weights)
            x = nn.functional.leaky_relu(self.conv1x1(maps), 0.2)
            return self.conv(self.pad(x)), logits, x.sum(1)

    module = enlivened(Discriminator())
    # A largest singular value that stands out, and PyTorch's estimate of it converged.
    for name, weight in module.named_parameters():
        if name.endswith("weight_orig"):
            weight.data += 0.1
    for _ in range(50):
        module(torch.zeros(1, 3, 32, 32))
    return module


def test_cyclegan_generator() -> None:
    module = cyclegan_generator(4, 10)  # more layers than one digit numbers
    params = jax.tree.map(jnp.asarray, from_torch.cyclegan_generator(state(module)))
    ours = resnet.ResNetGenerator(10, 4).apply({"params": params}, jnp.asarray(pictures()))
    np.testing.assert_allclose(ours, their(module, pictures())[0], atol=1e-5)


def test_cyclegan_discriminator() -> None:
    module = cyclegan_discriminator(4)
    params = jax.tree.map(jnp.asarray, from_torch.cyclegan_discriminator(state(module)))
    ours = resnet.PatchDiscriminator(4).apply({"params": params}, jnp.asarray(pictures()))
    np.testing.assert_allclose(ours, their(module, pictures())[0][..., 0], atol=1e-5)


@pytest.mark.parametrize("light", [True, False])
def test_ugatit_generator(light: bool) -> None:
    module = ugatit_generator(4, 2, 32, light)
    params = jax.tree.map(jnp.asarray, from_torch.ugatit_generator(state(module)))
    ours = ugatit.Generator(4, 2, light).apply({"params": params}, jnp.asarray(pictures()))
    for x, y in zip(ours, their(module, pictures()), strict=True):
        np.testing.assert_allclose(x, y, atol=1e-5 * max(1, np.abs(y).max()))


def test_ugatit_discriminator() -> None:
    module = ugatit_discriminator(4, 4)
    params = jax.tree.map(jnp.asarray, from_torch.ugatit_discriminator(state(module)))
    ours = ugatit.Discriminator(4, 4).apply({"params": params}, jnp.asarray(pictures()))
    theirs = their(module, pictures())
    theirs[0] = theirs[0][..., 0]
    for x, y in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(x, y, atol=1e-5 * max(1, np.abs(y).max()))


def test_other_weights_are_refused() -> None:
    generator, discriminator = state(cyclegan_generator(4, 2)), state(cyclegan_discriminator(4))
    with pytest.raises(ValueError, match="10 convolutions are not those of a 70x70 PatchGAN"):
        from_torch.cyclegan_discriminator(generator)
    with pytest.raises(ValueError, match="5 convolutions are not those of a CycleGAN generator"):
        from_torch.cyclegan_generator(discriminator)
    with pytest.raises(ValueError, match=r"not a generator of U-GAT-IT"):
        from_torch.ugatit_generator(generator)
    with pytest.raises(ValueError, match=r"not a discriminator of U-GAT-IT"):
        from_torch.ugatit_discriminator(discriminator)


def test_a_converted_cyclegan_translates_and_trains_on(
    tmp_path: Path, records: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    theirs = {part: cyclegan_generator(4, 2) for part in ("G_A", "G_B")}
    theirs |= {part: cyclegan_discriminator(8) for part in ("D_A", "D_B")}
    for i, (part, module) in enumerate(theirs.items()):
        for weight in module.parameters():
            weight.data += 0.01 * i  # all four differ
        torch.save(module.state_dict(), tmp_path / f"latest_net_{part}.pth")
    out = tmp_path / "run"
    options = [
        "convert",
        "--method",
        "cyclegan",
        "--weights",
        str(tmp_path),
        "--out",
        str(out),
        "--size",
        "32",
    ]
    assert cli.main(options) == 0
    assert "--direction face2anime" in capsys.readouterr().out
    run = load_run(out)
    x = pictures()
    for (s, t), part in ((("face", "anime"), "G_A"), (("anime", "face"), "G_B")):
        ours = run.method.translate(run.params, run.extra, jnp.asarray(x), s, t)
        np.testing.assert_allclose(ours, their(theirs[part], x)[0], atol=1e-5)
    np.testing.assert_array_equal(
        run.params["discriminator"]["anime"]["conv1"]["bias"], state(theirs["D_A"])["model.0.bias"]
    )
    assert cli.main(options) == 2, "never over a run"
    assert "is a run already: give another --out" in capsys.readouterr().err
    config = run.config
    config.data.path, config.run.steps, config.run.batch_size = str(records), 2, 8
    config.run.allow_config_change = True
    loop.train(config, out)
    after = load_run(out)
    change = np.abs(
        np.asarray(after.params["generator"]["face2anime"]["stem"]["kernel"])
        - np.asarray(run.params["generator"]["face2anime"]["stem"]["kernel"])
    )
    assert after.step == 2 and 0 < change.max() < 1e-3, "two steps of 2e-4 from their weights"


def test_a_converted_ugatit_translates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    theirs = {part: ugatit_generator(4, 2, 32, True) for part in ("genA2B", "genB2A")}
    theirs["genB2A"].conv1x1.bias.data += 0.1
    file = tmp_path / "params_latest.pt"
    torch.save({part: module.state_dict() for part, module in theirs.items()}, file)
    options = ["--method", "ugatit", "--weights", str(file), "--domains", "selfie", "anime", "--size", "32"]
    assert cli.main(["convert", *options, "--out", str(tmp_path / "run")]) == 0
    run = load_run(tmp_path / "run")
    assert run.config.networks.light and run.config.networks.width == 4
    ours = run.method.translate(run.params, run.extra, jnp.asarray(pictures()), "anime", "selfie")
    np.testing.assert_allclose(ours, their(theirs["genB2A"], pictures())[0], atol=1e-5)
    torch.save({"something": torch.zeros(3)}, file)
    assert cli.main(["convert", *options, "--out", str(tmp_path / "other")]) == 2
    assert "holds no genA2B and genB2A" in capsys.readouterr().err


def test_vgg19() -> None:
    """Gatys et al.: average pooling, and maps after ReLU. torchvision's order of layers."""
    from torch import nn

    layers: list[Any] = []
    channels = 3
    for i, block in enumerate((*vgg.BLOCKS[:-1], (512,) * 4)):
        layers += [nn.AvgPool2d(2)] if i else []
        for features in block:
            layers += [nn.Conv2d(channels, features, 3, padding=1), nn.ReLU()]
            channels = features
    stack = enlivened(nn.Sequential(OrderedDict((str(i), layer) for i, layer in enumerate(layers))))
    x = pictures(1)
    normalised = ((x + 1) / 2 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    params = from_torch.vgg19({f"features.{name}": value for name, value in state(stack).items()})
    maps = vgg.VGG19().apply({"params": params}, jnp.asarray(x))
    after = [1, 3, 6, 8, 11, 13, 15, 17, 20, 22, 24, 26, 29]  # the ReLUs
    assert list(maps) == [f"conv{i}_{j + 1}" for i, b in enumerate(vgg.BLOCKS, 1) for j in range(len(b))]
    for ours, layer in zip(maps.values(), after, strict=True):
        (theirs,) = their(stack[: layer + 1], normalised.astype(np.float32))
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * max(1, np.abs(theirs).max()))

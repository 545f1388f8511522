"""Training steps in PyTorch: the same networks, losses, augmentation, Adam and average as ours.

Written as a competent PyTorch user would: the translations are computed once for both players, shared
layers see both domains in one call, Adam is fused. `load_ours` copies our parameters in, so that
`tests/test_torch_parity.py` can hold the two against each other.
"""

import itertools
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from xgan_jax.config import Config


class Norm(nn.Module):
    """Instance normalisation with scale and offset, or nothing."""

    def __init__(self, kind: str, channels: int):
        super().__init__()
        self.norm = nn.InstanceNorm2d(channels, affine=True) if kind == "instance" else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x)


class Down(nn.Module):
    """Strided 4x4 convolutions with normalisation and leaky ReLU."""

    def __init__(self, channels: list[int], norm: str, first_bare: bool = False):
        super().__init__()
        pairs = list(itertools.pairwise(channels))
        self.convs = nn.ModuleList(nn.Conv2d(i, o, 4, 2, 1) for i, o in pairs)
        self.norms = nn.ModuleList(
            Norm("none" if first_bare and k == 0 else norm, o) for k, (_, o) in enumerate(pairs)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.leaky_relu(norm(conv(x)), 0.2)
        return x


class Up(nn.Module):
    """Transposed 4x4 convolutions with normalisation and ReLU; the last is bare if `pixels`."""

    def __init__(self, channels: list[int], norm: str, pixels: bool = False):
        super().__init__()
        pairs = list(itertools.pairwise(channels))
        self.pixels = pixels
        self.convs = nn.ModuleList(nn.ConvTranspose2d(i, o, 4, 2, 1) for i, o in pairs)
        self.norms = nn.ModuleList(
            Norm("none" if pixels and k + 1 == len(pairs) else norm, o) for k, (_, o) in enumerate(pairs)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for k, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = norm(conv(x))
            if not (self.pixels and k + 1 == len(self.convs)):
                x = F.relu(x)
        return x


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, strength: float) -> torch.Tensor:
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> tuple[torch.Tensor, None]:
        return -ctx.strength * g, None


class Generator(nn.Module):
    """Both encoders and decoders, and the domain classifier: what the generator's optimiser owns."""

    def __init__(self, config: Config):
        super().__init__()
        n, size = config.networks, config.data.size
        e = n.embedding_size

        def down(side: int) -> int:
            return max(4, round(n.width * max(32, 1024 // side)))

        def up(side: int) -> int:
            return max(4, round(n.width * max(32, 2048 // side)))

        sides = [size >> i for i in range(1, size.bit_length()) if size >> i >= 4]
        private = [down(s) for s in sides if s >= 16]
        shared = [down(s) for s in sides if s < 16]
        self.encode_private = nn.ModuleList(Down([3, *private], n.norm) for _ in range(2))
        self.encode_shared = Down([private[-1], *shared], n.norm)
        self.fc1 = nn.Linear(16 * shared[-1], e)
        self.fc2 = nn.Linear(e, e)
        self.deconv1 = nn.ConvTranspose2d(e, up(4), 4)
        self.norm1 = Norm(n.norm, up(4))
        self.decode_shared = Up([up(4), up(8)], n.norm)
        sides = [s for s in reversed(sides) if s >= 16] if size > 32 else [16]
        self.decode_private = nn.ModuleList(
            Up([up(8), *[up(s) for s in sides if s < size], 3], n.norm, pixels=True) for _ in range(2)
        )
        layers: list[nn.Module] = []
        for _ in range(n.classifier_layers):
            layers += [nn.Linear(e, e), nn.LeakyReLU(0.2)]
        self.classifier = nn.Sequential(*layers, nn.Linear(e, 2))

    def encode(self, images: list[torch.Tensor]) -> list[torch.Tensor]:
        x = torch.cat([net(x) for net, x in zip(self.encode_private, images, strict=True)])
        x = self.encode_shared(x).flatten(1)
        return list(self.fc2(F.leaky_relu(self.fc1(x), 0.2)).float().chunk(2))

    def decode_all(self, z: list[torch.Tensor]) -> list[list[torch.Tensor]]:
        """pictures[s][t]: the embedding of domain s decoded as domain t."""
        x = self.deconv1(torch.cat(z)[:, :, None, None])
        x = self.decode_shared(F.relu(self.norm1(x)))
        columns = [torch.tanh(net(x).float()).chunk(2) for net in self.decode_private]
        return [[columns[t][s] for t in range(2)] for s in range(2)]

    def decode_back(self, z: list[torch.Tensor]) -> list[torch.Tensor]:
        """back[s]: the embedding of the translation in the other domain, decoded as domain s."""
        x = self.decode_shared(F.relu(self.norm1(self.deconv1(torch.cat(z)[:, :, None, None]))))
        return [torch.tanh(self.decode_private[s](x.chunk(2)[1 - s]).float()) for s in range(2)]


class Discriminators(nn.Module):
    """One for each target domain."""

    def __init__(self, config: Config):
        super().__init__()
        n = config.networks
        first, rest = (max(4, round(n.discriminator_width * c)) for c in (16, 32))
        depth = config.data.size.bit_length() - 3
        self.nets = nn.ModuleList(Down([3, first, *[rest] * (depth - 1)], n.norm, True) for _ in range(2))
        self.fc = nn.ModuleList(nn.Linear(16 * rest, 1) for _ in range(2))

    def forward(self, domain: int, x: torch.Tensor) -> torch.Tensor:
        return self.fc[domain](self.nets[domain](x).flatten(1))[:, 0].float()


def augment(images: torch.Tensor, shift: int) -> torch.Tensor:
    """uint8 `[b, 3, s, s]` to [-1, 1]: random mirror and shift with repeated edges, as ours."""
    x = images.float() / 127.5 - 1
    b, _, s, _ = x.shape
    x = torch.where(torch.rand(b, 1, 1, 1, device=x.device) < 0.5, x.flip(3), x)
    if shift:
        position = torch.arange(s, device=x.device)
        offset = torch.randint(-shift, shift + 1, (2, b, 1), device=x.device)
        rows, columns = (position + offset).clamp(0, s - 1)
        batch = torch.arange(b, device=x.device)[:, None, None]
        x = x.permute(0, 2, 3, 1)[batch, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    return x


class Twin:
    """A training step in PyTorch: fused Adam for both players at once, and the weights' average."""

    def __init__(
        self,
        config: Config,
        generator: nn.Module,
        discriminators: nn.Module,
        device: str,
        channels_last: bool,
        compiled: bool,
    ):
        self.config = config
        self.device = torch.device(device)
        self.autocast = config.run.compute_dtype == "bfloat16"
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        self.generator = generator.to(self.device, memory_format=self.format)
        self.discriminators = discriminators.to(self.device, memory_format=self.format)
        o = config.optimizer
        options: dict[str, Any] = {"betas": (o.b1, o.b2), "eps": o.eps, "fused": True}
        self.adam_g = torch.optim.Adam(self.generator.parameters(), o.learning_rate, **options)
        self.adam_d = torch.optim.Adam(
            self.discriminators.parameters(), o.learning_rate * o.discriminator_scale, **options
        )
        self.parameters = [*self.generator.parameters(), *self.discriminators.parameters()]
        self.average = [p.detach().clone() for p in self.parameters]
        self.losses = torch.compile(self._losses) if compiled else self._losses
        self.done = 0

    def _losses(self, images: list[torch.Tensor]) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        raise NotImplementedError

    def load_ours(self, params: dict[str, Any]) -> None:
        """Copies our parameters (as numpy arrays) in."""
        raise NotImplementedError

    def step(self, batch: list[torch.Tensor], augmented: bool = True) -> dict[str, torch.Tensor]:
        """One update of everything from uint8 `[b, 3, s, s]` of each domain (or, if not `augmented`,
        floats in [-1, 1])."""
        images = [augment(x, self.config.data.shift) if augmented else x for x in batch]
        images = [x.to(memory_format=self.format) for x in images]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            terms, d_terms = self.losses(images)
        g_parameters = list(self.generator.parameters())
        d_parameters = list(self.discriminators.parameters())
        g_gradients = torch.autograd.grad(sum(terms.values()), g_parameters, retain_graph=True)
        d_gradients = torch.autograd.grad(sum(d_terms.values()), d_parameters)
        for p, gradient in zip([*g_parameters, *d_parameters], [*g_gradients, *d_gradients], strict=True):
            p.grad = gradient
        self.adam_g.step()
        self.adam_d.step()
        decay = min(self.config.optimizer.ema_decay, (1 + self.done) / (10 + self.done))
        with torch.no_grad():
            torch._foreach_lerp_(self.average, self.parameters, 1 - decay)
        self.done += 1
        return terms | d_terms


def put(p: torch.Tensor, value: Any) -> None:
    """Copies an array into a parameter of the same shape."""
    value = torch.tensor(np.array(value))
    assert p.shape == value.shape, (p.shape, value.shape)
    with torch.no_grad():
        p.copy_(value)


def put_conv(layer: nn.Module, tree: dict[str, Any]) -> None:
    """Copies kernel and bias of a convolution, or of a transposed one."""
    put(layer.weight, tree["kernel"].transpose(3, 2, 0, 1))
    put(layer.bias, tree["bias"])


class XGAN(Twin):
    """The training step of the paper's XGAN, with pixel cycle where its weight is set."""

    def __init__(self, config: Config, device: str, channels_last: bool, compiled: bool):
        w = config.weights
        assert (w.reconstruction_distance, w.semantic_distance, w.gan_directions) == ("l2norm", "l1", "both")
        assert not (w.teacher or w.identity or w.total_variation or w.ramp_steps or w.r1)
        super().__init__(config, Generator(config), Discriminators(config), device, channels_last, compiled)

    def _gan(self, logits: torch.Tensor, real: bool) -> torch.Tensor:
        if self.config.weights.gan_form == "ns":
            return F.softplus(-logits if real else logits).mean()
        return ((logits - 1) if real else logits).square().mean()

    def _losses(self, images: list[torch.Tensor]) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        w, names = self.config.weights, self.config.data.domains
        g = self.generator
        z = g.encode(images)
        pictures = g.decode_all(z)
        translated = [pictures[1][0], pictures[0][1]]  # by target
        z_translated = g.encode(translated)
        back = g.decode_back(z_translated) if w.cycle else []
        terms: dict[str, torch.Tensor] = {}
        d_terms: dict[str, torch.Tensor] = {}
        for s in range(2):
            t = 1 - s
            error = (images[s] - pictures[s][s]).float().square().sum((1, 2, 3))
            terms[f"reconstruction/{names[s]}"] = w.reconstruction * (error + 1e-12).sqrt().mean()
            reversed_z = _Reverse.apply(z[s], w.reversal)
            if self.config.networks.classifier_normalise:
                reversed_z = F.layer_norm(reversed_z, reversed_z.shape[1:], eps=1e-6)
            label = torch.full((len(z[s]),), s, device=z[s].device)
            terms[f"domain_adversarial/{names[s]}"] = w.domain_adversarial * F.cross_entropy(
                g.classifier(reversed_z).float(), label
            )
            scale = z[s].detach().std(0, correction=0).mean() + 1e-6 if w.semantic_standardise else 1.0
            source = z[s].detach() if w.semantic_detach else z[s]
            terms[f"semantic/{names[s]}2{names[t]}"] = (
                w.semantic * ((source - z_translated[t]) / scale).abs().mean()
            )
            if w.cycle:
                terms[f"cycle/{names[s]}2{names[t]}"] = w.cycle * (images[s] - back[s]).abs().mean()
            fake = pictures[s][t]
            terms[f"gan/{names[s]}2{names[t]}"] = w.gan * self._gan(self.discriminators(t, fake), True)
            half = 0.5 if w.gan_form == "lsgan" else 1.0
            d_terms[f"discriminator/{names[s]}2{names[t]}"] = (
                w.gan * half
                * (
                    self._gan(self.discriminators(t, images[t]), True)
                    + self._gan(self.discriminators(t, fake.detach()), False)
                )
            )  # fmt: skip
        return terms, d_terms

    def load_ours(self, params: dict[str, Any]) -> None:
        """Copies our parameters (as numpy arrays) in."""
        names = self.config.data.domains

        def norm(layer: Norm, tree: dict[str, Any] | None) -> None:
            if isinstance(layer.norm, nn.InstanceNorm2d):
                assert tree is not None
                put(layer.norm.weight, tree["scale"])
                put(layer.norm.bias, tree["bias"])

        def linear(layer: nn.Linear, tree: dict[str, Any], channels: int | None = None) -> None:
            kernel = tree["kernel"]
            if channels:  # pixels before channels, as our flattened maps; PyTorch's are the other way
                kernel = kernel.reshape(-1, channels, kernel.shape[-1]).transpose(1, 0, 2)
                kernel = kernel.reshape(-1, kernel.shape[-1])
            put(layer.weight, kernel.T)
            put(layer.bias, tree["bias"])

        def stack(module: Down | Up, tree: dict[str, Any], one: Any, name: str) -> None:
            for k, (layer, n) in enumerate(zip(module.convs, module.norms, strict=True), 1):
                one(layer, tree[f"{name}{k}"])
                norm(n, tree.get(f"norm{k}"))

        g, e, d = self.generator, params["encoder"], params["decoder"]
        for i, domain in enumerate(names):
            stack(g.encode_private[i], e[f"private_{domain}"], put_conv, "conv")
            stack(g.decode_private[i], d[f"private_{domain}"], put_conv, "deconv")
            tree = params["discriminator"][domain]
            stack(self.discriminators.nets[i], tree, put_conv, "conv")
            linear(self.discriminators.fc[i], tree["fc1"], self.discriminators.fc[i].in_features // 16)
        stack(g.encode_shared, e["shared"], put_conv, "conv")
        linear(g.fc1, e["fc1"], g.fc1.in_features // 16)
        linear(g.fc2, e["fc2"])
        kernel = d["deconv1"]["kernel"]
        put(g.deconv1.weight, kernel.reshape(kernel.shape[0], 4, 4, -1).transpose(0, 3, 1, 2))
        put(g.deconv1.bias, d["bias1"])
        norm(g.norm1, d.get("norm1"))
        stack(g.decode_shared, d["shared"], put_conv, "deconv")
        layers = [layer for layer in g.classifier if isinstance(layer, nn.Linear)]
        tree = params["classifier"]
        for k, layer in enumerate(layers, 1):
            linear(layer, tree["logits"] if k == len(layers) else tree[f"fc{k}"])


class Residual(nn.Module):
    """CycleGAN's residual block."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(channels, channels, 3) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(F.instance_norm(self.conv1(F.pad(x, (1, 1, 1, 1), mode="reflect"))))
        return x + F.instance_norm(self.conv2(F.pad(y, (1, 1, 1, 1), mode="reflect")))


class ResNet(nn.Module):
    """CycleGAN's generator."""

    def __init__(self, blocks: int, width: int):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 7)
        self.down = nn.ModuleList(nn.Conv2d(width << i, width << (i + 1), 3, 2, 1) for i in range(2))
        self.blocks = nn.Sequential(*(Residual(4 * width) for _ in range(blocks)))
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(width << (2 - i), width << (1 - i), 3, 2, 1, 1) for i in range(2)
        )
        self.picture = nn.Conv2d(width, 3, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(F.instance_norm(self.stem(F.pad(x, (3, 3, 3, 3), mode="reflect"))))
        for layer in self.down:
            x = F.relu(F.instance_norm(layer(x)))
        x = self.blocks(x)
        for layer in self.up:
            x = F.relu(F.instance_norm(layer(x)))
        return torch.tanh(self.picture(F.pad(x, (3, 3, 3, 3), mode="reflect")).float())

    def load_ours(self, tree: dict[str, Any]) -> None:
        put_conv(self.stem, tree["stem"])
        put_conv(self.picture, tree["picture"])
        for i in range(2):
            put_conv(self.down[i], tree[f"down{i + 1}"])
            put_conv(self.up[i], tree[f"up{i + 1}"])
        for i, block in enumerate(self.blocks):
            for name in ("conv1", "conv2"):
                put_conv(getattr(block, name), {k: v[i] for k, v in tree["blocks"][name].items()})


class Patch(nn.Module):
    """The 70x70 PatchGAN."""

    def __init__(self, width: int):
        super().__init__()
        widths = [3, *(width << i for i in range(4)), 1]
        strides = (2, 2, 2, 1, 1)
        self.convs = nn.ModuleList(
            nn.Conv2d(i, o, 4, stride, 1)
            for (i, o), stride in zip(itertools.pairwise(widths), strides, strict=True)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.leaky_relu(self.convs[0](x), 0.2)
        for layer in self.convs[1:-1]:
            x = F.leaky_relu(F.instance_norm(layer(x)), 0.2)
        return self.convs[-1](x)[:, 0].float()

    def load_ours(self, tree: dict[str, Any]) -> None:
        for layer, name in zip(self.convs, ("conv1", "conv2", "conv3", "conv4", "logits"), strict=True):
            put_conv(layer, tree[name])


class CycleGAN(Twin):
    """The training step of CycleGAN with identity loss; past translations are not kept (`pool` = 0)."""

    def __init__(self, config: Config, device: str, channels_last: bool, compiled: bool):
        n, w = config.networks, config.weights
        assert w.identity and w.cycle and w.gan and not w.pool and not n.resize
        generators = nn.ModuleList(ResNet(n.blocks, n.width) for _ in range(2))
        discriminators = nn.ModuleList(Patch(n.discriminator_width) for _ in range(2))
        super().__init__(config, generators, discriminators, device, channels_last, compiled)

    def _losses(self, images: list[torch.Tensor]) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        w, names = self.config.weights, self.config.data.domains
        made = [self.generator[s](torch.cat([images[s], images[1 - s]])).chunk(2) for s in range(2)]
        terms: dict[str, torch.Tensor] = {}
        d_terms: dict[str, torch.Tensor] = {}
        for s in range(2):
            t = 1 - s
            fake, same = made[s]
            name = f"{names[s]}2{names[t]}"
            judge = self.discriminators[s]  # of this direction's target
            terms[f"gan/{name}"] = w.gan * (judge(fake) - 1).square().mean()
            terms[f"cycle/{name}"] = w.cycle * (images[s] - self.generator[t](fake)).abs().mean()
            terms[f"identity/{name}"] = w.identity * (images[t] - same).abs().mean()
            real_loss, fake_loss = (judge(images[t]) - 1).square(), judge(fake.detach()).square()
            d_terms[f"discriminator/{name}"] = 0.5 * w.gan * (real_loss.mean() + fake_loss.mean())
        return terms, d_terms

    def load_ours(self, params: dict[str, Any]) -> None:
        names = self.config.data.domains
        for s in range(2):
            self.generator[s].load_ours(params["generator"][f"{names[s]}2{names[1 - s]}"])
            self.discriminators[s].load_ours(params["discriminator"][names[1 - s]])

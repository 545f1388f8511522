"""A method with all that a run can meet, small enough to be compiled in a moment.

Two players that look at each other, random numbers, state beside the parameters, a penalty, an embedding.
What is tested of runs with it holds for every method: `tests/test_recipes.py` does the same with each.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from xgan_jax import losses as formulas
from xgan_jax import method as methods
from xgan_jax.config import Config, DataConfig, OptimizerConfig, RunConfig
from xgan_jax.method import Method, Moment, Terms
from xgan_jax.xgan import Networks as XGANNetworks
from xgan_jax.xgan import Weights as XGANWeights

sys.modules["xgan_jax.small"] = sys.modules[__name__]  # where a configuration looks for its method


@dataclass
class Networks:
    width: int = 4


@dataclass
class Weights:
    r1: float = 0.0


def dense(key, inputs: int, outputs: int):
    kernel = jax.random.normal(key, (inputs, outputs)) / inputs**0.5
    return {"kernel": kernel, "bias": jnp.zeros(outputs)}


def applied(layer, x):
    return x @ layer["kernel"] + layer["bias"]


class Small(Method):
    """Embeds a picture's 4 x 4 means; each domain draws from them, and judges what the other drew."""

    def __init__(self, config: Config):
        super().__init__(config)
        self.players = {"generator": ("encoder", "decoder"), "discriminator": ("discriminator",)}

    def init(self, key):
        width, keys = self.config.networks.width, iter(jax.random.split(key, 9))
        encoder = {"fc1": dense(next(keys), 48, width), "fc2": dense(next(keys), width, width)}
        decoder = {d: dense(next(keys), width, 48) for d in self.domains}
        discriminator = {
            d: {"fc1": dense(next(keys), 48, width), "logit": dense(next(keys), width, 1)}
            for d in self.domains
        }
        params = {"encoder": encoder, "decoder": decoder, "discriminator": discriminator}
        return params, {"seen": {d: jnp.zeros(3) for d in self.domains}}

    def embed(self, params, extra, images, domain):
        side = images.shape[1] // 4
        means = images.reshape(len(images), 4, side, 4, side, 3).mean((2, 4)).reshape(-1, 48)
        encoder = params["encoder"]
        return applied(encoder["fc2"], jnp.tanh(applied(encoder["fc1"], means)))

    def generate(self, params, extra, z, target):
        coarse = jnp.tanh(applied(params["decoder"][target], z)).reshape(-1, 4, 4, 3)
        return jax.image.resize(coarse, (len(z), self.size, self.size, 3), "nearest")

    def translate(self, params, extra, images, source, target):
        return self.generate(params, extra, self.embed(params, extra, images, source), target)

    def judge(self, params, domain, images):
        layers, side = params["discriminator"][domain], self.size // 4
        means = images.reshape(len(images), 4, side, 4, side, 3).mean((2, 4)).reshape(-1, 48)
        return applied(layers["logit"], jnp.tanh(applied(layers["fc1"], means)))[:, 0]

    def generator_losses(self, now):
        terms = {}
        for i, (s, t) in enumerate(self.directions):
            noise = 0.1 * jax.random.normal(jax.random.fold_in(now.key, i), now.batch[s].shape)
            z = self.embed(now.params, now.extra, now.batch[s] + noise, s)
            drawn = self.generate(now.params, now.extra, z, t)
            own = self.generate(now.params, now.extra, z, s)
            terms[f"reconstruction/{s}"] = jnp.square(own - now.batch[s]).mean()
            terms[f"semantic/{s}2{t}"] = jnp.abs(self.embed(now.params, now.extra, drawn, t) - z).mean()
            terms[f"gan/{s}2{t}"] = jnp.square(self.judge(now.params, t, drawn) - 1).mean()
        seen = {d: 0.9 * now.extra["seen"][d] + 0.1 * now.batch[d].mean((0, 1, 2)) for d in self.domains}
        return Terms(terms, {}, {"seen": seen})

    def discriminator_losses(self, now):
        terms = {}
        for s, t in self.directions:
            drawn = jax.lax.stop_gradient(self.translate(now.params, now.extra, now.batch[s], s, t))
            real, fake = (self.judge(now.params, t, x) for x in (now.batch[t], drawn))
            terms[f"discriminator/{s}2{t}"] = formulas.gan_discriminator(real, fake)
            if self.config.weights.r1:
                with jax.named_scope("penalty"):
                    slope = formulas.r1(lambda x, t=t: self.judge(now.params, t, x), now.batch[t])
                terms[f"r1/{t}"] = self.config.weights.r1 * slope
        return Terms(terms, {}, {})


build = Small


def small_config(records: Path, **run) -> Config:
    """A run of it on `records`, of 32 px."""
    data = DataConfig(path=str(records), size=32)
    return Config("small", Networks(), Weights(), data, run=RunConfig(batch_size=8, **run))


def xgan_config(records: Path | str, norm: str = "instance", **run) -> Config:
    """XGAN as small as it gets. All tests that train it take this one: it is compiled once a session."""
    networks = XGANNetworks(
        width=0.125, discriminator_width=0.25, embedding_size=32, classifier_layers=1, norm=norm
    )
    data = DataConfig(path=str(records), size=32, shift=2, colour=0.1)
    optimizer = OptimizerConfig(learning_rate=1e-3)
    return Config("xgan", networks, XGANWeights(), data, optimizer, RunConfig(batch_size=8, **run))


def poison(monkeypatch: pytest.MonkeyPatch, where: Callable[[Moment], jax.Array]) -> None:
    """One term of the small method is NaN at the moments for which `where` is true."""
    sound_load = methods.load

    def load(config: Config):
        method = sound_load(config)
        sound = method.losses

        def losses(player, now):
            terms = sound(player, now)
            if player == "generator":
                terms.losses["semantic/face2anime"] += jnp.where(where(now), jnp.nan, 0.0)
            return terms

        method.losses = losses
        return method

    monkeypatch.setattr(methods, "load", load)

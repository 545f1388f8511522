"""Everything a run needs to go on: one pytree, saved and donated as a whole."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax

from xgan_jax.config import Config, decay_of
from xgan_jax.method import Extra, Method, Params


@dataclass(frozen=True)
class TrainState:
    """`ema` is the moving average of `params`, which evaluation uses; `extra` the method's own state
    (batch statistics, replay pools). A pytree: its leaves may also be shapes or shardings, so they are
    typed loosely."""

    step: Any  # int32 scalar: steps made
    key: Any  # the run's key; each step folds its number into it
    params: Params
    ema: Params
    optimizer: dict[str, Any]  # {player: optax state}
    extra: Extra

    def replace(self, **changes: Any) -> "TrainState":
        return dataclasses.replace(self, **changes)


jax.tree_util.register_dataclass(
    TrainState,
    data_fields=[field.name for field in dataclasses.fields(TrainState)],
    meta_fields=[],
)


def learning_rate(config: Config, player: str) -> optax.Schedule | float:
    """A player's, a number, or where it falls to zero a function of the steps made (`config.decay_of`)."""
    rate = config.optimizer.learning_rate
    if player == "discriminator":
        rate *= config.optimizer.discriminator_scale
    start, length = decay_of(config)
    return optax.linear_schedule(rate, 0.0, length, start) if length else rate


def make_optimizer(config: Config, player: str) -> optax.GradientTransformation:
    """Adam with the player's learning rate."""
    o = config.optimizer
    return optax.adam(learning_rate(config, player), b1=o.b1, b2=o.b2, eps=o.eps)


def owned(params: Params, networks: tuple[str, ...]) -> Params:
    """The part of `params` that a player updates."""
    return {name: params[name] for name in networks}


def create(method: Method, config: Config) -> TrainState:
    """The state before the first step, from `config.run.seed`."""
    init_key, key = jax.random.split(jax.random.key(config.run.seed))
    params, extra = method.init(init_key)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        key=key,
        params=params,
        # A copy: the step donates its input, and one buffer cannot be donated twice.
        ema=jax.tree.map(jnp.copy, params),
        optimizer={
            player: make_optimizer(config, player).init(owned(params, networks))
            for player, networks in method.players.items()
        },
        extra=extra,
    )

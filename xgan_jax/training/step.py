"""The one training step: all players, all losses, all updates and the moving average in one jit."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, Float, Int32, Key, UInt8

from xgan_jax.config import Config
from xgan_jax.data.augment import augment, to_float
from xgan_jax.method import Images, Method, Moment, Params, Terms
from xgan_jax.runs.state import TrainState, make_optimizer, owned
from xgan_jax.startup import compiler_options
from xgan_jax.training.sharding import gather, replicated, split, split_calls

Batch = dict[str, UInt8[Array, "b s s 3"]]
Numbers = dict[str, Int32[Array, "b"]]
Metrics = dict[str, Float[Array, "*k"]]


def batch_sharding(config: Config, mesh: Mesh) -> NamedSharding:
    """How the step takes its batch: split over the devices, but for mere numbers of pictures."""
    if config.data.cache == "device":
        return replicated(mesh)
    return split(mesh) if config.run.steps_per_call == 1 else split_calls(mesh)


def make_step(method: Method, config: Config, mesh: Mesh) -> Any:
    """The jitted step: `(state, uint8 batch) -> (state, metrics)`; the given state is donated.

    Players move at the same time, from the same parameters (XGAN section 4: "simultaneously"), so what
    their losses share is computed once. `metrics`: "loss/TERM" (weighted), "gradient/NETWORK" (2-norm),
    the method's measures, and "finite": 1, or 0 when a term or gradient was NaN or infinite; the state
    is then left exactly as it was, but for the step count.

    With `config.data.cache` = "device" the batch holds the pictures' numbers, and the pictures are a third
    argument (`sharding.resident`). With `config.run.steps_per_call` = k > 1 one call makes k steps: the
    batch's leaves and the metrics have a leading dimension k.
    """

    def train_step(state: TrainState, batch: Any, *pictures: Any) -> tuple[TrainState, Metrics]:
        def one(state: TrainState, batch: Any) -> tuple[TrainState, Metrics]:
            return step(method, config, state, gathered(batch, pictures[0], mesh) if pictures else batch)

        return one(state, batch) if config.run.steps_per_call == 1 else lax.scan(one, state, batch)

    everywhere = replicated(mesh)
    pictures = (split(mesh),) if config.data.cache == "device" else ()
    return jax.jit(
        train_step,
        donate_argnums=0,
        compiler_options=compiler_options(),
        in_shardings=(everywhere, batch_sharding(config, mesh), *pictures),
        out_shardings=(everywhere, everywhere),
    )


def step(method: Method, config: Config, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
    """The state after one update of every player, and what `make_step` says of metrics."""
    augment_key, loss_key = jax.random.split(jax.random.fold_in(state.key, state.step))
    images = augmented(config, batch, augment_key)
    now = Moment(state.params, state.extra, images, loss_key, state.step)
    params, extra = dict(state.params), dict(state.extra)
    optimizer: dict[str, Any] = {}
    metrics: Metrics = {}
    for player in method.players:
        gradients, terms = gradients_of(method, player, now)
        moved, optimizer[player] = moved_by(config, player, gradients, state)
        params |= moved
        extra |= terms.extra
        metrics |= {f"loss/{name}": value for name, value in terms.losses.items()} | terms.measures
        metrics |= {f"gradient/{name}": optax.tree.norm(gradient) for name, gradient in gradients.items()}
    if method.players and not any(name.startswith("loss/") for name in metrics):
        raise ValueError("every weight in config.weights is zero, so nothing would be learnt: set one.")
    params = method.project(params)
    finite = jnp.stack([jnp.isfinite(value) for value in metrics.values()]).all()
    after = state.replace(params=params, optimizer=optimizer, extra=extra)
    with jax.named_scope("update"):
        after = averaged(config, kept_where(finite, after, state), finite)
    # A step that was skipped still counts, so that the next one has other pictures and another key.
    return after.replace(step=state.step + 1), metrics | {"finite": finite.astype(jnp.float32)}


@jax.named_scope("gather")
def gathered(numbers: Numbers, pictures: dict[str, UInt8[Array, "n s s 3"]], mesh: Mesh) -> Batch:
    """The pictures of these numbers."""
    return {domain: gather(pictures[domain], numbers[domain], mesh) for domain in numbers}


@jax.named_scope("augmentation")
def augmented(config: Config, batch: Batch, key: Key[Array, ""]) -> dict[str, Images]:
    """In [-1, 1], as `config.data` says."""
    return {
        domain: augment(to_float(batch[domain]), jax.random.fold_in(key, i), config.data)
        for i, domain in enumerate(config.data.domains)
    }


def gradients_of(method: Method, player: str, now: Moment) -> tuple[Params, Terms]:
    """Of the sum of the player's terms, by the networks that it owns; and the terms."""

    def total(mine: Params) -> tuple[Float[Array, ""], Terms]:
        with jax.named_scope(player):
            terms = method.losses(player, dataclasses.replace(now, params=now.params | mine))
        return sum(terms.losses.values(), jnp.zeros(())), terms

    gradients, terms = jax.grad(total, has_aux=True)(owned(now.params, method.players[player]))
    return gradients, terms


@jax.named_scope("update")
def moved_by(config: Config, player: str, gradients: Params, state: TrainState) -> tuple[Params, Any]:
    """The player's networks after its optimiser's update, and the optimiser's state after it."""
    mine = owned(state.params, tuple(gradients))
    optimizer = make_optimizer(config, player)
    updates, moments = optimizer.update(gradients, state.optimizer[player], mine)
    moved: Params = optax.apply_updates(mine, updates)
    return moved, moments


def kept_where(finite: Array, after: TrainState, before: TrainState) -> TrainState:
    """`after`, or where it is not `finite` what was there `before`."""
    params, optimizer, extra = jax.tree.map(
        lambda new, old: jnp.where(finite, new, old),
        (after.params, after.optimizer, after.extra),
        (before.params, before.optimizer, before.extra),
    )
    return after.replace(params=params, optimizer=optimizer, extra=extra)


def averaged(config: Config, state: TrainState, finite: Array) -> TrainState:
    """The moving average takes the parameters in.

    Early averages would be mostly the random start: they begin short, as (1 + n) / (10 + n).
    """
    n = state.step.astype(jnp.float32)
    decay = jnp.minimum(config.optimizer.ema_decay, (1.0 + n) / (10.0 + n))
    ema = jax.tree.map(
        lambda old, new: jnp.where(finite, old + (1 - decay) * (new - old), old), state.ema, state.params
    )
    return state.replace(ema=ema)

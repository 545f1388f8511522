"""The one training step: all players, all losses, all updates and the moving average in one jit."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, Float, Int32, UInt8

from xgan_jax.config import Config
from xgan_jax.data.augment import augment, to_float
from xgan_jax.method import Method, Params, Terms
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

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        augment_key, loss_key = jax.random.split(jax.random.fold_in(state.key, state.step))
        with jax.named_scope("augmentation"):
            images = {
                domain: augment(to_float(batch[domain]), jax.random.fold_in(augment_key, i), config.data)
                for i, domain in enumerate(config.data.domains)
            }
        metrics: Metrics = {}
        updated: Params = dict(state.params)
        optimizers: dict[str, Any] = {}
        extra = dict(state.extra)
        for player, networks in method.players.items():

            def total(mine: Params, player: str = player) -> tuple[Float[Array, ""], Terms]:
                params = state.params | mine
                with jax.named_scope(player):
                    terms = method.losses(player, params, state.extra, images, loss_key, state.step)
                return sum(terms.losses.values(), jnp.zeros(())), terms

            mine = owned(state.params, networks)
            gradients, terms = jax.grad(total, has_aux=True)(mine)
            with jax.named_scope("update"):
                updates, optimizers[player] = make_optimizer(config.optimizer, player).update(
                    gradients, state.optimizer[player], mine
                )
                updated |= optax.apply_updates(mine, updates)
            extra |= terms.extra
            metrics |= {f"loss/{name}": value for name, value in terms.losses.items()}
            metrics |= terms.measures
            metrics |= {f"gradient/{name}": optax.tree.norm(gradients[name]) for name in networks}
        updated = method.project(updated)
        finite = jnp.stack([jnp.isfinite(value) for value in metrics.values()]).all()
        with jax.named_scope("update"):
            params, optimizers, extra = jax.tree.map(
                lambda after, before: jnp.where(finite, after, before),
                (updated, optimizers, extra),
                (state.params, state.optimizer, state.extra),
            )
            # Early averages would be mostly the random start: begin short, as (1 + n) / (10 + n).
            n = state.step.astype(jnp.float32)
            decay = jnp.minimum(config.optimizer.ema_decay, (1.0 + n) / (10.0 + n))
            ema = jax.tree.map(
                lambda old, new: jnp.where(finite, old + (1 - decay) * (new - old), old), state.ema, params
            )
        # A step that was skipped still counts, so that the next one has other pictures and another key.
        new = TrainState(state.step + 1, state.key, params, ema, optimizers, extra)
        return new, metrics | {"finite": finite.astype(jnp.float32)}

    def cached_step(
        state: TrainState, numbers: Numbers, pictures: dict[str, UInt8[Array, "n s s 3"]]
    ) -> tuple[TrainState, Metrics]:
        with jax.named_scope("gather"):
            batch = {domain: gather(pictures[domain], numbers[domain], mesh) for domain in numbers}
        return step(state, batch)

    def train_step(state: TrainState, batch: Any, *pictures: Any) -> tuple[TrainState, Metrics]:
        one = cached_step if pictures else step
        if config.run.steps_per_call == 1:
            return one(state, batch, *pictures)
        return lax.scan(lambda state, batch: one(state, batch, *pictures), state, batch)

    everywhere = replicated(mesh)
    pictures = (split(mesh),) if config.data.cache == "device" else ()
    return jax.jit(
        train_step,
        donate_argnums=0,
        compiler_options=compiler_options(),
        in_shardings=(everywhere, batch_sharding(config, mesh), *pictures),
        out_shardings=(everywhere, everywhere),
    )

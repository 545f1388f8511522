"""The one training step: all players, all losses, all updates and the moving average in one jit."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float, UInt8

from xgan_jax.config import Config
from xgan_jax.data.augment import augment, to_float
from xgan_jax.method import Method, Params, Terms
from xgan_jax.training.sharding import replicated, split
from xgan_jax.training.state import TrainState, make_optimizer, owned

Batch = dict[str, UInt8[Array, "b s s 3"]]
Metrics = dict[str, Float[Array, ""]]
Step = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]


def make_step(method: Method, config: Config, mesh: Mesh) -> Step:
    """The compiled step: `(state, uint8 batch) -> (state, metrics)`; the given state is donated.

    Players move at the same time, from the same parameters (XGAN section 4: "simultaneously"), so what
    their losses share is computed once. `metrics`: "loss/TERM" (weighted), "gradient/NETWORK" (2-norm),
    the method's measures, and "finite": 1, or 0 when a term or gradient was NaN or infinite; the state
    is then left exactly as it was, but for the step count.
    """

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        augment_key, loss_key = jax.random.split(jax.random.fold_in(state.key, state.step))
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
                terms = method.losses(player, params, state.extra, images, loss_key, state.step)
                return sum(terms.losses.values(), jnp.zeros(())), terms

            mine = owned(state.params, networks)
            gradients, terms = jax.grad(total, has_aux=True)(mine)
            updates, optimizers[player] = make_optimizer(config.optimizer, player).update(
                gradients, state.optimizer[player], mine
            )
            updated |= optax.apply_updates(mine, updates)
            extra |= terms.extra
            metrics |= {f"loss/{name}": value for name, value in terms.losses.items()}
            metrics |= terms.measures
            metrics |= {f"gradient/{name}": optax.tree.norm(gradients[name]) for name in networks}
        updated = method.project(updated)
        # Early averages would be mostly the random start: begin short, as (1 + n) / (10 + n).
        n = state.step.astype(jnp.float32)
        decay = jnp.minimum(config.optimizer.ema_decay, (1.0 + n) / (10.0 + n))
        ema = jax.tree.map(lambda old, new: old + (1 - decay) * (new - old), state.ema, updated)
        finite = jnp.stack([jnp.isfinite(value) for value in metrics.values()]).all()
        new = state.replace(params=updated, ema=ema, optimizer=optimizers, extra=extra)
        # Key and step are not selected: a key cannot be, and a skipped step still counts.
        kept = jax.tree.map(
            lambda after, before: jnp.where(finite, after, before),
            (new.params, new.ema, new.optimizer, new.extra),
            (state.params, state.ema, state.optimizer, state.extra),
        )
        params, ema, optimizers, extra = kept
        new = TrainState(state.step + 1, state.key, params, ema, optimizers, extra)
        return new, metrics | {"finite": finite.astype(jnp.float32)}

    everywhere = replicated(mesh)
    return jax.jit(
        step,
        donate_argnums=0,
        in_shardings=(everywhere, split(mesh)),
        out_shardings=(everywhere, everywhere),
    )

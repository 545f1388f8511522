"""How the networks of this room learn."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import optax

from xgan_jax.progress import tracked
from xgan_jax.startup import compiler_options


def learn(
    loss: Callable[..., Any], variables: Any, batches: Iterable[Any], steps: int, seed: int, label: str
) -> Any:
    """`variables` after `steps` steps of Adam, whose rate falls from 1e-3 to zero along a cosine.

    Args:
      loss: `(params, batch_stats, batch, key)` to (what shall be small, a scalar; the new batch statistics).
      variables: {"params": ..., "batch_stats": ...}; their memory is used again.
      batches: `steps` of them or more, each a tree of arrays, always of the same shapes.
      seed: of the keys, one a step.
      label: what is learnt, for who waits for it.

    Returns:
      the variables, in NumPy.
    """
    optimizer = optax.adam(optax.cosine_decay_schedule(1e-3, steps))

    @jax.jit(compiler_options=compiler_options(), donate_argnums=(0, 1))
    def step(variables: Any, state: Any, batch: Any, key: jax.Array) -> Any:
        gradient = jax.grad(loss, has_aux=True)
        gradients, batch_stats = gradient(variables["params"], variables["batch_stats"], batch, key)
        updates, state = optimizer.update(gradients, state)
        params = optax.apply_updates(variables["params"], updates)
        return {"params": params, "batch_stats": batch_stats}, state

    state = optimizer.init(variables["params"])
    key = jax.random.key(seed)
    numbered = zip(range(steps), batches, strict=False)
    for i, batch in tracked(numbered, steps, label, "steps"):
        variables, state = step(variables, state, batch, jax.random.fold_in(key, i))
    return jax.device_get(variables)

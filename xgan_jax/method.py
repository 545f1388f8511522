"""The contract that every translation method fulfils; `xgan.py` is the one to read."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import multihost_utils
from jaxtyping import Array, Float, Int, Key

from xgan_jax.config import Config, method_module

Images = Float[Array, "b s s c"]  # in [-1, 1]
Params = dict[str, Any]  # {network: its parameters}
Extra = dict[str, Any]  # state that is not a parameter: batch statistics, a replay pool, ...


class Terms(NamedTuple):
    """What a player's loss returns.

    `losses`: {term: weighted scalar}; the player minimises their sum. `measures`: {name: scalar},
    logged only. `extra`: the entries of `Extra` that change.
    """

    losses: dict[str, Float[Array, ""]]
    measures: dict[str, Float[Array, ""]]
    extra: Extra


def _unchanged(params: Params) -> Params:
    return params


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Method:
    """Pure functions; the training step and the evaluation know nothing else of a method.

    `init(key)`: parameters by network, and the extra state.
    `players`: which networks each player updates; a network that no player owns stays frozen.
    `losses(player, params, extra, batch, key, step)`: the player's terms. `batch` is
      {domain: [b, s, s, 3] in [-1, 1]}. Every player gets the same key and parameters, so the compiler
      computes what their losses share (the translations) once.
    `translate(params, extra, images, source, target)`: `[b, s, s, 3]` to `[b, s, s, 3]`, in [-1, 1].
    `embed(params, extra, images, domain)`: `[b, s, s, 3]` to `[b, e]`, where the method has one.
    `attend(params, extra, images, source, target)`: `[b, s, s, 3]` to where the translation's network looks,
      `[b, h, w]`, larger is more, where the method has attention.
    `generate(params, extra, z, target)`: `[b, e]` as `embed` gives to pictures, where they need nothing else.
    `translate_like(params, extra, images, reference, source, target)`: a translation to the last domain that
      follows pictures of it, where the method can be told what to follow.
    `mix(params, extra, images, source, target, amount)`: a translation in a style between the domains', 0 the
      source's, 1 the target's, where a domain is a style.
    `prepare()`: called once before the first step, on every process: learns or loads what the losses need and
      the parameters do not hold.
    `project(params)`: applied to the parameters after every update (clipping, for example).
    """

    init: Callable[[Key[Array, ""]], tuple[Params, Extra]]
    players: Mapping[str, tuple[str, ...]]
    losses: Callable[[str, Params, Extra, dict[str, Images], Key[Array, ""], Int[Array, ""]], Terms]
    translate: Callable[[Params, Extra, Images, str, str], Images]
    embed: Callable[[Params, Extra, Images, str], Float[Array, "b e"]] | None = None
    attend: Callable[[Params, Extra, Images, str, str], Float[Array, "b h w"]] | None = None
    generate: Callable[[Params, Extra, Float[Array, "b e"], str], Images] | None = None
    translate_like: Callable[[Params, Extra, Images, Images, str, str], Images] | None = None
    mix: Callable[[Params, Extra, Images, str, str, Any], Images] | None = None
    prepare: Callable[[], None] = _nothing
    project: Callable[[Params], Params] = _unchanged


def load(config: Config) -> Method:
    """The method that `config.method` names, wired as `config` says.

    Raises:
      ValueError: no such method, a weight below zero, or it refuses the configuration.
    """
    for name, value in vars(config.weights).items():
        if not isinstance(value, str) and not 0 <= value < float("inf"):
            raise ValueError(f"config.weights.{name} is {value}: use zero or more.")
    method: Method = method_module(config.method).build(config)
    return method


def abstract_init(method: Method) -> tuple[Params, Extra]:
    """Shapes and dtypes of `method.init`'s result, without computing it."""
    result: tuple[Params, Extra] = jax.eval_shape(method.init, jax.random.key(0))
    return result


Teacher = tuple[Any, Callable[[Any, Images], Float[Array, "b e"]]]


def load_frozen(config: Config, field: str) -> tuple[Any, Callable[[Any, Images], Any]]:
    """A network that no player moves: calls the function that `config.networks.FIELD` names, with `config`.

    The name is "package.module:function". It returns (params, apply): a dict of arrays, and a function whose
    pictures, `apply(params, images, ...)`, are `[b, s, s, 3]` in [-1, 1]. Several processes get the arrays of
    the first, for each may have learnt its own.

    Raises:
      ValueError: there is no such function, or it refuses.
    """
    name = getattr(config.networks, field)
    module, _, function = name.partition(":")
    try:
        params, apply = getattr(importlib.import_module(module), function)(config)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"config.networks.{field} is {name!r}, which does not load ({error}): "
            'give "package.module:function" of a function that returns (params, apply).'
        ) from error
    if jax.process_count() > 1:
        params = multihost_utils.broadcast_one_to_all(params)
    return params, apply


def load_teacher(config: Config) -> Teacher:
    """A frozen embedding of pictures, `config.networks.teacher` (see `load_frozen`).

    Its `apply(params, images [b, s, s, 3]) -> [b, config.networks.embedding_size]`.

    Raises:
      ValueError: it does not load, or gives another number of numbers.
    """
    params, apply = load_frozen(config, "teacher")
    size = config.data.size
    example = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
    shape = jax.eval_shape(apply, params, example).shape
    if shape != (2, config.networks.embedding_size):
        raise ValueError(
            f"config.networks.teacher gives {shape} for 2 pictures: it must give as many numbers a "
            f"picture as config.networks.embedding_size, (2, {config.networks.embedding_size})."
        )
    return params, apply

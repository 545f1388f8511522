"""The contract that every translation method fulfils; `xgan.py` is the one to read."""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
from jax.experimental import multihost_utils
from jaxtyping import Array, Float, Int, Key

from xgan_jax.config import Config, check_fields, method_module, require, where_it_is_now

Images = Float[Array, "b s s c"]  # in [-1, 1]
Embeddings = Float[Array, "b e"]
Params = dict[str, Any]  # {network: its parameters}
Extra = dict[str, Any]  # state that is not a parameter: batch statistics, a replay pool, ...
Direction = tuple[str, str]  # source and target domain
Losses = dict[str, Float[Array, ""]]  # {term: scalar}


@dataclass(frozen=True)
class Moment:
    """What every loss of a step may look at. All players of a step see the same one.

    `batch` is {domain: [b, s, s, 3] in [-1, 1]}.
    """

    params: Params
    extra: Extra
    batch: dict[str, Images]
    key: Key[Array, ""]
    step: Int[Array, ""]


class Terms(NamedTuple):
    """What a player minimises, and what comes with it.

    `losses`: the weighted terms; the player minimises their sum. `measures`: {name: scalar}, logged only.
    `extra`: the entries of `Extra` that change.
    """

    losses: Losses
    measures: dict[str, Float[Array, ""]]
    extra: Extra


class Method(ABC):
    """A translation method: its networks are fields, its losses short methods, all of them pure.

    The training step and the evaluation know nothing else of a method. What not every method can do stands in
    the protocols below (`Embeds`, `Generates`, ...): ask with `isinstance(method, Embeds)`.
    """

    # Which networks each player updates; a network that no player owns stays frozen.
    players: dict[str, tuple[str, ...]]

    def __init__(self, config: Config):
        """Checks and networks are added by each method.

        Raises:
          ValueError: the configuration makes no sense for this method; the sentence says what to use.
        """
        self.config = config
        self.domains: tuple[str, ...] = tuple(config.data.domains)
        self.directions: tuple[Direction, ...] = tuple(
            (s, t) for s in self.domains for t in self.domains if s != t
        )
        self.size = config.data.size
        self.dtype = jnp.dtype(config.run.compute_dtype)

    @abstractmethod
    def init(self, key: Key[Array, ""]) -> tuple[Params, Extra]:
        """Parameters by network, and the extra state."""

    def losses(self, player: str, now: Moment) -> Terms:
        """The player's terms, by its own method: those of the player "generator" are `generator_losses(now)`.

        Every player gets the same `now`, so the compiler computes what their losses share (the translations)
        once. A method whose players do not all move in every step, or that grows, overrides this.
        """
        terms: Terms = getattr(self, f"{player}_losses")(now)
        return terms

    @abstractmethod
    def translate(self, params: Params, extra: Extra, images: Images, source: str, target: str) -> Images:
        """`[b, s, s, 3]` to `[b, s, s, 3]`, in [-1, 1]; of a domain to itself, what is left of it."""

    def delays(self) -> dict[str, tuple[int, int]]:
        """{field of the configuration: its value, and the step at which begins what it delays}; who starts a
        run that ends before is told."""
        return {}

    def prepare(self) -> None:  # noqa: B027
        """Called once before the first step, on every process: learns or loads what the losses need and the
        parameters do not hold."""

    def project(self, params: Params) -> Params:
        """Applied to the parameters after every update (clipping, for example)."""
        return params

    def blank(self, channels: int = 3) -> Images:
        """One picture of zeros, `[1, s, s, channels]`: networks are made by looking at it."""
        return jnp.zeros((1, self.size, self.size, channels))


@runtime_checkable
class Embeds(Protocol):
    """A method with an embedding that domains share."""

    def embed(self, params: Params, extra: Extra, images: Images, domain: str) -> Embeddings: ...


@runtime_checkable
class Generates(Embeds, Protocol):
    """A method that draws from embeddings alone."""

    def generate(self, params: Params, extra: Extra, z: Embeddings, target: str) -> Images: ...


@runtime_checkable
class Attends(Protocol):
    """A method whose translating network looks somewhere: `[b, h, w]`, larger is more."""

    def attend(
        self, params: Params, extra: Extra, images: Images, source: str, target: str
    ) -> Float[Array, "b h w"]: ...


@runtime_checkable
class Follows(Protocol):
    """A method whose translations to the last domain can be told to follow pictures of it."""

    def translate_like(
        self, params: Params, extra: Extra, images: Images, reference: Images, source: str, target: str
    ) -> Images: ...


@runtime_checkable
class Mixes(Protocol):
    """A method where a domain is a style: translations in one between, 0 the source's, 1 the target's."""

    def mix(
        self, params: Params, extra: Extra, images: Images, source: str, target: str, amount: Any
    ) -> Images: ...


class Seen:
    """What the losses of a step share. A method's own adds to it, as cached properties, what several of them
    need: computed once, when it is first asked for."""

    def __init__(self, model: Any, now: Moment):
        self.model = model
        self.params, self.extra, self.batch = now.params, now.extra, now.batch
        self.key, self.step = now.key, now.step


S = TypeVar("S")


def weighted(
    seen: S, losses: Mapping[Callable[[S], Losses], float], grown: float | Float[Array, ""] = 1.0
) -> Losses:
    """The terms of {loss: its weight}, each loss asked with what is `seen`; `grown` is 0 to 1, on top.

    A loss of weight zero is not asked, so neither it nor what it alone needs is computed.
    """
    return {
        name: weight * grown * value
        for loss, weight in losses.items()
        if weight
        for name, value in loss(seen).items()
    }


def apply(
    network: Any, params: Any, statistics: Any, *inputs: Any, train: bool, **options: Any
) -> tuple[Any, Any]:
    """What a network gives, and its batch statistics after it; None in, None out where it has none.

    In training, batch normalisation uses the call's own and moves these averages; else it uses these.
    """
    if statistics is None:
        return network.apply({"params": params}, *inputs, train=train, **options), None
    variables = {"params": params, "batch_stats": statistics}
    if not train:
        return network.apply(variables, *inputs, train=False, **options), statistics
    result, changed = network.apply(variables, *inputs, train=True, mutable=["batch_stats"], **options)
    return result, changed["batch_stats"]


def load(config: Config) -> Method:
    """The method that `config.method` names, wired as `config` says.

    Raises:
      ValueError: no such method, or it refuses the configuration.
    """
    module = method_module(config.method)
    require(
        isinstance(config.networks, module.Networks) and isinstance(config.weights, module.Weights),
        f"config.method is {config.method!r}, but the networks and weights are of "
        f"{type(config.networks).__module__}: choose a method by its recipe, --config configs/NAME.py.",
    )
    check_fields(config, "networks", "weights")
    method: Method = module.build(config)
    return method


def two_domains(config: Config, who: str) -> Direction:
    """The two domains, for methods that know of no third.

    Raises:
      ValueError: there are not two; `who` begins the sentence's second half ("CycleGAN needs").
    """
    domains = tuple(config.data.domains)
    require(len(domains) == 2, f"config.data.domains is {domains}: {who} two domains.")
    return domains[0], domains[1]


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
    name = where_it_is_now(getattr(config.networks, field))
    module, _, function = name.partition(":")
    try:
        params, frozen = getattr(importlib.import_module(module), function)(config)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"config.networks.{field} is {name!r}, which does not load ({error}): "
            'give "package.module:function" of a function that returns (params, apply).'
        ) from error
    if jax.process_count() > 1:
        params = multihost_utils.broadcast_one_to_all(params)
    return params, frozen


def load_teacher(config: Config) -> Teacher:
    """A frozen embedding of pictures, `config.networks.teacher` (see `load_frozen`).

    Its `apply(params, images [b, s, s, 3]) -> [b, config.networks.embedding_size]`.

    Raises:
      ValueError: it does not load, or gives another number of numbers.
    """
    params, teacher = load_frozen(config, "teacher")
    size = config.data.size
    example = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
    shape = jax.eval_shape(teacher, params, example).shape
    if shape != (2, config.networks.embedding_size):
        raise ValueError(
            f"config.networks.teacher gives {shape} for 2 pictures: it must give as many numbers a "
            f"picture as config.networks.embedding_size, (2, {config.networks.embedding_size})."
        )
    return params, teacher

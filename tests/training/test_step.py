"""The one step: who is updated, on how many devices, and what happens to a bad batch."""

import dataclasses
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small import xgan_config

from xgan_jax import losses as formulas
from xgan_jax import method as methods
from xgan_jax.config import Config, OptimizerConfig
from xgan_jax.method import Method, Moment, Terms
from xgan_jax.nets.discriminator import Discriminator
from xgan_jax.runs import state as states
from xgan_jax.training import sharding
from xgan_jax.training.step import make_step
from xgan_jax.xgan import Weights


def tiny(**changes) -> Config:
    return xgan_config("none", **changes)


def mesh_of(devices: int):
    axes = (jax.sharding.AxisType.Auto,)
    return jax.make_mesh((devices,), ("data",), axis_types=axes, devices=jax.devices()[:devices])


def batch_of(step: int, size: int = 32, n: int = 8):
    rng = np.random.default_rng(step)
    return {d: rng.integers(0, 256, (n, size, size, 3), dtype=np.uint8) for d in ("face", "anime")}


class Program:
    """The step compiled once, as the loop does it, for so many devices."""

    def __init__(self, config: Config, devices: int, method: Method | None = None, **options):
        self.config = config
        self.mesh = mesh_of(devices)
        self.method = method or methods.load(config)
        self.create = jax.jit(lambda: states.create(self.method, config))
        shape = (config.run.batch_size, config.data.size, config.data.size, 3)
        batch = {d: jax.ShapeDtypeStruct(shape, jnp.uint8) for d in config.data.domains}
        lowered = make_step(self.method, config, self.mesh).lower(jax.eval_shape(self.create), batch)
        self.step = lowered.compile(options or None)

    def start(self, state=None):
        return jax.device_put(state or self.create(), sharding.replicated(self.mesh))

    def next(self, state, i: int):
        size, n = self.config.data.size, self.config.run.batch_size
        return self.step(state, sharding.to_devices(batch_of(i, size, n), sharding.split(self.mesh)))

    def train(self, steps: int, state=None):
        """The state after `steps` steps and the metrics of each, as numpy arrays."""
        state, every = self.start(state), []
        for i in range(steps):
            state, metrics = self.next(state, i)
            every.append(jax.device_get(metrics))
        return host(state), every


def host(state):
    return jax.device_get(dataclasses.replace(state, key=jax.random.key_data(state.key)))


def assert_same_bits(a, b) -> None:
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


# --- What the step promises to any method, shown by one whose numbers can be worked out ------------------


class Toy(Method):
    """Two players that look at each other's parameters, a frozen network, a counter, and a clip."""

    def __init__(self, fault: str = ""):
        self.fault = fault
        self.players = {"generator": ("a",), "discriminator": ("b",)}

    def init(self, key):
        params = {name: {"w": jnp.array([value])} for name, value in (("a", 1.0), ("b", 3.0), ("still", 7.0))}
        return params, {"counter": jnp.zeros(())}

    def generator_losses(self, now):
        a, b = (now.params[n]["w"].sum() for n in ("a", "b"))
        loss = jnp.square(a - b)
        if self.fault == "loss":
            loss = loss + jnp.where(now.step == 1, jnp.inf, 0.0)
        if self.fault == "gradient":  # the value stays finite
            loss = loss + jnp.sqrt(jnp.where(now.step == 1, 0.0, 1.0) * jnp.square(a))
        measures = {"draw": jax.random.uniform(now.key), "brightest": now.batch["face"].max()}
        return Terms({"pull": loss}, measures, {"counter": now.extra["counter"] + 1})

    def discriminator_losses(self, now):
        a, b, still = (now.params[n]["w"].sum() for n in ("a", "b", "still"))
        return Terms({"push": jnp.square(b - a) + 0 * still}, {}, {})

    def project(self, params):
        return params | {"b": {"w": jnp.clip(params["b"]["w"], -2.5, 2.5)}}

    def translate(self, params, extra, images, source, target):
        return images


def toy_program(fault: str = "") -> Program:
    config = tiny()
    config.data.size, config.run.batch_size = 32, 2
    config.optimizer = OptimizerConfig(learning_rate=0.25, discriminator_scale=2.0, ema_decay=0.5)
    return Program(config, 1, Toy(fault))


def test_players_move_at_once_then_projection_then_average() -> None:
    state, (first, second) = toy_program().train(2)
    # Both gradients are those at a = 1, b = 3, whoever moved first.
    assert first["gradient/a"] == first["gradient/b"] == pytest.approx(4)
    # Adam's first step is the learning rate: a = 1.25, b = 2.5 (as clipped as without).
    assert second["loss/pull"] == pytest.approx(1.25**2, rel=1e-5)
    assert second["gradient/b"] == pytest.approx(2.5, rel=1e-5)
    a, b = state.params["a"]["w"][0], state.params["b"]["w"][0]
    assert 1.4 < a < 1.5 and 1.9 < b < 2.1
    assert state.params["still"]["w"] == state.ema["still"]["w"] == 7, "no player owns it"
    # Decay 1/10 after the first step, 2/11 after the second.
    once = 1 + 0.9 * 0.25
    assert state.ema["a"]["w"][0] == pytest.approx(once + (9 / 11) * (a - once), rel=1e-5)
    assert state.extra["counter"] == 2 and state.step == 2
    assert first["brightest"] == 1, "pictures come in [-1, 1]"
    assert first["draw"] != second["draw"], "every step has a key of its own"


def test_projection_and_the_long_average() -> None:
    program = toy_program()
    start = program.create()
    start = start.replace(
        step=jnp.int32(1000),
        params=start.params | {"b": {"w": jnp.array([-9.0])}},
        ema=jax.tree.map(jnp.copy, start.params),  # the step donates both
    )
    state, _ = program.train(1, start)
    assert state.params["b"]["w"] == -2.5
    assert state.ema["b"]["w"][0] == pytest.approx((3.0 - 2.5) / 2), "of the projected weights, decay 0.5"


@pytest.mark.parametrize("fault", ["loss", "gradient"])
def test_a_bad_value_is_seen_and_its_step_not_taken(fault: str) -> None:
    program = toy_program(fault)
    good, _ = program.train(1)
    state, metrics = program.train(2)
    assert [m["finite"] for m in metrics] == [1, 0]
    assert np.isfinite(metrics[1]["loss/pull"]) == (fault == "gradient")
    assert_same_bits(dataclasses.replace(good, step=0), dataclasses.replace(state, step=0))
    assert state.step == 2
    state, metrics = program.train(3)
    assert metrics[2]["finite"] == 1 and state.params["a"]["w"] != good.params["a"]["w"]


def test_learning_rates() -> None:
    config = tiny()
    config.optimizer = OptimizerConfig(
        learning_rate=0.1, discriminator_scale=4.0, decay_start=2, decay_steps=4
    )
    for player, rate in (("generator", 0.1), ("discriminator", 0.4)):
        optimizer = states.make_optimizer(config, player)
        opt_state = optimizer.init(jnp.zeros(()))
        sizes = []
        for _ in range(8):
            update, opt_state = optimizer.update(jnp.ones(()), opt_state)
            sizes.append(-float(update))
        expected = [rate * f for f in (1, 1, 1, 0.75, 0.5, 0.25, 0, 0)]
        np.testing.assert_allclose(sizes, expected, rtol=1e-3, atol=1e-6)


# --- XGAN ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def one() -> Program:
    return Program(tiny(), 1)


@pytest.fixture(scope="module")
def eight() -> Program:
    return Program(tiny(), 8)


@pytest.fixture(scope="module")
def on_one(one: Program):
    return one.train(3)


def test_eight_devices_equal_one(eight: Program, on_one) -> None:
    """Also of pictures: augmentation draws the same numbers however the batch is split."""
    state, every = eight.train(3)
    for i, (ours, theirs) in enumerate(zip(every, on_one[1], strict=True)):
        for name, value in theirs.items():
            if "accuracy" not in name:  # jumps when a logit is near zero
                # Rounding grows: Adam turns gradients that are zero but for it into full steps.
                tolerance = 1e-4 if i == 0 else 2e-3
                np.testing.assert_allclose(ours[name], value, rtol=tolerance, err_msg=f"{name}, step {i}")
    far = total = 0
    for a, b in zip(jax.tree.leaves(state.params), jax.tree.leaves(on_one[0].params), strict=True):
        far += int((np.abs(a - b) > 1e-4).sum())
        total += a.size
    assert far < 0.01 * total


def test_three_steps_did_something(one: Program, on_one) -> None:
    state, every = on_one
    assert int(state.step) == 3 and all(m["finite"] == 1 for m in every)
    first = jax.device_get(one.create().params)
    for network, tree in state.params.items():
        for a, b in zip(jax.tree.leaves(tree), jax.tree.leaves(first[network]), strict=True):
            assert np.abs(a - b).max() > 1e-4, f"{network}: every parameter has a gradient"


def test_the_same_seed_gives_the_same_bits(one: Program, on_one) -> None:
    assert_same_bits(one.train(3), on_one)
    # A new key alone changes the augmentation.
    _, (metrics,) = one.train(1, one.create().replace(key=jax.random.key(9)))
    assert metrics["loss/reconstruction/face"] != on_one[1][0]["loss/reconstruction/face"]
    method, other = methods.load(tiny()), tiny(seed=1)
    params = jax.jit(lambda: states.create(method, other).params)()
    kernel = np.asarray(params["encoder"]["fc1"]["kernel"])
    assert (kernel != jax.device_get(one.create().params)["encoder"]["fc1"]["kernel"]).all()


def test_each_player_moves_its_own_networks_only(one: Program) -> None:
    method = one.method
    params, extra = jax.eval_shape(method.init, jax.random.key(0)), None
    params, extra = one.create().params, one.create().extra
    images = {d: jnp.asarray(x) / 127.5 - 1 for d, x in batch_of(0).items()}

    @jax.jit
    def gradients(params):
        def total(params, player):
            now = Moment(params, extra, images, jax.random.key(1), jnp.int32(0))
            terms = method.losses(player, now)
            return sum(terms.losses.values())

        gradients = {player: jax.grad(total)(params, player) for player in method.players}
        return {player: {n: optax.tree.norm(g[n]) for n in params} for player, g in gradients.items()}

    norms = gradients(params)
    for player, networks in method.players.items():
        assert all(norms[player][network] > 0 for network in networks), player
    # What leaks beyond a player's own networks is not applied; the discriminator's stops by itself.
    assert all(norms["discriminator"][n] == 0 for n in method.players["generator"])
    owners = [n for networks in method.players.values() for n in networks]
    assert sorted(owners) == sorted(params), "every network has exactly one owner"


@pytest.mark.parametrize("where", ["batch", "parameters"])
def test_a_bad_step_changes_nothing_but_the_count(one: Program, where: str) -> None:
    program, start = one, one.create()
    if where == "batch":
        config = tiny(norm="batch")  # its moving averages must not be spoilt either
        config.weights = Weights(domain_adversarial=0.0, semantic=0.0, gan=0.0)  # less to compile
        method = methods.load(config)
        sound = method.losses

        def poisoned(player, now):
            return sound(player, dataclasses.replace(now, batch={d: x / 0.0 for d, x in now.batch.items()}))

        method.losses = poisoned
        program = Program(config, 1, method)
        start = program.create()
        assert set(start.extra) == {"encoder", "decoder"}
    else:
        start.params["decoder"]["bias1"] = start.params["decoder"]["bias1"].at[0].set(jnp.inf)
    before = host(start)
    state, metrics = program.train(1, start)
    assert metrics[0]["finite"] == 0 and state.step == 1
    assert_same_bits(dataclasses.replace(before, step=1), state)


def test_devices_talk_by_a_few_all_reduces_alone(eight: Program) -> None:
    text = eight.step.as_text()
    calls = re.findall(r" (all-\w+(?:-\w+)?|reduce-scatter|collective-\w+)(?:-start)?\(", text)
    assert set(calls) == {"all-reduce"}
    assert len(calls) <= 10, "statistics of the embedding, then gradients together"


def test_the_state_is_donated(one: Program) -> None:
    state = one.start()
    size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves((state.params, state.ema, state.optimizer)))
    assert one.step.memory_analysis().alias_size_in_bytes >= size
    kernel = state.params["encoder"]["fc1"]["kernel"]
    state, _ = one.next(state, 0)
    assert kernel.is_deleted() and not state.params["encoder"]["fc1"]["kernel"].is_deleted()


def test_translations_are_computed_once_for_both_players(one: Program) -> None:
    """Each player's loss computes them, yet the step costs what a hand-fused one would: the generator's
    gradient, and the discriminator's on pictures it is given."""
    config, method = one.config, one.method
    params, extra = methods.abstract_init(method)
    images = {d: jax.ShapeDtypeStruct((8, 32, 32, 3), jnp.float32) for d in config.data.domains}
    n = config.networks
    discriminator = Discriminator(32, n.discriminator_width, n.kernel, n.norm, n.activation)

    def gradients_of(*players):
        def gradients(params, images):
            def total(mine, player):
                now = Moment(params | mine, extra, images, jax.random.key(0), jnp.int32(0))
                return sum(method.losses(player, now).losses.values())

            return [jax.grad(total)({n: params[n] for n in method.players[p]}, p) for p in players]

        return gradients

    def on_given_pictures(params, images):
        def total(d):
            judge = {t: [discriminator.apply({"params": d[t]}, x) for x in images.values()] for t in d}
            return sum(formulas.gan_discriminator(*logits) for logits in judge.values())

        return jax.grad(total)(params["discriminator"])

    def flops(function) -> float:
        return jax.jit(function).lower(params, images).compile().cost_analysis()["flops"]

    fused = flops(gradients_of("generator")) + flops(on_given_pictures)
    assert flops(gradients_of("generator", "discriminator")) < 1.05 * fused


@pytest.mark.slow  # a program of its own
def test_bfloat16_compute(eight: Program, on_one, tmp_path: Path) -> None:
    """Parameters, optimisers, statistics and losses stay float32; results stay near. What is summed over
    devices: gradients of kernels as bfloat16, for half the traffic, everything of the losses as float32."""
    options = {"xla_dump_to": str(tmp_path), "xla_dump_hlo_pass_re": "spmd-partitioning"}
    program = Program(tiny(compute_dtype="bfloat16"), 8, **options)
    state, (metrics,) = program.train(1)
    trees = (state.params, state.ema, state.extra, metrics)
    assert {x.dtype for x in jax.tree.leaves(trees)} == {np.dtype("float32")}
    for name, value in on_one[1][0].items():
        if name.startswith("loss/"):
            np.testing.assert_allclose(metrics[name], value, rtol=0.03, atol=0.003, err_msg=name)
    assert metrics["loss/reconstruction/face"] != on_one[1][0]["loss/reconstruction/face"]
    (partitioned,) = tmp_path.glob("*step*after_spmd-partitioning*.txt")
    sums = re.findall(r"= (\w+)\[([\d,]*)\]\S* all-reduce\(", partitioned.read_text())
    kernels = {dtype for dtype, shape in sums if shape.count(",") == 3 and not shape.startswith("1,1,")}
    scalars = {dtype for dtype, shape in sums if not shape}
    assert kernels == {"bf16"} and scalars == {"f32"}

"""The one step: who is updated, on how many devices, and what happens to a bad batch."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xgan_jax import method as methods
from xgan_jax.config import Config, DataConfig, OptimizerConfig, RunConfig
from xgan_jax.training import sharding
from xgan_jax.training import state as states
from xgan_jax.training.step import make_step
from xgan_jax.xgan import Networks, Weights


def tiny(**run) -> Config:
    return Config(
        method="xgan",
        networks=Networks(width=0.125, discriminator_width=0.25, embedding_size=32, classifier_layers=1),
        weights=Weights(),
        data=DataConfig(path="none", size=32, shift=2, colour=0.1),
        optimizer=OptimizerConfig(learning_rate=1e-3),
        run=RunConfig(batch_size=8, **run),
    )


def mesh_of(devices: int):
    axes = (jax.sharding.AxisType.Auto,)
    return jax.make_mesh((devices,), ("data",), axis_types=axes, devices=jax.devices()[:devices])


def batch_of(step: int, size: int = 32, n: int = 8):
    rng = np.random.default_rng(step)
    return {d: rng.integers(0, 256, (n, size, size, 3), dtype=np.uint8) for d in ("face", "anime")}


def run_steps(config: Config, devices: int, steps: int):
    """The state and the metrics after `steps` steps on so many devices."""
    mesh = mesh_of(devices)
    method = methods.load(config)
    state = jax.jit(lambda: states.create(method, config), out_shardings=sharding.replicated(mesh))()
    step = make_step(method, config, mesh)
    for i in range(steps):
        state, metrics = step(state, sharding.to_devices(batch_of(i), mesh))
    return jax.device_get((dataclasses.replace(state, key=jax.random.key_data(state.key)), metrics))


@pytest.fixture(scope="module")
def on_one_device():
    return run_steps(tiny(), 1, 3)


def test_eight_devices_equal_one(on_one_device) -> None:
    state, metrics = run_steps(tiny(), 8, 3)
    for name, value in on_one_device[1].items():
        if "accuracy" not in name:
            np.testing.assert_allclose(metrics[name], value, rtol=2e-3, err_msg=name)
    far = total = 0
    for a, b in zip(jax.tree.leaves(state.params), jax.tree.leaves(on_one_device[0].params), strict=True):
        # Adam turns gradients that are zero but for rounding into steps of either sign; others agree.
        far += int((np.abs(a - b) > 1e-4).sum())
        total += a.size
    assert far < 0.01 * total


def test_three_steps_did_something(on_one_device) -> None:
    state, metrics = on_one_device
    assert int(state.step) == 3 and metrics["finite"] == 1
    method = methods.load(tiny())
    first, _ = jax.jit(method.init)(jax.random.split(jax.random.key(0))[0])
    for network, tree in state.params.items():
        assert (
            max(
                np.abs(a - b).max()
                for a, b in zip(jax.tree.leaves(tree), jax.tree.leaves(first[network]), strict=True)
            )
            > 0
        )


def test_each_player_moves_its_own_networks_only() -> None:
    config = tiny()
    method = methods.load(config)
    params, extra = jax.jit(method.init)(jax.random.key(0))
    images = {d: jnp.asarray(x) / 127.5 - 1 for d, x in batch_of(0).items()}
    for player, networks in method.players.items():

        def total(mine, player=player):
            terms = method.losses(player, params | mine, extra, images, jax.random.key(1), jnp.int32(0))
            return sum(terms.losses.values())

        gradients = jax.jit(jax.grad(total))({n: params[n] for n in networks})
        for network in networks:
            assert max(float(jnp.abs(g).max()) for g in jax.tree.leaves(gradients[network])) > 0, network
    owners = [n for networks in method.players.values() for n in networks]
    assert sorted(owners) == sorted(params), "every network has exactly one owner"


@pytest.mark.parametrize("where", ["batch", "parameters"])
def test_a_bad_step_changes_nothing_but_the_count(where: str) -> None:
    config = tiny()
    mesh = mesh_of(1)
    method = methods.load(config)
    if where == "batch":
        sound = method

        def poisoned(player, params, extra, batch, key, step):
            return sound.losses(player, params, extra, {d: x / 0.0 for d, x in batch.items()}, key, step)

        method = dataclasses.replace(method, losses=poisoned)
    state = jax.jit(lambda: states.create(method, config))()
    if where == "parameters":
        state.params["decoder"]["bias1"] = state.params["decoder"]["bias1"].at[0].set(jnp.inf)
    before = jax.device_get((state.params, state.ema, state.optimizer))
    state = jax.device_put(state, sharding.replicated(mesh))
    state, metrics = make_step(method, config, mesh)(state, sharding.to_devices(batch_of(0), mesh))
    assert float(metrics["finite"]) == 0 and int(state.step) == 1
    after = jax.device_get((state.params, state.ema, state.optimizer))
    for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        np.testing.assert_array_equal(a, b)


def compiled_step(config: Config, devices: int):
    mesh = mesh_of(devices)
    method = methods.load(config)
    abstract = jax.eval_shape(lambda: states.create(method, config))
    shape = (config.run.batch_size, config.data.size, config.data.size, 3)
    batch = {d: jax.ShapeDtypeStruct(shape, jnp.uint8) for d in config.data.domains}
    return make_step(method, config, mesh).lower(abstract, batch).compile()


def test_devices_talk_by_all_reduce_alone() -> None:
    text = compiled_step(tiny(), 8).as_text()
    calls = re.findall(r" (all-\w+|reduce-scatter|collective-permute)(?:-start)?\(", text)
    assert calls and set(calls) == {"all-reduce"}


def test_the_state_is_donated() -> None:
    compiled = compiled_step(tiny(), 1)
    abstract = jax.eval_shape(lambda: states.create(methods.load(tiny()), tiny()))
    parameters = sum(x.size * 4 for x in jax.tree.leaves((abstract.params, abstract.ema)))
    assert compiled.memory_analysis().alias_size_in_bytes > 1.9 * parameters


def test_translations_are_computed_once_for_both_players() -> None:
    """Each player's loss computes them; the whole step costs less than the players apart."""
    config = tiny()
    method = methods.load(config)
    params, extra = methods.abstract_init(method)
    images = {d: jax.ShapeDtypeStruct((8, 32, 32, 3), jnp.float32) for d in config.data.domains}

    def flops(players):
        def gradients(params, images):
            return [
                jax.grad(
                    lambda mine, player=player: sum(
                        method.losses(
                            player, params | mine, extra, images, jax.random.key(0), jnp.int32(0)
                        ).losses.values()
                    )
                )({n: params[n] for n in method.players[player]})
                for player in players
            ]

        return jax.jit(gradients).lower(params, images).compile().cost_analysis()["flops"]

    generator, discriminator = flops(["generator"]), flops(["discriminator"])
    both = flops(["generator", "discriminator"])
    forward = discriminator * 0.4  # at least: encoding and decoding outweigh the small discriminators
    assert both < generator + discriminator - forward


def test_the_moving_average_and_its_short_start() -> None:
    config = tiny()
    method = methods.load(config)
    first = jax.device_get(jax.jit(lambda: states.create(method, config))().params)
    state, _ = run_steps(config, 1, 1)
    for p0, p1, average in zip(*map(jax.tree.leaves, (first, state.params, state.ema)), strict=True):
        np.testing.assert_allclose(average, p0 + (1 - 0.1) * (p1 - p0), atol=1e-6)


def test_learning_rates() -> None:
    config = OptimizerConfig(learning_rate=0.1, discriminator_scale=4.0, decay_start=2, decay_steps=4)
    for player, rate in (("generator", 0.1), ("discriminator", 0.4)):
        optimizer = states.make_optimizer(config, player)
        opt_state = optimizer.init(jnp.zeros(()))
        sizes = []
        for _ in range(8):
            update, opt_state = optimizer.update(jnp.ones(()), opt_state)
            sizes.append(-float(update))
        expected = [rate * f for f in (1, 1, 1, 0.75, 0.5, 0.25, 0, 0)]
        np.testing.assert_allclose(sizes, expected, rtol=1e-3, atol=1e-6)


def test_bfloat16_compute_keeps_float32_parameters() -> None:
    full, half = (run_steps(tiny(compute_dtype=d), 1, 1) for d in ("float32", "bfloat16"))
    assert {x.dtype for x in jax.tree.leaves((half[0].params, half[0].ema))} == {np.dtype("float32")}
    for name, value in full[1].items():
        if name.startswith("loss/"):
            assert half[1][name].dtype == np.float32
            np.testing.assert_allclose(half[1][name], value, rtol=0.1, atol=0.02, err_msg=name)
    assert half[1]["loss/reconstruction/face"] != full[1]["loss/reconstruction/face"]


def test_the_same_seed_gives_the_same_bits(on_one_device) -> None:
    again = run_steps(tiny(), 1, 3)
    for a, b in zip(*map(jax.tree.leaves, (again, on_one_device)), strict=True):
        np.testing.assert_array_equal(a, b)
    other = run_steps(tiny(seed=1), 1, 3)
    assert other[1]["loss/reconstruction/face"] != on_one_device[1]["loss/reconstruction/face"]

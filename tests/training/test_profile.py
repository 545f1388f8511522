"""The page that says where a step's time goes."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from test_loop import run_config

from xgan_jax.training import loop, profile


def test_parts_are_told_apart() -> None:
    players = ("generator", "discriminator")
    for name, part in (
        ("jit(call)/jvp(generator)/Encoder/conv", "generator"),
        ("jit(call)/transpose(jvp(discriminator))/fc1/dot_general", "discriminator"),
        ("jit(call)/jvp(discriminator)/cond/branch_1_fun/penalty/dot_general", "penalty"),
        ("jit(call)/augmentation/select_n", "augmentation"),
        ("jit(call)/regenerators/add", "other"),
    ):
        assert profile.part_of(name, players) == part


def test_shares_follow_the_work(tmp_path: Path) -> None:
    @jax.jit
    def step(x):
        with jax.named_scope("generator"):
            x = jnp.tanh(x @ x) @ x @ x @ x
        with jax.named_scope("discriminator"):
            return jnp.tanh(x) @ x

    x = jnp.ones((512, 512)) / 512
    compiled = step.lower(x).compile()
    compiled(x)
    with jax.profiler.trace(str(tmp_path)):
        for _ in range(5):
            jax.block_until_ready(compiled(x))
    shares = profile.part_shares(tmp_path, compiled.as_text(), ("generator", "discriminator"))
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["generator"] > 1.5 * shares["discriminator"] > 0


@pytest.mark.slow
def test_a_run_writes_its_profile(records: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "profile"
    several = {"run__log_every": 40, "run__sample_every": 40, "run__checkpoint_every": 40}
    config = run_config(records, run__steps=40, run__profile=str(folder), weights__r1=1.0, **several)
    loop.train(config, tmp_path / "run")
    page = (folder / "summary.md").read_text()
    assert f"profile: {folder / 'summary.md'}" in capsys.readouterr().out
    for part in ("generator", "discriminator", "penalty", "augmentation", "update"):
        (milliseconds,) = re.findall(rf"\| {part} \| ([\d.]+) \|", page)
        assert float(milliseconds) > 0
    assert re.search(r"\| arithmetic \| [\d.]+ GFLOP/s \| [\d.]+ GFLOP/s \| \d+% \|", page)
    assert re.search(r"\| memory \| [\d.]+ GB/s \| [\d.]+ GB/s \| \d+% \|", page)
    assert list(folder.rglob("*.xplane.pb"))


def test_a_run_too_short_to_profile(records: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"config.run.profile needs 38 calls"):
        loop.train(run_config(records, run__profile=str(tmp_path / "profile")), tmp_path / "run")

"""Every recipe trains, continues to the bit, translates and is looked into, made small enough for a test."""

import importlib.util
from pathlib import Path

import jax
import numpy as np
import pytest
from test_architecture import stand_in

from xgan_jax import cli
from xgan_jax.config import Config
from xgan_jax.evaluation import grid
from xgan_jax.evaluation.translate import evaluate
from xgan_jax.method import Embeds, Follows, Generates, Mixes
from xgan_jax.runs.load import load_run
from xgan_jax.training import loop

ROOT = Path(__file__).parents[1]
# The fewest channels that a network can have.
SMALL = {
    "width": 0.0625,
    "discriminator_width": 0.0625,
    "embedding_size": 64,
    "blocks": 1,
    "private_blocks": 1,
}
# What each method has beside translations.
PARTS = {
    "xgan": {"embed", "generate"},
    "baselines.dtn": {"embed", "generate"},
    "baselines.acgan": {"embed", "generate"},
    "baselines.face2anime": {"embed"},
    "baselines.twingan": {"embed", "mix", "translate_like"},
}
CHANNELS = {"cyclegan", "cyclegan_angle", "face2anime", "ugatit", "ugatit_light"}  # width is a number of them


def colours(config: Config):
    """A network of references: a picture's mean colour."""
    return {"one": np.ones((), np.float32)}, lambda p, x: p["one"] * x.mean((1, 2))


def small(path: Path, data: Path) -> Config:
    """The recipe at 32 px, two steps of eight pictures a domain."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config()
    for name, value in SMALL.items():
        if hasattr(config.networks, name):
            if "width" in name and path.stem in CHANNELS:
                value = 4
            if name in ("blocks", "private_blocks"):
                value = min(value, getattr(config.networks, name))
            setattr(config.networks, name, value)
    if getattr(config.networks, "embedding_side", 1) > 8:
        config.networks.embedding_side = 8
    for name, value in {"encoder_start": 1, "growth_steps": 1, "iterations": 2}.items():
        if hasattr(config.weights, name):
            setattr(config.weights, name, value)
    stand_in(config)
    if hasattr(config.networks, "reference"):
        config.networks.reference = f"{__name__}:colours"
    config.data.path, config.data.size, config.data.shift = str(data), 32, 2
    run = config.run
    run.steps, run.batch_size, run.log_every, run.sample_every, run.checkpoint_every = 2, 8, 1, 2, 1
    run.samples, run.measure_every = 2, 0
    return config


@pytest.mark.slow  # each compiles its step
@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.py")), ids=lambda path: path.stem)
def test_a_recipe_runs(path: Path, records: Path, tmp_path: Path, capsys) -> None:
    config = small(path, records)
    loop.train(config, tmp_path / "run")
    config.run.steps = 3
    loop.train(config, tmp_path / "run")  # goes on
    loop.train(config, tmp_path / "whole")  # as if never stopped
    run, whole = load_run(tmp_path / "run"), load_run(tmp_path / "whole")
    assert run.step == whole.step == 3
    jax.tree.map(np.testing.assert_array_equal, (run.params, run.extra), (whole.params, whole.extra))
    report = evaluate(tmp_path / "run", tmp_path / "eval", count=2)
    assert {"face2anime.png", "anime2face.png"} <= set(report["written"])
    sampler = grid.make_sampler(run.method, config.data.domains)
    # As many as training and eval draw: the program is compiled by now.
    pictures = {d: np.zeros((2, 32, 32, 3), np.uint8) for d in config.data.domains}
    assert set(grid.translations(sampler, run.params, run.extra, pictures)) == {"face2anime", "anime2face"}
    # It can be looked into as far as it has the parts, and says which it lacks.
    files = []
    for i in range(2):
        files.append(str(tmp_path / f"{i}.png"))
        grid.save_png(files[-1], np.full((32, 32, 3), 100 * i, np.uint8))
    face, anime = ("--domain", "face"), ("--direction", "face2anime")
    for part, command, options, lacks in (
        (Embeds, "neighbours", [*face, "--among", "anime"], "has no embedding"),
        (Generates, "interpolate", face, "has no pictures of embeddings alone"),
        (Mixes, "mix-style", anime, "has no style to mix"),
        (Follows, "translate", [*anime, "--reference", files[0]], "follows no reference"),
    ):
        has = isinstance(run.method, part)
        inputs = files if command != "translate" else files[:1]
        out = tmp_path / command
        arguments = [command, "--workdir", str(tmp_path / "run"), "--input", *inputs, "--output", str(out)]
        assert cli.main([*arguments, *options]) == (0 if has else 2), command
        if has:
            assert list(out.glob("*.png"))
        else:
            assert lacks in capsys.readouterr().err
    has = {name for name in ("embed", "generate", "mix", "translate_like") if hasattr(run.method, name)}
    assert has == PARTS.get(config.method, set())

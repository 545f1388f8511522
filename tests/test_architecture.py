"""The house: imports point one way, and every recipe builds."""

import ast
import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from xgan_jax import config as configs
from xgan_jax import method as methods

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "xgan_jax"
# Room: the rooms of ours it may import from, from the lowest up.
ALLOWED = {
    "config": set(),
    "faults": set(),
    "flags": {"config"},
    "locks": set(),
    "losses": set(),
    "outputs": {"locks"},
    "progress": set(),
    "startup": set(),
    "torch_weights": set(),
    "data": {"config", "data", "faults", "locks", "outputs", "progress"},
    "nets": {"nets"},
    "method": {"config"},
    "xgan": {"config", "losses", "method", "nets"},
    "baselines": {"config", "losses", "method", "nets", "baselines"},
    "runs": {"config", "faults", "locks", "method", "progress", "runs"},
    "readers": {"config", "data", "nets", "progress", "readers", "startup", "torch_weights"},
    "evaluation": {"config", "data", "evaluation", "method", "outputs", "progress", "readers", "runs"},
    "training": {"config", "data", "evaluation", "faults", "method", "outputs", "progress", "runs", "startup"}
    | {"training"},
    "convert": {"baselines", "config", "method", "nets", "progress", "runs", "torch_weights"},
    "cli": {"convert", "data", "evaluation", "faults", "flags", "startup"},
}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


MODULES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    room = path.relative_to(PACKAGE).with_suffix("").parts[0]
    names = imports(path)
    ours = {name.split(".")[1] for name in names if name.startswith("xgan_jax.")} - {"__version__"}
    if room != "__init__":
        assert ours <= ALLOWED[room], f"{path.name} imports from {sorted(ours - ALLOWED[room])}"
    roots = {name.split(".")[0] for name in names}
    assert "tensorflow" not in roots
    assert "flax" not in roots or room == "nets", "flax belongs in nets/"


def teacher(config: configs.Config):
    size = config.networks.embedding_size
    return {"one": jnp.ones(())}, lambda p, x: p["one"] * x.mean((1, 2, 3))[:, None].repeat(size, 1)


def maps(config: configs.Config):
    return {"one": jnp.ones(())}, lambda p, x: (p["one"] * x, [p["one"] * x, x[:, ::2, ::2]])


def angle(config: configs.Config):
    return {"one": jnp.ones(())}, lambda p, x: p["one"] * x.mean((1, 2, 3))


def stand_in(config: configs.Config) -> None:
    """Puts the frozen networks above in the place of the recipe's own, which learn from data."""
    for field, function in (("teacher", "teacher"), ("features", "maps"), ("angle", "angle")):
        if getattr(config.networks, field, ""):
            setattr(config.networks, field, f"{__name__}:{function}")


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.py")), ids=lambda path: path.stem)
def test_every_recipe_builds_and_translates(path: Path) -> None:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config()
    config.data.path = config.data.path or "somewhere"
    configs.validate(config)
    assert configs.from_json(configs.to_json(config)) == config
    assert "python" in module.__doc__ or "make" in module.__doc__, "the command stands at the top"
    stand_in(config)
    method = methods.load(config)
    params, extra = methods.abstract_init(method)
    owners = [n for networks in method.players.values() for n in networks]
    assert len(owners) == len(set(owners)) and set(owners) <= set(params)
    images = jax.ShapeDtypeStruct((2, config.data.size, config.data.size, 3), jnp.float32)
    for source in config.data.domains:
        for target in config.data.domains:
            out = jax.eval_shape(
                lambda p, e, x, s=source, t=target: method.translate(p, e, x, s, t), params, extra, images
            )
            assert out.shape == images.shape and out.dtype == jnp.float32

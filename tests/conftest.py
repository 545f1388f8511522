"""Eight CPU devices for every test, and small prepared datasets."""

import importlib.metadata
import os
import shutil
import tempfile

# Before jax is imported: it reads them once. Programs of tests run for moments: they are compiled
# quickly, not well.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
if importlib.metadata.version("jaxlib").startswith("0.10."):  # a flag that XLA does not know ends the process
    os.environ["XLA_FLAGS"] += " --xla_cpu_use_fusion_emitters=false"
# Many tests run the same tiny networks: each program is compiled once a session, by the first worker that
# wants it. Workers inherit this folder.
os.environ["JAX_COMPILATION_CACHE_DIR"] = (
    os.environ["JAX_COMPILATION_CACHE_DIR"]
    if "PYTEST_XDIST_WORKER" in os.environ
    else tempfile.mkdtemp(prefix="xgan_jax_tests_")
)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from xgan_jax.config import DataConfig
from xgan_jax.data.prepare import prepare
from xgan_jax.data.synthetic import draw_dataset


def pytest_sessionfinish() -> None:
    """Removes the session's compiled programs."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        shutil.rmtree(os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)


def draw_folder(folder: Path, count: int, stripes: bool, seed: int, size: int = 40) -> Path:
    """Pictures of two simple kinds: smooth colour ramps, or stripes."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 1, size)
    for i in range(count):
        low, high = rng.uniform(0, 255, (2, 1, 1, 3))
        along = ramp[:, None, None] if rng.random() < 0.5 else ramp[None, :, None]
        mix = (np.sin(40 * along) > 0) if stripes else along
        picture = np.broadcast_to(low + (high - low) * mix, (size, size, 3))
        Image.fromarray(picture.astype(np.uint8)).save(folder / f"{i:03d}.png")
    return folder


def prepare_small(root: Path, domains: Sequence[str], count: int, size: int = 32) -> Path:
    """A prepared dataset of `count` pictures a domain."""
    sources = {
        domain: str(draw_folder(root / "pictures" / domain, count, i % 2 == 1, seed=i))
        for i, domain in enumerate(domains)
    }
    prepare(sources, root / "records", size=size, test_fraction=0.2)
    return root / "records"


@pytest.fixture(scope="session")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of two domains, "face" and "anime", 60 pictures each, 32 px."""
    return prepare_small(tmp_path_factory.mktemp("records"), ("face", "anime"), 60)


@pytest.fixture(scope="session")
def more_records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `records`, with other numbers of pictures."""
    return prepare_small(tmp_path_factory.mktemp("more"), ("face", "anime"), 70)


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded pictures with their labels: 120 + 120 to train on, 40 + 40 to test on, 32 px."""
    root = tmp_path_factory.mktemp("drawn")
    draw_dataset(root / "pictures", count=120, test_count=40, size=32)
    sources = {"face": str(root / "pictures/trainA"), "anime": str(root / "pictures/trainB")}
    prepare(sources, root / "records", size=32)
    return root / "records"


@pytest.fixture(scope="session")
def judge(drawn: Path) -> Any:
    """The judge of `drawn`, of 60 steps: far fewer than users' judges."""
    from xgan_jax.readers import judge as judges  # not by tests that need none

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judges, "STEPS", 60)
        return judges.load_judge(DataConfig(path=str(drawn), size=32))

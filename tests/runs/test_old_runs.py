"""Runs of earlier and of later versions. `tests/fixtures/old_run` is one of 6 steps of the regression, made
at commit 44eb49f on the drawn ramps and stripes of `conftest.prepare_small`."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from xgan_jax import config as configs
from xgan_jax.evaluation.translate import translate_files
from xgan_jax.runs.load import load_run
from xgan_jax.training import loop

OLD = Path(__file__).parents[1] / "fixtures" / "old_run"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return Path(shutil.copytree(OLD, tmp_path / "run"))


def test_a_run_of_the_first_versions_is_read_and_goes_on(old: Path, records: Path, tmp_path: Path) -> None:
    run = load_run(old)
    assert run.step == 6 and run.crop == {"face": "center", "anime": "center"}
    images = jax.numpy.linspace(-1, 1, 2 * 32 * 32 * 3).reshape(2, 32, 32, 3)
    made = run.method.translate(run.params, run.extra, images, "face", "anime")
    assert np.isfinite(made).all() and np.ptp(made) > 0
    config = run.config
    config.data.path, config.run.steps = str(records), 8
    state = loop.train(config, old)
    assert int(state.step) == 8
    before, after = jax.tree.leaves(run.params), jax.tree.leaves(load_run(old).params)
    moved = [np.abs(a - b).max() for a, b in zip(before, after, strict=True)]
    assert 0 < max(moved) < 0.01, "it went on from there"
    report = translate_files(str(old), str(old / "reals.png"), str(tmp_path / "out"), "face2anime")
    assert len(report["written"]) == 1


def test_a_run_of_a_later_version_is_refused_with_the_field(old: Path, records: Path) -> None:
    tree = json.loads((old / "config.json").read_text())
    tree["run"]["of_tomorrow"] = 1
    (old / "config.json").write_text(json.dumps(tree))
    before = {path: path.read_bytes() for path in old.rglob("*") if path.is_file()}
    with pytest.raises(
        ValueError, match=r"config\.run\.of_tomorrow is not known to this version of xgan_jax"
    ):
        load_run(old)
    config = configs.from_json((OLD / "config.json").read_text())
    config.data.path = str(records)
    with pytest.raises(ValueError, match=r"of_tomorrow is not known"):
        loop.train(config, old)
    assert {path: path.read_bytes() for path in old.rglob("*") if path.is_file()}.items() >= before.items()

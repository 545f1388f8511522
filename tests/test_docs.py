"""What pages say is so: the method of `docs/adding_a_method.md` trains as it stands there, and the tests of
`docs/reliability.md` exist."""

import importlib
import re
from pathlib import Path

import jax
import numpy as np
import pytest

import xgan_jax.baselines
from xgan_jax.evaluation.translate import evaluate
from xgan_jax.runs.load import load_run
from xgan_jax.training import loop

PAGE = Path(__file__).parents[1] / "docs" / "adding_a_method.md"


@pytest.mark.slow
def test_the_documented_method_trains(records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = re.findall(r"`([\w/]+)\.py`[^`]*```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert [name for name, _ in code] == ["xgan_jax/baselines/colours", "configs/colours"]
    for name, text in code:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.setattr(
        xgan_jax.baselines, "__path__", [*xgan_jax.baselines.__path__, str(tmp_path / "xgan_jax/baselines")]
    )
    monkeypatch.syspath_prepend(str(tmp_path / "configs"))
    config = importlib.import_module("colours").get_config()
    config.data.path, config.data.size, config.data.shift = str(records), 32, 2
    config.networks.width = 0.25
    run = config.run
    run.steps, run.batch_size, run.log_every, run.sample_every, run.checkpoint_every = 2, 8, 1, 2, 2
    run.samples = 2
    loop.train(config, tmp_path / "run")
    trained = load_run(tmp_path / "run")
    before, _ = jax.jit(trained.method.init)(jax.random.key(0))
    for direction, of in trained.params["generator"].items():
        assert np.abs(of["matrix"] - before["generator"][direction]["matrix"]).max() > 0
    assert {"face2anime.png", "anime2face.png"} <= set(evaluate(tmp_path / "run", count=2)["written"])


def test_every_promise_has_its_test() -> None:
    """Each row of `docs/reliability.md` names a test that is there, and whether it is a slow one."""
    page = (PAGE.parent / "reliability.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("|") and "::" in line]
    assert len(rows) >= 28
    for row in rows:
        ((slow, path, name),) = re.findall(r"\| (s )?`(tests/[\w/]+\.py)::(\w+)` \|", row)
        source = (PAGE.parents[1] / path).read_text()
        found = re.search(rf"((?:^@.*\n)*(?:^    .*\n|^\)\n)*)^def {name}\(", source, re.MULTILINE)
        assert found, f"{path} has no {name}"
        all_slow = re.search(r"^pytestmark = .*mark\.slow", source, re.MULTILINE)
        assert ("mark.slow" in found[1] or bool(all_slow)) == bool(slow), name

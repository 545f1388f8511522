"""The figures of a run, their page, and the best checkpoint."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from small import Small, small_config

from xgan_jax import method as methods
from xgan_jax.config import Config, DataConfig
from xgan_jax.data import synthetic
from xgan_jax.evaluation import attributes, measures, testset
from xgan_jax.readers import judge as judges
from xgan_jax.readers.judge import Judge
from xgan_jax.readers.labels import Attribute
from xgan_jax.runs.checkpoint import CheckpointError
from xgan_jax.runs.load import Run, load_run
from xgan_jax.training.loop import train

TEST = 40  # pictures of a domain that were drawn


@pytest.fixture(scope="module")
def run_folder(drawn: Path, judge: Judge, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("measured") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judges, "STEPS", 60)
        train(config(drawn, 4), workdir)
    return workdir


def config(drawn: Path, steps: int) -> Config:
    every = {"log_every": 1, "sample_every": 2, "checkpoint_every": 2, "measure_every": 2}
    return small_config(drawn, steps=steps, samples=4, **every)


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judges, "STEPS", 60)


def test_a_true_counterpart_keeps_its_attributes(drawn: Path, judge: Judge) -> None:
    """Another's picture does not."""
    test = testset.TestSet(DataConfig(path=str(drawn), size=32))
    true = test.counterparts("face", "anime")
    assert true is not None
    kept = attributes.attribute_agreement(judge, true, "face", "anime", test)
    lost = attributes.attribute_agreement(judge, np.roll(true, 1, 0), "face", "anime", test)
    assert set(kept) >= {"hair", "background", "skin"}
    assert kept["background"]["agreement"] > 0.7 > lost["background"]["agreement"]
    assert kept["background"]["of_ceiling"] == pytest.approx(
        kept["background"]["agreement"] / kept["background"]["ceiling"]
    )


def test_labels_are_read_in_the_order_of_their_names(drawn: Path) -> None:
    """A record's own order differs from process to process, and with it the reader learnt of them."""
    labels = testset.TestSet(config(drawn, 1).data).labels["face"]
    assert len(labels) > 8 and list(labels) == sorted(labels)


def test_agreement_with_references(drawn: Path, judge: Judge) -> None:
    """A translation that is its reference agrees with it, one that is its source does not."""
    asked = config(drawn, 1)
    method = methods.load(asked)
    test = testset.TestSet(asked.data)

    def agreement(like):
        method.translate_like = like
        run = Run(asked, method, {}, {}, 1, {})
        faces = test.pictures["face"]
        return attributes.reference_agreement(run, judge, faces, "face", "anime", test)["hair"]

    followed = agreement(lambda p, e, x, reference, s, t: reference)
    ignored = agreement(lambda p, e, x, reference, s, t: x)
    assert followed["of_ceiling"] > 0.8 and ignored["of_ceiling"] < 0.5
    assert followed["chance"] == 0.2


def test_agreement_is_balanced_over_the_values_in_common() -> None:
    known = Attribute(("black", "blond", "pink"), np.array([0, 0, 0, 1, 2, -1]))
    values = ("blond", "black", "blue")
    read = np.zeros((6, 3))
    read[[0, 1, 2], [1, 1, 0]] = 1  # black, black, blond: two of three right
    read[3, 0] = 1  # blond: right
    read[3, 2] = 5  # blue is not among the values in common
    assert attributes.balanced_agreement(read, values, known) == pytest.approx((2 / 3 + 1) / 2)
    assert attributes.balanced_agreement(read, ("blue", "blond"), known) is None


def test_measure_writes_figures_and_a_page(run_folder: Path, judge: Judge) -> None:
    rows = (run_folder / "metrics.jsonl").read_text()
    (run_folder / "metrics.jsonl").write_text(rows + '{"step": 5, "loss/g')  # a run that goes on
    report = measures.measure(run_folder)
    (run_folder / "metrics.jsonl").write_text(rows)
    folder = run_folder / "eval"
    assert json.loads((folder / "metrics.json").read_text()) == report
    for direction in ("face2anime", "anime2face"):
        found = report["directions"][direction]
        assert found["pictures"] == TEST
        assert 0 <= found["retrieval"]["top1"] <= found["retrieval"]["top5"] <= 1
        assert found["retrieval"]["candidates"] == TEST
        assert set(found["attributes"]) <= set(synthetic.CATEGORIES) and found["attributes"]
        # Four steps translate nothing: not taken for the target, far from it.
        kid = found[judge.name]["kid"]
        assert kid["kid"] > 3 * abs(kid["floor"])
        assert kid["of_untranslated"] == pytest.approx(kid["kid"] / kid["untranslated"])
        assert set(found[judge.name]["manifold"]) == {"precision", "recall", "density", "coverage"}
        assert "fid" not in found[judge.name]
    assert report["embedding"]["mixing"] >= 0 and set(report["embedding"]["spread"]) == {"face", "anime"}
    assert report["how"]["step"] == 4 and report["how"]["feature_networks"] == [judge.name]
    assert all(found["passes_of_real"] > 0.9 for found in report["directions"].values())
    page = (folder / "index.html").read_text()
    assert page.count("<img") > 6 and "<svg" in page and "face2anime" in page
    assert "http" not in page.replace("http://www.w3.org", "")  # nothing is loaded from elsewhere
    text = measures.summary(report)
    assert "retrieval top-1" in text and "attributes kept" in text


def test_measuring_again_gives_the_same_digits(run_folder: Path, tmp_path: Path) -> None:
    a = measures.measure(run_folder, tmp_path / "a", metrics=("kid", "truth"))
    b = measures.measure(run_folder, tmp_path / "b", metrics=("kid", "truth"))
    assert a == b
    assert "attributes" not in a["directions"]["face2anime"] and "embedding" not in a


def test_unknown_metrics_are_refused(run_folder: Path) -> None:
    with pytest.raises(ValueError, match="the metric 'fidd' is unknown: use truth, "):
        measures.measure(run_folder, metrics=("fidd",))


def test_too_few_pictures_say_nothing(
    run_folder: Path, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is asked for is refused, before anything is learnt or trained; what is not is left out."""
    with pytest.raises(
        ValueError, match=r"manifold cannot .*: it needs 6 test pictures of each domain, and .* has 5"
    ):
        measures.measure(run_folder, metrics=("manifold",), count=5)
    report = measures.measure(run_folder, tmp_path / "few", count=5)
    assert "embedding" not in report
    assert set(report["left_out"]) >= {"manifold", "fid", "embedding"}
    assert "left out: manifold, for it needs 6 test pictures" in measures.summary(report)
    for found in report["directions"].values():
        assert "manifold" not in found[report["judge"]] and "kid" in found[report["judge"]]
    monkeypatch.setattr(measures, "_LEAST", {"kid": TEST + 1})
    with pytest.raises(ValueError, match="kid cannot be measured here: it needs 41"):
        train(config(drawn, 4), tmp_path / "run")
    assert not {"run.json", "metrics.jsonl", "samples"} & {path.name for path in (tmp_path / "run").iterdir()}


def test_fid_that_cannot_be_had_is_refused(run_folder: Path) -> None:
    with pytest.raises(
        ValueError, match=r"fid cannot .*: it needs Inception's features, --inception_weights"
    ):
        measures.measure(run_folder, metrics=("fid",))
    with pytest.raises(
        ValueError, match=rf"fewer than 2,048 pictures .* has {TEST} in its test split; kid has no"
    ):
        measures.measure(run_folder, metrics=("fid",), inception_weights="not read before the refusal")


def test_what_is_left_out_is_said_with_its_reason(run_folder: Path, records: Path) -> None:
    """Pictures without labels have no known counterparts, and nothing that could be kept."""

    class Blind(Small):
        embed = None

    run = load_run(run_folder, data=str(records))
    run = dataclasses.replace(run, method=Blind(run.config))
    test = testset.TestSet(run.config.data)
    possible, left_out = measures._possible(None, run, test, None, False)
    assert possible == ["kid", "manifold"]
    assert list(left_out) == ["truth", "attributes", "fid", "embedding"]
    for name, reason in (("truth", "no true counterparts are known"), ("attributes", "have no label")):
        assert reason in left_out[name]
        with pytest.raises(ValueError, match=f"{name} cannot be measured here: .*{reason}"):
            measures._possible([name], run, test, None, False)


def test_the_best_checkpoint_is_kept_and_survives_a_restart(
    run_folder: Path, drawn: Path, tmp_path: Path
) -> None:
    rows = [json.loads(line) for line in (run_folder / "metrics.jsonl").read_text().splitlines()]
    kids = {row["step"]: row["kid"] for row in rows if "kid" in row}
    assert set(kids) == {2, 4}
    assert load_run(run_folder, best=True).step == min(kids, key=kids.__getitem__)
    # Stopped and continued it keeps the same one.
    workdir = tmp_path / "run"
    for steps in (2, 4):
        train(config(drawn, steps), workdir)
    assert load_run(workdir, best=True).step == load_run(run_folder, best=True).step
    plain = config(drawn, 2)
    plain.run.measure_every = 0
    train(plain, tmp_path / "plain")
    with pytest.raises(CheckpointError, match="no best checkpoint: train with"):
        load_run(tmp_path / "plain", best=True)

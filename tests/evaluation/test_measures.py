"""The judge, the figures it gives, their page, and the best checkpoint."""

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xgan_jax import method as methods
from xgan_jax.config import Config, DataConfig, RunConfig
from xgan_jax.data import synthetic
from xgan_jax.data.augment import to_float
from xgan_jax.data.prepare import prepare
from xgan_jax.evaluation import measures
from xgan_jax.method import Moment
from xgan_jax.readers import judge as judges
from xgan_jax.readers.labels import Attribute
from xgan_jax.runs.checkpoint import CheckpointError
from xgan_jax.runs.load import Run, load_run
from xgan_jax.training.loop import train
from xgan_jax.xgan import Networks, Weights

TRAIN, TEST = 120, 40


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("drawn")
    synthetic.draw_dataset(root / "pictures", count=TRAIN, test_count=TEST, size=32)
    sources = {"face": str(root / "pictures/trainA"), "anime": str(root / "pictures/trainB")}
    prepare(sources, root / "records", size=32)
    return root / "records"


@pytest.fixture(scope="module")
def judge(drawn: Path) -> judges.Judge:
    """Of far fewer steps than users' judges."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judges, "STEPS", 60)
        return judges.load_judge(DataConfig(path=str(drawn), size=32))


@pytest.fixture(scope="module")
def run_folder(drawn: Path, judge: judges.Judge, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("measured") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judges, "STEPS", 60)
        train(config(drawn, 4), workdir)
    return workdir


def config(drawn: Path, steps: int) -> Config:
    return Config(
        method="xgan",
        networks=Networks(width=0.125, embedding_size=64, classifier_layers=1),
        weights=Weights(),
        data=DataConfig(path=str(drawn), size=32),
        run=RunConfig(
            steps=steps,
            batch_size=8,
            log_every=1,
            sample_every=2,
            samples=4,
            checkpoint_every=2,
            measure_every=2,
        ),
    )


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judges, "STEPS", 60)


def test_a_judge_learns_what_it_is_asked(drawn: Path, judge: judges.Judge) -> None:
    data = DataConfig(path=str(drawn), size=32)
    test = measures.TestSet(data)
    for domain, other in (("face", "anime"), ("anime", "face")):
        assert judge.values[domain]["hair"] == ("black", "blond", "brown", "gray", "red")
        assert measures.passing_rate(judge, test.pictures[domain], domain) > 0.9
        assert measures.passing_rate(judge, test.pictures[domain], other) < 0.1
    logits, attributes = judge.read(test.pictures["anime"], "anime")
    assert logits.shape == (TEST, 2) and attributes["hair"].shape == (TEST, 5)
    # The true counterpart of a face keeps its attributes, another's picture does not.
    true = test.counterparts("face", "anime")
    assert true is not None
    kept = measures.attribute_agreement(judge, true, "face", "anime", test)
    lost = measures.attribute_agreement(judge, np.roll(true, 1, 0), "face", "anime", test)
    assert set(kept) >= {"hair", "background", "skin"}
    assert kept["background"]["agreement"] > 0.7 > lost["background"]["agreement"]
    assert kept["background"]["of_ceiling"] == pytest.approx(
        kept["background"]["agreement"] / kept["background"]["ceiling"]
    )


def test_a_judge_is_kept_with_its_dataset(drawn: Path, judge: judges.Judge) -> None:
    data = DataConfig(path=str(drawn), size=32)
    again = judges.load_judge(data)
    assert again.name == judge.name and again.values == judge.values
    pictures = measures.TestSet(data).pictures["face"]
    np.testing.assert_array_equal(again.features(pictures), judge.features(pictures))
    assert len(list((drawn / "judge").glob("*.npz"))) == 1


@pytest.mark.slow
def test_a_judge_can_teach(drawn: Path, judge: judges.Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judges, "STEPS", 2)
    asked = config(drawn, 1)
    asked.weights.teacher, asked.networks.teacher = 1.0, "xgan_jax.readers.judge:as_teacher"
    method = methods.load(asked)
    params, extra = method.init(jax.random.key(0))
    images = {d: jax.random.uniform(jax.random.key(1), (4, 32, 32, 3), minval=-1) for d in asked.data.domains}
    terms = method.losses(
        "generator", Moment(params, extra, images, jax.random.key(2), jnp.zeros((), jnp.int32))
    )
    assert 0 < terms.losses["teacher/face"] < 10  # its features have unit spread
    assert not any("teacher" in networks for networks in method.players.values())
    forget(drawn, judge)


def forget(folder: Path, judge: judges.Judge) -> None:
    """Another judge than the one that measures was learnt: takes it away."""
    [other] = [p for p in (folder / "judge").glob("*.json") if judge.name not in p.read_text()]
    for suffix in (".json", ".npz"):
        other.with_suffix(suffix).unlink()


def test_a_judge_can_be_followed(drawn: Path, judge: judges.Judge) -> None:
    """A reference is what it has of hair and eyes, and nothing else of it."""
    asked = config(drawn, 1)
    params, apply = judges.as_reference(asked)
    forget(drawn, judge)
    data = DataConfig(path=str(drawn), size=32)
    test = measures.TestSet(data)
    attributes = test.attributes["anime"]
    found = np.asarray(apply(params, to_float(jnp.asarray(test.pictures["anime"]))))
    values = {name: of for name, of in judge.values["anime"].items() if name in ("eyes", "hair")}
    assert found.shape == (TEST, sum(map(len, values.values()))), "of eight attributes these two"
    np.testing.assert_allclose(found.std(0), 1, atol=0.5)
    first, hair = next(iter(values)), len(values["hair"])  # eyes take a judge of more steps
    hair_read = (found[:, :hair] if first == "hair" else found[:, -hair:]).argmax(1)
    known = attributes["hair"]
    right = [
        known.values[number] == judge.values["anime"]["hair"][answer]
        for answer, number in zip(hair_read, known.numbers, strict=True)
        if number >= 0
    ]
    assert np.mean(right) > 0.8


def test_agreement_with_references(drawn: Path, judge: judges.Judge) -> None:
    """A translation that is its reference agrees with it, one that is its source does not."""
    asked = config(drawn, 1)
    method = methods.load(asked)
    test = measures.TestSet(asked.data)

    def agreement(like):
        method.translate_like = like
        run = Run(asked, method, {}, {}, 1, {})
        faces = test.pictures["face"]
        return measures.reference_agreement(run, judge, faces, "face", "anime", test)["hair"]

    followed = agreement(lambda p, e, x, reference, s, t: reference)
    ignored = agreement(lambda p, e, x, reference, s, t: x)
    assert followed["of_ceiling"] > 0.8 and ignored["of_ceiling"] < 0.5
    assert followed["chance"] == 0.2


def test_maps_for_style_transfer(drawn: Path, judge: judges.Judge) -> None:
    params, apply = judges.as_maps(config(drawn, 1))
    forget(drawn, judge)
    content, style = apply(params, jnp.zeros((2, 32, 32, 3)))
    assert content.shape == (2, 4, 4, 128)
    assert [x.shape for x in style] == [(2, 16, 16, 32), (2, 8, 8, 64), (2, 4, 4, 128)]


def test_a_method_learns_its_reader_before_it_trains(
    drawn: Path, judge: judges.Judge, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    """From the labels; it is not the judge that measures."""
    monkeypatch.setattr(judges, "STEPS", 2)
    before = set((drawn / "judge").iterdir())
    asked = config(drawn, 1)
    asked.weights.attributes = 1.0
    method = methods.load(asked)
    params, extra = jax.eval_shape(method.init, jax.random.key(0))
    assert set((drawn / "judge").iterdir()) == before, "nothing is learnt to translate"
    method.prepare()
    new = set((drawn / "judge").iterdir()) - before
    assert sorted(path.suffix for path in new) == [".json", ".npz"]
    images = {d: jax.ShapeDtypeStruct((4, 32, 32, 3), jnp.float32) for d in asked.data.domains}
    step = jax.ShapeDtypeStruct((), jnp.int32)
    terms = jax.eval_shape(
        functools.partial(method.losses, "generator"), params, extra, images, jax.random.key(2), step
    )
    assert {f"attributes/{name}" for name in ("face", "anime", "face2anime", "anime2face")} < set(
        terms.losses
    )
    for path in new:
        path.unlink()
    # Where the data cannot be written to, it is learnt and not kept.
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(PermissionError("read-only")))
    assert judges.as_reader(asked)[0] and "is not kept" in caplog.text
    for path in set((drawn / "judge").iterdir()) - before:
        path.unlink()


def test_a_reader_reads_what_domains_share(monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    """The values in common, in one order, whatever else a domain's pictures have; nothing where none are."""
    labels = {
        "face": {"hair": ["red", "black", "blond"] * 10, "glasses": ["yes", "no", "no"] * 10},
        "anime": {"hair": ["pink", "blond", "black"] * 10, "ears": ["cat", "cat", "fox"] * 10},
    }
    values = {
        "face": {"hair": ("black", "blond", "red"), "glasses": ("no", "yes")},
        "anime": {"hair": ("black", "blond", "pink"), "ears": ("cat", "fox")},
    }
    network = judges._network(32, values)
    judge = judges.Judge(values, judges._initial(network), 32, "judge")
    monkeypatch.setattr(judges, "load_judge", lambda data, seed: judge)
    monkeypatch.setattr(judges.pipeline, "read_labels", lambda data, domain, split: labels[domain])
    asked = Config("xgan", Networks(), Weights(), DataConfig(path="none", size=32))
    params, read = judges.as_reader(asked)
    pictures = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    images = jnp.asarray(pictures / 127.5 - 1, jnp.float32)
    for domain in labels:
        found = read(params, images, domain)
        assert set(found) == {"hair"}
        logits = judge.read(pictures, domain)[1]["hair"][:, :2]
        np.testing.assert_allclose(found["hair"], jax.nn.log_softmax(logits), atol=1e-5)
    seen = [read(params, images, "face", jax.random.key(i))["hair"] for i in range(2)]
    assert np.abs(seen[0] - seen[1]).max() > 0
    labels["anime"] = {"hair": ["pink", "green"] * 15}
    params, read = judges.as_reader(asked)
    assert read(params, images, "face") == {} and "no labels that its domains share" in caplog.text


def test_agreement_is_balanced_over_the_values_in_common() -> None:
    known = Attribute(("black", "blond", "pink"), np.array([0, 0, 0, 1, 2, -1]))
    values = ("blond", "black", "blue")
    read = np.zeros((6, 3))
    read[[0, 1, 2], [1, 1, 0]] = 1  # black, black, blond: two of three right
    read[3, 0] = 1  # blond: right
    read[3, 2] = 5  # blue is not among the values in common
    assert measures.balanced_agreement(read, values, known) == pytest.approx((2 / 3 + 1) / 2)
    assert measures.balanced_agreement(read, ("blue", "blond"), known) is None


def test_measure_writes_figures_and_a_page(run_folder: Path, judge: judges.Judge) -> None:
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
    with pytest.raises(ValueError, match=r"manifold needs 6 test pictures of each domain, and .* has 5"):
        measures.measure(run_folder, metrics=("manifold",), count=5)
    report = measures.measure(run_folder, tmp_path / "few", count=5)
    assert "embedding" not in report
    for found in report["directions"].values():
        assert "manifold" not in found[report["judge"]] and "kid" in found[report["judge"]]
    monkeypatch.setattr(measures, "_LEAST", {"kid": TEST + 1})
    with pytest.raises(ValueError, match="kid needs"):
        train(config(drawn, 4), tmp_path / "run")


def test_fid_that_cannot_be_had_is_refused(run_folder: Path) -> None:
    with pytest.raises(ValueError, match="FID is measured in Inception's features: give --inception_weights"):
        measures.measure(run_folder, metrics=("fid",))
    with pytest.raises(ValueError, match=f"FID of {TEST} pictures .* use KID, or force it"):
        measures.measure(run_folder, metrics=("fid",), inception_weights="not read before the refusal")


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

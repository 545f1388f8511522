"""The judge, what it learns, and the networks that losses make of it."""

import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xgan_jax import method as methods
from xgan_jax import progress
from xgan_jax.config import Config, DataConfig
from xgan_jax.data.augment import to_float
from xgan_jax.data.tfrecord import TFRecordSource, TFRecordWriter
from xgan_jax.evaluation import testset
from xgan_jax.evaluation.figures import passing_rate
from xgan_jax.method import Moment
from xgan_jax.readers import judge as judges
from xgan_jax.readers.judge import Judge
from xgan_jax.readers.kept import asked as asked_of
from xgan_jax.readers.kept import is_kept, keep, kept
from xgan_jax.xgan import Networks, Weights

TRAIN, TEST = 120, 40  # pictures of a domain that were drawn


def config(drawn: Path) -> Config:
    networks = Networks(width=0.125, embedding_size=64, classifier_layers=1)
    return Config("xgan", networks, Weights(), DataConfig(path=str(drawn), size=32))


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judges, "STEPS", 60)


def test_a_judge_learns_what_it_is_asked(drawn: Path, judge: Judge) -> None:
    data = DataConfig(path=str(drawn), size=32)
    test = testset.TestSet(data)
    for domain, other in (("face", "anime"), ("anime", "face")):
        assert judge.values[domain]["hair"] == ("black", "blond", "brown", "gray", "red")
        assert passing_rate(judge, test.pictures[domain], domain) > 0.9
        assert passing_rate(judge, test.pictures[domain], other) < 0.1
    logits, attributes = judge.read(test.pictures["anime"], "anime")
    assert logits.shape == (TEST, 2) and attributes["hair"].shape == (TEST, 5)


def test_a_judge_is_kept_with_its_dataset(drawn: Path, judge: Judge) -> None:
    data = DataConfig(path=str(drawn), size=32)
    again = judges.load_judge(data)
    assert again.name == judge.name and again.values == judge.values
    pictures = testset.TestSet(data).pictures["face"]
    np.testing.assert_array_equal(again.features(pictures), judge.features(pictures))
    assert len(list((drawn / "judge").glob("*.npz"))) == 1


@pytest.mark.slow
def test_a_judge_can_teach(drawn: Path, judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judges, "STEPS", 2)
    asked = config(drawn)
    asked.weights.teacher, asked.networks.teacher = 1.0, "xgan_jax.readers.judge:as_teacher"
    method = methods.load(asked)
    params, extra = method.init(jax.random.key(0))
    images = {d: jax.random.uniform(jax.random.key(1), (4, 32, 32, 3), minval=-1) for d in asked.data.domains}
    now = Moment(params, extra, images, jax.random.key(2), jnp.zeros((), jnp.int32))
    terms = method.losses("generator", now)
    assert 0 < terms.losses["teacher/face"] < 10  # its features have unit spread
    assert not any("teacher" in networks for networks in method.players.values())
    forget(drawn, judge)


def forget(folder: Path, judge: Judge) -> None:
    """Another judge than the one that measures was learnt: takes it away."""
    [other] = [p for p in (folder / "judge").glob("*.json") if judge.name not in p.read_text()]
    for suffix in (".json", ".npz"):
        other.with_suffix(suffix).unlink()


def test_a_judge_can_be_followed(drawn: Path, judge: Judge) -> None:
    """A reference is what it has of hair and eyes, and nothing else of it."""
    asked = config(drawn)
    params, apply = judges.as_reference(asked)
    forget(drawn, judge)
    data = DataConfig(path=str(drawn), size=32)
    test = testset.TestSet(data)
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


def test_who_waits_is_told(drawn: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """Where there is no terminal: what is learnt, from what, how far it is, and that it is done."""
    monkeypatch.setattr(judges, "STEPS", 2)
    monkeypatch.setattr(progress, "EVERY", 0)
    before = set((drawn / "judge").glob("*"))
    data = DataConfig(path=str(drawn), size=32)
    judges.load_judge(data)
    first, *steps, last = capsys.readouterr().out.splitlines()
    labels, pictures = "the labels of face, anime", f"{2 * TRAIN} pictures"
    assert first == f"learning to read {labels} from {pictures}: once, kept in {drawn / 'judge'}"
    assert [line.split(",")[0] for line in steps] == [
        f"learning to read the labels: {i} of 2 steps" for i in (1, 2)
    ]
    assert last.startswith(f"learnt to read {labels} in ")
    judges.load_judge(data)
    assert capsys.readouterr().out == "", "it is there"
    for path in set((drawn / "judge").glob("*")) - before:
        path.unlink()


def test_what_is_kept_is_read_whole_or_learnt_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    variables = {"kernel": np.arange(12.0).reshape(3, 4), "bias": np.ones(4)}
    path = tmp_path / "judge" / "one.npz"
    assert not is_kept(path)
    keep(path, variables, values="{}")
    good = path.read_bytes()
    for at in range(0, len(good), 7):
        path.write_bytes(good[:at] + bytes([good[at] ^ 4]) + good[at + 1 :])
        if is_kept(path):
            np.testing.assert_array_equal(kept(path, variables)["kernel"], variables["kernel"])
    path.write_bytes(good[:-30])
    assert not is_kept(path) and "is damaged" in caplog.text


def test_other_pictures_have_another_network(records: Path, tmp_path: Path) -> None:
    data = DataConfig(path=str(records), size=32)
    was = asked_of(data, "version", 1)
    moved = DataConfig(path=str(shutil.copytree(records, tmp_path / "moved")), size=32)
    assert asked_of(moved, "version", 1) == was
    [shard] = (tmp_path / "moved" / "face").glob("*train*")
    payloads = [TFRecordSource([shard])[i] for i in range(len(TFRecordSource([shard])))]
    with TFRecordWriter(shard) as writer:
        for payload in payloads[::-1]:
            writer.write(payload)
    assert asked_of(moved, "version", 1) != was


def test_maps_for_style_transfer(drawn: Path, judge: Judge) -> None:
    params, apply = judges.as_maps(config(drawn))
    forget(drawn, judge)
    content, style = apply(params, jnp.zeros((2, 32, 32, 3)))
    assert content.shape == (2, 4, 4, 128)
    assert [x.shape for x in style] == [(2, 16, 16, 32), (2, 8, 8, 64), (2, 4, 4, 128)]


def test_a_method_learns_its_reader_before_it_trains(
    drawn: Path, judge: Judge, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    """From the labels; it is not the judge that measures."""
    monkeypatch.setattr(judges, "STEPS", 2)
    before = set((drawn / "judge").iterdir())
    asked = config(drawn)
    asked.weights.attributes = 1.0
    method = methods.load(asked)
    params, extra = jax.eval_shape(method.init, jax.random.key(0))
    assert set((drawn / "judge").iterdir()) == before, "nothing is learnt to translate"
    method.prepare()
    new = set((drawn / "judge").iterdir()) - before
    assert sorted(path.suffix for path in new) == [".json", ".npz"]
    images = {d: jax.ShapeDtypeStruct((4, 32, 32, 3), jnp.float32) for d in asked.data.domains}

    def losses(params, extra, images):
        return method.losses("generator", Moment(params, extra, images, jax.random.key(2), jnp.int32(0)))

    terms = jax.eval_shape(losses, params, extra, images)
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
    judge = Judge(values, judges._initial(network), 32, "judge")
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

"""Weights as people have them: which files are found, what is read, what is refused and how."""

import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch_files import cyclegan_generator, save, save_legacy

from xgan_jax import cli, convert
from xgan_jax.runs.checkpoint import Checkpoints
from xgan_jax.runs.load import load_run


def converted(weights: Path, out: Path, *more: str, method: str = "cyclegan") -> int:
    given = ["--method", method, "--weights", str(weights), "--out", str(out), "--size", "32", *more]
    return cli.main(["convert", *given])


def names(source: Path, epoch: str | None = None) -> dict[str, str]:
    return {part: path.name for part, path in convert._cyclegan_files(source, epoch).items()}


def touched(folder: Path, *files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in files:
        (folder / name).touch()
    return folder


BOTH = ("latest_net_G_A.pth", "latest_net_G_B.pth")


def test_the_layouts_of_cyclegan_that_are_known(tmp_path: Path) -> None:
    both = touched(
        tmp_path / "a", *BOTH, "200_net_G_A.pth", "200_net_G_B.pth", "200_net_D_A.pth", "loss_log.txt"
    )
    assert names(both) == {"G_A": BOTH[0], "G_B": BOTH[1]}
    of_200 = {"G_A": "200_net_G_A.pth", "G_B": "200_net_G_B.pth", "D_A": "200_net_D_A.pth"}
    assert names(both, "200") == names(both / "200_net_G_B.pth") == of_200
    alone = touched(tmp_path / "b", "latest_net_G.pth")
    assert names(alone) == names(alone / "latest_net_G.pth") == {"G": "latest_net_G.pth"}
    other = touched(tmp_path / "c", "horse2zebra.pth", "latest_net_G_B.pth")
    assert names(other / "horse2zebra.pth") == {"G": "horse2zebra.pth"}
    assert names(other / "latest_net_G_B.pth") == {"G_B": "latest_net_G_B.pth"}


@pytest.mark.parametrize(
    "files, epoch, sentence",
    [
        ((), None, r"no latest_net_G_A\.pth .* no latest_net_G\.pth, .*\(there is nothing\)"),
        (
            ("5_net_G_A.pth", "5_net_G_B.pth"),
            None,
            r"there is 5_net_G_A\.pth, .*: give --epoch 5, or the folder",
        ),
        (BOTH, "7", r"has no 7_net_G_A\.pth .*: give --epoch latest"),
        (BOTH[:1], None, r"has no latest_net_G_A\.pth with its _net_G_B\.pth"),
        (("checkpoint", "model.ckpt-1.index"), None, r"there is checkpoint, model\.ckpt-1\.index"),
    ],
)
def test_a_layout_that_is_not_known_is_named(
    files: tuple[str, ...], epoch: str | None, sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError, match=sentence):
        names(touched(tmp_path / "x", *files), epoch)


def test_one_generator_in_half_precision_under_other_names(tmp_path: Path) -> None:
    theirs = {f"module.{name}": x for name, x in cyclegan_generator(blocks=6, dtype="float16").items()}
    path = save({"epoch": 7, "state_dict": theirs}, tmp_path / "horse2zebra.pth")
    found = convert._cyclegan(path, None, "face", "anime")
    assert found.networks.blocks == 6 and found.networks.width == 4
    assert list(found.generators) == ["face2anime"] and not found.discriminators
    assert found.generators["face2anime"]["stem"]["kernel"].dtype == np.float32


@pytest.mark.slow
def test_one_generator_that_the_authors_publish(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Becomes a run, whose way back is said not to be there."""
    theirs = {f"module.{name}": x for name, x in cyclegan_generator(dtype="float16").items()}
    (tmp_path / "pretrained").mkdir()
    save({"state_dict": theirs}, tmp_path / "pretrained" / "latest_net_G.pth")
    assert converted(tmp_path / "pretrained", tmp_path / "run") == 0
    said = capsys.readouterr().out
    assert "CycleGAN's files latest_net_G.pth" in said and "anime2face is not among the weights" in said
    run = load_run(tmp_path / "run")
    assert run.config.networks.blocks == 2 and run.config.networks.width == 4
    stem = np.asarray(run.params["generator"]["face2anime"]["stem"]["kernel"])
    np.testing.assert_array_equal(
        stem, theirs["module.model.1.weight"].astype(np.float32).transpose(2, 3, 1, 0)
    )
    assert stem.dtype == np.float32
    assert converted(tmp_path / "pretrained", tmp_path / "run") == 2
    assert "is a run already: give another --out" in capsys.readouterr().err


def without(state: dict[str, Any], *gone: str) -> dict[str, Any]:
    return {name: x for name, x in state.items() if name not in gone}


GENERATOR = cyclegan_generator()
OTHERS = {
    "batch": (
        GENERATOR | {"model.2.weight": np.ones(4, np.float32)},
        r"normalisation has weights \(model\.2\.w",
    ),
    "unet": ({"model.model.0.weight": np.ones((4, 3, 4, 4), np.float32)}, "it is a U-Net, as pix2pix has"),
    "few": (without(GENERATOR, "model.1.weight"), "9 convolutions are not those of a CycleGAN generator"),
    "unlike": (GENERATOR | {"model.10.conv_block.1.weight": np.ones((16, 8, 3, 3), np.float32)}, "not alike"),
    "bias": (without(GENERATOR, "model.1.bias"), r"stem/bias is missing, not \(4,\)"),
    "grey": (
        GENERATOR | {"model.1.weight": np.ones((4, 1, 7, 7), np.float32)},
        r"stem/kernel is \(7, 7, 1, 4\), not",
    ),
    "two": ({"G_AB": GENERATOR, "G_BA": GENERATOR}, "holds G_AB, G_BA: one network's state dict is needed"),
    "number": ({"epoch": 3}, "holds no arrays by name"),
}


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("write", [save, save_legacy])
def test_other_networks_are_refused(
    kind: str, write: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree, sentence = OTHERS[kind]
    assert converted(write(tree, tmp_path / "x.pth"), tmp_path / "run") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("xgan convert: ") and re.search(sentence, line), line
    assert not (tmp_path / "run").exists()


def test_domains_and_folders_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "mine/checkpoints/7").mkdir(parents=True)
    weights = save(cyclegan_generator(), tmp_path / "latest_net_G.pth")
    for domains, out, sentence in (
        (("face", "../../x"), "run", "use the name of a folder"),
        (("a", "a"), "run", "at least two different domains"),
        (("a", "b"), "mine", "is no run, but has checkpoints"),
    ):
        with pytest.raises(ValueError, match=sentence):
            convert.convert("cyclegan", weights, tmp_path / out, domains)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest_net_G.pth", "mine"]


def test_a_save_that_failed_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = save(cyclegan_generator(), tmp_path / "latest_net_G.pth")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", full)
        assert converted(weights, tmp_path / "run") == 1
    assert converted(weights, tmp_path / "run") == 0


def test_other_files_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = save(GENERATOR, tmp_path / "whole.pth").read_bytes()
    for name, data in (
        ("cut.pth", whole[:-100]),
        ("empty.pth", b""),
        ("x.ckpt", b"abc"),
        ("x.pth", b"<html>"),
    ):
        (tmp_path / name).write_bytes(data)
        for method in convert.METHODS:
            assert converted(tmp_path / name, tmp_path / "run", method=method) == 2
            (line,) = capsys.readouterr().err.splitlines()
            assert f"{name} is no weight file of PyTorch that can be read here" in line
    assert converted(tmp_path / "whole.pth", tmp_path / "run", method="ugatit") == 2
    assert "holds no genA2B and genB2A (it holds model.1.weight, " in capsys.readouterr().err
    assert converted(tmp_path / "whole.pth", tmp_path / "run", "--epoch", "3") == 2
    assert "--epoch goes with a folder" in capsys.readouterr().err
    assert converted(tmp_path / "whole.pth", tmp_path / "run", method="ugatit_light") == 2
    assert "use cyclegan, or ugatit (light or full: the file tells)" in capsys.readouterr().err
    assert converted(tmp_path, tmp_path / "run", method="ugatit") == 2
    assert "has 0 files *_params_latest.pt (there is cut.pth, " in capsys.readouterr().err
    save({part: {"FC.0.weight": np.ones(3, np.float32)} for part in ("genA2B", "genB2A")}, tmp_path / "u.pt")
    assert converted(tmp_path / "u.pt", tmp_path / "run", method="ugatit") == 2
    assert "not a generator of U-GAT-IT" in capsys.readouterr().err
    assert converted(tmp_path / "whole.pth", tmp_path / "run", "--size", "48") == 2
    assert "config.data.size is 48: use 32, 64, 128 or 256." in capsys.readouterr().err


def test_mutated_weights_are_converted_or_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """100 of them: whatever the file says, there is one line, and nothing is left."""
    with zipfile.ZipFile(save(GENERATOR, tmp_path / "good.pth")) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    monkeypatch.setattr(convert, "_begun", lambda *_: None)  # what is read is not written
    monkeypatch.setattr(Checkpoints, "save", lambda *_: None)
    rng = np.random.default_rng(0)
    refused = 0
    for i in range(100):
        data = bytearray(members["archive/data.pkl"])
        for _ in range(rng.integers(1, 4)):
            data[rng.integers(len(data))] = rng.integers(256)
        with (
            zipfile.ZipFile(tmp_path / "x.pth", "w") as archive,
            zipfile.ZipFile(tmp_path / "good.pth") as old,
        ):
            for name in old.namelist():
                archive.writestr(name, bytes(data) if name.endswith("data.pkl") else old.read(name))
        monkeypatch.setattr(convert, "_begun", lambda *_: None)
        status = converted(tmp_path / "x.pth", tmp_path / f"run{i}")
        said = capsys.readouterr().err
        assert (status, len(said.splitlines())) in ((0, 0), (2, 1)), said
        refused += status == 2
    assert refused > 50

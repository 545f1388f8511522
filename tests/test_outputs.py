"""What is written for people: over nothing of theirs, whole or not at all."""

import errno
import os
import unicodedata
from pathlib import Path

import pytest

from xgan_jax.outputs import LEDGER, Outputs, put


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != LEDGER)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_the_same_command_replaces_its_own_and_nothing_else(tmp_path: Path, capsys) -> None:
    (tmp_path / "me.png").write_bytes(b"photo")
    first = Outputs(tmp_path)
    assert first.write("me.png", b"one", "translate me") == "me-2.png"
    first.tell()
    assert "written as 'me-2.png'" in capsys.readouterr().out
    assert Outputs(tmp_path).write("me.png", b"two", "translate me") == "me-2.png"
    assert Outputs(tmp_path).write("me.png", b"three", "translate you") == "me-3.png"
    (tmp_path / "me-2.png").write_bytes(b"painted over")
    assert Outputs(tmp_path).write("me.png", b"four", "translate me") == "me-4.png"
    assert contents(tmp_path) == {
        "me.png": b"photo", "me-2.png": b"painted over", "me-3.png": b"three", "me-4.png": b"four",
    }  # fmt: skip


def test_what_was_made_elsewhere_and_copied_is_kept(tmp_path: Path) -> None:
    Outputs(tmp_path / "a").write("me.png", b"one", "translate me")
    put(tmp_path / "me.png", (tmp_path / "a/me.png").read_bytes())
    assert Outputs(tmp_path).write("me.png", b"two", "translate me") == "me-2.png"


def test_names_are_one_where_a_disk_ignores_case_or_accents_form(tmp_path: Path) -> None:
    nfc, nfd = (unicodedata.normalize(form, "é.png") for form in ("NFC", "NFD"))
    outputs = Outputs(tmp_path)
    wanted = ["A.png", "a.png", "a-2.png", nfc, nfd, "B/x.png", "b/X.png", "straße.png", "STRASSE.png"]
    got = [outputs.write(name, name.encode(), "all") for name in wanted]
    folded = {unicodedata.normalize("NFC", name.casefold()) for name in got}
    assert len(folded) == len(got) == len(contents(tmp_path)) and got[0] == "A.png"
    assert [Outputs(tmp_path).write(n, b"", "all") for n in wanted[:1]] == ["A.png"]
    assert Outputs(tmp_path).write("a.PNG", b"", "another command") not in got


def test_a_file_may_have_the_name_of_a_folder(tmp_path: Path) -> None:
    outputs = Outputs(tmp_path)
    names = [outputs.write(name, b"x", "all") for name in ("x.png", "x.png/y.png", "z/a.png", "z")]
    assert names == ["x.png", "x.png_y.png", "z/a.png", "z-2"]


@pytest.mark.parametrize("kind", ["link", "hard link", "dangling", "pipe", "folder"])
def test_what_stands_at_the_name_is_never_written_through(tmp_path: Path, kind: str) -> None:
    photo, out = tmp_path / "photo.png", tmp_path / "out"
    photo.write_bytes(b"photo")
    out.mkdir()
    {
        "link": lambda: (out / "me.png").symlink_to(photo),
        "hard link": lambda: (out / "me.png").hardlink_to(photo),
        "dangling": lambda: (out / "me.png").symlink_to(tmp_path / "nothing"),
        "pipe": lambda: os.mkfifo(out / "me.png"),
        "folder": lambda: (out / "me.png").mkdir(),
    }[kind]()
    for _ in range(2):
        assert Outputs(out).write("me.png", b"mine", "translate") == "me-2.png"
    assert photo.read_bytes() == b"photo" and not (tmp_path / "nothing").exists()
    # A link that took the place of our file is not ours either.
    (out / "me-2.png").unlink()
    (out / "me-2.png").symlink_to(photo)
    assert Outputs(out).write("me.png", b"mine", "translate") == "me-3.png"


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Outputs(tmp_path).write("me.png", b"one", "translate")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(OSError, match="No space left"):
            Outputs(tmp_path).write("me.png", b"two", "translate")
    assert contents(tmp_path) == {"me.png": b"one"}
    with (tmp_path / LEDGER).open("a") as ledger:
        ledger.write('\n["me.png", "12')  # what a kill leaves
    assert Outputs(tmp_path).write("me.png", b"two", "translate") == "me.png"
    assert Outputs(tmp_path).write("me.png", b"three", "translate") == "me.png"


def test_two_commands_at_once_do_not_meet(tmp_path: Path) -> None:
    first, second = Outputs(tmp_path), Outputs(tmp_path)
    assert [o.write("me.png", o_data, "translate") for o, o_data in ((first, b"1"), (second, b"2"))] == [
        "me.png", "me-2.png",
    ]  # fmt: skip


def test_a_name_that_no_disk_takes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no file can have its name"):
        Outputs(tmp_path).write("x" * 300 + ".png", b"", "translate")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ValueError, match="is a file: give a folder to write into"):
        Outputs(tmp_path / "file")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="is a link to nothing: give a folder"):
        Outputs(tmp_path / "link")


def test_outputs_are_known_again(tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(b"photo")
    Outputs(tmp_path / "out").write("deep/me.png", b"one", "translate")
    outputs = Outputs(tmp_path / "out")
    assert outputs.made(tmp_path / "out/deep/me.png")
    assert not outputs.made(tmp_path / "photo.png") and not outputs.made(tmp_path / "out/other.png")

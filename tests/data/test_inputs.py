"""What people bring to a trained run: every file is read, or refused by name, and nothing hangs."""

import io
import os
import socket
import struct
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from xgan_jax.data import inputs, zips
from xgan_jax.data.pictures import encode
from xgan_jax.data.sources import open_source
from xgan_jax.outputs import Outputs

PNG = encode(np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8), "png")
LITTER = {
    "__MACOSX/a/._1.png": b"\0\5\x16\7",
    "a/._1.png": b"\0\5\x16\7",
    "a/.DS_Store": b"x",
    "Icon\r": b"",
    "Thumbs.db": b"x",
    "a/Desktop.INI": b"x",
    "a/@eaDir/1.png/SYNOPHOTO_THUMB_M.jpg": PNG,
    "$RECYCLE.BIN/1.png": PNG,
    "#recycle/a/1.png": PNG,
    ".hidden/1.png": PNG,
    "list.txt": b"x",
    "a/labels.CSV": b"x",
}


def nothing_made(_: Path) -> bool:
    return False


def opened(path: Path | str, made=nothing_made) -> tuple[list[str], dict[str, str], list[str]]:
    """Names read, reasons of the refused, ignored names; the sum is checked."""
    given = inputs.Inputs(str(path), made)
    read = [name for name, _ in given.read(8, "center", "reading")]
    assert given.found == len(read) + len(given.refused)
    return read, {entry["file"]: entry["reason"] for entry in given.refused}, given.ignored


def written(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def zipped(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize("packed", [False, True])
def test_what_systems_leave_is_no_picture(tmp_path: Path, packed: bool) -> None:
    """In a folder and in a zip alike, for a trained run and for prepare."""
    bad = {"a/broken.jpg": b"\xff\xd8\xff", "empty.png": b"", "more.tar.gz": b"x", "inner.zip": b"PK"}
    files = {"1.png": PNG, "a/deep/2.PNG": PNG} | bad | LITTER
    place = zipped(tmp_path / "a.zip", files) if packed else written(tmp_path / "a", files)
    read, refused, ignored = opened(place)
    assert read == ["1.png", "a/deep/2.PNG"]
    assert refused.keys() == bad.keys() and "archive" in refused["inner.zip"]
    assert ignored == sorted(LITTER)
    source = open_source(str(place))
    assert source.ignored == ignored and len(source.names) + len(source.refused) == 6


def entry(name: str, **fields: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def test_members_by_their_entries(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in (
            "win\\dir\\1.png",
            ".//b//./2.png",
            "../up.png",
            "C:\\x.png",
            "\\\\host\\x.png",
            "/abs.png",
        ):
            archive.writestr(entry(name), PNG)
        archive.writestr("win\\dir\\", b"")
        archive.writestr("win/dir/1.png", PNG)
        archive.writestr(entry("link.png", external_attr=0o120777 << 16), "/etc/passwd")
        archive.writestr(entry("pipe.png", external_attr=0o010644 << 16), b"")
        archive.writestr("secret.png", PNG)
        archive.writestr("64.png", PNG)
        archive.writestr("cut.png", PNG)
    data = bytearray(path.read_bytes())
    for name, field, value in ((b"secret.png", 8, 1), (b"64.png", 10, 9)):
        at = data.rindex(name)
        struct.pack_into("<H", data, at - 46 + field, value)
    data[data.index(b"cut.png") + 100] ^= 1
    path.write_bytes(bytes(data))
    read, refused, _ = opened(path)
    assert read == ["b/2.png", "win/dir/1.png"]
    assert {name: reason.split(":")[0] for name, reason in refused.items()} == {
        "../up.png": "its path in the zip leads outside",
        "C:\\x.png": "its path in the zip is absolute",
        "\\\\host\\x.png": "its path in the zip is absolute",
        "/abs.png": "its path in the zip is absolute",
        "win/dir/1.png": "the zip holds this name twice; the first is used",
        "link.png": "it is a symbolic link",
        "pipe.png": "it is not a regular file",
        "secret.png": "it is encrypted",
        "64.png": "it is compressed by deflate64, which is not read here",
        "cut.png": "the file cannot be read",
    }


def test_names_of_old_zips(tmp_path: Path) -> None:
    """UTF-8 that does not say so, as Macs write it; Shift-JIS, in which half a character is a backslash."""
    names = {"é日本.png".encode(): "é日本.png", "写/表.png".encode("shift-jis"): None}
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for raw in names:
            archive.writestr("x" * len(raw), PNG)
    data = path.read_bytes()
    for raw in names:
        data = data.replace(b"x" * len(raw), raw)
    path.write_bytes(data)
    read, refused, ignored = opened(path)
    assert not refused and not ignored and len(read) == 2
    assert "é日本.png" in read
    (other,) = set(read) - {"é日本.png"}
    assert other.count("/") == 1 and "\\" not in other


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_no_more_is_unpacked_than_a_member_says(tmp_path: Path, method: int) -> None:
    """A member of 120 MB that says it has 1,000 bytes."""
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", method) as archive, archive.open("1.png", "w", force_zip64=False) as file:
        for _ in range(12):
            file.write(bytes(10**7))
    data = bytearray(path.read_bytes())
    for signature, field in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        struct.pack_into("<I", data, data.index(signature) + field, 1000)
    path.write_bytes(bytes(data))
    tracemalloc.start()
    read, refused, _ = opened(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not read and "cannot be read" in refused["1.png"]
    assert peak < 110e6


def test_members_that_lie_over_each_other_are_refused(tmp_path: Path) -> None:
    """As in Fifield's zip bombs: many entries of the same bytes."""
    path = zipped(tmp_path / "a.zip", {"1.png": PNG, "2.png": PNG, "3.png": PNG})
    data = bytearray(path.read_bytes())
    offsets = [i for i in range(len(data) - 4) if data[i : i + 4] == b"PK\1\2"]
    struct.pack_into("<I", data, offsets[0] + 42, struct.unpack_from("<I", data, offsets[1] + 42)[0])
    path.write_bytes(bytes(data))
    read, refused, _ = opened(path)
    assert read == ["2.png", "3.png"] and "zip bomb" in refused["1.png"]


def test_folders_are_read_without_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = written(tmp_path / "a", {"1.png": PNG, "closed/2.png": PNG})
    outside = written(tmp_path / "b", {"3.png": PNG})
    (folder / "out.png").symlink_to(outside / "3.png")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    (folder / "up").symlink_to(folder)
    (folder / ".venv").symlink_to(outside)
    os.mkfifo(folder / "pipe.png")
    monkeypatch.chdir(folder)  # a socket's path has to be short
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("socket.png")
    (folder / "null.png").symlink_to("/dev/zero")
    scandir = os.scandir

    def closed(path: Path):
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    read, refused, ignored = opened(folder)
    listener.close()
    assert read == ["1.png", "out.png"] and ignored == [".venv"]
    assert refused.keys() == {"loop.png", "up", "pipe.png", "socket.png", "null.png", "closed"}
    assert refused["closed"] == "the folder cannot be read: Permission denied"
    assert all("pipe, a socket or a device" in refused[f"{n}.png"] for n in ("pipe", "socket", "null"))


def test_a_picture_that_became_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    given = inputs.Inputs(str(written(tmp_path / "a", {"1.png": PNG, "2.png": PNG})), nothing_made)
    (tmp_path / "a/1.png").unlink()
    os.mkfifo(tmp_path / "a/1.png")
    assert [name for name, _ in given.read(8, "center", "reading")] == ["2.png"]
    assert "pipe" in given.refused[0]["reason"]


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    Path(os.fsdecode(os.fsencode(tmp_path / "a") + b"/\xff.png")).write_bytes(PNG)
    assert opened(tmp_path / "a")[0] == ["\udcff.png"]


@pytest.mark.parametrize("packed", [False, True])
def test_a_folder_in_a_zip_and_a_file_by_itself(tmp_path: Path, packed: bool) -> None:
    files = {"photos/1.png": PNG, "other/2.png": PNG, "notes.txt": b"x"}
    place = zipped(tmp_path / "a.zip", files) if packed else written(tmp_path / "a", files)
    read, _, _ = opened(place / "photos")
    assert read == (["photos/1.png"] if packed else ["1.png"])
    if not packed:
        (place / "link.png").symlink_to(place / "photos/1.png")
        assert opened(place / "link.png")[0] == ["link.png"]
        assert "not a picture" in opened(place / "notes.txt")[1]["notes.txt"]


def tar(mode: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        info = tarfile.TarInfo("1.png")
        info.size = len(PNG)
        archive.addfile(info, io.BytesIO(PNG))
    return buffer.getvalue()


def split_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("1.png", PNG)
    data = bytearray(buffer.getvalue())
    struct.pack_into("<HH", data, data.rindex(b"PK\5\6") + 4, 2, 2)
    return bytes(data)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.tar", tar("w:"), "is a tar archive, and only zips are read here: unpack it"),
        ("a.tar.gz", tar("w:gz"), "is a gzip archive"),
        ("a.tar.xz", tar("w:xz"), "is a xz archive"),
        ("a.7z", b"7z\xbc\xaf\x27\x1c\0\4", "is a 7z archive"),
        ("a.rar", b"Rar!\x1a\x07\1\0", "is a RAR archive"),
        ("a.zip", split_zip(), "is a part of a split zip: join the parts"),
        ("a.zip.001", b"PK\3\4rest", "is a part of a split zip"),
        ("a.z01", b"PK\7\x08PK\3\4rest", "is a part of a split zip"),
        ("a.zip", b"PK\3\4rest", "is a damaged zip"),
        ("a.zip", b"PK\5\6" + bytes(18), "holds no pictures"),
        ("a.zip", b"PK\5\6" + bytes(9), "is a damaged zip"),
    ],
)
def test_other_archives_are_named(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    for open_it in (opened, open_source):
        with pytest.raises(ValueError, match=message):
            open_it(str(tmp_path / name))


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for open_it in (opened, open_source):
        for path in (str(tmp_path / "pipe"), "/dev/zero"):
            with pytest.raises(ValueError, match="is a pipe, a socket or a device: give a"):
                open_it(path)
        with pytest.raises(FileNotFoundError, match="does not exist: give a"):
            open_it(str(tmp_path / "none/1.png"))
        written(tmp_path / "texts", {"a.txt": b"", ".DS_Store": b""})
        with pytest.raises(ValueError, match=r"holds no pictures \(2 other files\)"):
            open_it(str(tmp_path / "texts"))


def test_outputs_of_earlier_commands_are_no_inputs(tmp_path: Path) -> None:
    """Neither of this command nor of another, in the folder that is given or below it; but where there is
    nothing else, they are meant."""
    photos = written(tmp_path / "photos", {"me.png": PNG})
    for folder in (photos, photos / "out", photos / "earlier"):
        Outputs(folder).write("mine.png", PNG, "translate")
    read, _, ignored = opened(photos, Outputs(photos).made)
    assert read == ["me.png"] and {"mine.png", "out/mine.png", "earlier/mine.png"} < set(ignored)
    assert opened(photos)[0] == open_source(str(photos)).names == ["me.png"]
    assert opened(photos / "out")[0] == ["mine.png"]
    with pytest.raises(ValueError, match=r"holds no pictures \(2 other files\)"):
        opened(photos / "out", Outputs(photos / "out").made)
    written(photos, {"out/mine.png": PNG + b"changed"})
    assert "out/mine.png" in opened(photos, Outputs(photos).made)[0]


RUN = {"config.json": b'{"method": "xgan", "data": {}}', "checkpoints/0/manifest": b"x", "samples/1.png": PNG}
DATASET = {"report.json": b'{"request": {}, "domains": {}}', "face/contact_sheet.png": PNG}
UNFINISHED = {"journal.json": b'{"request": {}, "done": {}}', "face/contact_sheet.png": PNG}
OTHER = {
    "config.json": b'{"method": 1, "data": 2}',
    "report.json": b"[[",
    "journal.json": b"[]",
    "2.png": PNG,
}


def test_runs_and_datasets_among_pictures_are_left_out(tmp_path: Path) -> None:
    """As a whole, unless they or a folder in them are given; other folders with such files are read."""
    photos = written(tmp_path / "photos", {"1.png": PNG})
    for name, files in {"run": RUN, "a/data": DATASET, "a.partial": UNFINISHED, "other": OTHER}.items():
        written(photos / name, files)
    others = {f"other/{name}" for name in OTHER if name != "2.png"}
    read, refused, ignored = opened(photos)
    assert read == open_source(str(photos)).names == ["1.png", "other/2.png"] and not refused
    assert set(ignored) == {"run/", "a/data/", "a.partial/"} | others
    assert opened(photos / "run/samples")[0] == ["1.png"]
    assert opened(photos / "run")[0] == ["samples/1.png"]
    with pytest.raises(ValueError, match=r"holds no pictures but those of xgan's own in data/: give that"):
        open_source(str(photos / "a"))


def test_a_zip_of_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zips, "MAX_ZIP_BYTES", 1000)
    with pytest.raises(ValueError, match="would unpack to"):
        opened(zipped(tmp_path / "a.zip", {str(i): PNG for i in range(9)}))


def test_one_picture_in_a_zip(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"b/1.png": PNG, "b/1.png.png": PNG, "b/bad.png": b"", "c.png": PNG})
    assert opened(path / "b/1.png") == (["b/1.png"], {}, [])
    assert opened(path / "b/bad.png")[1].keys() == {"b/bad.png"}
    with pytest.raises(ValueError, match=r"b/2.png holds no pictures"):
        opened(path / "b/2.png")
    with pytest.raises(ValueError, match=r"b/1.png is one picture: give the folder or zip that holds it"):
        open_source(str(path / "b/1.png"))

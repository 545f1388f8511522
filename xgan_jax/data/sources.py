"""Where pictures come from: a folder, a zip, a CelebA download, a prepared TFDS dataset, several of these.

`open_source` finds out which of these a path is, lists its pictures, and says which split and labels
each has. It reads no picture; nothing is ever unpacked to disk.
"""

import csv
import hashlib
import io
import os
import re
import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from xgan_jax.data.pictures import PictureError

Value = int | float | str

MAX_FILE_BYTES = 512 * 2**20  # a picture of MAX_PIXELS, uncompressed at 16 bits, is 384 MB
MAX_ZIP_BYTES = 2**40  # unpacked; far above any dataset of pictures, far below a zip bomb

# Files that nobody takes for pictures: left out of the count, but listed.
_TEXT = {".csv", ".tsv", ".txt", ".json", ".jsonl", ".md", ".html", ".htm", ".xml", ".yaml", ".yml", ".log"}
_IGNORED = _TEXT | {".py", ".ini", ".db", ".mat", ".npy", ".npz", ".pdf", ".sha256", ".md5"}
_SPLITS = {"train": "train", "test": "test", "val": "validation", "valid": "validation"}
_SPLITS["validation"] = "validation"
_PAIRS = ("AB", "12")  # trainA/trainB (CycleGAN) and train1/train2
_CELEBA_SPLITS = {"0": "train", "1": "validation", "2": "test"}  # CelebA's README
_RESERVED = {"image", "file_name", "labelled"}
_UNKNOWN: dict[str, Value] = {"int64": 0, "float32": float("nan"), "text": ""}


@runtime_checkable
class Source(Protocol):
    """What `prepare` needs to know of a place with pictures.

    `names` are the pictures, sorted; `splits` gives the split of those for which the source itself
    says it; `columns` is {label: "int64", "float32" or "text"}; `refused` is (name, reason) of what
    must not be read; `ignored` are files that are no pictures by their name.
    """

    kind: str
    names: list[str]
    splits: dict[str, str]
    columns: dict[str, str]
    refused: list[tuple[str, str]]
    ignored: list[str]
    notes: list[str]

    def load(self, name: str) -> tuple[bytes | np.ndarray, dict[str, Value]]:
        """A file's bytes (or uint8 pixels, h w 3) and its labels, one for each of `columns`. Thread-safe.

        Raises:
          PictureError: it cannot be read.
        """

    def fingerprint(self) -> str:
        """Changes when pictures, labels or splits are added, removed or changed in size."""


def open_source(path: str, *, half: int | None = None) -> Source:
    """Recognises what is at `path`.

    Args:
      path: a folder, a zip, a folder inside a zip (`pictures.zip/photos`) or `tfds:NAME`.
      half: which of trainA/trainB (train1/train2) to take where `path` holds both: 0 or 1.

    Raises:
      FileNotFoundError: nothing is there.
      ValueError: what is there holds no pictures, or those of two domains, or is damaged.
    """
    if path.startswith("tfds:"):
        return TfdsRecords(path.removeprefix("tfds:"))
    where, inside = _locate(path)
    celeba = _celeba_pictures(where)
    beside: tuple[str, ...] = ("",)
    if celeba is not None:
        where = celeba
    elif (
        inside == ""
        and (match := re.fullmatch(r"train([AB12])", where.name))
        and (where.parent / f"test{match[1]}").is_dir()
    ):
        where, inside = where.parent, f"train{match[1]}/"
        beside = tuple(key + match[1] for key in _SPLITS)
    files = Files(where)
    files.listing(beside)
    if not files.names and not files.refused:
        extra = f" ({len(files.ignored)} other files)" if files.ignored else ""
        raise ValueError(f"{path} holds no pictures{extra}: give a folder or a zip with pictures in it.")
    if "img_align_celeba" in where.stem or any("img_align_celeba/" in n for n in files.names[:1]):
        files.keep(inside)
        files.read_celeba_tables()
    if not files.is_celeba:
        files.find_layout(path, inside, half)
        files.read_attributes()
    return files


def _locate(path: str) -> tuple[Path, str]:
    """The folder or zip, and the prefix inside a zip ("" or "photos/")."""
    whole = Path(path)
    for where in (whole, *whole.parents):
        if where.is_dir():
            break
        if where.is_file():
            if not zipfile.is_zipfile(where):
                raise ValueError(f"{where} is neither a folder nor an intact zip: give one of these.")
            inside = whole.relative_to(where).as_posix()
            return where.resolve(), "" if inside == "." else inside + "/"
    if where != whole:
        raise FileNotFoundError(
            f"{path} does not exist: give a folder, a zip or tfds:NAME (looked from {os.getcwd()})."
        )
    return whole.resolve(), ""


def _celeba_pictures(where: Path) -> Path | None:
    """`where` is a CelebA download: the folder or zip of aligned pictures in it."""
    for folder in (where, where / "Img"):
        for name in ("img_align_celeba", "img_align_celeba.zip"):
            if (folder / name).exists():
                return folder / name
    return None


@dataclass
class Files:
    """The pictures in a folder (any depth) or a zip, named by their path inside it."""

    where: Path
    names: list[str] = field(default_factory=list)
    splits: dict[str, str] = field(default_factory=dict)
    columns: dict[str, str] = field(default_factory=dict)
    refused: list[tuple[str, str]] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    is_celeba: bool = False

    def __post_init__(self) -> None:
        self.kind = "zip" if self.where.is_file() else "folder"
        self._sizes: dict[str, tuple[int, ...]] = {}
        self._rows: dict[str, Sequence[Value]] = {}
        self._members: dict[str, zipfile.ZipInfo] = {}
        if self.kind == "zip":
            try:
                self._zip = zipfile.ZipFile(self.where)
            except (zipfile.BadZipFile, OSError) as error:
                raise ValueError(f"{self.where} is a damaged zip ({error}): get it again.") from None

    # Reading.

    def load(self, name: str) -> tuple[bytes | np.ndarray, dict[str, Value]]:
        return self._read(name), self._labels(name)

    def _read(self, name: str) -> bytes:
        try:
            if self.kind == "zip":
                return self._zip.read(self._members[name])
            with open(self.where / name, "rb") as file:
                return file.read(MAX_FILE_BYTES + 1)
        except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
            raise PictureError(f"the file cannot be read: {_reason(error)}") from None

    def _labels(self, name: str) -> dict[str, Value]:
        if not self.columns:
            return {}
        row = self._rows.get(name)
        if row is None:
            return {column: _UNKNOWN[kind] for column, kind in self.columns.items()}
        values = dict(zip(self.columns, row, strict=False))
        if "labelled" in self.columns:
            values["labelled"] = 1
        return values

    def fingerprint(self) -> str:
        digest = hashlib.blake2b(digest_size=16)
        for name in self.names:
            line = (name, self._sizes[name], self.splits.get(name), self._rows.get(name))
            digest.update(repr(line).encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    # Listing.

    def listing(self, folders: Sequence[str] = ("",)) -> None:
        """Fills `names`, `refused` and `ignored`; of a folder, from these subfolders only."""
        if self.kind == "zip":
            self._list_zip()
        else:
            for folder in folders:
                if (self.where / folder).is_dir():
                    self._list_folder(self.where / folder)
        self.names.sort()
        self.refused.sort()
        self.ignored.sort()

    def _list_folder(self, top: Path) -> None:
        def unreadable(error: OSError) -> None:
            name = Path(error.filename).relative_to(self.where).as_posix()
            self.refused.append((name, f"the folder cannot be read: {_reason(error)}"))

        for folder, folders, files in os.walk(top, onerror=unreadable):
            inside = Path(folder).relative_to(self.where)
            for name in folders:
                if os.path.islink(os.path.join(folder, name)):
                    reason = "a link to a folder is not followed: give that folder itself"
                    self.refused.append(((inside / name).as_posix(), reason))
            for file in files:
                name = (inside / file).as_posix()
                if _is_ignored(name):
                    self.ignored.append(name)
                    continue
                try:
                    status = os.stat(os.path.join(folder, file))
                except OSError as error:
                    self.refused.append((name, f"the file cannot be read: {_reason(error)}"))
                    continue
                if stat.S_ISREG(status.st_mode):
                    self._add(name, status.st_size)
                else:
                    self.refused.append((name, "it is not a regular file"))

    def _list_zip(self) -> None:
        members = [m for m in self._zip.infolist() if not m.is_dir()]
        total = sum(m.file_size for m in members)
        if total > MAX_ZIP_BYTES:
            raise ValueError(
                f"{self.where} would unpack to {total / 2**40:.1f} TiB, more than the "
                f"{MAX_ZIP_BYTES / 2**40:.0f} TiB that are allowed: it is no zip of pictures."
            )
        for member in members:
            name = member.filename
            parts = name.replace("\\", "/").split("/")
            if parts[0] == "" or re.match(r"[A-Za-z]:", name):
                self.refused.append((name, "its path in the zip is absolute"))
            elif ".." in parts:
                self.refused.append((name, "its path in the zip leads outside"))
            elif stat.S_ISLNK(member.external_attr >> 16):
                self.refused.append((name, "it is a symbolic link"))
            elif _is_ignored(name):
                self.ignored.append(name)
                self._members[name] = member
            elif member.flag_bits & 1:
                self.refused.append((name, "it is encrypted: unpack the zip with its password first"))
            elif name in self._members:
                self.refused.append((name, "the zip holds this name twice; the first is used"))
            else:
                self._members[name] = member
                self._add(name, member.file_size, member.CRC)

    def _add(self, name: str, size: int, *checksum: int) -> None:
        if size > MAX_FILE_BYTES:
            reason = f"the file has {size / 2**20:,.0f} MiB, more than the {MAX_FILE_BYTES // 2**20} allowed"
            self.refused.append((name, reason))
            return
        self.names.append(name)
        self._sizes[name] = (size, *checksum)

    # Splits.

    def find_layout(self, path: str, inside: str, half: int | None) -> None:
        """Recognises train/test subfolders, and trainA/testA of trainA/trainB/testA/testB."""
        if inside:
            pattern = re.fullmatch(r"(.*/)?train([AB12])/", inside)
            if pattern and any(n.startswith(f"{pattern[1] or ''}test{pattern[2]}/") for n in self.names):
                self._keep_half(pattern[1] or "", pattern[2])
                return
            self.keep(inside)
            if not self.names:
                raise ValueError(f"{self.where} holds no pictures under {inside}: see `unzip -l`.")
        base = _common_folder(self.names)
        children = {name[len(base) :].split("/")[0] for name in self.names if "/" in name[len(base) :]}
        for pair in _PAIRS:
            if {f"train{pair[0]}", f"train{pair[1]}"} <= children:
                if half is None:
                    first, second = (os.path.join(path, f"{base}train{letter}") for letter in pair)
                    raise ValueError(f"{path} holds two domains: give {first} or {second}.")
                self._keep_half(base, pair[half])
                return
        if half is not None:
            raise ValueError(
                f"{path} is given for two domains, but holds no trainA and trainB (or train1 and train2): "
                "give each domain a folder of its own."
            )
        found = {_SPLITS[child.lower()]: child for child in children if child.lower() in _SPLITS}
        if "train" in found and len(found) > 1:
            if "test" not in found:
                found["test"] = found.pop("validation")
                self.notes.append(f"{found['test']}/ is used as the test split")
            self._take_splits({f"{base}{child}/": split for split, child in found.items()})
            kept = set(self.splits)
            for name in self.names:
                if name not in kept:
                    self.refused.append((name, f"it lies outside {base}train and the other splits"))
            self.names = [name for name in self.names if name in kept]

    def _keep_half(self, base: str, letter: str) -> None:
        folders = {f"{base}{key}{letter}/": split for key, split in _SPLITS.items()}
        self.keep(*folders)
        self._take_splits(folders)
        if "test" not in self.splits.values():
            self.splits = {}

    def keep(self, *prefixes: str) -> None:
        """Forgets everything whose name begins with none of `prefixes`."""
        self.names = [n for n in self.names if n.startswith(prefixes)]
        self.refused = [r for r in self.refused if r[0].startswith(prefixes)]
        self.ignored = [n for n in self.ignored if n.startswith(prefixes)]

    def _take_splits(self, prefixes: Mapping[str, str]) -> None:
        for prefix, split in prefixes.items():
            self.splits |= {name: split for name in self.names if name.startswith(prefix)}
        folders = sorted({name[: name.rindex("/") + 1] for name in self.splits})
        folders = [p for p in prefixes if any(f.startswith(p) for f in folders)]
        self.notes.append(f"splits are those of {', '.join(folders)}")

    # Labels.

    def read_attributes(self) -> None:
        """Labels from every `attributes.csv`: its first column names files relative to the CSV."""
        tables = []
        for name in self.ignored:
            folder, _, last = name.rpartition("/")
            if last == "attributes.csv":
                columns, rows = _table(self._text(name), name)
                prefix = f"{folder}/" if folder else ""
                tables.append((columns, {prefix + key: row for key, row in rows.items()}))
        if tables:
            self.attach(tables, "attributes.csv")

    def read_labels_file(self, path: str) -> None:
        """Labels from a CSV anywhere: its first column is a picture's path or its file name.

        Raises:
          FileNotFoundError, ValueError: it is missing, no table, or names none of the pictures.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(f"{path} does not exist: --labels wants NAME=FILE.csv.")
        columns, rows = _table(Path(path).read_text(encoding="utf-8-sig", errors="replace"), path)
        by_picture = {n: rows[key] for n in self.names for key in (n, n.rpartition("/")[2]) if key in rows}
        if not by_picture:
            raise ValueError(
                f"{path} names none of the pictures in {self.where}: its first column must hold file names."
            )
        self.attach([(columns, by_picture)], Path(path).name)

    def read_celeba_tables(self) -> None:
        """Attributes (-1 or 1), landmarks (pixels of the aligned picture) and official splits."""
        folders = [self.where.parent, *self.where.parents[1:2]]
        folders = [f / sub for f in folders for sub in ("", "Anno", "Eval")]
        tables: list[tuple[list[str], dict[str, list[str]]]] = []
        for stem in ("list_attr_celeba", "list_landmarks_align_celeba", "list_eval_partition"):
            text = self._find_text((f"{stem}.txt", f"{stem}.csv"), folders)
            if text is None:
                continue
            self.is_celeba = True
            columns, rows = _table(text, stem)
            by_picture = {n: rows[key] for n in self.names if (key := n.rpartition("/")[2]) in rows}
            if stem == "list_eval_partition":
                self.splits = {
                    n: _CELEBA_SPLITS[row[0]] for n, row in by_picture.items() if row[0] in _CELEBA_SPLITS
                }
                self.notes.append("splits are CelebA's own (list_eval_partition)")
            else:
                tables.append((columns, by_picture))
        if tables:
            self.attach(tables, "CelebA's own lists")

    def _find_text(self, names: tuple[str, ...], folders: Iterable[Path]) -> str | None:
        for name in self.ignored:
            if name.rpartition("/")[2] in names:
                return self._text(name)
        for folder in folders:
            for name in names:
                if (folder / name).is_file():
                    return (folder / name).read_text()
        return None

    def _text(self, name: str) -> str:
        return self._read(name).decode("utf-8-sig", "replace")

    def attach(self, tables: list[tuple[list[str], dict[str, list[str]]]], origin: str) -> None:
        """Makes typed labels of tables of text, {picture: row}; they share or add columns."""
        names = list(dict.fromkeys(column for columns, _ in tables for column in columns))
        reserved = sorted(_RESERVED & set(names))
        if reserved:
            raise ValueError(f"a label in {origin} is called {reserved[0]!r}, which is taken: rename it.")
        merged: dict[str, dict[str, str]] = {}
        for columns, rows in tables:
            for picture, row in rows.items():
                merged.setdefault(picture, {}).update(zip(columns, row, strict=False))
        merged = {n: merged[n] for n in self.names if n in merged}
        if not merged:
            return
        typed = {name: _typed([row.get(name, "") for row in merged.values()]) for name in names}
        self.columns = {name: kind for name, (kind, _) in typed.items()}
        values = zip(*(values for _, values in typed.values()), strict=True)
        self._rows = dict(zip(merged, values, strict=True))
        self.notes.append(f"{len(names)} labels from {origin}")
        if len(merged) < len(self.names):
            self.columns["labelled"] = "int64"
            self.notes.append(f"{len(self.names) - len(merged):,} pictures have no label (labelled = 0)")


class TfdsRecords:
    """The pictures of a TFDS dataset that is already prepared on this machine; downloads nothing."""

    def __init__(self, name: str) -> None:
        import tensorflow_datasets as tfds

        data_dir = os.environ.get("TFDS_DATA_DIR") or os.path.expanduser("~/tensorflow_datasets")
        try:
            if os.path.isfile(os.path.join(name, "dataset_info.json")):
                builder = tfds.builder_from_directory(name)
            else:
                builder = tfds.builder(name, data_dir=data_dir)
        except tfds.core.DatasetNotFoundError:
            raise ValueError(f"TFDS knows no dataset {name!r}, and {data_dir} holds none.") from None
        splits = builder.info.splits
        if not splits:
            raise FileNotFoundError(
                f"tfds:{name} is not prepared in {data_dir}: prepare it once with `tfds build`, or set "
                "TFDS_DATA_DIR to where it is; nothing is downloaded here."
            )
        self.kind = f"TFDS {builder.info.full_name}"
        self.refused: list[tuple[str, str]] = []
        self.ignored: list[str] = []
        self.notes = ["splits are the dataset's own"]
        self._records = {s: _records(builder.info.file_format.value, splits[s].filepaths) for s in splits}
        ours = {split: _SPLITS.get(split, split) for split in splits}
        self.splits = {
            f"{split}/{i:08d}": ours[split] for split in splits for i in range(len(self._records[split]))
        }
        self.names = list(self.splits)
        if "test" not in ours.values():
            self.splits = {}
            self.notes = ["the dataset has no test split"]
        self._find_features(builder.info.features, tfds.features)
        self._info = Path(builder.data_dir, "dataset_info.json").read_bytes()

    def _find_features(self, features: Any, kinds: Any) -> None:
        self.columns: dict[str, str] = {}
        self._keys: dict[str, str] = {}
        images, dropped = [], []
        leaves = list(_leaves(features))
        last = Counter(key.rpartition("/")[2] for key, _ in leaves)
        for key, feature in leaves:
            label = key.rpartition("/")[2]
            label = label if last[label] == 1 else key.replace("/", "_")
            if isinstance(feature, kinds.Image) or (len(feature.shape) == 3 and feature.np_dtype == np.uint8):
                images.append((key, feature))
            elif isinstance(feature, kinds.Text):
                self.columns[label], self._keys[label] = "text", key
            elif feature.shape == () and np.issubdtype(feature.np_dtype, np.floating):
                self.columns[label], self._keys[label] = "float32", key
            elif feature.shape == () and np.dtype(feature.np_dtype).kind in "iub":
                self.columns[label], self._keys[label] = "int64", key
            else:
                dropped.append(key)
        if len(images) != 1:
            raise ValueError(
                f"{self.kind} has {len(images)} picture features, not one: it cannot be a domain."
            )
        self._image, feature = images[0]
        self._raw = None if isinstance(feature, kinds.Image) else tuple(feature.shape)
        for taken in _RESERVED & set(self.columns):
            self._keys[f"source_{taken}"] = self._keys.pop(taken)
            self.columns[f"source_{taken}"] = self.columns.pop(taken)
        if dropped:
            self.notes.append(f"not kept: {', '.join(dropped)}")

    def load(self, name: str) -> tuple[bytes | np.ndarray, dict[str, Value]]:
        from xgan_jax.data.tfrecord import decode_example

        split, _, index = name.rpartition("/")
        try:
            example = decode_example(self._records[split][int(index)])
        except (ValueError, OSError) as error:
            raise PictureError(f"the record cannot be read: {error}") from None
        for key in (self._image, *self._keys.values()):
            if len(example.get(key, [])) != 1:
                raise PictureError(f"the record lacks the feature {key!r}")
        labels: dict[str, Value] = {}
        for label, key in self._keys.items():
            value = example[key][0]
            labels[label] = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        image = example[self._image][0]
        if not isinstance(image, bytes):
            raise PictureError("the record's picture is not stored as bytes")
        if self._raw is None:
            return image, labels
        if len(image) != int(np.prod(self._raw)) or self._raw[2] != 3:
            raise PictureError(f"the record holds {len(image)} bytes, not pixels of shape {self._raw}")
        return np.frombuffer(image, np.uint8).reshape(self._raw), labels

    def fingerprint(self) -> str:
        return hashlib.blake2b(self._info, digest_size=16).hexdigest()


class Joined:
    """Several sources as one: a picture's name begins with its source's folder, zip or dataset.

    Labels are those that all sources with labels have; pictures of sources without any have `labelled` 0.

    Raises:
      ValueError: a label is a number in one source and text in another.
    """

    def __init__(self, sources: Mapping[str, Source]) -> None:
        """`sources`: {path: source}."""
        places = [Path(path).resolve().name for path in sources]
        if len(set(places)) < len(places):
            places = [f"{i + 1}_{place}" for i, place in enumerate(places)]
        self.sources = dict(zip(places, sources.values(), strict=True))
        self.kind = ", ".join(dict.fromkeys(source.kind for source in sources.values()))
        self.names: list[str] = []
        self.splits: dict[str, str] = {}
        self.columns: dict[str, str] = {}
        self.refused: list[tuple[str, str]] = []
        self.ignored: list[str] = []
        self.notes: list[str] = []
        for place, source in self.sources.items():
            self.names += [f"{place}/{name}" for name in source.names]
            self.splits |= {f"{place}/{name}": split for name, split in source.splits.items()}
            self.refused += [(f"{place}/{name}", reason) for name, reason in source.refused]
            self.ignored += [f"{place}/{name}" for name in source.ignored]
            self.notes += [f"{place}: {note}" for note in source.notes if note]
        self.names.sort()
        labels = {
            place: {name: kind for name, kind in source.columns.items() if name != "labelled"}
            for place, source in self.sources.items()
            if source.columns
        }
        every = dict.fromkeys(name for columns in labels.values() for name in columns)
        for name in every:
            kinds = {columns[name] for columns in labels.values() if name in columns}
            if len(kinds) > 1:
                raise ValueError(
                    f"the label {name!r} is {' in one set and '.join(sorted(kinds))} in another of "
                    f"{', '.join(labels)}: rename one."
                )
            if all(name in columns for columns in labels.values()):
                self.columns[name] = kinds.pop()
        if lost := [name for name in every if name not in self.columns]:
            self.notes.append(f"labels that not all sets have are not kept: {', '.join(lost)}")
        if self.columns and any(not s.columns or "labelled" in s.columns for s in sources.values()):
            self.columns["labelled"] = "int64"

    def load(self, name: str) -> tuple[bytes | np.ndarray, dict[str, Value]]:
        place, _, inside = name.partition("/")
        source = self.sources[place]
        data, found = source.load(inside)
        labels = {label: found.get(label, _UNKNOWN[kind]) for label, kind in self.columns.items()}
        if "labelled" in labels:
            labels["labelled"] = found.get("labelled", int(bool(source.columns)))
        return data, labels

    def fingerprint(self) -> str:
        parts = [(place, source.fingerprint()) for place, source in self.sources.items()]
        return hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()


def _records(file_format: str, paths: Sequence[Any]) -> Any:
    """Random access to the serialized examples of one split."""
    files = [os.fspath(path) for path in paths]
    if file_format == "tfrecord":
        from xgan_jax.data.tfrecord import TFRecordSource

        return TFRecordSource(files)
    if file_format == "array_record":
        from array_record.python.array_record_data_source import ArrayRecordDataSource

        return ArrayRecordDataSource(files)
    raise ValueError(
        f"the dataset's files are of format {file_format}: only tfrecord and array_record are read."
    )


def _leaves(features: Any, prefix: str = "") -> Iterable[tuple[str, Any]]:
    """(key in the example, feature) of a nested FeaturesDict; TFDS joins the keys with a slash."""
    for key, feature in sorted(features.items()):
        if hasattr(feature, "items"):
            yield from _leaves(feature, f"{prefix}{key}/")
        else:
            yield prefix + key, feature


def _is_ignored(name: str) -> bool:
    parts = name.split("/")
    hidden = any((p.startswith(".") and p != ".") or p == "__MACOSX" for p in parts)
    return hidden or os.path.splitext(parts[-1])[1].lower() in _IGNORED


def _common_folder(names: Sequence[str]) -> str:
    """The deepest folder that holds all of `names`: "" or "a/b/"."""
    # What the first and the last of sorted names share, all share.
    folders = [name.rpartition("/")[0] for name in (names[0], names[-1])] if names else [""]
    shared = os.path.commonpath(folders)
    return f"{shared}/" if shared else ""


def _table(text: str, origin: str) -> tuple[list[str], dict[str, list[str]]]:
    """Column names without the first, and {first column: the others}.

    Reads CSV with a header, and CelebA's own text form: an optional line with the count, an optional
    line with the column names, rows separated by blanks.
    """
    lines = text.splitlines()
    if lines and "," in lines[0]:
        rows = [row for row in csv.reader(io.StringIO(text)) if row]
        header, rows = rows[0][1:], rows[1:]
    else:
        rows = [line.split() for line in lines if line.strip()]
        if rows and len(rows[0]) == 1:
            rows = rows[1:]
        if not rows or len(rows[-1]) < 2:
            raise ValueError(f"{origin} is no table: it must have a file name and labels on each line.")
        if len(rows[0]) == len(rows[-1]) - 1:
            header, rows = rows[0], rows[1:]
        else:
            header = [f"column_{i}" for i in range(1, len(rows[0]))]
    for number, row in enumerate(rows, 1):
        if len(row) != len(header) + 1:
            raise ValueError(
                f"{origin}: row {number} ({row[0]}) has {len(row)} columns, the header {len(header) + 1}."
            )
    return header, {row[0]: row[1:] for row in rows}


def _typed(cells: Sequence[str]) -> tuple[str, list[Value]]:
    """A column as int64, else as float32 (an empty cell is nan), else as text."""
    if all(re.fullmatch(r"[+-]?\d{1,18}", cell) for cell in cells):
        return "int64", [int(cell) for cell in cells]
    try:
        numbers: list[Value] = [float(cell) if cell else float("nan") for cell in cells]
    except ValueError:
        return "text", list(cells)
    return ("float32", numbers) if any(cells) else ("text", list(cells))


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__

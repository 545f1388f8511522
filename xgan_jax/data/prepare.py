"""`xgan prepare`: folders, zips or datasets of pictures to sharded TFRecords at the training size.

Written is `OUT/report.json` and, for each domain, a folder that `tfds.builder_from_directory` opens:

    OUT/face/dataset_info.json, features.json
    OUT/face/face-train.tfrecord-00000-of-00038, ...
    OUT/face/contact_sheet.png

Nothing is dropped in silence: of every domain, found = written + refused, and each refused file stands
in the report with its reason; what `where` and `dedup` were asked to leave out is counted beside them.
OUT appears only when it is complete; until then the work is in `OUT.partial`, where the same command goes on.
"""

import fcntl
import hashlib
import json
import os
import re
import shlex
import shutil
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from tqdm import tqdm

from xgan_jax import __version__
from xgan_jax.data.joined import Joined
from xgan_jax.data.pictures import (
    CROPS,
    PictureError,
    crop_resize,
    decode,
    dimensions,
    encode,
    has_celeba_aspect,
)
from xgan_jax.data.sources import Files, Source, open_source
from xgan_jax.data.tfrecord import TFRecordWriter, encode_example

FORMAT = 1  # of the records and the report; raised when an old OUT must be made anew
MIN_SIDE = 16  # pixels: below it there is no face to see
SHARD_BYTES = 64 * 2**20
# Pictures are the same, saved or scaled in another way, up to these differences: bits of 256 (`fingerprint`;
# other faces of 3,000 of a kind differ in 22 at least), and the mean of the colours at 8x8 places, of 255.
NEAR, NEAR_COLOURS = 16, 12
_SHEET_SIDE = 8  # pictures along a side of the contact sheet


def prepare(
    domains: Mapping[str, str | Sequence[str]],
    out: str | os.PathLike[str],
    *,
    size: int = 64,
    encoding: str = "uint8",
    crop: str = "auto",
    test_fraction: float = 0.1,
    test_lists: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    where: Mapping[str, Mapping[str, str]] | None = None,
    dedup: bool = False,
    workers: int | None = None,
) -> dict[str, Any]:
    """Writes the dataset `out` of the pictures of each domain, and says on stdout what it did.

    Args:
      domains: {name: path, or several paths}; a path is what `sources.open_source` takes. Where two domains
        have the same path, it holds trainA and trainB (or train1 and train2): the first domain is A, the
        second B.
      out: the folder to make.
      size: side of the square pictures, pixels.
      encoding: "uint8" stores pixels (fastest to read), "jpeg" (quality 95) and "png" take less room.
      crop: a rule of `pictures.crop_box`, or "auto": "celeba" for pictures of CelebA's aspect, else "center".
      test_fraction: of the pictures of a source without splits of its own, the share that becomes the
        test split. A picture's split follows from a hash of its name, so adding others never moves it.
      test_lists: {domain: text file}; the pictures named there, one a line, are the test split, and
        all others train.
      labels: {domain: CSV}; see `labels.read_labels_file`.
      where: {domain: {label: value}}; only pictures whose labels have these values are written. Under "" for
        every domain that has the label.
      dedup: of pictures of a domain that look the same (`NEAR`), only the first is written. The train split
        comes first, so a test picture is never one of it.
      workers: threads that read, decode and resize; default one a core.

    Returns:
      the content of `out/report.json`: {"domains": {name: {"source", "crop", "size", "encoding",
      "splits": {split: pictures}, "found", "written", "refused": [{"file", "reason"}], ...}}, ...}.

    Raises:
      FileNotFoundError: a path is not there.
      ValueError: one sentence on what is wrong with an argument, a source, or what stands at `out`.
    """
    out = Path(out)
    paths = {domain: [given] if isinstance(given, str) else list(given) for domain, given in domains.items()}
    _check(paths, out, size, encoding, crop, test_fraction)
    test_lists, labels = test_lists or {}, labels or {}
    chosen = {domain: dict(conditions) for domain, conditions in (where or {}).items()}
    everywhere = chosen.pop("", {})
    for option, given in (("--test-list", test_lists), ("--labels", labels), ("--where", chosen)):
        for domain in sorted(set(given) - set(domains)):
            raise ValueError(f"{option} names the domain {domain!r}, which no --domain gives.")

    sources = _open_all(paths)
    splits = {}
    request: dict[str, Any] = {"format": FORMAT, "size": size, "encoding": encoding, "crop": crop}
    if dedup:
        request["dedup"] = [NEAR, NEAR_COLOURS]
    asked = request["domains"] = {}
    for domain, source in sources.items():
        if domain in labels:
            if len(paths[domain]) > 1:
                raise ValueError(
                    f"--labels {domain}: {domain} has several sets, put an attributes.csv into each."
                )
            if not isinstance(source, Files):
                raise ValueError(f"--labels {domain}: {source.kind} has labels of its own.")
            source.read_labels_file(labels[domain])
        for name in everywhere.keys() & set(source.columns):
            chosen.setdefault(domain, {}).setdefault(name, everywhere[name])
        for name in chosen.get(domain, {}):
            if name not in source.columns:
                known = ", ".join(source.columns) or "none"
                raise ValueError(f"--where {domain}:{name}: its labels are {known}.")
        splits[domain], rule = _assign_splits(source, test_fraction, test_lists.get(domain))
        source.notes.append(rule)
        asked[domain] = {
            "path": ", ".join(p if p.startswith("tfds:") else os.path.abspath(p) for p in paths[domain]),
            "pictures": source.fingerprint(),
            "splits": _digest(repr(sorted((n, s) for s, names in splits[domain].items() for n in names))),
        }
        if domain in chosen:
            asked[domain]["where"] = dict(chosen[domain])
    for name in sorted(everywhere):
        if not any(name in source.columns for source in sources.values()):
            raise ValueError(f"--where {name}: no domain has this label.")

    report = _already_there(out, request)
    if report is not None:
        print(f"{out} is already prepared from the same pictures in the same way: nothing to do.")
        _say_next(report, out)
        return report

    partial, journal, lock = _start(out, request)
    try:
        for domain, source in sources.items():
            if domain in journal["done"]:
                print(f"{domain}: was finished before the interruption, kept")
                continue
            shutil.rmtree(partial / domain, ignore_errors=True)
            (partial / domain).mkdir()
            journal["done"][domain] = _prepare_domain(
                domain, ", ".join(paths[domain]), source, splits[domain], partial / domain, size, encoding,
                crop, chosen.get(domain, {}), dedup, workers or os.cpu_count() or 1,
            )  # fmt: skip
            _write_json(partial / "journal.json", journal)
        report = {
            "version": __version__,
            "request": request,
            "size": size,
            "encoding": encoding,
            "domains": {domain: journal["done"][domain] for domain in domains},
        }
        _write_json(partial / "report.json", report)
        if out.exists():
            out.rmdir()  # _already_there has seen that it is empty
        os.rename(partial, out)
        (out / "journal.json").unlink()
    except ValueError:  # not an interruption: the request has to change, so nothing here is of use
        shutil.rmtree(partial, ignore_errors=True)
        raise
    finally:
        os.close(lock)
    _say_next(report, out)
    return report


# What is asked for, and what is there already.


def _check(
    domains: Mapping[str, Sequence[str]], out: Path, size: int, encoding: str, crop: str, test_fraction: float
) -> None:
    if not domains:
        raise ValueError("no domain is given: use --domain NAME=PATH, once for each.")
    for domain, paths in domains.items():
        if not paths:
            raise ValueError(f"the domain {domain} has no path: give one or more.")
        if not re.fullmatch(r"[a-z][a-z0-9_]*", domain):
            raise ValueError(
                f"the domain name {domain!r} cannot be used: take lower-case letters, digits and _, "
                "beginning with a letter."
            )
        for path in paths:
            if not path.startswith("tfds:") and out.resolve().is_relative_to(Path(path).resolve()):
                raise ValueError(
                    f"--out {out} lies inside the pictures of {domain} ({path}): choose another."
                )
    if not 8 <= size <= 1024:
        raise ValueError(f"--size is {size}: use 8 to 1024 pixels.")
    if encoding not in ("uint8", "jpeg", "png"):
        raise ValueError(f"--encoding is {encoding!r}: use uint8, jpeg or png.")
    if crop != "auto" and crop not in CROPS:
        raise ValueError(f"--crop is {crop!r}: use auto, {', '.join(CROPS)}.")
    if not 0 <= test_fraction < 1:
        raise ValueError(f"--test-fraction is {test_fraction}: use 0 to below 1.")


def _open_all(domains: Mapping[str, Sequence[str]]) -> dict[str, Source]:
    def place(path: str) -> str:
        return path if path.startswith("tfds:") else os.path.realpath(path)

    givers: dict[str, list[str]] = {}  # of a place, its domains
    for domain, paths in domains.items():
        for path in paths:
            same = givers.setdefault(place(path), [])
            if domain in same:
                raise ValueError(f"{path} is given twice for {domain}: give each set once.")
            same.append(domain)
    sources: dict[str, Source] = {}
    for domain, paths in domains.items():
        opened: dict[str, Source] = {}
        for path in paths:
            same = givers[place(path)]
            if len(same) > 2:
                raise ValueError(f"{path} is given for {len(same)} domains: give each a folder of its own.")
            opened[path] = open_source(path, half=same.index(domain) if len(same) == 2 else None)
        sources[domain] = opened[paths[0]] if len(opened) == 1 else Joined(opened)
    return sources


def _already_there(out: Path, request: dict[str, Any]) -> dict[str, Any] | None:
    """The report in `out` when it answers `request`; None when there is nothing at `out`."""
    if not out.exists():
        return None
    if not out.is_dir():
        raise ValueError(f"--out {out} is a file: choose another.")
    if out.is_symlink() or os.path.ismount(out):
        # A finished folder is renamed into place, which neither allows.
        raise ValueError(f"--out {out} is a link or a mount point: give a folder inside it, {out / 'data'}.")
    try:
        report: dict[str, Any] = json.loads((out / "report.json").read_text())
        was = report["request"]
    except (OSError, ValueError, KeyError, TypeError):
        if any(out.iterdir()):
            raise ValueError(
                f"--out {out} is not empty and was not written by prepare: choose another folder."
            ) from None
        return None
    if was != request:
        raise ValueError(
            f"--out {out} holds another dataset ({_difference(was, request)}): delete it or choose another."
        )
    return report


def _difference(was: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The first thing in which two requests differ."""
    for key in ("format", "size", "encoding", "crop", "dedup"):
        if was.get(key) != now.get(key):
            return f"{key} was {was.get(key)}, now {now.get(key)}"
    before, after = was["domains"], now["domains"]
    if before.keys() != after.keys():
        return f"of {', '.join(before)}, not {', '.join(after)}"
    domain = next(d for d in after if before[d] != after[d])
    if before[domain]["path"] != after[domain]["path"]:
        return f"{domain} was made from {before[domain]['path']}"
    if before[domain]["pictures"] != after[domain]["pictures"]:
        return f"the pictures or labels of {domain} have changed since"
    if before[domain].get("where") != after[domain].get("where"):
        return f"{domain} was chosen by other labels"
    return f"{domain} was split into train and test in another way"


def _start(out: Path, request: dict[str, Any]) -> tuple[Path, dict[str, Any], int]:
    """Makes or takes up `OUT.partial`: its path, its journal, and the descriptor that locks it."""
    partial = out.with_name(out.name + ".partial")
    delete = f"delete {partial} to start anew"
    try:
        partial.mkdir(parents=True, exist_ok=True)
        lock = os.open(partial, os.O_RDONLY)
    except OSError as error:
        raise ValueError(f"{partial} cannot be made ({error.strerror}): choose another --out.") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kernel lets go when the process dies
    except OSError:
        os.close(lock)
        raise ValueError(f"another prepare is writing {partial}: wait for it.") from None
    try:
        journal: dict[str, Any] = json.loads((partial / "journal.json").read_text())
    except FileNotFoundError:
        if any(name != "journal.json.new" for name in os.listdir(partial)):
            os.close(lock)
            raise ValueError(f"{partial} is in the way and was not written by prepare: {delete}.") from None
        journal = {"request": request, "done": {}}
        _write_json(partial / "journal.json", journal)
    if journal["request"] != request:
        os.close(lock)
        raise ValueError(
            f"{partial} was left by an interrupted prepare of another kind "
            f"({_difference(journal['request'], request)}): repeat that one, or {delete}."
        )
    return partial, journal, lock


def _assign_splits(
    source: Source, test_fraction: float, test_list: str | None
) -> tuple[dict[str, list[str]], str]:
    """{split: names, in the order of the records}, and how it came about.

    The order is that of a hash of the names: shuffled, the same every time, and little changed by
    adding pictures.
    """
    names = source.names
    if test_list is not None:
        if not Path(test_list).is_file():
            raise FileNotFoundError(f"{test_list} does not exist: --test-list wants NAME=FILE.txt.")
        lines = Path(test_list).read_text(encoding="utf-8-sig").splitlines()
        wanted = {line.strip() for line in lines if line.strip()}
        known = {key for name in names for key in (name, name.rpartition("/")[2])}
        absent = sorted(wanted - known)
        if absent or not wanted:
            what = f"{len(absent)} names that are not there, the first {absent[0]!r}" if absent else "no name"
            raise ValueError(f"the test list {test_list} holds {what}: write one file name a line.")
        of = {n: "test" if {n, n.rpartition("/")[2]} & wanted else "train" for n in names}
        rule = f"the test split is that of {Path(test_list).name}"
    elif source.splits:
        of = {n: source.splits.get(n, "train") for n in names}
        unlisted = sum(n not in source.splits for n in names)
        rule = f"{unlisted:,} pictures in no split went to train" if unlisted else ""
    else:
        # Of a set among several by its name there, so that giving another set moves none.
        inside = {n: n.partition("/")[2] if isinstance(source, Joined) else n for n in names}
        share = {n: int.from_bytes(_hash(inside[n], "split")[:6], "big") / 2**48 for n in names}
        of = {n: "test" if share[n] < test_fraction else "train" for n in names}
        # So few pictures that chance left a split empty: the nearest one goes there.
        if test_fraction > 0 and len(names) > 1:
            if "test" not in of.values():
                of[min(share, key=share.__getitem__)] = "test"
            if "train" not in of.values():
                of[max(share, key=share.__getitem__)] = "train"
        rule = f"no split given: a hash of each name sends about {test_fraction:.0%} to test"
    splits: dict[str, list[str]] = {}
    for name in sorted(names, key=lambda n: _hash(n, "order")):
        splits.setdefault(of[name], []).append(name)
    return {s: splits[s] for s in ("train", "validation", "test") if s in splits} | splits, rule


def _hash(name: str, purpose: str) -> bytes:
    return hashlib.blake2b(os.fsencode(name), digest_size=16, person=purpose.encode()).digest()


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


# The work.


def _prepare_domain(
    domain: str, path: str, source: Source, splits: dict[str, list[str]], folder: Path, size: int,
    encoding: str, crop: str, where: Mapping[str, str], dedup: bool, workers: int,
) -> dict[str, Any]:  # fmt: skip
    rule = _choose_crop(domain, source) if crop == "auto" else crop
    notes = [note for note in source.notes if note]
    print(
        f"{domain}: {path} ({source.kind}), {len(source.names):,} pictures; crop {rule}; {'; '.join(notes)}"
    )
    refused = [{"file": name, "reason": reason} for name, reason in source.refused]
    sheet: list[np.ndarray] = []
    seen: dict[bytes, str] = {}
    duplicates: list[dict[str, str]] = []
    left_out = 0
    looks = _Seen()
    near: list[dict[str, str]] = []
    written: dict[str, list[int]] = {}
    sizes: dict[str, int] = {}

    def work(names: Sequence[str]) -> list[_Made | str | None]:
        return [_make(source, name, size, rule, encoding, where) for name in names]

    progress = _Progress(domain, len(source.names))
    # Threads and not processes: reading, decoding and resizing all release the GIL.
    pool = ThreadPoolExecutor(workers)
    chunk = max(1, 65536 // size**2)
    try:
        for split, names in splits.items():
            with _Shards(folder, domain, split) as shards:
                results = _in_order(pool, work, names, 2 * workers + 1, chunk)
                for name, made in zip(names, results, strict=True):
                    progress.advance()
                    if isinstance(made, str):
                        refused.append({"file": name, "reason": made})
                        continue
                    if made is None:
                        left_out += 1
                        continue
                    image, record, digest = made
                    if dedup:
                        same = looks.same(name, image)
                        if same is not None:
                            near.append({"file": name, "same_as": same})
                            continue
                    shards.write(record)
                    if len(sheet) < _SHEET_SIDE**2:
                        sheet.append(image)
                    if digest in seen:
                        duplicates.append({"file": name, "same_as": seen[digest]})
                    seen.setdefault(digest, name)
            if shards.lengths:
                written[split], sizes[split] = shards.lengths, shards.bytes
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C does not wait for the queue
        progress.close()
    refused.sort(key=lambda r: r["file"])
    found = len(source.names) + len(source.refused)
    count = sum(sum(lengths) for lengths in written.values())
    if "train" not in written:
        reasons = "; ".join(f"{r['file']}: {r['reason']}" for r in refused[:3])
        raise ValueError(
            f"the domain {domain} ({path}) has no usable training picture of {found} found: {reasons}."
        )
    _write_metadata(folder, domain, written, sizes, source.columns, size, encoding)
    (folder / "contact_sheet.png").write_bytes(encode(_contact_sheet(sheet), "png"))
    ignored = Counter(os.path.splitext(name)[1].lower() or Path(name).name for name in source.ignored)
    report = {
        "source": path,
        "kind": source.kind,
        "notes": notes,
        "crop": rule,
        "size": size,
        "encoding": encoding,
        "splits": {split: sum(lengths) for split, lengths in written.items()},
        "found": found,
        "written": count,
        "refused": refused,
        "where": dict(where),
        "left_out": left_out,
        "near_duplicates": near,
        "duplicates": duplicates,
        "ignored": dict(sorted(ignored.items())),
        "ignored_files": source.ignored,
        "labels": list(source.columns),
    }
    _say_domain(domain, report)
    return report


# The picture, its record, and a digest of its pixels' source.
_Made = tuple[np.ndarray, bytes, bytes]


def _make(
    source: Source, name: str, size: int, rule: str, encoding: str, where: Mapping[str, str]
) -> "_Made | str | None":
    """A picture's record, or why it is refused; None where its labels are not those of `where`."""
    try:
        data, labels = source.load(name)
        labelled = labels.get("labelled", 1)
        if where and not (labelled and all(_is(labels[column], value) for column, value in where.items())):
            return None
        original = decode(data) if isinstance(data, bytes) else data
        height, width = original.shape[:2]
        if min(height, width) < MIN_SIDE:
            return f"it has {width}x{height} pixels; each side must have at least {MIN_SIDE}"
        image = crop_resize(original, size, rule)
    except PictureError as error:
        return str(error)
    except MemoryError:
        return "there is not enough memory to decode it"
    stored = image.tobytes() if encoding == "uint8" else encode(image, encoding)
    # Names that are no valid Unicode exist on disk; Text must be UTF-8.
    features = {"image": stored, "file_name": name.encode("utf-8", "replace"), **labels}
    digest = hashlib.blake2b(data if isinstance(data, bytes) else data.tobytes(), digest_size=16).digest()
    return image, encode_example(features), digest


def _is(label: Any, value: str) -> bool:
    """Whether a label has the value that was written on the command line."""
    if isinstance(label, bytes):
        label = label.decode("utf-8", "replace")
    if isinstance(label, str):
        return label == value
    try:
        return bool(np.float32(label) == np.float32(value))
    except ValueError:
        return False


def fingerprint(image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "32"]:
    """256 bits of what a picture looks like: is it brighter to the right, at 16x16 places (dHash)."""
    grey = Image.fromarray(image).convert("L").resize((17, 16), Image.Resampling.BOX)
    pixels = np.asarray(grey)
    return np.packbits(pixels[:, 1:] > pixels[:, :-1])


class _Seen:
    """The looks of the pictures that were written."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._prints = np.zeros((1024, 4), np.uint64)
        self._colours = np.zeros((1024, 8, 8, 3), np.uint8)

    def same(self, name: str, image: UInt8[np.ndarray, "h w 3"]) -> str | None:
        """The first picture seen that looks like this one; None where it is new, and is kept in mind."""
        n = len(self._names)
        look = fingerprint(image).view(np.uint64)
        small = Image.fromarray(image).resize((8, 8), Image.Resampling.BOX)
        colours = np.asarray(small, np.int16)
        bits = np.bitwise_count(self._prints[:n] ^ look).sum(1, dtype=np.int64)
        for i in np.flatnonzero(bits <= NEAR):
            # Flat drawings have few edges: their colours must agree too.
            if np.abs(self._colours[i] - colours).mean() <= NEAR_COLOURS:
                return self._names[i]
        if n == len(self._prints):
            self._prints = np.concatenate([self._prints, np.zeros_like(self._prints)])
            self._colours = np.concatenate([self._colours, np.zeros_like(self._colours)])
        self._prints[n], self._colours[n] = look, colours
        self._names.append(name)
        return None


def _in_order(
    pool: ThreadPoolExecutor,
    work: Callable[[Sequence[str]], list[Any]],
    names: Sequence[str],
    ahead: int,
    chunk: int,
) -> Iterator[Any]:
    """`work` over `names` by the chunk, in order, with at most `ahead` chunks in memory."""
    waiting: deque[Future[list[Any]]] = deque()
    for start in range(0, len(names), chunk):
        waiting.append(pool.submit(work, names[start : start + chunk]))
        if len(waiting) >= ahead:
            yield from waiting.popleft().result()
    while waiting:
        yield from waiting.popleft().result()


def _choose_crop(domain: str, source: Source) -> str:
    """ "celeba" when nine of ten of a spread sample of pictures have CelebA's aspect, else "center".

    Raises:
      ValueError: a domain's sets differ in that; faces would fill the frame differently.
    """
    if isinstance(source, Joined):
        rules = {place: _choose_crop(domain, part) for place, part in source.sources.items()}
        if len(set(rules.values())) > 1:
            which = ", ".join(f"{place} {rule}" for place, rule in rules.items())
            raise ValueError(f"the sets of {domain} ask for different crops ({which}): choose with --crop.")
        return next(iter(rules.values()))
    names = source.names
    sample = [names[i] for i in np.linspace(0, len(names) - 1, min(len(names), 200)).astype(int)]
    votes = []
    for name in sample:
        with suppress(PictureError):
            data, _ = source.load(name)
            width, height = dimensions(data) if isinstance(data, bytes) else data.shape[1::-1]
            votes.append(has_celeba_aspect(width, height))
    return "celeba" if votes and sum(votes) >= 0.9 * len(votes) else "center"


class _Shards:
    """One split's files of about `SHARD_BYTES`, named when their number is known."""

    def __init__(self, folder: Path, domain: str, split: str) -> None:
        self._folder, self._stem = folder, f"{domain}-{split}.tfrecord"
        self._writer: TFRecordWriter | None = None
        self._room = 0
        self.lengths: list[int] = []  # records in each shard
        self.bytes = 0

    def __enter__(self) -> "_Shards":
        return self

    def write(self, record: bytes) -> None:
        if self._writer is None or self._room < len(record):
            self._close()
            self._writer = TFRecordWriter(self._path(len(self.lengths)))
            self._room = SHARD_BYTES
            self.lengths.append(0)
        self._writer.write(record)
        self._room -= len(record)
        self.lengths[-1] += 1
        self.bytes += len(record)

    def __exit__(self, kind: Any, *_: object) -> None:
        self._close()
        if kind is None:
            for i in range(len(self.lengths)):
                os.rename(self._path(i), self._path(i, len(self.lengths)))

    def _path(self, index: int, total: int = 0) -> Path:
        return self._folder / f"{self._stem}-{index:05d}-of-{total:05d}"

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _write_metadata(
    folder: Path, domain: str, lengths: Mapping[str, list[int]], sizes: Mapping[str, int],
    columns: Mapping[str, str], size: int, encoding: str,
) -> None:  # fmt: skip
    """dataset_info.json and features.json as TFDS 4.9 writes them."""
    import tensorflow_datasets as tfds

    kinds = {"int64": np.int64, "float32": np.float32, "text": tfds.features.Text()}
    shape = (size, size, 3)
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Tensor(shape=shape, dtype=np.uint8, encoding="bytes")
            if encoding == "uint8"
            else tfds.features.Image(shape=shape, encoding_format=encoding),
            "file_name": tfds.features.Text(),
            **{name: kinds[kind] for name, kind in columns.items()},
        }
    )
    features.save_config(folder)
    info = {
        "name": domain,
        "version": "1.0.0",
        "description": f"Written by xgan prepare {__version__}.",
        "releaseNotes": {"1.0.0": "Initial release."},
        "fileFormat": "tfrecord",
        "splits": [
            {
                "name": split,
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
                "numBytes": str(sizes[split]),
                "shardLengths": [str(length) for length in lengths[split]],
            }
            for split in lengths
        ],
    }
    _write_json(folder / "dataset_info.json", info)


def _contact_sheet(images: Sequence[np.ndarray]) -> UInt8[np.ndarray, "h w 3"]:
    """The pictures in rows on white, 2 pixels apart."""
    side = images[0].shape[0] + 2
    columns = min(len(images), _SHEET_SIDE)
    rows = -(-len(images) // columns)
    sheet = np.full((rows * side + 2, columns * side + 2, 3), 255, np.uint8)
    for i, image in enumerate(images):
        top, left = i // columns * side + 2, i % columns * side + 2
        sheet[top : top + side - 2, left : left + side - 2] = image
    return sheet


def _write_json(path: Path, content: Any) -> None:
    """Whole or not at all."""
    new = path.with_name(path.name + ".new")
    new.write_text(json.dumps(content, indent=2) + "\n")
    os.replace(new, path)


# What is said.


class _Progress:
    """A bar on a terminal, elsewhere a line every few seconds."""

    def __init__(self, label: str, total: int) -> None:
        self._label, self._total, self._done = label, total, 0
        self._start = self._said = time.monotonic()
        self._bar = tqdm(total=total, desc=label, unit="picture") if sys.stderr.isatty() else None

    def advance(self) -> None:
        self._done += 1
        if self._bar is not None:
            self._bar.update()
        elif (now := time.monotonic()) - self._said > 5:
            self._said = now
            rate = self._done / (now - self._start)
            left = (self._total - self._done) / rate
            print(
                f"{self._label}: {self._done:,} of {self._total:,}, {rate:,.0f}/s, {left:.0f} s left",
                flush=True,
            )

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def _say_domain(domain: str, report: Mapping[str, Any]) -> None:
    parts = ", ".join(f"{count:,} {split}" for split, count in report["splits"].items())
    refused = report["refused"]
    asked = f" + {report['left_out']} by --where" if report["where"] else ""
    asked += f" + {len(report['near_duplicates'])} by --dedup" if report["near_duplicates"] else ""
    print(
        f"{domain}: {report['found']} found = {report['written']} written ({parts}) + {len(refused)} refused"
        + asked
    )
    for entry in refused[:5]:
        print(f"  refused {entry['file']!r}: {entry['reason']}")
    if refused[5:]:
        print(f"  and {len(refused) - 5} more, in report.json")
    if report["ignored"]:
        kinds = ", ".join(f"{count} {kind}" for kind, count in report["ignored"].items())
        print(f"  no pictures by their names, not counted: {kinds}")
    if report["duplicates"]:
        first = report["duplicates"][0]
        print(
            f"  {len(report['duplicates'])} of the written have the same bytes as another, for example "
            f"{first['file']!r} and {first['same_as']!r}; all are in report.json"
        )


def _say_next(report: Mapping[str, Any], out: Path) -> None:
    domains = list(report["domains"])
    sheets = ", ".join(str(out / domain / "contact_sheet.png") for domain in domains)
    print(f"Report: {out / 'report.json'}. Look at: {sheets}")
    command = ["python", "train.py", "--config", "configs/xgan.py", "--workdir", "runs/my_run"]
    command.append(f"--config.data.path={out}")
    if domains != ["face", "anime"]:
        names = ", ".join(json.dumps(domain) for domain in domains)
        command.append(f"--config.data.domains=({names})")
    if report["size"] != 64:
        command.append(f"--config.data.size={report['size']}")
    if len(domains) > 1:
        print(f"Next:   {shlex.join(command)}", flush=True)

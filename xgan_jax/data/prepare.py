"""`xgan prepare`: folders, zips or datasets of pictures to sharded TFRecords at the training size.

Written is `OUT/report.json` and, for each domain, a folder that `tfds.builder_from_directory` opens:

    OUT/face/dataset_info.json, features.json
    OUT/face/face-train.tfrecord-00000-of-00038, ...
    OUT/face/contact_sheet.png

Nothing is dropped in silence: of every domain, found = written + refused, and each refused file stands
in the report with its reason; what `where` and `dedup` were asked to leave out is counted beside them.
OUT appears only when it is complete; until then the work is in `OUT.partial`, where the same command goes on.
"""

import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from xgan_jax import __version__
from xgan_jax.config import SIZES, DataConfig
from xgan_jax.data.account import Account, say_sums
from xgan_jax.data.contact_sheet import ContactSheet
from xgan_jax.data.domains import Domain, open_domains
from xgan_jax.data.journal import Journal, check_same, standing
from xgan_jax.data.looks import NEAR, NEAR_COLOURS
from xgan_jax.data.pictures import CROPS
from xgan_jax.data.records import Maker, choose_crop
from xgan_jax.data.shards import Shards, write_metadata
from xgan_jax.progress import Progress

FORMAT = 1  # of the records and the report; raised when an old OUT must be made anew


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
    encodings: Mapping[str, str] | None = None,
    dedup: bool = False,
    workers: int | None = None,
) -> dict[str, Any]:
    """Writes the dataset `out` of the pictures of each domain, and says on stdout what it did.

    Args:
      domains: {name: path, or several paths}; a path is what `sources.open_source` takes. Where two domains
        have the same path, it holds trainA and trainB (or train1 and train2): the first domain is A, the
        second B.
      out: the folder to make.
      size: side of the square pictures, pixels; one of `config.SIZES`, for which there are networks.
      encoding: "uint8" stores pixels (fastest to read), "jpeg" (quality 95) and "png" take less room.
      crop: a rule of `pictures.crop_box`, or "auto": "celeba" for pictures of CelebA's aspect, else "center".
      test_fraction: of the pictures of a source without splits of its own, the share that becomes the
        test split. A picture's split follows from a hash of its name, so adding others never moves it.
      test_lists: {domain: text file}; the pictures named there, one a line, are the test split, and
        all others train.
      labels: {domain: CSV}; see `labels.read_labels_file`.
      where: {domain: {label: value}}; only pictures whose labels have these values are written. Under "" for
        every domain that has the label.
      encodings: {domain: encoding} of tables and lists that are not UTF-8 and have no mark. Under "" for
        every domain.
      dedup: of pictures of a domain that look the same (`looks.NEAR`), only the first is written. The train
        split comes first, so a test picture is never one of it.
      workers: threads that read, decode and resize; default one a core.

    Returns:
      the content of `out/report.json`: {"domains": {name: {"source", "crop", "size", "encoding",
      "splits": {split: pictures}, "found", "written", "refused": [{"file", "reason"}], ...}}, ...}.

    Raises:
      FileNotFoundError: a path is not there.
      ValueError: one sentence on what is wrong with an argument, a source, or what stands at `out`.
    """
    out = Path(out)
    paths = {name: [given] if isinstance(given, str) else list(given) for name, given in domains.items()}
    _check(paths, out, size, encoding, crop, test_fraction)
    report = standing(out)
    opened = open_domains(paths, test_fraction, test_lists or {}, labels or {}, where or {}, encodings or {})
    request = _request(opened, size, encoding, crop, dedup)
    if report is not None:
        check_same(out, report, request)
        _check_whole(out, report)
        print(f"{out} is already prepared from the same pictures in the same way: nothing to do.")
        _say_next(report, out)
        return report
    with Journal(out, request) as journal:
        for domain in opened:
            if domain.name in journal.done:
                print(f"{domain.name}: was finished before the interruption, kept")
                continue
            folder = journal.begin(domain.name)
            rule = choose_crop(domain.name, domain.source) if crop == "auto" else crop
            maker = Maker(domain.source, size, rule, encoding, domain.where)
            made = _write_domain(domain, folder, maker, dedup, workers or os.cpu_count() or 1)
            journal.end(domain.name, made)
        report = {
            "version": __version__,
            "request": journal.request,
            "size": size,
            "encoding": encoding,
            "domains": {domain.name: journal.done[domain.name] for domain in opened},
        }
        journal.finish(report)
    _say_next(report, out)
    return report


def _request(domains: Sequence[Domain], size: int, encoding: str, crop: str, dedup: bool) -> dict[str, Any]:
    """What has to be the same where a dataset is kept, or an interrupted one is continued."""
    request: dict[str, Any] = {"format": FORMAT, "size": size, "encoding": encoding, "crop": crop}
    if dedup:
        request["dedup"] = [NEAR, NEAR_COLOURS]
    request["domains"] = {
        domain.name: domain.request | {"contents": domain.source.contents()} for domain in domains
    }
    return request


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
    if size not in SIZES:
        nearest = sorted(sorted(SIZES, key=lambda s: abs(s - size))[:2])
        use = " or ".join(map(str, nearest))
        raise ValueError(f"--size is {size}, for which there are no networks: use {use} pixels.")
    if encoding not in ("uint8", "jpeg", "png"):
        raise ValueError(f"--encoding is {encoding!r}: use uint8, jpeg or png.")
    if crop != "auto" and crop not in CROPS:
        raise ValueError(f"--crop is {crop!r}: use auto, {', '.join(CROPS)}.")
    if not 0 <= test_fraction < 1:
        raise ValueError(f"--test-fraction is {test_fraction}: use 0 to below 1.")


def _check_whole(out: Path, report: Mapping[str, Any]) -> None:
    """Whether training can open the dataset at `out`.

    Raises:
      ValueError: it cannot.
    """
    from xgan_jax.data import pipeline  # grain is slow to import, and only asked for here

    data = DataConfig(path=str(out), domains=tuple(report["domains"]), size=report["size"])
    for domain, made in report["domains"].items():
        for split in made["splits"]:
            try:
                pipeline.open_pictures(data, domain, split)
            except (FileNotFoundError, ValueError) as error:
                raise ValueError(
                    f"{error} To prepare it again, delete {out}, or choose another --out."
                ) from None


def _write_domain(domain: Domain, folder: Path, maker: Maker, dedup: bool, workers: int) -> dict[str, Any]:
    """Fills `folder` and returns the domain's part of the report."""
    total = len(domain.source.names)
    print(
        f"{domain.name}: {domain.path} ({domain.source.kind}), {total:,} pictures; crop {maker.crop}; "
        f"{'; '.join(domain.notes)}"
    )
    for table in domain.tables:
        print(f"  {table}")
    account, sheet = Account(domain, dedup), ContactSheet()
    with Progress(domain.name, total, "pictures") as progress:
        for split, names in domain.splits.items():
            results = maker.make_all(names, workers)
            with Shards(folder, domain.name, split) as shards, closing(results):
                for name, result in zip(names, results, strict=True):
                    progress.advance()
                    made = account.admit(name, result)
                    if made is not None:
                        shards.write(made.record)
                        sheet.add(made.image)
            if shards.lengths:
                account.written[split] = shards
    report = account.report(maker)
    write_metadata(folder, domain.name, account.written, domain.source.columns, maker.size, maker.encoding)
    (folder / "contact_sheet.png").write_bytes(sheet.png())
    say_sums(domain.name, report)
    return report


def _say_next(report: Mapping[str, Any], out: Path) -> None:
    domains = list(report["domains"])
    sheets = ", ".join(str(out / domain / "contact_sheet.png") for domain in domains)
    print(f"Report: {out / 'report.json'}. Look at: {sheets}")
    untested = [domain for domain, made in report["domains"].items() if "test" not in made["splits"]]
    if untested:
        print(
            f"Note: train.py refuses a domain without test pictures, as {', '.join(untested)}: delete {out} "
            "and prepare it with more pictures or another --test-fraction, or train with "
            "--config.data.test_split=train.",
            flush=True,
        )
        return
    command = ["python", "train.py", "--config", "configs/xgan.py", "--workdir", "runs/my_run"]
    command.append(f"--config.data.path={out}")
    if domains != ["face", "anime"]:
        names = ", ".join(json.dumps(domain) for domain in domains)
        command.append(f"--config.data.domains=({names})")
    if report["size"] != 64:
        command.append(f"--config.data.size={report['size']}")
    if len(domains) > 1:
        print(f"Next:   {shlex.join(command)}", flush=True)

"""The `xgan` command: prepare, translate, neighbours, interpolate, mix-style and convert."""

import argparse
import difflib
import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from xgan_jax import faults
from xgan_jax.flags import check_given, home

# Heavy imports stand in the subcommands, so that --help is instant.

_PREPARE = """\
Makes a dataset of pictures: every picture is decoded, turned upright, converted to RGB, cropped to a
square, resized with antialiasing, and written to checked records that train.py and TFDS read. What
cannot be used is listed with its reason in OUT/report.json.

examples:
  two folders of any depth, or zips (which stay zipped):
    xgan prepare --domain face=photos --domain anime=anime.zip --out data/faces

  a folder with trainA, trainB, testA, testB (or train1, train2, test1, test2), as CycleGAN and
  selfie2anime have; the first domain is A, the second B:
    xgan prepare --domain face=selfie2anime --domain anime=selfie2anime --out data/selfie
    xgan prepare --domain face=selfie2anime/trainA --domain anime=selfie2anime/trainB --out data/selfie

  CelebA as downloaded: the folder that holds img_align_celeba (or img_align_celeba.zip) and the lists
  of attributes, landmarks and partitions; its splits, labels and 148x148 crop are kept:
    xgan prepare --domain face=celeba --domain anime=anime.zip --out data/faces --size 128

  a dataset that TFDS has already prepared on this machine:
    xgan prepare --domain face=tfds:celeb_a --domain anime=anime --out data/faces

  your own test split and labels:
    xgan prepare --domain face=photos --domain anime=anime --out data/faces \\
        --test-list face=test_files.txt --labels face=attributes.csv

splits: train/, test/ and val/ below PATH are the splits; so are testA beside trainA, CelebA's and TFDS's
own, and the files of --test-list. Without any of these a hash of each file's name sends
--test-fraction of the pictures to test: adding pictures later moves none of the others.

labels: an attributes.csv in the folder (or --labels) with a header, whose first column is the file name;
whole numbers become int64, other numbers float32, the rest text. Columns are parted by commas, semicolons or
tabs. Tables and lists are UTF-8, or UTF-16 with its mark; --labels-encoding gbk (or anime=gbk) names
another. How many of their rows are of how many pictures is printed, and stands in report.json.

choosing: --where face:Male=-1 writes only the pictures with that label, --where Male=-1 does so in every
domain that has it (several are all asked for); --dedup leaves out pictures that look the same as one before
them, as sets crawled from several places have:
    xgan prepare --domain face=photos --domain anime=crawl.zip --domain anime=other --out data/faces --dedup

An interrupted prepare leaves OUT.partial; the same command goes on from there.
"""

_TRANSLATE = """\
Translates a picture, or every picture of a folder or zip, with a trained run. Pictures of any size go
in, cropped as the training pictures were; PNGs of the training size come out, one for each file, and
OUTPUT/translate.json names those that could not be read. Nothing is written over but what the same command
wrote there before: where another file has the name, me.png becomes me-2.png.

examples:
  xgan translate --workdir runs/my_run --input me.jpg --output out --direction face2anime
  xgan translate --workdir runs/my_run --input photos --output out --direction face2anime --crop none

  with a run of Twin-GAN that learnt references, in the hair and eyes of one anime picture:
    xgan translate --workdir runs/twins --input me.jpg --output out --direction face2anime --reference her.png
"""

_NEIGHBOURS = """\
Finds, for pictures of one domain, the test pictures of another that are nearest in the run's embedding.

example:
  xgan neighbours --workdir runs/my_run --input me.jpg --domain face --among anime --output out
"""

_INTERPOLATE = """\
Draws the way between two pictures, in the run's embedding, as every domain draws it.

example:
  xgan interpolate --workdir runs/my_run --input me.jpg you.jpg --domain face --output out
"""

_MIX_STYLE = """\
Draws pictures in styles between their domain's and another's, where a domain is a style (Twin-GAN).

example:
  xgan mix-style --workdir runs/twins --input me.jpg --direction face2anime --output out
"""

_CONVERT = """\
Makes a run of weights that the authors' PyTorch codes saved, without PyTorch: to translate with, to
evaluate (eval.py --data), or to train on from (train.py with the run's folder as --workdir).

examples:
  xgan convert --method cyclegan --weights checkpoints/selfie2anime --out runs/theirs
  xgan convert --method cyclegan --weights checkpoints/selfie2anime --epoch 200 --out runs/theirs
  xgan convert --method ugatit --weights selfie2anime_params_latest.pt --out runs/theirs

cyclegan: the folder with latest_net_G_A.pth and latest_net_G_B.pth, or with latest_net_G.pth alone, as
the authors publish them, or such a file: one generator, from A to B; the way back is then not trained.
ugatit: the one file, of the full model or the light one. The authors' A is the first of --domains.
Discriminators that are there come along.
"""


_PATHS = ("workdir", "weights", "input", "reference", "data", "output", "out")  # options, of all subcommands


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a subcommand and returns the exit status, one of `faults`."""
    parser = _parser()
    args, unknown = parser.parse_known_args(argv)
    if unknown:
        parser.exit(faults.INPUT, f"xgan {args.command}: {_unknown(unknown[0], args)}\n")
    return faults.run(f"xgan {args.command}", functools.partial(_run, args))


def _run(args: argparse.Namespace) -> None:
    given = vars(args)
    for name in _PATHS:
        check_given(name, given.get(name))
    with faults.writing(given.get("out") or args.output):
        args.run(args)


def _unknown(argument: str, args: argparse.Namespace) -> str:
    options = [f"--{name.replace('_', '-')}" for name in vars(args)]
    near = difflib.get_close_matches(argument.partition("=")[0], options, 1)
    meant = f"did you mean {near[0]}?" if near else f"see xgan {args.command} --help."
    return f"the argument {argument!r} is unknown: {meant}"


class _Parser(argparse.ArgumentParser):
    """Complains in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(faults.INPUT, f"{self.prog}: {message}: see {self.prog} --help.\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="xgan",
        description="Unpaired face <-> anime translation. Training is train.py, evaluation eval.py.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, summary: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name, help=summary, description=text, formatter_class=argparse.RawDescriptionHelpFormatter
        )

    prepare = command("prepare", "pictures to a dataset", _PREPARE)
    prepare.set_defaults(run=_prepare)
    add = prepare.add_argument
    add(
        "--domain",
        action="append",
        required=True,
        metavar="NAME=PATH",
        help="once for each domain; a domain given several times is of several sets",
    )
    add("--out", type=home, required=True, metavar="DIR", help="the dataset's folder, to be made")
    add(
        "--size",
        type=int,
        default=64,
        metavar="N",
        help="side of the square pictures, pixels: 32, 64, 128 or 256 (64)",
    )
    add(
        "--encoding",
        choices=("uint8", "jpeg", "png"),
        default="uint8",
        help="uint8 (the default) reads fastest; jpeg and png take less room",
    )
    add(
        "--crop",
        choices=("auto", "center", "celeba", "none"),
        default="auto",
        help="auto (the default) is celeba for pictures of CelebA's aspect 178:218 and else center, the "
        "largest square; none keeps everything, distorted to a square",
    )
    add("--test-fraction", type=float, default=0.1, metavar="F", help="see splits above (0.1)")
    add("--test-list", action="append", default=[], metavar="NAME=FILE", help="test file names, one a line")
    add("--labels", action="append", default=[], metavar="NAME=FILE.csv", help="see labels above")
    add(
        "--labels-encoding",
        action="append",
        default=[],
        metavar="[NAME=]ENCODING",
        help="of tables and lists that are not UTF-8, for example gbk or shift_jis",
    )
    add("--where", action="append", default=[], metavar="[NAME:]LABEL=VALUE", help="see choosing above")
    add("--dedup", action="store_true", help="see choosing above")
    add("--workers", type=int, metavar="N", help="threads (one a core)")

    translate = command("translate", "pictures through a trained run", _TRANSLATE)
    translate.set_defaults(run=_translate)
    add = translate.add_argument
    add("--workdir", type=home, required=True, metavar="RUN", help="the folder that train.py was given")
    add("--input", type=home, required=True, metavar="PATH", help="a picture, a folder or a zip")
    add("--output", type=home, required=True, metavar="DIR", help="where the PNGs go")
    add("--direction", required=True, metavar="A2B", help="for example face2anime")
    add("--step", type=int, metavar="N", help="the checkpoint to use (the newest)")
    add("--batch-size", type=int, default=32, metavar="N", help="pictures at a time (32)")
    add(
        "--crop",
        choices=("auto", "center", "celeba", "none"),
        default="auto",
        help="auto (the default) is the rule of the training pictures",
    )
    add(
        "--reference",
        type=home,
        metavar="FILE",
        help="a picture of the target to follow, where the method can",
    )

    def exploring(name: str, summary: str, text: str, run: Callable[..., None], count: int) -> Any:
        parser = command(name, summary, text)
        parser.set_defaults(run=run)
        parser.add_argument(
            "--workdir", type=home, required=True, metavar="RUN", help="the folder that train.py was given"
        )
        parser.add_argument(
            "--input", type=home, required=True, nargs="+", metavar="PATH", help="pictures, folders or zips"
        )
        parser.add_argument(
            "--output", type=home, required=True, metavar="DIR", help="where the picture goes"
        )
        parser.add_argument("--count", type=int, default=count, metavar="N", help=f"columns ({count})")
        parser.add_argument("--step", type=int, metavar="N", help="the checkpoint to use (the newest)")
        return parser.add_argument

    add = exploring("neighbours", "nearest pictures of another domain", _NEIGHBOURS, _neighbours, 5)
    add("--domain", required=True, metavar="NAME", help="whose pictures are given")
    add("--among", required=True, metavar="NAME", help="whose test pictures are searched")
    add("--data", type=home, metavar="DIR", help="the prepared dataset (where it was in training)")
    add = exploring("interpolate", "the way between two pictures", _INTERPOLATE, _interpolate, 8)
    add("--domain", required=True, metavar="NAME", help="whose pictures are given")
    add = exploring("mix-style", "styles between two domains", _MIX_STYLE, _mix_style, 5)
    add("--direction", required=True, metavar="A2B", help="for example face2anime")

    convert = command("convert", "weights of the authors' PyTorch codes to a run", _CONVERT)
    convert.set_defaults(run=_convert)
    add = convert.add_argument
    add("--method", required=True, metavar="NAME", help="whose weights they are: cyclegan or ugatit")
    add("--weights", type=home, required=True, metavar="PATH", help="see above")
    add("--out", type=home, required=True, metavar="RUN", help="the run's folder")
    add("--domains", nargs=2, default=("face", "anime"), metavar=("A", "B"), help="(face anime)")
    add("--epoch", metavar="N", help="which of a folder's (latest)")
    add("--size", type=int, metavar="N", help="side of their pictures (what the weights say, else 256)")
    add("--crop", choices=("center", "celeba", "none"), default="center", help="of pictures to translate")
    return parser


def _pair(option: str, text: str) -> tuple[str, str]:
    """NAME=PATH as the two, a path without its ~.

    Raises:
      ValueError: it is none.
    """
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise ValueError(f"{option} is {text!r}: write NAME=PATH, for example face=photos.")
    return name, home(path)


def _pairs(option: str, given: Sequence[str]) -> dict[str, str]:
    """NAME=PATH, several times, as a mapping.

    Raises:
      ValueError: no NAME=PATH, or a name twice.
    """
    pairs: dict[str, str] = {}
    for name, path in (_pair(option, text) for text in given):
        if name in pairs:
            raise ValueError(f"{option} gives {name!r} twice: each domain has one.")
        pairs[name] = path
    return pairs


def _prepare(args: argparse.Namespace) -> None:
    domains: dict[str, list[str]] = {}
    for text in args.domain:
        name, path = _pair("--domain", text)
        domains.setdefault(name, []).append(path)
    test_lists = _pairs("--test-list", args.test_list)
    labels = _pairs("--labels", args.labels)
    encodings = _pairs("--labels-encoding", [text for text in args.labels_encoding if "=" in text])
    for text in args.labels_encoding:
        if "=" not in text and encodings.setdefault("", text) != text:
            raise ValueError(
                f"--labels-encoding is {encodings['']} and {text}: write NAME=ENCODING for each."
            )
    where: dict[str, dict[str, str]] = {}
    for text in args.where:
        condition, equals, value = text.partition("=")
        domain, colon, name = condition.rpartition(":")
        if not (name and equals and bool(domain) == bool(colon)):
            raise ValueError(
                f"--where is {text!r}: write NAME:LABEL=VALUE, for example face:Male=-1, or LABEL=VALUE for "
                "every domain that has the label."
            )
        where.setdefault(domain, {})[name] = value
    if args.workers is not None and args.workers < 1:
        raise ValueError(f"--workers is {args.workers}: use 1 or more.")
    from xgan_jax.data.prepare import prepare

    prepare(
        domains,
        args.out,
        size=args.size,
        encoding=args.encoding,
        crop=args.crop,
        test_fraction=args.test_fraction,
        test_lists=test_lists,
        labels=labels,
        where=where,
        encodings=encodings,
        dedup=args.dedup,
        workers=args.workers,
    )


def _translate(args: argparse.Namespace) -> None:
    if args.batch_size < 1:
        raise ValueError(f"--batch-size is {args.batch_size}: use 1 or more.")
    from xgan_jax import startup
    from xgan_jax.evaluation.translate import translate_files

    startup.keep_compiled_programs()
    translate_files(
        args.workdir,
        args.input,
        args.output,
        args.direction,
        step=args.step,
        batch_size=args.batch_size,
        crop=args.crop,
        reference=args.reference,
    )


def _neighbours(args: argparse.Namespace) -> None:
    from xgan_jax.evaluation import explore

    rows, files = explore.neighbours(
        args.workdir, args.input, args.domain, args.among, args.output, args.count, args.step, args.data
    )
    for row in rows:
        file = row["file"] if row["file"].isprintable() else repr(row["file"])
        print(f"{file}  {row['rank']}.  {args.among} {row['picture']}  {row['distance']:.3f}")
    print(*files, sep=", ")


def _interpolate(args: argparse.Namespace) -> None:
    from xgan_jax.evaluation import explore

    files = explore.interpolate(args.workdir, args.input, args.domain, args.output, args.count, args.step)
    print(*files, sep=", ")


def _mix_style(args: argparse.Namespace) -> None:
    from xgan_jax.evaluation import explore

    files = explore.mix_style(args.workdir, args.input, args.direction, args.output, args.count, args.step)
    print(*files, sep=", ")


def _convert(args: argparse.Namespace) -> None:
    from xgan_jax.convert import convert

    config = convert(args.method, args.weights, args.out, args.domains, args.size, args.crop, args.epoch)
    a, b = config.data.domains
    print(f"{args.out}: {args.method} with {config.networks}")
    print(f"  xgan translate --workdir {args.out} --input PICTURES --output DIR --direction {a}2{b}")


if __name__ == "__main__":
    sys.exit(main())

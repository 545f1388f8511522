"""How well methods translate at the same budget: trains each with several seeds, and measures.

    python benchmarks/quality.py methods --json benchmarks/results/quality.json
    python benchmarks/quality.py ablation --seeds 0 1 --json benchmarks/results/ablation.json
    python benchmarks/quality.py additions --json benchmarks/results/additions.json

Without `--data` the embedded pictures are drawn and prepared first. A budget is a number of pictures seen,
of both domains together, the same for all; every run is a folder under `--out`, and a command that was
stopped goes on where it was. Figures are of the last checkpoint's averaged weights on the whole test split.
What a row was made with (pictures, seeds, their deviation, commit, judge) stands under "about".

    python benchmarks/quality.py leaderboard --json benchmarks/results/leaderboard.json

is every method, made as narrow as two cores need it, in batches of 4; with parameters and the time of a
translation beside the measures.

    python benchmarks/quality.py table --json benchmarks/results/leaderboard.json

prints the figures as the tables of the docs. `longer` are methods that need more than the leaderboard's
budget.
"""

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import costs, machine
from xgan_jax.data.prepare import prepare
from xgan_jax.data.synthetic import draw_dataset
from xgan_jax.evaluation.measures import measure
from xgan_jax.evaluation.translate import compiled_translator, translate_all
from xgan_jax.runs.load import load_run

ROOT = Path(__file__).parents[1]

# Pictures that each run of a set sees.
IMAGES = {"methods": 160_000, "ablation": 24_000, "additions": 9_600, "leaderboard": 16_000}

# Of "longer", each its own.
LONGER = {"twingan with references": 48_000, "ugatit_light": 32_000, "dtn": 48_000, "acgan": 160_000}

# What two cores can afford, the same for alike networks.
_BATCH = ["run.batch_size=4"]
_RESNET = [*_BATCH, "networks.width=16", "networks.discriminator_width=16"]
# Averaged as its two variants are, so that they differ in what they add.
_CYCLEGAN = [*_RESNET, "data.size=64", "data.shift=4", "networks.blocks=6", "optimizer.ema_decay=0.999"]
_NARROW = [*_BATCH, "networks.width=0.5", "networks.embedding_size=512"]
_XGAN = [*_NARROW, "optimizer.learning_rate=5e-4"]  # the paper's 1e-4 hardly begins in 2,000 steps
_UGATIT = [*_RESNET, "optimizer.learning_rate=2e-4"]  # CycleGAN's: theirs of 1e-4 is for a million steps
_TWINGAN = [
    *_BATCH,
    "networks.width=0.25",
    "networks.discriminator_width=0.25",
    "weights.growth_steps=/10",
    "optimizer.learning_rate=1e-3",  # theirs of 1e-4 is for 600,000 pictures a side
]
_DTN = [
    *_BATCH,
    "networks.width=0.25",
    "networks.discriminator_width=0.25",
    "networks.resize=True",
    # At the paper's weights the GAN's gradients drown the others in so few steps.
    "weights.constancy=1000",
    "weights.identity=30",
    "optimizer.learning_rate=1e-3",
    "optimizer.discriminator_scale=0.2",
]
_ACGAN = [
    "networks.width=0.25",
    "networks.discriminator_width=0.5",
    "networks.resize=True",
    "weights.encoder_start=/2",
]

# {name: (recipe, changes)}. The ablation is the paper's (section 4.2), on a recipe that two cores can afford.
SETS: dict[str, dict[str, tuple[str, list[str]]]] = {
    "methods": {
        "xgan": ("xgan", _XGAN),
        "xgan_plus": ("xgan_plus", []),
        "xgan_plus without labels": ("xgan_plus", ["weights.attributes=0"]),
        "cyclegan": ("cyclegan", _CYCLEGAN),
    },
    "ablation": {
        "full": ("quickstart", []),
        "without L_dann": ("quickstart", ["weights.domain_adversarial=0"]),
        "without L_sem": ("quickstart", ["weights.semantic=0"]),
        "without both": ("quickstart", ["weights.domain_adversarial=0", "weights.semantic=0"]),
        "with a teacher": (
            "quickstart",
            ["weights.teacher=1", "networks.teacher=xgan_jax.readers.judge:as_teacher"],
        ),
    },
    # What each part of xgan_plus is worth: without it, or with what it stands for.
    "additions": {
        "xgan_plus": ("xgan_plus", []),
        "without labels": ("xgan_plus", ["weights.attributes=0"]),
        "GAN weight 1": ("xgan_plus", ["weights.gan=1"]),
        "without the choice": ("xgan_plus", ["weights.contrastive=0"]),
        "gradient reversal": ("xgan_plus", ["weights.domain_form=reversal"]),
        "without identity": ("xgan_plus", ["weights.identity=0"]),
        "without R1": ("xgan_plus", ["weights.r1=0"]),
        "spectral norm for R1": ("xgan_plus", ["weights.r1=0", "networks.discriminator_spectral=True"]),
        "DiffAugment": ("xgan_plus", ["networks.discriminator_augment=True"]),
        "transposed convolutions": ("xgan_plus", ["networks.resize=False"]),
        "without blocks": ("xgan_plus", ["networks.blocks=0", "networks.private_blocks=0"]),
        "a vector": (
            "xgan_plus",
            [
                "networks.embedding_side=1",
                "networks.embedding_size=512",
                "networks.blocks=0",
                "networks.private_blocks=0",
            ],
        ),
        "instance normalisation": ("xgan_plus", ["networks.norm=instance"]),
        "least squares": ("xgan_plus", ["weights.gan_form=lsgan"]),
        "slower discriminators": ("xgan_plus", ["optimizer.discriminator_scale=0.3"]),
        # L_dann and L_sem grow, after the auto-encoders have begun.
        "warm start": ("xgan_plus", ["weights.ramp_steps=/2"]),
        "batches of 16": ("xgan_plus", ["run.batch_size=16"]),
        "without the average": ("xgan_plus", ["optimizer.ema_decay=0"]),
    },
    "leaderboard": {
        "xgan": ("xgan", _XGAN),
        "xgan_plus": ("xgan_plus", []),
        "xgan_plus without labels": ("xgan_plus", ["weights.attributes=0"]),
        "xgan_cycle": ("xgan_cycle", _XGAN),
        "id2223": ("id2223", _NARROW),
        "cyclegan": ("cyclegan", _CYCLEGAN),
        "cyclegan_angle": ("cyclegan_angle", _RESNET),
        "twingan": ("twingan", _TWINGAN),
        "ugatit": ("ugatit", [*_UGATIT, "data.size=64", "data.shift=4"]),
        "ugatit_light": ("ugatit_light", _UGATIT),
        "dtn": ("dtn", _DTN),
        "acgan": ("acgan", [*_ACGAN, *_BATCH]),
        "face2anime": ("face2anime", _RESNET),
        # Its terms, one by one.
        "face2anime without L_dom and L_sem": (
            "face2anime",
            [*_RESNET, "weights.domain_adversarial=0", "weights.semantic=0"],
        ),
        "face2anime without L_sem": ("face2anime", [*_RESNET, "weights.semantic=0"]),
        "mean_difference": ("mean_difference", []),
        "regression": ("regression", _BATCH),
        "gatys": ("gatys", []),
    },
    # Those that so few pictures do not let speak.
    "longer": {
        "twingan with references": (
            "twingan",
            [*_TWINGAN, "networks.reference=xgan_jax.readers.judge:as_reference"],
        ),
        "ugatit_light": ("ugatit_light", _UGATIT),
        "dtn": ("dtn", _DTN),
        "acgan": ("acgan", [*_ACGAN, "run.batch_size=16"]),
    },
}


def embedded_data(folder: Path) -> Path:
    """3,000 + 3,000 training and 500 + 500 test pictures at 64 px."""
    draw_dataset(folder / "pictures")
    sources = {"face": str(folder / "pictures/trainA"), "anime": str(folder / "pictures/trainB")}
    prepare(sources, folder / "records", size=64)
    return folder / "records"


def train_and_measure(
    recipe: str, changes: list[str], data: Path, workdir: Path, images: int, seed: int
) -> dict[str, Any]:
    """One run, continued where it was, and its metrics.json."""
    batch = batch_size(recipe, changes)
    steps = max(1, images // (2 * batch))
    command = [
        sys.executable,
        str(ROOT / "train.py"),
        f"--config={ROOT / 'configs' / recipe}.py",
        f"--workdir={workdir}",
        f"--config.data.path={data}",
        f"--config.run.steps={steps}",
        f"--config.run.seed={seed}",
        f"--config.run.sample_every={max(1, steps // 5)}",
        f"--config.run.checkpoint_every={max(1, steps // 5)}",
        "--config.run.measure_every=0",
        "--config.optimizer.decay=0.5",
        # "/10" is a tenth of the run.
        *(
            f"--config.{name}={steps // int(value[1:]) if value.startswith('/') else value}"
            for name, _, value in (change.partition("=") for change in changes)
        ),
    ]
    subprocess.run(command, check=True)
    trained = workdir / "commit"
    if not trained.exists():
        trained.write_text(machine.describe()["commit"])
    return measure(workdir)


def batch_size(recipe: str, changes: list[str]) -> int:
    """That the recipe trains with."""
    for change in changes:
        name, _, value = change.partition("=")
        if name == "run.batch_size":
            return int(value)
    return int(costs.recipe(recipe).run.batch_size)


def figures(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What the table shows of a `metrics.json`, by direction."""
    result = {}
    for direction, found in report["directions"].items():
        kid = found[report["judge"]]["kid"]
        result[direction] = {
            "retrieval_top1": found.get("retrieval", {}).get("top1"),
            "retrieval_top1_tilted": found.get("retrieval_tilted", {}).get("top1"),
            "attribute_agreement_of_ceiling": {
                name: value["of_ceiling"] for name, value in found["attributes"].items()
            },
            "kid": kid["kid"],
            "kid_deviation": kid["deviation"],
            "kid_floor": kid["floor"],
            "kid_of_untranslated": kid["of_untranslated"],
            "passes": found["passes"],
            "passes_of_real": found["passes_of_real"],
            "diversity": found["diversity"],
            "ssim": found.get("ssim"),
        }
        if "reference" in found:  # of the pictures that translations are told to follow
            result[direction]["reference_agreement_of_ceiling"] = {
                name: value["of_ceiling"] for name, value in found["reference"].items()
            }
    return result


def cost_of(workdir: Path) -> dict[str, dict[str, float]]:
    """{direction: numbers that training moves, and milliseconds that a translation takes, 32 at once}."""
    run = load_run(workdir)
    learnt = {network for networks in run.method.players.values() for network in networks}
    parameters = sum(leaf.size for leaf in jax.tree.leaves({name: run.params[name] for name in learnt}))
    translator = compiled_translator(run.method.translate)
    images = np.zeros((32, run.config.data.size, run.config.data.size, 3), np.uint8)
    found = {}
    for source, target in itertools.permutations(run.config.data.domains, 2):
        times = []
        for _ in range(6):
            start = time.perf_counter()
            translate_all(translator, run.params, run.extra, images, source, target)
            times.append(time.perf_counter() - start)
        found[f"{source}2{target}"] = {
            "parameters": parameters,
            "milliseconds_per_image": 1000 * min(times) / 32,
        }
    return found


def mean_of(values: list[Any]) -> Any:
    """The mean over seeds, leaf by leaf."""
    if isinstance(values[0], dict):
        return {name: mean_of([value[name] for value in values]) for name in values[0]}
    return None if values[0] is None else statistics.mean(values)


def deviation_of(values: list[Any]) -> Any:
    """The standard deviation over seeds, leaf by leaf."""
    if isinstance(values[0], dict):
        return {name: deviation_of([value[name] for value in values]) for name in values[0]}
    return None if values[0] is None or len(values) < 2 else statistics.stdev(values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("set", choices=[*sorted(SETS), "table"])
    parser.add_argument(
        "--data", type=Path, help="a folder that `xgan prepare` wrote; default the embedded data"
    )
    parser.add_argument(
        "--name",
        choices=("embedded", "real"),
        help="where figures go in the JSON; real where --data is given",
    )
    parser.add_argument("--only", nargs="*", help="of the set, these alone")
    parser.add_argument(
        "--images",
        type=int,
        help=f"pictures of both domains that each run sees; default {IMAGES}, of longer {LONGER}",
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, default=Path("runs/quality"), help="the runs' folders")
    parser.add_argument("--json", help="where figures are added")
    arguments = parser.parse_args()
    section = arguments.name or ("real" if arguments.data else "embedded")
    if arguments.set == "table":
        print(markdown(json.loads(Path(arguments.json).read_text())[section]))
        return
    data = arguments.data or embedded_data(Path("data/quality"))
    table: dict[str, Any] = {}
    for name, (recipe, changes) in SETS[arguments.set].items():
        if arguments.only and name not in arguments.only:
            continue
        images = arguments.images or (LONGER[name] if arguments.set == "longer" else IMAGES[arguments.set])
        runs: list[Any] = []
        about = {"images": images, "seeds": arguments.seeds, "changes": changes}
        for seed in arguments.seeds:
            workdir = arguments.out / section / f"{name.replace(' ', '_')}-{images}-{seed}"
            report = train_and_measure(recipe, changes, data, workdir, images, seed)
            found = figures(report)
            if arguments.set in ("leaderboard", "longer"):
                found = {direction: found[direction] | cost for direction, cost in cost_of(workdir).items()}
            runs.append(found)
            about |= {"judge": report["judge"], "commit": (workdir / "commit").read_text()}
        table[name] = mean_of(runs)
        show(table)
        if arguments.json:
            path = Path(arguments.json)
            before = json.loads(path.read_text()) if path.exists() else {}
            before.setdefault(section, {})[name] = table[name]
            rows = before.setdefault("about", {}).setdefault(section, {})
            rows[name] = about | {"deviation": deviation_of(runs)}
            machine.write(arguments.json, before)


def markdown(table: dict[str, Any]) -> str:
    """A row a method, both directions in each cell; the best top-1 first."""
    first = next(iter(table.values()))
    directions = list(first)

    def cell(found: dict[str, Any], key: str, form: str = "{:.0%}") -> str:
        values = [found[d][key] for d in directions]
        return "-" if None in values else " / ".join(form.format(value) for value in values)

    def kept(found: dict[str, Any], name: str) -> str:
        values = [found[d]["attribute_agreement_of_ceiling"].get(name) for d in directions]
        return " / ".join("-" if value is None else f"{value:.2f}" for value in values)

    names = sorted(
        {a for v in table.values() for d in directions for a in v[d]["attribute_agreement_of_ceiling"]}
    )
    priced = all("parameters" in found[directions[0]] for found in table.values())
    heads = ["method", "top-1", "tilted", "KID", "passes", "diversity", *names]
    heads += ["parameters", "ms a picture"] if priced else []
    lines = [", ".join(directions), "", "| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    order = sorted(table, key=lambda name: -sum(table[name][d]["retrieval_top1"] or 0 for d in directions))
    for name in order:
        found = table[name]
        cells = [
            f"`{name}`",
            cell(found, "retrieval_top1"),
            cell(found, "retrieval_top1_tilted"),
            cell(found, "kid_of_untranslated", "{:.1%}"),
            cell(found, "passes"),
            cell(found, "diversity", "{:.2f}"),
            *(kept(found, attribute) for attribute in names),
        ]
        if priced:
            parameters = found[directions[0]]["parameters"]
            cells += [f"{parameters:,.0f}", cell(found, "milliseconds_per_image", "{:.1f}")]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def show(table: dict[str, Any]) -> None:
    """A line a method and direction."""
    print(f"{'':18}{'':12}{'top-1':>7}{'worst attribute':>24}{'KID':>9}{'passes':>8}{'diversity':>11}")
    for name, found in table.items():
        for direction, row in found.items():
            kept = row["attribute_agreement_of_ceiling"]
            worst = min(kept, key=kept.__getitem__) if kept else "-"
            of = f"{worst} {kept[worst]:.2f}" if kept else "-"
            top1 = "-" if row["retrieval_top1"] is None else f"{row['retrieval_top1']:.3f}"
            print(
                f"{name:18}{direction:12}{top1:>7}{of:>24}{row['kid']:9.4f}{row['passes']:8.3f}"
                f"{row['diversity']:11.2f}"
            )


if __name__ == "__main__":
    main()

"""Whether a change of the code changed a number: every recipe, 20 steps at 32 px, to the bit.

    python benchmarks/same_numbers.py run --checkout BEFORE --out runs/before
    python benchmarks/same_numbers.py run --out runs/after --data runs/before/data
    python benchmarks/same_numbers.py run --out runs/continued --data runs/before/data --continued runs/before
    python benchmarks/same_numbers.py compare runs/before runs/after runs/continued

`run` trains with a checkout's own `train.py`, on pictures that it draws and prepares itself, and writes into
OUT/numbers.json every number of `metrics.jsonl`, a hash of every array of the last checkpoint by its name,
hashes of the prepared dataset, and for some runs what `eval.py --metrics all` measures and draws. With
`--continued` the run of another checkout is taken up at step 10: its checkpoints are read, too. Beside the
recipes stand variants, for losses that no recipe sets. Bits are those of one machine and one version of JAX.
"""

import argparse
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
STEPS, HALF = 20, 10
# The fewest channels that a network can have; where width is a number of channels, four.
SMALL = {
    "width": 0.0625,
    "discriminator_width": 0.0625,
    "embedding_size": 64,
    "blocks": 1,
    "private_blocks": 1,
}
CHANNELS = ("cyclegan", "cyclegan_angle", "face2anime", "ugatit", "ugatit_light")
CLOCKS = ("steps_per_second", "images_per_second", "data_wait")
EIGHT = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"}

# {name: (recipe, changes)}; a recipe alone is itself.
VARIANTS: dict[str, tuple[str, list[str]]] = {
    "xgan on 8 devices": ("xgan", []),
    "xgan in bfloat16": ("xgan", ["run.compute_dtype=bfloat16"]),
    "xgan two steps a call": ("xgan", ["run.steps_per_call=2", "run.log_every=2"]),
    "xgan from the devices": ("xgan", ["data.cache=device"]),
    "xgan with all": (
        "xgan",
        [
            "weights.teacher=1",
            "networks.teacher=xgan_jax.evaluation.judge:as_teacher",
            "weights.contrastive=1",
            "weights.cycle=10",
            "weights.identity=5",
            "weights.attributes=1",
            "weights.total_variation=0.1",
            "weights.r1=10",
            "weights.r1_every=2",
            "weights.ramp_start=4",
            "weights.ramp_steps=12",
            "networks.norm=batch",
        ],
    ),
    "xgan other forms": (
        "xgan",
        [
            "weights.reconstruction_distance=mse",
            "weights.semantic_distance=l2",
            "weights.semantic_standardise=False",
            "weights.semantic_detach=True",
            "weights.gan_form=hinge",
            "weights.gan_directions=forward",
            "weights.domain_form=confusion",
            "networks.discriminator_spectral=True",
            "networks.discriminator_augment=True",
            "networks.norm=none",
        ],
    ),
    "xgan on maps": (
        "xgan",
        [
            "networks.embedding_side=4",
            "networks.blocks=1",
            "networks.private_blocks=1",
            "weights.contrastive=1",
        ],
    ),
    "xgan of auto-encoders": (
        "xgan",
        ["weights.gan=0", "weights.semantic=0", "weights.domain_adversarial=0"],
    ),
    "cyclegan bare": ("cyclegan", ["weights.identity=0", "weights.pool=0"]),
    "cyclegan without GAN": ("cyclegan", ["weights.gan=0", "networks.resize=True"]),
    "face2anime without L_dom": ("face2anime", ["weights.domain_adversarial=0"]),
    "twingan with references": (
        "twingan",
        ["networks.reference=xgan_jax.evaluation.judge:as_reference"],
    ),
    "acgan without R1": ("acgan", ["weights.r1=0", "networks.resize=True"]),
    "dtn without GAN": ("dtn", ["weights.gan=0", "networks.resize=True"]),
}
MEASURED = ("xgan_plus", "twingan with references", "ugatit_light", "cyclegan_angle", "dtn", "acgan")


def recipe(checkout: Path, name: str) -> Any:
    """`configs/NAME.py` of the checkout."""
    spec = importlib.util.spec_from_file_location(name, checkout / "configs" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config()


def small(checkout: Path, name: str) -> list[str]:
    """What makes the recipe small, as flags of train.py without `--config.`."""
    config = recipe(checkout, name)
    flags = ["data.size=32", "data.shift=2", f"run.steps={STEPS}", "run.batch_size=8", "run.log_every=1"]
    flags += ["run.sample_every=10", "run.checkpoint_every=10", "run.samples=2", "run.measure_every=0"]
    for field, value in SMALL.items():
        if hasattr(config.networks, field):
            if "width" in field and name in CHANNELS:
                value = 4
            if field in ("blocks", "private_blocks"):
                value = min(value, getattr(config.networks, field))
            flags.append(f"networks.{field}={value}")
    if getattr(config.networks, "embedding_side", 1) > 8:
        flags.append("networks.embedding_side=8")
    # All of Twin-GAN's seven phases, both of AC-GAN's steps.
    for field, value in {"encoder_start": HALF, "growth_steps": 3, "iterations": 5}.items():
        if hasattr(config.weights, field):
            flags.append(f"weights.{field}={value}")
    return flags


def digest(*parts: bytes) -> str:
    found = hashlib.blake2b(digest_size=12)
    for part in parts:
        found.update(part)
    return found.hexdigest()


def arrays(checkpoint: Path) -> dict[str, str]:
    """{name: hash} of every array of a checkpoint, without knowing what run it is of."""
    import jax
    import numpy as np
    import orbax.checkpoint as ocp

    found = {}
    for item in ("weights", "training"):
        with ocp.PyTreeCheckpointer() as reader:
            tree = reader.metadata(checkpoint / item).item_metadata.tree
            as_numbers = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
            restored = reader.restore(checkpoint / item, restore_args=as_numbers)
        for path, leaf in jax.tree_util.tree_leaves_with_path(restored):
            leaf = np.asarray(leaf)
            name = f"{item}{jax.tree_util.keystr(path)}"
            found[name] = digest(str((leaf.dtype, leaf.shape)).encode(), leaf.tobytes())
    return found


def make_data(checkout: Path, folder: Path) -> None:
    """200 + 200 training and 40 + 40 test pictures, once."""
    if not (folder / "records").is_dir():
        pictures = folder / "pictures"
        counts = ["--count", "200", "--test-count", "40"]
        call(checkout, "-m", "xgan_jax.data.synthetic", "--out", pictures, *counts)
        domains = ["--domain", f"face={pictures}/trainA", "--domain", f"anime={pictures}/trainB"]
        options = [*domains, "--out", folder / "records", "--size", "32"]
        call(checkout, "-m", "xgan_jax.cli", "prepare", *options)


def call(checkout: Path, *arguments: Any, **variables: str) -> None:
    """Python in the checkout; what it prints is shown where it fails."""
    environment = os.environ | {"PYTHONPATH": str(checkout), "GLIBC_TUNABLES": ""} | variables
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=checkout, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, arguments))}\n{done.stdout}\n{done.stderr}")


def numbers_of(checkout: Path, name: str, data: Path, workdir: Path) -> dict[str, Any]:
    """Trains (on from where `workdir` is) and reads."""
    base, changes = VARIANTS.get(name, (name, []))
    # Modules may have moved: the checkout's own name.
    if not (checkout / "xgan_jax/evaluation/judge.py").exists():
        changes = [change.replace("evaluation.judge", "readers.judge") for change in changes]
    flags = [f"--config.{flag}" for flag in [*small(checkout, base), *changes, f"data.path={data}"]]
    command = ["train.py", f"--config=configs/{base}.py", f"--workdir={workdir}", *flags]
    call(checkout, *command, **(EIGHT if "8 devices" in name else {}))
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    result: dict[str, Any] = {
        "metrics": [{k: v for k, v in row.items() if k not in CLOCKS} for row in rows],
        "arrays": arrays(workdir / "checkpoints" / str(STEPS)),
        "samples": {p.name: digest(p.read_bytes()) for p in sorted((workdir / "samples").glob("*.png"))},
    }
    if name in MEASURED:
        call(checkout, "eval.py", "--workdir", workdir, "--metrics", "all", "--count", "8")
        measured = json.loads((workdir / "eval/metrics.json").read_text())
        result["measures"] = {k: measured[k] for k in ("directions", "embedding") if k in measured}
        result["grids"] = {p.name: digest(p.read_bytes()) for p in sorted((workdir / "eval").glob("*2*.png"))}
    return result


def run(arguments: argparse.Namespace) -> None:
    checkout, out = arguments.checkout.resolve(), arguments.out.resolve()
    sys.path.insert(0, str(checkout))
    out.mkdir(parents=True, exist_ok=True)
    data = (arguments.data or out / "data").resolve()
    make_data(checkout, data)
    records = data / "records"
    path = out / "numbers.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    found["commit"] = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=checkout, capture_output=True, text=True
    ).stdout.strip()
    found["dataset"] = {
        str(p.relative_to(records)): digest(p.read_bytes()) for p in sorted(records.rglob("*.tfrecord*"))
    }
    names = [*sorted(p.stem for p in (checkout / "configs").glob("*.py")), *VARIANTS]
    for name in arguments.only or names:
        start = time.perf_counter()
        workdir = out / name.replace(" ", "_")
        shutil.rmtree(workdir, ignore_errors=True)
        if arguments.continued:
            theirs = arguments.continued.resolve() / workdir.name
            shutil.copytree(theirs, workdir, ignore=shutil.ignore_patterns(str(STEPS), "eval"))
        found.setdefault("runs", {})[name] = numbers_of(checkout, name, records, workdir)
        path.write_text(json.dumps(found, indent=1) + "\n")
        print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)


def flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(tree, list):
        tree = {str(row.get("step", i) if isinstance(row, dict) else i): row for i, row in enumerate(tree)}
    if not isinstance(tree, dict):
        return {prefix: tree}
    return {
        name: value for key, part in tree.items() for name, value in flat(part, f"{prefix}/{key}").items()
    }


def compare(arguments: argparse.Namespace) -> None:
    first, *others = (
        (folder, json.loads((folder / "numbers.json").read_text())) for folder in arguments.folders
    )
    before, differ = first[1], 0
    for folder, after in others:
        print(f"{first[0]} ({before['commit']}) and {folder} ({after['commit']})")
        parts = {"dataset": (before["dataset"], after["dataset"])}
        parts |= {name: (before["runs"][name], after["runs"].get(name)) for name in before["runs"]}
        for name, (was, now) in parts.items():
            if now is None:
                print(f"  {name}: not run")
                continue
            a, b = flat(was), flat(now)
            wrong = [key for key in dict.fromkeys([*a, *b]) if a.get(key) != b.get(key)]
            differ += bool(wrong)
            print(f"  {name}: {f'{len(wrong)} of {len(a)} differ' if wrong else f'{len(a)} the same'}")
            for key in wrong[: arguments.show]:
                print(f"    {key}: {a.get(key)} -> {b.get(key)}")
    sys.exit(1 if differ else 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(required=True)
    add = commands.add_parser("run")
    add.set_defaults(run=run)
    add.add_argument("--checkout", type=Path, default=ROOT)
    add.add_argument("--out", type=Path, required=True)
    add.add_argument("--continued", type=Path, help="the --out of another run, to take up at step 10")
    add.add_argument("--data", type=Path, help="pictures and readers of another run: its OUT/data")
    add.add_argument("--only", nargs="*")
    add = commands.add_parser("compare")
    add.set_defaults(run=compare)
    add.add_argument("folders", type=Path, nargs="+")
    add.add_argument("--show", type=int, default=3)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()

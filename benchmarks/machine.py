"""What a benchmark was run on, and how it is written down."""

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

PACKAGES = ("jax", "jaxlib", "flax", "optax", "grain", "numpy", "simplejpeg", "pillow", "torch")


def cpu_model() -> str:
    """The processor's name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def commit_of(checkout: Path) -> str:
    """The short name of the commit that a folder of a checkout is of."""
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=checkout
    ).stdout.strip()
    return found or "unknown"


def describe() -> dict[str, Any]:
    """Machine, versions, commit and command line."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "machine": {"cpu": cpu_model(), "cores": os.cpu_count(), "platform": platform.platform()},
        "versions": versions,
        "commit": commit_of(Path(__file__).parent),
        "command": " ".join(["python", *sys.argv]),
    }


def write(path: str | None, figures: dict[str, Any]) -> None:
    """Writes figures and machine as JSON, where a path was given."""
    if path:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(json.dumps(figures | describe(), indent=2) + "\n")
        print(f"written to {path}")

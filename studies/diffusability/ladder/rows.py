"""What the ladder found: a line of JSON for each VAE and each evaluation of a diffusion model."""

import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ssvae.storage.files import read_rows

FOLDER = Path(__file__).parent
ROWS = FOLDER / "rows.jsonl"
VAE, DIFFUSION = "vae", "diffusion"


def read(path: Path = ROWS) -> list[dict[str, Any]]:
    """All rows that are there."""
    return read_rows(path) if path.exists() else []


def append(rows: Sequence[Mapping[str, Any]], path: Path = ROWS) -> None:
    """Add rows at the end, in one write: arms end at their own times."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8") as file:
        file.write("".join(json.dumps(row, sort_keys=True) + "\n" for row in rows))


def provenance() -> dict[str, Any]:
    """Processor, threads, number format, versions and commit."""
    return {
        "processor": f"{_processor()}, {torch.backends.cpu.get_cpu_capability()}",
        "threads": torch.get_num_threads(),
        "dtype": "float32",
        "torch": torch.__version__,
        "commit": _commit(),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _commit() -> str:
    """Of the checkout, with a + where its files differ from it."""

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", *words], cwd=FOLDER, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    rows = ROWS.relative_to(git("rev-parse", "--show-toplevel"))
    changed = git("status", "--porcelain", "--", ":/src", ":/studies", f":(top,exclude){rows}")
    return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")

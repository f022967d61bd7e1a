"""What the ladder found: a line of JSON for each VAE and each evaluation of a diffusion model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ssvae.bench.provenance import commit_of, provenance
from ssvae.bench.records import append_rows, rows_of

FOLDER = Path(__file__).parent
ROWS = FOLDER / "rows.jsonl"
VAE, DIFFUSION = "vae", "diffusion"


def read(path: Path = ROWS) -> list[dict[str, Any]]:
    """All rows that are there."""
    return rows_of(path)


def append(rows: Sequence[Mapping[str, Any]], path: Path = ROWS) -> None:
    """Add rows at the end."""
    append_rows(path, rows)


def made_with() -> dict[str, Any]:
    """Processor, threads, number format, versions and commit; rows do not count as changes."""
    study = FOLDER.parent
    others = [study.parents[1] / "src", *(study / name for name in ("cells.py", "variants.py"))]
    code = [*FOLDER.glob("*.py"), *others]
    return provenance() | {"commit": commit_of(code[0], *code[1:])}

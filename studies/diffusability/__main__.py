"""``python -m studies.diffusability ladder --rung 128 --seeds 11``, from a checkout."""

from pathlib import Path
from typing import Annotated

import torch
import tyro
from rich.console import Console
from tyro.conf import arg

from ssvae.storage.locks import written_alone
from studies.diffusability.ladder.arms import arms
from studies.diffusability.ladder.engine import LadderOptions, run_arms
from studies.diffusability.ladder.rows import ROWS


def ladder(
    work: Path = Path("runs/ladder"),
    rows: Path = ROWS,
    part: int | None = None,
    rung: int | None = None,
    seeds: tuple[int, ...] = (),
    variants: tuple[str, ...] = (),
    jobs: int = 1,
    threads: Annotated[int, arg(help="Threads of each job.")] = 1,
) -> None:
    """Run arms of the ladder, or go on where they were stopped.

    Args:
        work: Folder of the runs, which takes some 400 MB an arm.
        rows: File that the rows are added to.
        part: Part of the plan; all where left out.
        rung: Pixels a side, 32, 64 or 128; all where left out.
        seeds: Seeds; those of the plan where left out.
        variants: Such as baseline and lcr; those of the plan where left out.
        jobs: Arms that run at once.
    """
    chosen = arms(part, rung, seeds or None, variants or None)
    if not chosen:
        raise SystemExit("no arm of the plan is so: see studies/diffusability/ladder/plan.md")
    torch.set_num_threads(threads * jobs)
    console, told = Console(stderr=True), [""]

    def tell(done: int, total: int, note: str | None) -> None:
        line = f"{done} of {total} steps, {note}"
        if line != told[0]:
            told[0] = line
            console.print(line, highlight=False)

    options = LadderOptions(rows.parent, work, seeds, "cpu", jobs=jobs, rows=rows)
    with written_alone(work, "the ladder"):
        run_arms(chosen, options, tell)


if __name__ == "__main__":
    tyro.extras.subcommand_cli_from_dict({"ladder": ladder}, prog="python -m studies.diffusability")

"""``python -m studies.diffusability ladder --rung 128 --seeds 11``, from a checkout."""

from pathlib import Path
from typing import Annotated

import torch
import tyro
from rich.console import Console
from tyro.conf import arg

from ssvae.evaluation.probe import probe_accuracy, save_probe, train_probe
from ssvae.storage.locks import written_alone
from studies.diffusability.ladder.arms import arms
from studies.diffusability.ladder.engine import PROBE, LadderOptions, run_arms
from studies.diffusability.ladder.rows import ROWS
from studies.diffusability.ladder.rungs import DATA, SIDES, rung


def ladder(
    work: Path = Path("runs/ladder"),
    rows: Path = ROWS,
    part: int | None = None,
    side: Annotated[int | None, arg(name="rung")] = None,
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
        side: Pixels a side, 32, 64 or 128; all where left out.
        seeds: Seeds; those of the plan where left out.
        variants: Such as baseline and lcr; those of the plan where left out.
        jobs: Arms that run at once.
    """
    chosen = arms(part, side, seeds or None, variants or None)
    if not chosen:
        raise SystemExit("no arm of the plan is so: see studies/diffusability/ladder/plan.md")
    torch.set_num_threads(threads * jobs)
    console, printed = Console(stderr=True), [""]

    def tell(done: int, total: int, note: str | None) -> None:
        line = f"{done} of {total} steps, {note}"
        if line != printed[0]:
            printed[0] = line
            console.print(line, highlight=False)

    options = LadderOptions(rows.parent, work, seeds, "cpu", jobs=jobs, rows=rows)
    with written_alone(work, "the ladder"):
        run_arms(chosen, options, tell)


def ladder_probe(out: Path = PROBE, steps: int = 1500) -> None:
    """Train the probe that scores all rungs, and tell what it names of clips that it has not seen.

    Args:
        out: File to write.
        steps: Steps of 48 clips, of each rung's size in turn.
    """
    sizes = [rung(side).size for side in SIDES]
    probe = train_probe(steps, data=DATA, sizes=sizes)
    save_probe(probe, out)
    for size in sizes:
        named = probe_accuracy(probe, 1024, data=DATA, size=size)
        printed = ", ".join(f"{kind} {share:.1%}" for kind, share in named.items())
        Console(stderr=True).print(f"{size}: {printed}", highlight=False)


COMMANDS = {"ladder": ladder, "ladder-probe": ladder_probe}
if __name__ == "__main__":
    tyro.extras.subcommand_cli_from_dict(COMMANDS, prog="python -m studies.diffusability")

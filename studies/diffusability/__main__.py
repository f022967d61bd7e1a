"""``python -m studies.diffusability run world --cells default``, from a checkout."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro
from rich.console import Console
from tyro.conf import arg

from ssvae.bench.records import ROWS
from ssvae.bench.stages import Options
from ssvae.bench.vaes import names_of
from ssvae.cli.console import configure_logging, console, errors_in_one_line, progress
from ssvae.evaluation.probe import probe_accuracy, save_probe, train_probe
from ssvae.storage.locks import written_alone
from studies.diffusability import prediction, reports
from studies.diffusability.cells import DEFAULT
from studies.diffusability.ladder import report as ladder_page
from studies.diffusability.ladder.arms import arms
from studies.diffusability.ladder.engine import run_arms
from studies.diffusability.ladder.options import PROBE, LadderOptions
from studies.diffusability.ladder.rows import ROWS as LADDER_ROWS
from studies.diffusability.ladder.rungs import DATA, SIDES, rung
from studies.diffusability.reports import STUDIES
from studies.diffusability.run import run_cells

Part = Annotated[Literal["variants", "world", "stills"], tyro.conf.Positional]
Parts = Annotated[tuple[Literal["variants", "world", "stills"], ...], tyro.conf.Positional]


def run(
    part: Part,
    cells: tuple[str, ...] = (DEFAULT,),
    variants: tuple[str, ...] = ("baseline", "lcr"),
    seeds: tuple[int, ...] = (0, 1, 2),
    vae: tyro.conf.UseAppendAction[tuple[str, ...]] = (),
    out: Path | None = None,
    work: Path | None = None,
    jobs: int = 1,
    device: str = "auto",
    dtype: Literal["float32", "bfloat16"] = "float32",
    compile: bool = False,
) -> None:
    """Run variants in cells, or go on where they were stopped; rows join those that are there.

    Args:
        part: variants and world are on the procedural world, stills on films of pictures.
        cells: Settings that differ one at a time: studies/diffusability/cells.py lists them.
        variants: VAEs to train in each: studies/diffusability/variants.py lists them.
        seeds: Seeds, each with VAEs and diffusion models of its own; a claim takes five.
        vae: NAME=PATH, once for each VAE to take instead of training; one must be called baseline.
        out: Folder of the rows; that of the part where left out.
        work: Folder of the runs; runs/diffusability-PART where left out.
        jobs: Models trained at once, each on its share of the threads.
        compile: Compile the diffusion models, which pays in bfloat16.
    """
    study = STUDIES[part]
    out, work = out or study.folder, work or Path("runs") / f"diffusability-{part}"
    options = Options(out, work, seeds, device, dtype, jobs=jobs, compile=compile, part=study.name)
    with progress(f"study {part}") as advance:
        run_cells(
            study.scale,
            options,
            cells,
            variants,
            names_of(vae),
            lambda done, total, note: advance(done, note, total),
        )
    if out == study.folder:
        reports.write_films(reports.write(study), options)
    console.print(f"rows: {out / ROWS}; report writes their tables", soft_wrap=True)


def report(parts: Parts = ("variants", "world", "stills")) -> None:
    """Regenerate tables and figures from the rows: of all parts, or of these."""
    for part in parts:
        reports.write(STUDIES[part])
        if part == "world":
            prediction.write(STUDIES[part])
        console.print(f"{STUDIES[part].folder}", soft_wrap=True)


def predict(
    part: Part = "world",
    cells: tuple[str, ...] = (),
    work: Path | None = None,
    jobs: int = 1,
) -> None:
    """Which figure of a VAE tells how its latents are learned? Over all VAEs of a part.

    Those that are not in the folder of runs are trained again, by the settings of their rows.

    Args:
        cells: Cells whose VAEs are measured; all where left out.
        work: Folder of the runs, with the latents; runs/diffusability-PART where left out.
        jobs: VAEs trained and measured at once.
    """
    study = STUDIES[part]
    work = work or Path("runs") / f"diffusability-{part}"
    options = Options(study.folder, work, (), "cpu", jobs=jobs, part=study.name)
    with progress("measuring latents") as advance:
        found = prediction.run_prediction(
            study,
            options,
            cells,
            on_progress=lambda done, total, note: advance(done, note, total),
        )
    console.print(prediction.page(found), soft_wrap=True, markup=False)


def ladder(
    work: Path = Path("runs/ladder"),
    rows: Path = LADDER_ROWS,
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
        raise ValueError("no arm of the plan is so: see studies/diffusability/ladder/plan.md")
    torch.set_num_threads(threads * jobs)
    printed = [""]

    def tell(done: int, total: int, note: str | None) -> None:
        line = f"{done} of {total} steps, {note}"
        if line != printed[0]:
            printed[0] = line
            Console(stderr=True).print(line, highlight=False)

    options = LadderOptions(rows.parent, work, seeds, "cpu", jobs=jobs, rows=rows)
    with written_alone(work, "the ladder"):
        run_arms(chosen, options, tell)


def ladder_report(rows: Path = LADDER_ROWS) -> None:
    """Regenerate the ladder's tables and figure from its rows.

    Args:
        rows: File of the rows.
    """
    console.print(f"{ladder_page.write(rows)}", soft_wrap=True)


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
        shares = ", ".join(f"{kind} {share:.1%}" for kind, share in named.items())
        Console(stderr=True).print(f"{size}: {shares}", highlight=False)


COMMANDS: dict[str, Callable[..., Any]] = {
    "run": run,
    "report": report,
    "predict": predict,
    "ladder": ladder,
    "ladder-report": ladder_report,
    "ladder-probe": ladder_probe,
}
if __name__ == "__main__":
    configure_logging(False)
    with errors_in_one_line(False):
        tyro.extras.subcommand_cli_from_dict(COMMANDS, prog="python -m studies.diffusability")

"""What each learning curve gave, kept with the results: those of other days and machines join them."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import torch

from ssvae.bench.scales import Scale
from ssvae.bench.stages import Options, learn, measured, train_vae
from ssvae.bench.summary import Rows
from ssvae.bench.tasks import Task
from ssvae.storage.files import check_folder, read_json, read_rows, write_json, write_text
from ssvae.storage.settings import check_same_settings, flat
from ssvae.vae.recipe import VAERecipe


@dataclass(frozen=True)
class Record:
    """All that the results take from a diffusion model and the VAE below it."""

    rows: Rows
    """Scores at each evaluation."""
    measure: Mapping[str, Any]
    """What the VAE can do, and the analysis of its latents."""
    losses: Mapping[str, float]
    """Loss by noise level."""
    made_with: Mapping[str, str]
    """Versions and device."""
    steps_per_second: float | None = None
    """Of training, the median over the run; None where it was not kept."""


def recorded(
    label: str, source: str, map_label: str | None, seed: int, scale: Scale, options: Options
) -> Record:
    """Learn the latents of ``source``, under a map if any, in the run ``label``; or go on.

    What it gave is written to the results, where it is found again without the run.
    """
    run = options.work / "diffusion" / label
    rows = learn(run, source, map_label, seed, scale, options)
    record = Record(
        rows=rows,
        measure=measured(map_label or source, options),
        losses=losses_by_time(run),
        made_with=made_with(options.device, options.compile),
        steps_per_second=steps_per_second(run),
    )
    folder = options.out / "curves"
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / f"{label}.json", asdict(record), indent=1)
    return record


def read_records(out: Path) -> dict[str, Record]:
    """All that are there, by the names of the tasks that gave them."""
    found = {}
    for path in (out / "curves").glob("*.json"):
        try:
            found[_name(path.stem)] = Record(**json.loads(path.read_text()))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path} is no curve of a benchmark ({error}): remove it") from error
    return found


def recording(
    label: str, source: str, map_label: str | None, seed: int, scale: Scale, options: Options
) -> Task:
    """The task of :func:`recorded`, which needs the latents that it learns."""
    run = options.work / "diffusion" / label
    return Task(
        _name(label),
        recorded,
        (label, source, map_label, seed, scale, options),
        needs=(f"latents {map_label or source}",),
        runs=(run, *(run / "branches" / str(steps) for steps in scale.evaluations)),
        steps=scale.learning_steps,
    )


def training(label: str, recipe: VAERecipe, scale: Scale, options: Options) -> Task:
    """The task that trains a VAE and gives its latents."""
    runs = tuple(options.work / "vae" / run for run in (label, f"{label}-decoder"))
    steps = recipe.steps + scale.decoder_round * scale.decoder_rounds // 2
    return Task(f"latents {label}", train_vae, (label, recipe, scale, options), (), runs, steps)


def still_needed(tasks: Sequence[Task], there: Mapping[str, Record]) -> list[Task]:
    """The tasks that record what is not ``there`` to its last evaluation, and what they need, in order."""
    wanted = set()
    for task in tasks:
        if task.work is recorded:
            *_, scale, _ = task.arguments
            steps = [row["step"] for row in there[task.name].rows] if task.name in there else []
            wanted |= {task.name} if steps != list(scale.evaluations) else set()
    for task in reversed(tasks):  # each stands behind those that it needs
        if task.name in wanted:
            wanted |= set(task.needs)
    return [task for task in tasks if task.name in wanted]


def _name(label: str) -> str:
    return f"learn {label}"


def keep_plan(options: Options, scale: Scale, extra: Mapping[str, Any]) -> None:
    """Runs and results go on under the plan they began with; seeds may be added.

    A plan of an older version knows nothing of newer settings, which were then as they are by default.
    """
    settings = {"scale": dataclasses.asdict(scale), "dtype": options.dtype, "probe": options.probe}
    text = json.dumps({**settings, **extra}, default=str, indent=2) + "\n"
    for folder in (options.work, options.out):
        check_folder(folder)
        now, path = flat(json.loads(portable(text, options.work))), folder / "plan.json"
        before = flat(read_json(path)) if path.exists() else {}
        known = {name: now.get(name) for name in before}
        remedy = "choose other folders (--work, --out), or remove this one"
        check_same_settings(f"the benchmark in {folder}", before, known, remedy=remedy)
    for folder in (options.work, options.out):
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "plan.json", portable(text, options.work))


def losses_by_time(run: Path) -> dict[str, float]:
    """The loss at each noise level, the mean over the last quarter of the steps at constant rate."""
    metrics = read_rows(run / "metrics.jsonl")
    found: dict[str, list[float]] = {}
    for row in metrics:
        if row["step"] > 0.75 * metrics[-1]["step"]:
            for key, value in row.items():
                if key.startswith("loss") and value is not None:
                    found.setdefault(key, []).append(value)
    return {key: sum(values) / len(values) for key, values in sorted(found.items())}


def steps_per_second(run: Path) -> float | None:
    """The median over what the run's log of its speed holds, or None."""
    path = run / "speed.jsonl"
    rates = [row["steps_per_second"] for row in read_rows(path)] if path.exists() else []
    return median(rates) if rates else None


def made_with(device: str, compiled: bool = False) -> dict[str, str]:
    """Versions, the kind of processor, and whether the diffusion model was compiled."""
    cuda = torch.cuda.is_available() and device != "cpu"
    return {
        "ssvae": version("ssvae"),
        "torch": torch.__version__,
        "compiled": "yes" if compiled else "no",
        "device": torch.cuda.get_device_name()
        if cuda
        else f"CPU, {torch.backends.cpu.get_cpu_capability()}",
    }


def portable(text: str, work: Path) -> str:
    """Paths count from the folder of the runs, or from where the command ran, wherever these are."""
    for folder in (work.resolve(), work, Path.cwd()):
        text = text.replace(f"{folder}/", "")
    return text

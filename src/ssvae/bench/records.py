"""What each learning curve gave, as lines of JSON: those of other days and machines join them.

A line is of a VAE (kind ``vae``: what it can do, and the analysis of its latents) or of an
evaluation of a diffusion model on its latents (kind ``diffusion``: the scores after a step).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from ssvae.bench.provenance import provenance
from ssvae.bench.scales import Scale
from ssvae.bench.stages import Options, learn, measured, train_vae
from ssvae.bench.tasks import Task
from ssvae.storage.files import check_folder, read_json, read_rows, write_text
from ssvae.storage.settings import check_same_settings, flat
from ssvae.vae.recipe import VAERecipe

ROWS = "rows.jsonl"
VAE, DIFFUSION = "vae", "diffusion"
ANALYSIS = (
    *("low_share", "high_share", "slope", "effective_rank", "local_correlation", "viv", "sec"),
    *("curve", "explained", "robustness"),
)
"""What is kept of an analysis."""


class Arm(NamedTuple):
    """What is run under several seeds, and compared with others."""

    cell: str
    """Settings that hold for all variants of it; empty where there is one cell alone."""
    variant: str
    """A VAE, or a map of its latents."""

    @property
    def title(self) -> str:
        """Both, in a table."""
        return "/".join(filter(None, self))


class RunKey(NamedTuple):
    """A diffusion model's run."""

    cell: str
    variant: str
    seed: int

    @property
    def arm(self) -> Arm:
        """What it is a run of."""
        return Arm(self.cell, self.variant)

    @property
    def label(self) -> str:
        """The name of its folder."""
        return ".".join(filter(None, (self.cell, self.variant, str(self.seed))))


@dataclass(frozen=True)
class Record:
    """All that is known of a diffusion model and the VAE below it."""

    rows: Sequence[Mapping[str, Any]]
    """Scores at each evaluation, with their ``step``."""
    latents: str
    """Which latents it learned; those of one VAE have one name."""
    measure: Mapping[str, Any]
    """What the VAE can do, and the analysis of its latents."""
    losses: Mapping[str, float] = field(default_factory=dict)
    """Loss by noise level."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    steps_per_second: float | None = None
    """Of training, the median over the run; None where it was not kept."""


Arms = Mapping[Arm, Mapping[int, Record]]
"""What each arm gave, by seed."""


def recorded(
    key: RunKey,
    latents: str,
    map_label: str | None,
    seed: int,
    scale: Scale,
    options: Options,
    settings: Mapping[str, Any],
) -> Record:
    """Learn ``latents``, under a map if any, or go on; what it gave is added to the results'
    rows.
    """
    run = options.work / "diffusion" / key.label
    rows = learn(run, latents, map_label, seed, scale, options)
    record = Record(
        rows=rows,
        latents=map_label or latents,
        measure=portable_measure(measured(map_label or latents, options)),
        losses=losses_by_time(run),
        provenance=provenance(options.device, options.dtype, options.compile),
        steps_per_second=steps_per_second(run),
    )
    path = options.out / ROWS
    there = {row["latents"] for row in rows_of(path) if row["kind"] == VAE}
    append_rows(
        path, lines_of(key, record, settings, options.part, skip_vae=record.latents in there)
    )
    return record


def lines_of(
    key: RunKey,
    record: Record,
    settings: Mapping[str, Any],
    part: str = "",
    skip_vae: bool = False,
) -> list[dict[str, Any]]:
    """A record as the lines of a file: its VAE's, then one an evaluation."""
    named = {"part": part, **key._asdict()}
    known = {"latents": record.latents, "settings": dict(settings), **record.provenance}
    lines = [] if skip_vae else [{"kind": VAE, **named, "measure": record.measure, **known}]
    for row in record.rows:
        scores = {name: value for name, value in row.items() if name != "step"}
        line = {"kind": DIFFUSION, **named, "step": row["step"], "scores": scores, **known}
        if row is record.rows[-1]:
            line |= {"losses": record.losses, "steps_per_second": record.steps_per_second}
        lines.append(line)
    return lines


def rows_of(path: Path) -> list[dict[str, Any]]:
    """All lines of a file of results; none where there is no file."""
    return read_rows(path) if path.exists() else []


def append_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add lines at the end, in one write: runs end at their own times."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8") as file:
        file.write("".join(json.dumps(row, sort_keys=True) + "\n" for row in rows))


KNOWN = (
    *("kind", "part", "cell", "variant", "seed", "step", "scores", "latents", "settings"),
    *("losses", "steps_per_second", "measure"),
)
"""Fields of a line that are not provenance."""


def read_records(out: Path) -> dict[RunKey, Record]:
    """The records of a folder of results, or of a file of rows; a ValueError for other lines."""
    path = out / ROWS if out.suffix != ".jsonl" else out
    try:
        return _records(rows_of(path))
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{path} holds lines that are no results ({error}): remove them"
        ) from error


def _records(lines: Sequence[Mapping[str, Any]]) -> dict[RunKey, Record]:
    measures = {line["latents"]: line["measure"] for line in lines if line["kind"] == VAE}
    grouped: dict[RunKey, dict[int, Mapping[str, Any]]] = {}
    for line in lines:
        if line["kind"] == DIFFUSION:
            key = RunKey(line["cell"], line["variant"], line["seed"])
            grouped.setdefault(key, {})[line["step"]] = line
    found = {}
    for key, by_step in grouped.items():
        ordered = [by_step[step] for step in sorted(by_step)]
        last = ordered[-1]
        found[key] = Record(
            rows=[{"step": line["step"], **line["scores"]} for line in ordered],
            latents=last["latents"],
            measure=measures[last["latents"]],
            losses=last.get("losses", {}),
            provenance={name: value for name, value in last.items() if name not in KNOWN},
            steps_per_second=last.get("steps_per_second"),
        )
    return found


def by_arm(records: Mapping[RunKey, Record]) -> dict[Arm, dict[int, Record]]:
    """Records by arm and seed."""
    found: dict[Arm, dict[int, Record]] = {}
    for key in sorted(records):
        found.setdefault(key.arm, {})[key.seed] = records[key]
    return found


def portable_measure(measure: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of a measure: no path, and of the analysis what tables and figures take."""
    analysis = measure["analysis"]
    kept = {name: analysis[name] for name in ANALYSIS if name in analysis}
    kept["latent_shape"] = analysis["protocol"]["latent_shape"]
    return {**measure, "analysis": kept}


def recording(
    key: RunKey,
    latents: str,
    map_label: str | None,
    seed: int,
    scale: Scale,
    options: Options,
    settings: Mapping[str, Any] | None = None,
) -> Task:
    """The task of :func:`recorded`, which needs the latents that it learns."""
    run = options.work / "diffusion" / key.label
    return Task(
        name_of(key),
        recorded,
        (key, latents, map_label, seed, scale, options, settings or {}),
        needs=(f"latents {map_label or latents}",),
        runs=(run, *(run / "branches" / str(steps) for steps in scale.evaluations)),
        steps=scale.learning_steps,
    )


def training(label: str, recipe: VAERecipe, scale: Scale, options: Options) -> Task:
    """The task that trains a VAE and gives its latents."""
    runs = tuple(options.work / "vae" / run for run in (label, f"{label}-decoder"))
    steps = recipe.steps + scale.decoder_round * scale.decoder_rounds // 2
    return Task(f"latents {label}", train_vae, (label, recipe, scale, options), (), runs, steps)


def still_needed(tasks: Sequence[Task], there: Mapping[RunKey, Record]) -> list[Task]:
    """The tasks that record what is not ``there`` to its last evaluation, and their needs, in
    order.
    """
    needed = set()
    for task in tasks:
        if task.work is recorded:
            key, *_, scale, _, _ = task.arguments
            steps = [row["step"] for row in there[key].rows] if key in there else []
            needed |= {task.name} if steps != list(scale.evaluations) else set()
    for task in reversed(tasks):  # each stands behind those that it needs
        if task.name in needed:
            needed |= set(task.needs)
    return [task for task in tasks if task.name in needed]


def name_of(key: RunKey) -> str:
    """What the task of a run is called."""
    return f"learn {key.label}"


def keep_plan(options: Options, scale: Scale, extra: Mapping[str, Any]) -> None:
    """Runs and results go on under the plan they began with; seeds may be added."""
    settings = {"scale": asdict(scale), "dtype": options.dtype, "probe": options.probe}
    text = json.dumps({**settings, **extra}, default=str, indent=2) + "\n"
    for folder in (options.work, options.out):
        check_folder(folder)
        path = folder / "plan.json"
        if path.exists():
            check_same_settings(
                f"the benchmark in {folder}",
                flat(read_json(path)),
                flat(json.loads(portable(text, options.work))),
                remedy="choose other folders (--work, --out), or remove this one",
            )
    for folder in (options.work, options.out):
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "plan.json", portable(text, options.work))


def losses_by_time(run: Path) -> dict[str, float]:
    """The loss at each noise level, the mean over the last quarter of the steps at constant
    rate.
    """
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


def portable(text: str, work: Path) -> str:
    """Paths count from the folder of the runs, or from where the command ran."""
    for folder in (work.resolve(), work, Path.cwd()):
        text = text.replace(f"{folder}/", "")
    return text

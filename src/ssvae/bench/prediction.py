"""Which figure of latents alone tells how a diffusion model learns them?"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from ssvae.bench.cells import CELLS, DEFAULT, Arm, latents_of
from ssvae.bench.comparisons import NAMES, learned
from ssvae.bench.records import Record, read_records
from ssvae.bench.scales import BASELINE, Scale
from ssvae.bench.stages import Options
from ssvae.bench.summary import CLAIMED, starts_of
from ssvae.bench.tasks import OnProgress, Task, run_tasks
from ssvae.data import vocabulary_of
from ssvae.evaluation.convergence import steps_to_target
from ssvae.evaluation.ranks import RankCorrelation, rank_correlation
from ssvae.latents.cache import LatentCache
from ssvae.models.backbones import load_backbone
from ssvae.report.figures import save_figure, to_svg
from ssvae.report.scatter import scatter_figure
from ssvae.report.tables import interval, markdown, number
from ssvae.spectra.learnability import learnability
from ssvae.storage.files import write_json, write_text

TARGETS = {"reward": "reward at the end", "steps": f"steps to {CLAIMED:.0%}", "frechet": "Fréchet"}
WELL, ENOUGH = 0.9, 0.7
"""|rho| that is wanted, and below which nothing is said."""
SHOWN = 3
"""Figures that are drawn."""


@dataclass(frozen=True)
class Point:
    """A VAE, what is known of its latents, and how they were learned."""

    family: str
    """Its cell and variant: VAEs of one family differ in their seeds alone."""
    seed: int
    figures: Mapping[str, float]
    measured: Mapping[str, float]
    """By :data:`TARGETS`; steps are infinite where the target was not reached."""


def run_prediction(
    scale: Scale,
    options: Options,
    results: Path,
    on_progress: OnProgress = lambda done, total, note: None,
) -> dict[str, Any]:
    """Measure the latents of all VAEs of a map's ``results`` that one diffusion recipe learned, and which
    figure orders what it gave; written to ``options.out``.

    Those are the cells that change the VAE alone. Their latents must lie in ``options.work``, but for
    those whose figures are in the results already.
    """
    arms = {
        arm: by_seed
        for arm, by_seed in learned(read_records(results)).items()
        if all(name.startswith("vae.") for name in CELLS[arm[0]].changes)
    }
    labels = {
        (arm, seed): latents_of(arm, seed, scale)
        for arm, by_seed in arms.items()
        for seed in by_seed
    }
    missing = [label for label in labels.values() if not _figures_path(label, options).exists()]
    tasks = [Task(label, measure_latents, (label, options)) for label in dict.fromkeys(missing)]
    run_tasks(tasks, options.jobs, on_progress)
    points = points_of(arms, labels, scale, options)
    summary = {
        "points": [
            asdict(point)
            | {"measured": {k: v if math.isfinite(v) else None for k, v in point.measured.items()}}
            for point in points
        ],
        "correlations": {
            target: {name: asdict(found) for name, found in correlations(points, target).items()}
            for target in TARGETS
        },
    }
    write_json(options.out / "summary.json", summary, indent=1)
    write_text(options.out / "table.md", prediction_table(points))
    figure = scatter(points)
    (options.out / "figure.svg").write_text(to_svg(figure))
    save_figure(figure, options.out / "figure.png")
    return summary


def measure_latents(label: str, options: Options) -> dict[str, float]:
    """The figures of the latents of a VAE, kept with the results."""
    path = options.work / "latents" / label
    if not path.is_dir():
        raise ValueError(
            f"the latents {label} are not in {path}: give the --work of the map, or run its cell again"
        )
    cache = LatentCache(path)
    backbone = load_backbone(cache.config.vae, options.accelerator().device)
    with torch.no_grad():
        found = learnability(torch.cat(list(cache.batches())), backbone.decode)
    target = _figures_path(label, options)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_json(target, found, indent=1)
    return found


def points_of(
    arms: Mapping[Arm, Mapping[int, Record]],
    labels: Mapping[tuple[Arm, int], str],
    scale: Scale,
    options: Options,
) -> list[Point]:
    """A point for each VAE; the score to reach is that of the default's baseline at its end."""
    reference = arms.get((DEFAULT, BASELINE))
    if not reference:
        raise ValueError(
            f"a prediction is measured against the cell {DEFAULT} of the {BASELINE}, which these results "
            f"have not: run ssvae bench map --cells {DEFAULT}"
        )
    start = starts_of(vocabulary_of(scale.data))["reward"]
    ends = [record.rows[-1]["reward"] for record in reference.values()]
    target = start + CLAIMED * (sum(ends) / len(ends) - start)
    points = []
    for (cell, variant), by_seed in arms.items():
        for seed, record in by_seed.items():
            steps = steps_to_target(*_curve(record), target)
            measured = {
                "reward": record.rows[-1]["reward"],
                "steps": math.inf if steps is None else steps,
                "frechet": record.rows[-1]["frechet"],
            }
            path = _figures_path(labels[(cell, variant), seed], options)
            figures = {name: of(record.measure) for name, of in FIGURES.items()}
            figures |= json.loads(path.read_text())
            points.append(Point(f"{cell}/{variant}", seed, figures, measured))
    return points


def correlations(points: Sequence[Point], target: str) -> dict[str, RankCorrelation]:
    """The rank correlation of each figure that varies with what was measured, the strongest first."""
    families = [point.family for point in points]
    measured = [point.measured[target] for point in points]
    if len(set(measured)) == 1:  # such as steps where none reached the target
        return {}
    columns = {name: [point.figures[name] for point in points] for name in points[0].figures}
    found = {
        name: rank_correlation(values, measured, families)
        for name, values in columns.items()
        if len(set(values)) > 1
    }
    return dict(sorted(found.items(), key=lambda pair: -abs(pair[1].rho.value or 0)))


def prediction_table(points: Sequence[Point]) -> str:
    """Each figure's rank correlations with all targets, as a table in Markdown."""
    of_target = {target: correlations(points, target) for target in TARGETS}
    told = {target: found for target, found in of_target.items() if found}
    columns = ["figure of the latents"]
    for target in told:
        columns += [f"rho with {TARGETS[target]}", "weakest without one family"]
    rows = [
        [
            name,
            *(
                text
                for found in told.values()
                for text in (interval(asdict(found[name].rho), 2), number(found[name].weakest, 2))
            ),
        ]
        for name in of_target["reward"]
    ]
    families = len({point.family for point in points})
    return (
        f"{markdown(columns, rows)}\nSpearman's rho over {len(points)} VAEs of {families} families, learned by "
        "one diffusion recipe; 95 % intervals by drawing families. Wanted is "
        f"{WELL} or more; below {ENOUGH}, also without any one family, nothing is predicted.\n"
    )


def scatter(points: Sequence[Point]) -> Figure:
    """The rewards over the figures that order them best."""
    best = dict(list(correlations(points, "reward").items())[:SHOWN])
    return scatter_figure(
        {name.replace("_", " "): [point.figures[name] for point in points] for name in best},
        [f"rho {interval(asdict(found.rho))}" for found in best.values()],
        [point.measured["reward"] for point in points],
        [_title(point.family) for point in points],
        TARGETS["reward"],
    )


def _title(family: str) -> str:
    cell, _, variant = family.partition("/")
    return f"{NAMES.get(variant, variant)}: {CELLS[cell].title}"


def _figures_path(label: str, options: Options) -> Path:
    return options.out / "figures" / f"{label}.json"


def _curve(record: Record) -> tuple[list[float], list[float]]:
    return [row["step"] for row in record.rows], [row["reward"] for row in record.rows]


def _analysis(*names: str) -> Callable[[Mapping[str, Any]], float]:
    """A figure of the analysis in a record's measure."""

    def of(measure: Mapping[str, Any]) -> float:
        value: Any = measure["analysis"]
        for name in names:
            value = value[name]
        return float(value)

    return of


def _noise(measure: Mapping[str, Any]) -> float:
    """What noise of .3 on the latents costs a reconstruction, in dB."""
    robustness = measure["analysis"]["robustness"]
    return float(robustness["0.0"] - robustness["0.3"])


def _values(measure: Mapping[str, Any]) -> float:
    """Values of a clip's latents."""
    return float(math.prod(measure["analysis"]["protocol"]["latent_shape"]))


FIGURES: Mapping[str, Callable[[Mapping[str, Any]], float]] = {
    "low_share": _analysis("low_share"),
    "high_share": _analysis("high_share"),
    "slope": _analysis("slope"),
    "sec": _analysis("sec", "0.25"),
    "effective_rank": _analysis("effective_rank"),
    "viv": _analysis("viv"),
    "local_correlation": _analysis("local_correlation"),
    "lost_to_noise": _noise,
    "values": _values,
    "psnr": lambda measure: float(measure["psnr"]),
}
"""Figures that are in the records: of the analysis of a VAE."""

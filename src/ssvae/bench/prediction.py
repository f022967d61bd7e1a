"""Which figure of latents alone tells how a diffusion model learns them?"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from ssvae.analysis.learnability import learnability
from ssvae.bench.cells import CELLS, DEFAULT, Arm, latents_of
from ssvae.bench.comparisons import NAMES, learned
from ssvae.bench.records import Record, read_records
from ssvae.bench.scales import BASELINE, NULL, Scale
from ssvae.bench.stages import Options
from ssvae.bench.summary import CLAIMED, starts_of
from ssvae.bench.tasks import OnProgress, Task, run_tasks
from ssvae.data import vocabulary_of
from ssvae.evaluation.convergence import steps_to_target
from ssvae.evaluation.ranks import RankCorrelation, best_by_chance, rank_correlation
from ssvae.latents.cache import LatentCache
from ssvae.models.backbones import load_backbone
from ssvae.report.figures import save_figure, to_svg
from ssvae.report.scatter import scatter_figure
from ssvae.report.tables import interval, markdown, number
from ssvae.storage.files import write_json, write_text

TARGETS = {"reward": "reward at the end", "steps": f"steps to {CLAIMED:.0%}", "frechet": "Fréchet"}
WELL, ENOUGH = 0.9, 0.7
"""|rho| that is wanted, and below which nothing is said."""
FEWEST = 3
"""Families that a correlation takes."""
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
    those whose figures are in ``options.out`` already.
    """
    arms = {
        arm: by_seed
        for arm, by_seed in learned(read_records(results)).items()
        if all(name.startswith("vae.") for name in CELLS[arm[0]].changes)
    }
    _check(arms, results)
    labels = {
        (arm, seed): latents_of(arm, seed, scale)
        for arm, by_seed in arms.items()
        for seed in by_seed
    }
    missing = [label for label in labels.values() if not _figures_path(label, options).exists()]
    tasks = [Task(label, measure_latents, (label, options)) for label in dict.fromkeys(missing)]
    run_tasks(tasks, options.jobs, on_progress)
    points = points_of(arms, labels, scale, options)
    found = {target: correlations(points, target) for target in TARGETS}
    summary = {
        "points": [
            asdict(point)
            | {"measured": {k: v if math.isfinite(v) else None for k, v in point.measured.items()}}
            for point in points
        ],
        "best_by_chance": {target: chance(points, target) for target in TARGETS},
        "correlations": {
            target: {name: asdict(one) for name, one in of_figures.items()}
            for target, of_figures in found.items()
        },
    }
    write_json(options.out / "summary.json", summary, indent=1)
    write_text(options.out / "table.md", _table(points, found, summary["best_by_chance"]))
    figure = _scatter(points, found["reward"])
    (options.out / "figure.svg").write_text(to_svg(figure))
    save_figure(figure, options.out / "figure.png")
    return summary


def _check(arms: Mapping[Arm, Mapping[int, Record]], results: Path) -> None:
    """A ValueError where these results cannot tell."""
    plan = results / "plan.json"
    if plan.exists() and json.loads(plan.read_text()).get("vaes", "trained") != "trained":
        raise ValueError(
            f"{results} is a map of VAEs that were given (--vae), whose seeds are not those of their "
            "training: a prediction takes a map that trained them"
        )
    families = {_family(arm) for arm in arms}
    if (DEFAULT, BASELINE) not in arms or len(families) < FEWEST:
        raise ValueError(
            f"a prediction takes the cell {DEFAULT} of the {BASELINE} and VAEs of {FEWEST} families that "
            f"differ in more than seeds, got {', '.join(sorted(families)) or 'none'} in {results}: run "
            f"ssvae bench map --cells {DEFAULT} --variants {BASELINE} lcr lmr, and cells that train other VAEs"
        )


def measure_latents(label: str, options: Options) -> dict[str, float]:
    """The figures of the latents of a VAE, kept with the results."""
    path = options.work / "latents" / label
    if not path.is_dir():
        raise ValueError(
            f"the latents {label} are not in {path}: give the --work of the map, or run its cell again"
        )
    cache = LatentCache(path)
    backbone = load_backbone(cache.vae, options.accelerator().device)
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
    reference = arms[DEFAULT, BASELINE]
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
            points.append(Point(_family((cell, variant)), seed, figures, measured))
    return points


def correlations(points: Sequence[Point], target: str) -> dict[str, RankCorrelation]:
    """The rank correlation of each figure that varies with what was measured, the strongest first."""
    families, measured = [p.family for p in points], [p.measured[target] for p in points]
    found = {
        name: rank_correlation(values, measured, families)
        for name, values in _varying(points).items()
        if len(set(measured)) > 1  # not steps where none reached the target
    }
    return dict(sorted(found.items(), key=lambda pair: -abs(pair[1].rho.value or 0)))


def chance(points: Sequence[Point], target: str) -> float | None:
    """The |rho| that the best of all figures passes by chance once in twenty times."""
    measured = [point.measured[target] for point in points]
    if len(set(measured)) == 1:
        return None
    return best_by_chance(list(_varying(points).values()), measured, [p.family for p in points])


def _varying(points: Sequence[Point]) -> dict[str, list[float]]:
    """Figures that differ among the points, each with its values."""
    columns = {name: [point.figures[name] for point in points] for name in points[0].figures}
    return {name: values for name, values in columns.items() if len(set(values)) > 1}


def _table(
    points: Sequence[Point],
    found: Mapping[str, Mapping[str, RankCorrelation]],
    by_chance: Mapping[str, float | None],
) -> str:
    """Each figure's rank correlations with all targets, as a table in Markdown."""
    told = {target: of_figures for target, of_figures in found.items() if of_figures}
    columns = ["figure of the latents"]
    for target in told:
        columns += [f"rho with {TARGETS[target]}", "weakest without one family"]
    rows = [
        [
            name,
            *(
                text
                for of in told.values()
                for text in (interval(asdict(of[name].rho), 2), number(of[name].weakest, 2))
            ),
        ]
        for name in found["reward"]
    ]
    bars = [f"{number(by_chance[target], 2)} for {TARGETS[target]}" for target in told]
    return (
        f"{markdown(columns, rows)}\nSpearman's rho over {len(points)} VAEs of "
        f"{len({point.family for point in points})} families, learned by one diffusion recipe; 95 % intervals "
        f"by drawing families. The best of {len(rows)} figures that tell nothing passes {', '.join(bars)} once "
        f"in twenty times. Wanted is {WELL} or more; below {ENOUGH}, or the bar of chance, also without any one "
        "family, nothing is predicted.\n"
    )


def _scatter(points: Sequence[Point], found: Mapping[str, RankCorrelation]) -> Figure:
    """The rewards over the figures that order them best."""
    best = dict(list(found.items())[:SHOWN])
    return scatter_figure(
        {name.replace("_", " "): [point.figures[name] for point in points] for name in best},
        [f"rho {interval(asdict(one.rho))}" for one in best.values()],
        [point.measured["reward"] for point in points],
        [_title(point.family) for point in points],
        TARGETS["reward"],
    )


def _family(arm: Arm) -> str:
    """VAEs that differ in their seeds alone; the null is the baseline."""
    cell, variant = arm
    return f"{cell}/{BASELINE if variant == NULL else variant}"


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

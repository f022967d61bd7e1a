"""Which figure of a VAE tells how a diffusion model learns its latents, before one does?"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from matplotlib.figure import Figure

from ssvae.analysis.predictors import PREDICTORS
from ssvae.bench.provenance import provenance
from ssvae.bench.records import ROWS, append_rows
from ssvae.bench.report import write_figure
from ssvae.bench.scales import BASELINE, BOTH, Scale
from ssvae.bench.stages import Options
from ssvae.bench.tasks import OnProgress, Task, run_tasks
from ssvae.evaluation.probe import load_probe
from ssvae.latents.cache import LatentCache
from ssvae.models.backbones import load_backbone
from ssvae.report.tables import interval, markdown, number
from ssvae.storage.files import write_text
from studies.diffusability.evidence import predictors_of
from studies.diffusability.ladder.rows import read
from studies.diffusability.points import (
    FIGURES_OF_LATENTS,
    TARGETS,
    Point,
    figures_of,
    groups_of,
    ladder_points,
    points_of,
    records_of,
)
from studies.diffusability.ranks import RankCorrelation, best_by_chance, rank_correlation
from studies.diffusability.reports import Study
from studies.diffusability.run import vae_task
from studies.diffusability.scatter import scatter_figure
from studies.diffusability.small_models import SIZES, BestModels, best_models
from studies.diffusability.variants import OURS, title_of

WELL, ENOUGH = 0.9, 0.7
"""|rho| that is wanted, and below which nothing is said."""
LINEAR = ("reward", "frechet")
"""Targets that linear models tell: those that are finite everywhere."""
SHOWN = 3
"""Figures that are drawn."""


def run_prediction(
    study: Study,
    options: Options,
    cells: Sequence[str] = (),
    scale: Scale | None = None,
    on_progress: OnProgress = lambda d, t, note: None,
) -> "Prediction":
    """Measure the VAEs of a part that one diffusion recipe learned, and which figure orders what it
    gave.

    Those are the cells that change the VAE alone, or some of them. A VAE whose latents are not in
    the work folder is trained again, by the settings and the seed of its rows (``scale`` where they
    are of another than the part's); one whose figures are all in the rows is not.
    """
    known = {name for name, row in figures_of(study).items() if _is_whole(row["figures"])}
    tasks: dict[str, Task] = {}
    for arm, by_seed in records_of(study).items():
        for seed, record in by_seed.items():
            if record.latents in known or (cells and arm.cell not in cells):
                continue
            prepare = vae_task(arm, seed, scale or study.scale, options)
            measure = Task(
                f"measure {record.latents}",
                measure_latents,
                (record.latents, study, options),
                needs=(prepare.name,),
            )
            tasks |= {task.name: task for task in (prepare, measure)}
    run_tasks(list(tasks.values()), options.jobs, on_progress)
    return write(study)


def _is_whole(figures: Mapping[str, float]) -> bool:
    """Whether all figures that can be measured are there."""
    return all(name in figures for predictor in PREDICTORS for name in predictor.figures)


@dataclass(frozen=True)
class Group:
    """VAEs that are compared with each other."""

    points: Sequence[Point]
    correlations: Mapping[str, Mapping[str, RankCorrelation]]
    """By target, then by figure, the strongest first."""
    best_by_chance: Mapping[str, float | None]
    """The |rho| that the best of all figures passes by chance once in twenty times."""
    models: Mapping[int, Mapping[str, BestModels]]
    """By how many figures they take, then by target."""


Prediction = Mapping[str, Group]
"""By what a group is called; the first is of all VAEs."""


def prediction_of(study: Study) -> Prediction:
    """What the rows of a part say, and those of the ladder."""
    groups = groups_of(points_of(study))
    if study.name == "world":
        for title, points in groups_of(ladder_points(read())).items():
            if title.startswith("VAEs of one size"):
                groups[title] = points
    return {title: group_of(points) for title, points in groups.items()}


def group_of(points: Sequence[Point]) -> Group:
    """Which figures order what was learned on these VAEs."""
    return Group(
        points,
        {target: correlations(points, target) for target in TARGETS},
        {target: chance(points, target) for target in TARGETS},
        small_models(points),
    )


def write(study: Study) -> Prediction:
    """Regenerate table and figure from the rows."""
    found = prediction_of(study)
    write_text(study.folder / "prediction.md", page(found))
    write_figure(_scatter(next(iter(found.values()))), study.folder / "prediction")
    return found


def measure_latents(label: str, study: Study, options: Options) -> None:
    """Add the figures of a VAE to the rows."""
    cache = LatentCache(options.work / "latents" / label)
    probe = load_probe(None, data=study.data)
    found = predictors_of(cache, load_backbone(cache.vae), probe)
    row = {"kind": FIGURES_OF_LATENTS, "part": study.name, "latents": label, **found}
    append_rows(study.folder / ROWS, [row | provenance()])


def correlations(points: Sequence[Point], target: str) -> dict[str, RankCorrelation]:
    """The rank correlation of each figure that varies with what was measured, the strongest
    first.
    """
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


def small_models(points: Sequence[Point]) -> dict[int, dict[str, BestModels]]:
    """The best linear models of a few figures, where there are families enough, by target."""
    figures, families = _varying(points), [p.family for p in points]
    targets = {target: [point.measured[target] for point in points] for target in LINEAR}
    return {
        size: best_models(figures, targets, families, size)
        for size in SIZES
        if len(set(families)) >= size + 2 and len(figures) >= size
    }


def _varying(points: Sequence[Point]) -> dict[str, list[float]]:
    """Figures that all points have, and that differ among them, each with its values."""
    shared = [name for name in points[0].figures if all(name in p.figures for p in points)]
    columns = {name: [point.figures[name] for point in points] for name in shared}
    return {name: values for name, values in columns.items() if len(set(values)) > 1}


def page(found: Prediction) -> str:
    """Each figure's rank correlations, group by group, and the best linear models."""
    tables = [f"### {title}\n\n{table(group)}" for title, group in found.items()]
    return "\n".join([*tables, f"### Linear models\n\n{models_table(found)}"])


def table(group: Group) -> str:
    """Each figure's rank correlations with all targets."""
    shown = {target: figures for target, figures in group.correlations.items() if figures}
    seconds = group.points[0].seconds
    columns = ["metric"]
    for target in shown:
        columns += [f"rho with {TARGETS[target]}", "weakest without one family"]
    rows = [
        [
            name,
            *(
                text
                for figures in shown.values()
                for text in (
                    interval(asdict(figures[name].rho), 2),
                    number(figures[name].weakest, 2),
                )
            ),
            *([f"{seconds[name]:.1f}" if name in seconds else "–"] if seconds else []),
        ]
        for name in group.correlations["reward"]
    ]
    columns += ["seconds"] if seconds else []
    bars = [f"{number(group.best_by_chance[t], 2)} for {TARGETS[t]}" for t in shown]
    families = {point.family for point in group.points}
    return (
        f"{markdown(columns, rows)}\nSpearman's rho over {len(group.points)} VAEs of "
        f"{len(families)} families, learned by one diffusion recipe; 95 % intervals by drawing "
        f"families. The best of {len(rows)} metrics that tell nothing passes {', '.join(bars)} "
        f"once in twenty times. The bar is {WELL}; below {ENOUGH}, or the bar of chance, also "
        "without any one family, nothing is predicted.\n"
    )


def models_table(found: Prediction) -> str:
    """The best linear models of all groups, in sample and left out."""
    columns = [
        *("VAEs", "target", "metrics", "best in sample", "R²"),
        *("best left out", "R²", "R² by chance"),
    ]
    rows = [
        [
            title,
            TARGETS[target],
            f"{size} (of {best.tried} sets)",
            ", ".join(best.in_sample.figures),
            number(best.in_sample.in_sample, 2),
            ", ".join(best.left_out.figures),
            number(best.left_out.left_out, 2),
            number(best.by_chance, 2),
        ]
        for title, group in found.items()
        for size, by_target in group.models.items()
        for target, best in by_target.items()
    ]
    return (
        f"{markdown(columns, rows)}\nThe best of all linear models of two and of three figures: by "
        "R² on what they were fitted on, as papers report it, and by R² of each family told by a "
        "fit on the others. By chance: what the best of as many models passes, left out, once in "
        "twenty worlds where nothing tells anything.\n"
    )


def _scatter(group: Group) -> Figure:
    """The rewards over the figures that order them best."""
    points, best = group.points, dict(list(group.correlations["reward"].items())[:SHOWN])
    return scatter_figure(
        {name.replace("_", " "): [point.figures[name] for point in points] for name in best},
        [f"rho {interval(asdict(one.rho))}" for one in best.values()],
        [point.measured["reward"] for point in points],
        [_kind(point.family) for point in points],
        [point.size for point in points],
        TARGETS["reward"],
    )


def _kind(family: str) -> str:
    """A VAE's regularisers, those of other papers as one."""
    variant = family.partition("/")[2]
    return title_of(variant) if variant in (BASELINE, *OURS, BOTH) else "of another paper"

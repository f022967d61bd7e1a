"""Which figure of latents alone tells how a diffusion model learns them?"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from ssvae.analysis.learnability import learnability
from ssvae.bench.claims import CLAIMED
from ssvae.bench.convergence import steps_to_target
from ssvae.bench.effects import quantities_of
from ssvae.bench.provenance import provenance
from ssvae.bench.records import ROWS, Arm, Record, append_rows, read_records, rows_of
from ssvae.bench.report import write_figure
from ssvae.bench.scales import BASELINE, NULL
from ssvae.bench.tasks import OnProgress, Task, run_tasks
from ssvae.bench.vaes import HURT
from ssvae.data import vocabulary_of
from ssvae.latents.cache import LatentCache
from ssvae.models.backbones import load_backbone
from ssvae.report.tables import interval, markdown, number
from ssvae.storage.files import write_text
from studies.diffusability.cells import CELLS, DEFAULT, changes_the_vae_alone
from studies.diffusability.comparisons import in_order
from studies.diffusability.ranks import RankCorrelation, best_by_chance, rank_correlation
from studies.diffusability.reports import Study
from studies.diffusability.scatter import scatter_figure
from studies.diffusability.variants import title_of

FIGURES_OF_LATENTS = "latents"
"""The kind of rows that hold figures of latents."""
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
    latents: str
    figures: Mapping[str, float]
    measured: Mapping[str, float]
    """By :data:`TARGETS`; steps are infinite where the target was not reached."""


def run_prediction(
    study: Study, work: Path, jobs: int = 1, on_progress: OnProgress = lambda d, t, note: None
) -> "Prediction":
    """Measure the latents of all VAEs of a part that one diffusion recipe learned, and which figure
    orders what it gave.

    Those are the cells that change the VAE alone. Their latents must lie in ``work``, but for those
    whose figures are in the rows already.
    """
    labels = {point.latents for point in _records(study)}
    known = figures_of(study)
    tasks = [
        Task(label, measure_latents, (label, study, work)) for label in sorted(labels - set(known))
    ]
    run_tasks(tasks, jobs, on_progress)
    return write(study)


@dataclass(frozen=True)
class Prediction:
    """Which figures order what was learned."""

    points: Sequence[Point]
    correlations: Mapping[str, Mapping[str, RankCorrelation]]
    """By target, then by figure, the strongest first."""
    best_by_chance: Mapping[str, float | None]
    """The |rho| that the best of all figures passes by chance once in twenty times."""


def prediction_of(study: Study) -> Prediction:
    """What the rows of a part say."""
    points = points_of(study)
    return Prediction(
        points,
        {target: correlations(points, target) for target in TARGETS},
        {target: chance(points, target) for target in TARGETS},
    )


def write(study: Study) -> Prediction:
    """Regenerate table and figure from the rows."""
    found = prediction_of(study)
    write_text(study.folder / "prediction.md", table(found))
    write_figure(_scatter(found), study.folder / "prediction")
    return found


def measure_latents(label: str, study: Study, work: Path) -> None:
    """Add the figures of the latents of a VAE to the rows."""
    path = work / "latents" / label
    if not path.is_dir():
        raise ValueError(
            f"the latents {label} are not in {path}: give the --work of the runs, or run its cell "
            "again"
        )
    cache = LatentCache(path)
    backbone = load_backbone(cache.vae)
    with torch.no_grad():
        found = learnability(torch.cat(list(cache.batches())), backbone.decode)
    row = {"kind": FIGURES_OF_LATENTS, "part": study.name, "latents": label, "figures": found}
    append_rows(study.folder / ROWS, [row | provenance()])


def figures_of(study: Study) -> dict[str, Mapping[str, float]]:
    """The figures of latents that were measured, by what the latents are called."""
    rows = rows_of(study.folder / ROWS)
    return {row["latents"]: row["figures"] for row in rows if row["kind"] == FIGURES_OF_LATENTS}


def _records(study: Study) -> list[Record]:
    return [record for by_seed in _arms(study).values() for record in by_seed.values()]


def _arms(study: Study) -> dict[Arm, dict[int, Record]]:
    """The arms that one diffusion recipe learned; a ValueError where they cannot tell."""
    arms = {
        arm: by_seed
        for arm, by_seed in in_order(read_records(study.folder)).items()
        if changes_the_vae_alone(arm.cell) and arm.variant != HURT
    }
    families = {_family(arm) for arm in arms}
    if Arm(DEFAULT, BASELINE) not in arms or len(families) < FEWEST:
        raise ValueError(
            f"a prediction takes the cell {DEFAULT} of the {BASELINE} and VAEs of {FEWEST} "
            f"families that differ in more than seeds, got {', '.join(sorted(families)) or 'none'} "
            f"in {study.folder}: run the cell {DEFAULT} with --variants {BASELINE} lcr lmr"
        )
    return arms


def points_of(study: Study) -> list[Point]:
    """A point for each VAE; the score to reach is that of the default's baseline at its end."""
    arms, measured_figures = _arms(study), figures_of(study)
    (reward, *_) = quantities_of(vocabulary_of(study.data), arms)
    ends = [r.rows[-1]["reward"] for r in arms[Arm(DEFAULT, BASELINE)].values()]
    target = reward.start + CLAIMED * (sum(ends) / len(ends) - reward.start)
    points = []
    for arm, by_seed in arms.items():
        for seed, record in by_seed.items():
            steps = steps_to_target(*_curve(record), target)
            measured = {
                "reward": record.rows[-1]["reward"],
                "steps": math.inf if steps is None else steps,
                "frechet": record.rows[-1]["frechet"],
            }
            figures = {name: of(record.measure) for name, of in FIGURES.items()}
            figures |= measured_figures[record.latents]
            points.append(Point(_family(arm), seed, record.latents, figures, measured))
    return points


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


def _varying(points: Sequence[Point]) -> dict[str, list[float]]:
    """Figures that differ among the points, each with its values."""
    columns = {name: [point.figures[name] for point in points] for name in points[0].figures}
    return {name: values for name, values in columns.items() if len(set(values)) > 1}


def table(found: Prediction) -> str:
    """Each figure's rank correlations with all targets."""
    shown = {target: figures for target, figures in found.correlations.items() if figures}
    columns = ["figure of the latents"]
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
        ]
        for name in found.correlations["reward"]
    ]
    bars = [f"{number(found.best_by_chance[t], 2)} for {TARGETS[t]}" for t in shown]
    families = {point.family for point in found.points}
    return (
        f"{markdown(columns, rows)}\nSpearman's rho over {len(found.points)} VAEs of "
        f"{len(families)} families, learned by one diffusion recipe; 95 % intervals by drawing "
        f"families. The best of {len(rows)} figures that tell nothing passes {', '.join(bars)} "
        f"once in twenty times. The bar is {WELL}; below {ENOUGH}, or the bar of chance, also "
        "without any one family, nothing is predicted.\n"
    )


def _scatter(found: Prediction) -> Figure:
    """The rewards over the figures that order them best."""
    points, best = found.points, dict(list(found.correlations["reward"].items())[:SHOWN])
    return scatter_figure(
        {name.replace("_", " "): [point.figures[name] for point in points] for name in best},
        [f"rho {interval(asdict(one.rho))}" for one in best.values()],
        [point.measured["reward"] for point in points],
        [_title(point.family) for point in points],
        TARGETS["reward"],
    )


def _family(arm: Arm) -> str:
    """VAEs that differ in their seeds alone; the null is the baseline."""
    return arm._replace(variant=BASELINE if arm.variant == NULL else arm.variant).title


def _title(family: str) -> str:
    cell, _, variant = family.partition("/")
    return f"{title_of(variant)}: {CELLS[cell].title}"


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
    return float(math.prod(measure["analysis"]["latent_shape"]))


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

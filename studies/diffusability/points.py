"""VAEs, what is known of their latents, and how they were learned: a point each."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ssvae.bench.claims import CLAIMED
from ssvae.bench.convergence import steps_to_target
from ssvae.bench.effects import quantities_of
from ssvae.bench.records import ROWS, Arm, Arms, Record, read_records, rows_of
from ssvae.bench.scales import BASELINE, NULL
from ssvae.bench.vaes import HURT
from ssvae.data import vocabulary_of
from studies.diffusability.cells import CELLS, DEFAULT, changes_the_vae_alone
from studies.diffusability.comparisons import in_order
from studies.diffusability.ladder.arms import PLAIN
from studies.diffusability.ladder.rows import DIFFUSION, VAE
from studies.diffusability.ladder.rungs import DATA
from studies.diffusability.reports import Study

FIGURES_OF_LATENTS = "latents"
"""The kind of rows that hold figures of latents."""
TARGETS = {"reward": "reward at the end", "steps": f"steps to {CLAIMED:.0%}", "frechet": "Fréchet"}
FEWEST = 3
"""Families that a correlation takes."""


@dataclass(frozen=True)
class Point:
    """A VAE."""

    family: str
    """Its cell and variant: VAEs of one family differ in their seeds alone."""
    seed: int
    latents: str
    figures: Mapping[str, float]
    measured: Mapping[str, float]
    """By :data:`TARGETS`; steps are infinite where the target was not reached."""
    size: str = ""
    """Of its latents and clips, in words."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """What finding a figure took, with those found with it."""


def groups_of(points: Sequence[Point]) -> dict[str, list[Point]]:
    """All VAEs, and those of each size that has families enough."""
    found = {"VAEs of all sizes": list(points)}
    for size in dict.fromkeys(point.size for point in points):
        own = [point for point in points if point.size == size]
        if FEWEST <= len({point.family for point in own}) < len({p.family for p in points}):
            found[f"VAEs of one size: {size}"] = own
    return found


def records_of(study: Study) -> Arms:
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


def figures_of(study: Study) -> dict[str, Mapping[str, Any]]:
    """The rows of latents that were measured, by what the latents are called; the last counts."""
    rows = rows_of(study.folder / ROWS)
    return {row["latents"]: row for row in rows if row["kind"] == FIGURES_OF_LATENTS}


def points_of(study: Study) -> list[Point]:
    """A point for each VAE; the score to reach is that of the default's baseline at its end."""
    arms, rows = records_of(study), figures_of(study)
    target = _target(arms, study)
    points = []
    for arm, by_seed in arms.items():
        for seed, record in by_seed.items():
            row = rows[record.latents]
            figures = {name: of(record.measure) for name, of in FIGURES.items()}
            figures |= _found(row["figures"])
            points.append(
                Point(
                    _family(arm),
                    seed,
                    record.latents,
                    figures,
                    measured_of(record.rows, target),
                    _size(record, arm, study),
                    row.get("seconds", {}),
                )
            )
    return points


def _target(arms: Arms, study: Study) -> float:
    """The share that is claimed of the way from chance to where the default's baseline ends."""
    (reward, *_) = quantities_of(vocabulary_of(study.data), arms)
    ends = [r.rows[-1]["reward"] for r in arms[Arm(DEFAULT, BASELINE)].values()]
    return reward.start + CLAIMED * (sum(ends) / len(ends) - reward.start)


def measured_of(rows: Sequence[Mapping[str, Any]], target: float) -> dict[str, float]:
    """What a learning curve gave, by :data:`TARGETS`."""
    steps = steps_to_target([row["step"] for row in rows], [row["reward"] for row in rows], target)
    return {
        "reward": rows[-1]["reward"],
        "steps": math.inf if steps is None else steps,
        "frechet": rows[-1]["frechet"],
    }


def ladder_points(rows: Sequence[Mapping[str, Any]]) -> list[Point]:
    """The VAEs of the ladder's rungs whose figures are in its rows, and which the plain setting
    learned.
    """
    vaes = {row["latents"]: row for row in rows if row["kind"] == VAE and "predictors" in row}
    curves: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["kind"] == DIFFUSION and row["setting"] == PLAIN and row["latents"] in vaes:
            scores = {"step": row["step"], **row["scores"]}
            curves.setdefault(row["latents"], []).append(scores)
    start = vocabulary_of(DATA).chance([*vocabulary_of(DATA).kinds])
    points = []
    for latents, curve in curves.items():
        row, ordered = vaes[latents], sorted(curve, key=lambda scores: scores["step"])
        ends = [
            max(curves[other], key=lambda scores: scores["step"])["reward"]
            for other in curves
            if vaes[other]["rung"] == row["rung"] and vaes[other]["variant"] == BASELINE
        ]
        if not ends:
            continue
        target = start + CLAIMED * (sum(ends) / len(ends) - start)
        found = row["predictors"]
        points.append(
            Point(
                f"{row['rung']}/{row['variant']}",
                row["seed"],
                latents,
                {"psnr": row["psnr"], **_found(found["figures"])},
                measured_of(ordered, target),
                f"the ladder's rung of {row['rung']} pixels",
                found["seconds"],
            )
        )
    return points


def _found(figures: Mapping[str, float | None]) -> dict[str, float]:
    """Without those that the clips did not allow."""
    return {name: value for name, value in figures.items() if value is not None}


def _family(arm: Arm) -> str:
    """VAEs that differ in their seeds alone; the null is the baseline."""
    return arm._replace(variant=BASELINE if arm.variant == NULL else arm.variant).title


def _size(record: Record, arm: Arm, study: Study) -> str:
    """Of latents and clips."""
    latents = "x".join(map(str, record.measure["analysis"]["latent_shape"]))
    clips = "x".join(map(str, CELLS[arm.cell].of(study.scale).size))
    return f"{latents} of clips of {clips}"


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

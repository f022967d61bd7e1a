"""Do two or three figures together tell what was measured? Linear fits, also for families that
they have not seen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from studies.diffusability.ranks import worlds_without_effect

SIZES = (2, 3)
WORLDS = 200
STEADY = 1e-9
"""So that a family that alone has some figure gives no division by 0."""


@dataclass(frozen=True)
class SmallModel:
    """A least-squares fit on a few figures, with a constant."""

    figures: tuple[str, ...]
    in_sample: float
    """R² of what it was fitted on."""
    left_out: float
    """R² of each family, told by a fit on the others; below 0 where the mean of all tells more."""


@dataclass(frozen=True)
class BestModels:
    """Of all models of so many figures."""

    tried: int
    in_sample: SmallModel
    """The best by R² in sample, as papers report it."""
    left_out: SmallModel
    """The best by R² of families left out."""
    by_chance: float
    """R² of families left out that the best of as many models, on the same figures, passes once in
    twenty worlds where no figure tells anything."""


def best_models(
    figures: Mapping[str, Sequence[float]],
    targets: Mapping[str, Sequence[float]],
    families: Sequence[str],
    size: int,
    seed: int = 0,
) -> dict[str, BestModels]:
    """For each target the best of all linear models on ``size`` of these figures.

    Raises:
        ValueError: for fewer figures or families than that takes, or NaN or infinity.
    """
    names, x = list(figures), np.asarray(list(figures.values()), float)
    measured = {target: np.asarray(values, float) for target, values in targets.items()}
    groups = [np.asarray(families) == family for family in dict.fromkeys(families)]
    if len(names) < size or len(groups) < size + 2:
        raise ValueError(
            f"models of {size} figures take as many, and {size + 2} families, got {len(names)} "
            f"figures and {len(groups)} families"
        )
    if not all(np.isfinite(values).all() for values in (x, *measured.values())):
        raise ValueError("a linear model takes finite numbers, got NaN or infinity")
    x = (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)
    worlds = {
        target: worlds_without_effect(y, families, seed)[:WORLDS].T  # (N, worlds)
        for target, y in measured.items()
    }
    chance = {target: np.full(WORLDS, -np.inf) for target in measured}
    models: dict[str, list[SmallModel]] = {target: [] for target in measured}
    for chosen in combinations(range(len(names)), size):
        q, _ = np.linalg.qr(np.stack([np.ones(x.shape[1]), *x[list(chosen)]], 1))
        unseen = _residuals_of_left_out(q @ q.T, groups)
        named = tuple(names[i] for i in chosen)
        for target, y in measured.items():
            within, without = y - q @ (q.T @ y), unseen @ y
            models[target].append(SmallModel(named, float(_r2(within, y)), float(_r2(without, y))))
            of_worlds = _r2(unseen @ worlds[target], worlds[target])
            chance[target] = np.maximum(chance[target], of_worlds)
    return {
        target: BestModels(
            len(tried),
            max(tried, key=lambda model: model.in_sample),
            max(tried, key=lambda model: model.left_out),
            float(np.quantile(chance[target], 0.95)),
        )
        for target, tried in models.items()
    }


def _residuals_of_left_out(hat: np.ndarray, groups: Sequence[np.ndarray]) -> np.ndarray:
    """The matrix that takes measurements to the errors of each group, told by a fit without it.

    Those are (1 - H_gg)^-1 times the group's residuals in sample (Cook and Weisberg 1982).
    """
    errors = np.eye(len(hat)) - hat
    found = np.empty_like(hat)
    for group in groups:
        inner = errors[np.ix_(group, group)] + STEADY * np.eye(int(group.sum()))
        found[group] = np.linalg.solve(inner, errors[group])
    return found


def _r2(errors: np.ndarray, y: np.ndarray) -> np.ndarray:
    """1 less the errors' share of the squares about the mean, of each column."""
    return 1 - (errors**2).sum(0) / ((y - y.mean(0)) ** 2).sum(0)

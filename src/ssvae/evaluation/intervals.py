"""A figure with its 95 % interval, by bootstrap over clips."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ssvae.evaluation.frechet import feature_statistics, frechet_distance

DRAWS = 2000
DRAWS_OF_DISTANCES = 200  # each costs a covariance and two eigenvalue problems


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval; None where a target was never reached."""

    value: float | None
    low: float | None
    high: float | None
    censored: bool = False
    """Whether the value has none because the target was never reached."""


def mean_interval(values: Sequence[float], seed: int = 0, draws: int = DRAWS) -> Interval:
    """A mean over clips, with the percentile interval of clips drawn anew.

    With one clip there is no interval. Sort by the clips' names first, and the interval does not
    depend on the order in which they came.
    """
    array = np.asarray(values, dtype=float)
    if not len(array):
        raise ValueError("a mean needs at least one clip, got none")
    if len(array) == 1:
        return Interval(float(array[0]), None, None)
    generator, means = np.random.default_rng(seed), []
    for _ in range(draws):  # one by one, so that a million clips fit
        means.append(array[generator.integers(0, len(array), len(array))].mean())
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(array.mean()), float(low), float(high))


def frechet_interval(
    a: torch.Tensor,
    b: torch.Tensor,
    paired: bool,
    seed: int = 0,
    draws: int = DRAWS_OF_DISTANCES,
    on_draw: Callable[[int], object] = lambda done: None,
) -> Interval:
    """The Fréchet distance between features (N, D) and (M, D), with an interval over clips.

    Clips drawn with repetition lie farther apart than clips do, so the draws' spread is taken and
    laid around the value: value + (quantiles - mean of the draws), not under 0. ``paired`` draws the
    same rows of both, which must then be as many.
    """
    if paired and len(a) != len(b):
        raise ValueError(f"paired features must be as many, got {len(a)} and {len(b)}")
    value = frechet_distance(feature_statistics(a), feature_statistics(b))
    generator, distances = np.random.default_rng(seed), []
    for done in range(draws):
        rows = generator.integers(0, len(a), len(a))
        others = rows if paired else generator.integers(0, len(b), len(b))
        distances.append(
            frechet_distance(feature_statistics(a[rows]), feature_statistics(b[others]))
        )
        on_draw(done + 1)
    low, high = np.quantile(distances, [0.025, 0.975]) - np.mean(distances) + value
    return Interval(value, max(0.0, float(low)), max(0.0, float(high)))

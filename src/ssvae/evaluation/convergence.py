"""How much faster one model converges than another, with intervals over seeds."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ssvae.evaluation.intervals import Interval

DRAWS = 2000  # of the bootstrap


def steps_to_target(steps: Sequence[float], values: Sequence[float], target: float) -> float | None:
    """The step at which a curve first reaches ``target``, linear between points; None if never."""
    for i, value in enumerate(values):
        if value >= target:
            if i == 0:
                return float(steps[0])
            share = (target - values[i - 1]) / (value - values[i - 1])
            return float(steps[i - 1] + share * (steps[i] - steps[i - 1]))
    return None


def speedup(
    steps: Sequence[float],
    baseline: Sequence[float],
    other: Sequence[float],
    share: float = 1.0,
    start: float = 0.0,
) -> float | None:
    """Steps that ``baseline`` needs for a score, over those that ``other`` needs.

    The score lies at ``share`` of the way from ``start`` (chance) to where the baseline ends. None
    where ``other`` never reaches it.
    """
    target = start + share * (baseline[-1] - start)
    # All begin at chance, so that a target passed before the first evaluation has a step too.
    steps, baseline, other = [0, *steps], [start, *baseline], [start, *other]
    needed, reached = (
        steps_to_target(steps, baseline, target),
        steps_to_target(steps, other, target),
    )
    return needed / reached if needed and reached else None


def bootstrap(
    runs: Mapping[str, np.ndarray],
    statistic: Callable[[dict[str, np.ndarray]], float | None],
    seed: int = 0,
) -> Interval:
    """A statistic of the means over seeds, with a percentile interval of seeds drawn anew.

    ``runs`` holds arrays (seeds, ...), of the same seeds in the same order for every name: in each
    draw the same seeds are taken from all. A draw in which the target was never reached counts as
    the smallest there can be. With one seed there is no interval.
    """
    counts = {len(array) for array in runs.values()}
    if len(counts) != 1:
        raise ValueError(f"every variant must have the same seeds, got {sorted(counts)} of them")
    (count,) = counts

    def of(chosen: np.ndarray) -> float | None:
        return statistic({name: array[chosen].mean(0) for name, array in runs.items()})

    value = of(np.arange(count))
    censored = value is None
    if count == 1:
        return Interval(value, None, None, censored)
    draws = np.random.default_rng(seed).integers(0, count, (DRAWS, count))
    # Few seeds make few different draws: each is worked out once.
    unique, times = np.unique(np.sort(draws, 1), axis=0, return_counts=True)
    values = np.array([-math.inf if (v := of(row)) is None else v for row in unique])
    drawn = np.repeat(values, times)
    low, high = np.quantile(drawn, [0.025, 0.975], method="nearest")
    return Interval(value, _finite(low), _finite(high), censored)


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None

"""How much faster one model learns than another, over paired seeds, with intervals that hold.

Student's intervals of paired differences: a percentile bootstrap of few seeds is too narrow (three
seeds give [min, max], which covers 75 %).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from ssvae.statistics.intervals import Interval

POWER = 0.8


def steps_to_target(steps: Sequence[float], values: Sequence[float], target: float) -> float | None:
    """The step at which a curve first reaches ``target``, linear between points; None if never."""
    for i, value in enumerate(values):
        if value >= target:
            if i == 0:
                return float(steps[0])
            share = (target - values[i - 1]) / (value - values[i - 1])
            return float(steps[i - 1] + share * (steps[i] - steps[i - 1]))
    return None


def student(values: Sequence[float] | np.ndarray) -> Interval:
    """The mean of independent values with its Student interval; one value has none."""
    array = np.asarray(values, dtype=float)
    mean = float(array.mean())
    if len(array) == 1:
        return Interval(mean, None, None)
    half = float(stats.t.ppf(0.975, len(array) - 1) * array.std(ddof=1) / len(array) ** 0.5)
    return Interval(mean, mean - half, mean + half)


def p_value(values: Sequence[float] | np.ndarray) -> float:
    """Two-sided p of Student's test that the mean of independent values is 0; 1 for one value."""
    array = np.asarray(values, dtype=float)
    if len(array) == 1:
        return 1.0
    if not array.std():
        return float(array[0] == 0)
    score = array.mean() / array.std(ddof=1) * len(array) ** 0.5
    return float(2 * stats.t.sf(abs(score), len(array) - 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """p values corrected for their number, so that one false claim in all has probability p."""
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(np.argsort(p_values, kind="stable")):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = largest
    return corrected


def detectable(spread: float, count: int) -> float | None:
    """The smallest mean that a two-sided test at 5 % finds four times out of five.

    ``spread`` is the standard deviation of ``count`` paired differences; None for one.
    """
    if count < 2:
        return None

    def power(mean: float) -> float:
        noncentral = stats.nct(count - 1, mean * count**0.5)
        edge = stats.t.ppf(0.975, count - 1)
        return float(noncentral.sf(edge) + noncentral.cdf(-edge))

    low, high = 0.0, 1.0
    while power(high) < POWER:
        high *= 2
    for _ in range(40):
        low, high = (middle, high) if power(middle := (low + high) / 2) < POWER else (low, middle)
    return spread * high


def pooled(
    groups: Sequence[Sequence[float]], scattered: Sequence[bool] | None = None
) -> list[Interval]:
    """The mean of each group of values with an interval of one variance for all groups.

    What few values cannot tell about their own scatter, many groups tell together, if they scatter
    alike: of one that scatters twice as much as the rest the interval is too narrow. The variance
    is that inside the groups that are ``scattered`` (all by default), which bounds are not. None
    has an interval where no such group has two values.
    """
    arrays = [np.asarray(group, dtype=float) for group in groups]
    lent = [a for i, a in enumerate(arrays) if scattered is None or scattered[i]]
    freedom = sum(len(array) - 1 for array in lent)
    if not freedom:
        return [Interval(float(array.mean()), None, None) for array in arrays]
    variance = sum(float(((array - array.mean()) ** 2).sum()) for array in lent) / freedom
    found = []
    for array in arrays:
        mean = float(array.mean())
        half = float(stats.t.ppf(0.975, freedom)) * (variance / len(array)) ** 0.5
        found.append(Interval(mean, mean - half, mean + half))
    return found


@dataclass(frozen=True)
class Speedup:
    """Steps that a baseline needs for a score over those that another needs, over paired seeds."""

    logs: tuple[float, ...]
    """Its logarithm for each seed, bounds among them where a run was censored."""
    censored: tuple[int, int]
    """Seeds in which the baseline, and the other, never reached the score."""
    open: tuple[bool, bool]
    """Whether runs that never reached the score leave the lower, and the upper, end of an interval
    open."""

    @property
    def interval(self) -> Interval:
        """Of the ratio, Student's."""
        return self.ratio(student(self.logs))

    @property
    def mean(self) -> float:
        """The mean logarithm, a bound where an end is open."""
        return float(np.mean(self.logs))

    def holds(self) -> bool:
        """Whether a mean on its side of 0 is evidence: not where the end beyond it is open."""
        lower, upper = self.open
        return (
            not (lower and upper)
            and not (lower and self.mean > 0)
            and not (upper and self.mean < 0)
        )

    def ratio(self, mean: Interval) -> Interval:
        """The ratio, from the mean logarithm with an interval of any kind."""
        if all(self.open):
            return Interval(None, None, None, True)
        value, low, high = (
            None if x is None else math.exp(x) for x in (mean.value, mean.low, mean.high)
        )
        lower, upper = self.open
        censored = lower or upper
        return Interval(
            None if censored else value, None if lower else low, None if upper else high, censored
        )


def speedup(
    steps: Sequence[float],
    baseline: np.ndarray,
    other: np.ndarray,
    target: float,
    start: float,
    other_steps: Sequence[float] | None = None,
) -> Speedup | None:
    """The speed-up to a score ``target``, from curves (seeds, steps) of the same seeds.

    All curves begin at ``start`` (chance) at step 0. The other's are at ``other_steps``, where
    these differ. A run that never reached the target counts with its last step, which it would have
    needed at least. So a seed in which only the baseline was censored gives a lower bound of the
    ratio, and the interval's upper end is open; one in which only the other was gives an upper
    bound, and the lower end is open; both in one seed, or bounds of both kinds, tell nothing: no
    value. None for a target at or below chance, met before training.
    """
    other_at = steps if other_steps is None else other_steps
    if baseline.shape != (len(other), len(steps)) or other.shape != (len(baseline), len(other_at)):
        raise ValueError(
            f"curves must be of the same seeds and steps, got {baseline.shape} and {other.shape}"
        )
    if target <= start:
        return None
    logs, below, above, neither = [], 0, 0, 0
    for one, two in zip(baseline, other, strict=True):
        needed = steps_to_target([0, *steps], [start, *one.tolist()], target)
        reached = steps_to_target([0, *other_at], [start, *two.tolist()], target)
        logs.append(math.log((needed or steps[-1]) / (reached or other_at[-1])))
        neither += needed is None and reached is None
        below += needed is None and reached is not None
        above += reached is None and needed is not None
    both = neither > 0
    return Speedup(
        tuple(logs), (below + neither, above + neither), (above > 0 or both, below > 0 or both)
    )

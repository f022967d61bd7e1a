"""A figure with its 95 % interval, by bootstrap over clips."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ssvae.statistics.frechet import feature_statistics, frechet_distance
from ssvae.statistics.kernel import Kernels

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


def mean_interval(
    values: Sequence[float], groups: Sequence[str] | None = None, seed: int = 0, draws: int = DRAWS
) -> Interval:
    """A mean over clips, with the percentile interval of groups of clips drawn anew.

    Clips of one group, such as a file, say much the same and are drawn together; without groups
    each is its own. Of one group there is no interval. Sort by the clips' names first, and the
    interval does not depend on the order in which they came.
    """
    array = np.asarray(values, dtype=float)
    if not len(array):
        raise ValueError("a mean needs at least one clip, got none")
    mean, members = float(array.mean()), _members(len(array), groups)
    if len(members) == 1:
        return Interval(mean, None, None)
    sums, counts = (np.array([f(array[rows]) for rows in members]) for f in (np.sum, len))
    generator, means = np.random.default_rng(seed), []
    for _ in range(draws):  # one by one, so that a million clips fit
        drawn = generator.integers(0, len(members), len(members))
        means.append(sums[drawn].sum() / counts[drawn].sum())
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(mean, float(low), float(high))


def _members(count: int, groups: Sequence[str] | None) -> list[np.ndarray]:
    """The rows of each group."""
    if groups is None:
        return [np.array([i]) for i in range(count)]
    found: dict[str, list[int]] = {}
    for i, group in enumerate(groups):
        found.setdefault(group, []).append(i)
    return [np.array(rows) for rows in found.values()]


Groups = tuple[Sequence[str] | None, Sequence[str] | None]


def frechet_interval(
    a: torch.Tensor,
    b: torch.Tensor,
    groups: Groups = (None, None),
    paired: bool = False,
    seed: int = 0,
    draws: int = DRAWS_OF_DISTANCES,
    on_draw: Callable[[int], object] = lambda done: None,
) -> Interval:
    """The Fréchet distance between features (N, D) and (M, D), with an interval over clips.

    Clips drawn with repetition lie farther apart than clips do, so the draws' spread is taken and
    laid around the value: value + (quantiles - mean of the draws), not under 0. ``groups`` are
    those of both, as for :func:`mean_interval`; of one group there is no interval. ``paired`` draws
    the same rows of both, which must then be as many.
    """
    value = frechet_distance(feature_statistics(a), feature_statistics(b))
    drawn = _drawn((len(a), len(b)), groups, paired, seed, draws)
    distances = []
    for done, (rows, others) in enumerate(drawn, 1):
        distances.append(
            frechet_distance(feature_statistics(a[rows]), feature_statistics(b[others]))
        )
        on_draw(done)
    around = _around(value, distances)
    if around.low is None or around.high is None:
        return around
    return Interval(value, max(0.0, around.low), max(0.0, around.high))


def kernel_interval(
    a: torch.Tensor,
    b: torch.Tensor,
    groups: Groups = (None, None),
    paired: bool = False,
    seed: int = 0,
    draws: int = DRAWS,
) -> Interval:
    """The kernel distance between features (N, D) and (M, D), with an interval over clips.

    As for :func:`frechet_interval`, but that it may lie below 0.
    """
    kernels = Kernels(a, b, paired)
    value = kernels.distance()
    distances = [
        kernels.distance(_counts(rows, len(a)), _counts(others, len(b)))
        for rows, others in _drawn((len(a), len(b)), groups, paired, seed, draws)
    ]
    return _around(value, distances)


def _around(value: float, drawn: Sequence[float]) -> Interval:
    """The value, with the spread of what was drawn around it."""
    if not drawn:
        return Interval(value, None, None)
    low, high = np.quantile(drawn, [0.025, 0.975]) - np.mean(drawn) + value
    return Interval(value, float(low), float(high))


def _drawn(
    sizes: tuple[int, int], groups: Groups, paired: bool, seed: int, draws: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows of two sets, drawn group by group; none where one of them is of one group."""
    if paired and sizes[0] != sizes[1]:
        raise ValueError(f"paired features must be as many, got {sizes[0]} and {sizes[1]}")
    members = [_members(size, g) for size, g in zip(sizes, groups, strict=True)]
    if min(map(len, members)) == 1:
        return
    generator = np.random.default_rng(seed)

    def drawn(rows: list[np.ndarray]) -> np.ndarray:
        return np.concatenate([rows[i] for i in generator.integers(0, len(rows), len(rows))])

    for _ in range(draws):
        rows = drawn(members[0])
        others = rows if paired else drawn(members[1])
        if min(len(set(rows)), len(set(others))) > 1:
            yield rows, others


def _counts(rows: np.ndarray, size: int) -> torch.Tensor:
    """How often each row is there (N,)."""
    return torch.from_numpy(np.bincount(rows, minlength=size))

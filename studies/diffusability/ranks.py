"""How well one figure orders what another measures: rank correlation over families of things
alike.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from ssvae.statistics.intervals import Interval

DRAWS = 500
WORLDS = 500


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's rho of pairs that come in families."""

    rho: Interval
    """With the percentile interval of families drawn anew."""
    without: Mapping[str, float]
    """What it is without each family."""
    pairs: int

    @property
    def weakest(self) -> float:
        """The rho nearest to 0, or past it, that leaving one family out gives."""
        assert self.rho.value is not None
        sign = 1 if self.rho.value >= 0 else -1
        return sign * min(sign * value for value in self.without.values())


def rank_correlation(
    figures: Sequence[float], measured: Sequence[float], families: Sequence[str], seed: int = 0
) -> RankCorrelation:
    """Spearman's rho of two sequences; infinities are values, and tie.

    Members of a family (VAEs of one recipe under several seeds) are alike, so families are drawn,
    not members: the interval says how far the rho holds for other families. A ValueError for fewer
    than three families, sequences of other lengths, NaN, or one that is constant.
    """
    x, y, of = np.asarray(figures, float), np.asarray(measured, float), np.asarray(families)
    names = list(dict.fromkeys(families))
    if not len(x) == len(y) == len(of) or len(names) < 3:
        raise ValueError(
            "a rank correlation needs as many figures as measurements and families, of three "
            f"families at least, got {len(x)}, {len(y)} and {len(of)} of {len(names)}"
        )
    if np.isnan(x).any() or np.isnan(y).any() or len(set(x)) == 1 or len(set(y)) == 1:
        raise ValueError("a rank correlation needs numbers that vary, got NaN or a constant")
    generator, members = np.random.default_rng(seed), of == np.array(names)[:, None]  # (F, N)
    drawn = generator.choice(len(names), (DRAWS, len(names)))
    counts = np.stack([np.bincount(each, minlength=len(names)) for each in drawn])  # (DRAWS, F)
    low, high = np.quantile(_rho(x, y, counts @ members), [0.025, 0.975])
    without = dict(zip(names, _rho(x, y, 1 - members).tolist(), strict=True))
    (value,) = _rho(x, y, np.ones((1, len(x)))).tolist()
    return RankCorrelation(Interval(value, float(low), float(high)), without, len(x))


def best_by_chance(
    columns: Sequence[Sequence[float]],
    measured: Sequence[float],
    families: Sequence[str],
    seed: int = 0,
) -> float:
    """The |rho| that the best of these figures reaches in one of twenty worlds where none tells
    anything.

    See :func:`worlds_without_effect`.
    """
    worlds = stats.rankdata(worlds_without_effect(measured, families, seed), axis=1)
    ranks = stats.rankdata(np.asarray(columns, float), axis=1)  # (figures, N)
    best = np.abs(_centred(worlds) @ _centred(ranks).T).max(1)
    return float(np.quantile(best, 0.95))


def worlds_without_effect(
    measured: Sequence[float] | np.ndarray, families: Sequence[str], seed: int = 0
) -> np.ndarray:
    """Measurements (WORLDS, N) of worlds where no figure of a VAE tells anything.

    The families' means are dealt out anew, and the scatter inside a family stays. What is infinite
    is twice the largest that is not.
    """
    finite = np.asarray(measured, float)
    finite = np.where(
        np.isfinite(finite), finite, 2 * np.max(finite, where=np.isfinite(finite), initial=1.0)
    )
    of, names = np.asarray(families), list(dict.fromkeys(families))
    member = np.array([names.index(name) for name in of])
    means = np.array([finite[member == i].mean() for i in range(len(names))])
    generator = np.random.default_rng(seed)
    dealt = np.stack([generator.permutation(means) for _ in range(WORLDS)])
    return finite + (dealt - means)[:, member]


def _rho(x: np.ndarray, y: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Spearman's rho (K) of samples that hold pair n ``times[k, n]`` times (K, N)."""
    a, b = (_centred(_ranks(values, times), times) for values in (x, y))
    return (times * a * b).sum(1)


def _ranks(values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """The rank of each value (K, N) in samples that hold it so many times: those below, and half of
    its equals.
    """
    below = (values < values[:, None]) + 0.5 * (values == values[:, None])
    return times @ below.T


def _centred(ranks: np.ndarray, times: np.ndarray | float = 1.0) -> np.ndarray:
    """Of mean 0 and length 1 in each row, so that products are Pearson's correlations; 0 where they
    are constant, for what is constant orders nothing.
    """
    times = np.broadcast_to(times, ranks.shape)
    centred = ranks - np.average(ranks, 1, times)[:, None]
    length = np.sqrt((times * centred**2).sum(1, keepdims=True))
    return np.divide(centred, length, out=np.zeros_like(centred), where=length > 1e-9)

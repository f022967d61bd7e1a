"""How well one figure orders what another measures: rank correlation over families of things alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from ssvae.evaluation.intervals import Interval

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

    Members of a family (VAEs of one recipe under several seeds) are alike, so families are drawn, not
    members: the interval says how far the rho holds for other families. A ValueError for fewer than three
    families, sequences of other lengths, NaN, or one that is constant.
    """
    x, y, of = np.asarray(figures, float), np.asarray(measured, float), np.asarray(families)
    names = list(dict.fromkeys(families))
    if not len(x) == len(y) == len(of) or len(names) < 3:
        raise ValueError(
            "a rank correlation needs as many figures as measurements and families, of three families "
            f"at least, got {len(x)}, {len(y)} and {len(of)} of {len(names)}"
        )
    if np.isnan(x).any() or np.isnan(y).any() or len(set(x)) == 1 or len(set(y)) == 1:
        raise ValueError("a rank correlation needs numbers that vary, got NaN or a constant")
    rows = {name: np.flatnonzero(of == name) for name in names}
    generator, drawn = np.random.default_rng(seed), []
    for _ in range(DRAWS):
        chosen = generator.choice(len(names), len(names))
        drawn.append(_rho(x, y, np.concatenate([rows[names[i]] for i in chosen])))
    low, high = np.quantile(drawn, [0.025, 0.975])
    without = {name: _rho(x, y, np.flatnonzero(of != name)) for name in names}
    value = _rho(x, y, np.arange(len(x)))
    return RankCorrelation(
        Interval(value, float(low), float(high)),
        without,
        len(x),
    )


def best_by_chance(
    columns: Sequence[Sequence[float]],
    measured: Sequence[float],
    families: Sequence[str],
    seed: int = 0,
) -> float:
    """The |rho| that the best of these figures reaches in one of twenty worlds where none tells anything.

    In such a world the families' means are dealt out anew, and the scatter inside a family stays.
    """
    finite = np.asarray(measured, float)
    finite = np.where(
        np.isfinite(finite), finite, 2 * np.max(finite, where=np.isfinite(finite), initial=1.0)
    )
    of, names = np.asarray(families), list(dict.fromkeys(families))
    member = np.array([names.index(name) for name in of])
    means = np.array([finite[member == i].mean() for i in range(len(names))])
    ranks = np.stack([_centred(stats.rankdata(column)) for column in columns])
    generator, best = np.random.default_rng(seed), []
    for _ in range(WORLDS):
        dealt = stats.rankdata(finite + (generator.permutation(means) - means)[member])
        best.append(np.abs(ranks @ _centred(dealt)).max())
    return float(np.quantile(best, 0.95))


def _rho(x: np.ndarray, y: np.ndarray, rows: np.ndarray) -> float:
    return float(_centred(stats.rankdata(x[rows])) @ _centred(stats.rankdata(y[rows])))


def _centred(ranks: np.ndarray) -> np.ndarray:
    """Of mean 0 and length 1, so that products are Pearson's correlations; 0 where they are constant, for
    what is constant orders nothing."""
    centred = ranks - ranks.mean()
    length = np.linalg.norm(centred)
    return centred / length if length else centred

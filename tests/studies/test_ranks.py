import math

import numpy as np
import pytest
from scipy import stats

from studies.diffusability.ranks import best_by_chance, rank_correlation

FAMILIES = [name for name in "abcdefgh" for _ in range(4)]


def test_known_answers():
    x = list(range(32))
    same = rank_correlation(x, [math.exp(v) for v in x], FAMILIES)
    assert same.rho.value == pytest.approx(1)
    assert same.weakest == pytest.approx(1)
    turned = rank_correlation(x, [-(v**3) for v in x], FAMILIES)
    assert turned.rho.value == pytest.approx(-1)
    assert (turned.rho.low, turned.rho.high) == pytest.approx((-1, -1))


def test_equals_spearman_with_ties():
    generator = np.random.default_rng(0)
    x, y = generator.integers(0, 6, 32).tolist(), generator.normal(size=32).tolist()
    y[:2] = [math.inf, math.inf]
    found = rank_correlation(x, y, FAMILIES)
    assert found.rho.value == pytest.approx(stats.spearmanr(x, y).statistic)
    assert found.without["a"] == pytest.approx(stats.spearmanr(x[4:], y[4:]).statistic)
    assert set(found.without) == set("abcdefgh")


def test_a_figure_of_one_family_alone_is_no_evidence():
    figure = [0.0] * 28 + [1.0, 1.1, 1.2, 1.3]
    found = rank_correlation(figure, list(range(32)), FAMILIES)
    assert found.rho.value is not None
    assert found.rho.low == 0
    assert found.rho.low <= found.rho.value <= found.rho.high
    assert found.without["h"] == found.weakest == 0


def test_the_best_of_many_useless_figures():
    """One of twenty sets of useless figures passes the bar; more figures or fewer families raise
    it.
    """
    generator = np.random.default_rng(3)

    def bar(figures: int, families: int, seed: int) -> tuple[float, float]:
        of = [str(i) for i in range(families) for _ in range(3)]
        columns = np.repeat(generator.normal(size=(figures, families)), 3, 1)
        measured = np.repeat(generator.normal(size=families), 3)
        best = max(abs(stats.spearmanr(column, measured).statistic) for column in columns)
        return best_by_chance(columns.tolist(), measured.tolist(), of, seed), best

    passed = [best >= limit for limit, best in (bar(4, 8, seed) for seed in range(40))]
    assert sum(passed) <= 6
    assert bar(12, 8, 0)[0] > bar(1, 8, 0)[0]
    assert bar(4, 5, 0)[0] > bar(4, 20, 0)[0]


def test_one_family_that_makes_it_all_is_found_out():
    generator = np.random.default_rng(1)
    x, y = generator.normal(size=32), generator.normal(size=32)
    x[-4:] += 10
    y[-4:] += 10
    found = rank_correlation(x.tolist(), y.tolist(), FAMILIES)
    assert found.rho.value is not None
    assert found.rho.value > 0 > found.without["h"] == found.weakest


def test_the_interval_is_of_families_not_of_members():
    """Eight families of forty alike say as much as eight values do."""
    generator = np.random.default_rng(2)
    x = generator.normal(size=8)
    y = x + generator.normal(size=8)
    few = rank_correlation(x.tolist(), y.tolist(), list("abcdefgh"))
    many = rank_correlation(
        *(np.repeat(v, 40).tolist() for v in (x, y)), [f for f in "abcdefgh" for _ in range(40)]
    )
    assert many.rho.value == pytest.approx(few.rho.value)
    assert many.rho.low == pytest.approx(few.rho.low, abs=0.05)


@pytest.mark.parametrize(
    ("x", "y", "families", "message"),
    [
        ([1, 2], [1, 2], ["a", "b"], "three families"),
        ([1, 2, 3], [1, 2], ["a", "b", "c"], "as many"),
        ([1, 2, math.nan], [1, 2, 3], ["a", "b", "c"], "numbers that vary"),
        ([1, 1, 1], [1, 2, 3], ["a", "b", "c"], "numbers that vary"),
    ],
)
def test_errors(x, y, families, message):
    with pytest.raises(ValueError, match=message):
        rank_correlation(x, y, families)

import math

import numpy as np
import pytest
from scipy import stats

from ssvae.evaluation.ranks import rank_correlation

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

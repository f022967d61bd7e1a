import math

import numpy as np
import pytest
from scipy import stats

from studies.diffusability.ranks import best_by_chance, rank_correlation
from studies.diffusability.small_models import best_models

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


def columns(families: int = 12) -> tuple[dict[str, list[float]], np.ndarray, list[str]]:
    """Two figures that tell the families' means together, and six that tell nothing."""
    generator = np.random.default_rng(0)
    of = [f"family {i}" for i in range(families) for _ in range(3)]
    means = generator.normal(size=(2, families)).repeat(3, 1)
    x = means + 0.05 * generator.normal(size=means.shape)
    y = x[0] - 2 * x[1] + 0.1 * generator.normal(size=len(of))
    noise = generator.normal(size=(6, families)).repeat(3, 1) + 0.05 * generator.normal(
        size=(6, len(of))
    )
    figures = {"a": x[0], "b": x[1]} | {f"nothing {i}": n for i, n in enumerate(noise)}
    return {name: values.tolist() for name, values in figures.items()}, y, of


def test_the_model_that_tells_is_found():
    figures, y, of = columns()
    found = best_models(figures, {"y": y.tolist()}, of, 2)["y"]
    assert found.tried == 28
    assert found.in_sample.figures == found.left_out.figures == ("a", "b")
    assert found.in_sample.in_sample > found.left_out.left_out > 0.95
    assert found.by_chance < 0.9


def test_left_out_families_by_fits_without_them():
    figures, y, of = columns()
    chosen, names = ("a", "nothing 2", "nothing 4"), np.asarray(of)
    own = {name: figures[name] for name in chosen}
    found = best_models(own, {"y": y.tolist()}, of, 3)["y"].left_out
    x = np.stack([np.ones(len(y)), *(figures[name] for name in chosen)], 1)
    errors = np.empty(len(y))
    for family in dict.fromkeys(of):
        rest = names != family
        weights = np.linalg.lstsq(x[rest], y[rest], rcond=None)[0]
        errors[~rest] = y[~rest] - x[~rest] @ weights
    assert found.left_out == pytest.approx(1 - (errors**2).sum() / ((y - y.mean()) ** 2).sum())


def test_what_tells_nothing_stays_below_the_bar():
    """In some nine of ten sets of figures that tell nothing, for the bar is of one in twenty."""
    above = 0
    for seed in range(20):
        generator = np.random.default_rng(seed)
        of = [name for name in "abcdefghijkl" for _ in range(3)]
        y = generator.normal(size=12).repeat(3) + 0.1 * generator.normal(size=36)
        noise = generator.normal(size=(6, 12)).repeat(3, 1) + 0.1 * generator.normal(size=(6, 36))
        figures = {str(i): n.tolist() for i, n in enumerate(noise)}
        found = best_models(figures, {"y": y.tolist()}, of, 2)["y"]
        above += found.left_out.left_out > found.by_chance
        assert found.in_sample.in_sample > found.left_out.left_out
    assert above <= 4


def test_too_few_for_a_model():
    with pytest.raises(ValueError, match="got 1 figures and 12 families"):
        best_models({"a": [0.0] * 36}, {"y": [0.0] * 36}, columns()[2], 2)
    figures, y, of = columns()
    with pytest.raises(ValueError, match="finite numbers"):
        best_models(figures, {"y": [math.inf, *y[1:]]}, of, 2)

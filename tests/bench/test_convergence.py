"""Intervals and tests over paired seeds, by known answers and by experiments whose truth is
known.
"""

import math

import numpy as np
import pytest
from scipy import stats

from ssvae.bench.convergence import (
    detectable,
    holm,
    p_value,
    pooled,
    speedup,
    steps_to_target,
    student,
)

STEPS = [100, 200, 300, 400]
EXPERIMENTS = 4000


def test_first_crossing_is_linear_between_points():
    assert steps_to_target(STEPS, [0.1, 0.3, 0.2, 0.5], 0.2) == pytest.approx(150)
    assert steps_to_target(STEPS, [0.1, 0.3, 0.2, 0.5], 0.1) == 100
    assert steps_to_target(STEPS, [0.1, 0.3, 0.2, 0.5], 0.4) == pytest.approx(366.67, abs=0.01)
    assert steps_to_target(STEPS, [0.1, 0.3, 0.2, 0.5], 0.6) is None


def test_students_interval_of_known_values():
    # t(0.975, 2) = 4.302653; the deviation of 1, 2, 3 is 1.
    interval = student([1, 2, 3])
    half = 4.302653 / 3**0.5
    assert (interval.value, interval.low, interval.high) == pytest.approx((2, 2 - half, 2 + half))
    assert (student([5]).low, student([5]).high) == (None, None)


def test_p_values_are_scipys():
    values = [0.3, 0.1, -0.05, 0.2, 0.4]
    assert p_value(values) == pytest.approx(stats.ttest_1samp(values, 0).pvalue)  # type: ignore[attr-defined]
    assert p_value([0.7]) == 1
    assert p_value([0.0, 0.0]) == 1
    assert p_value([0.1, 0.1]) == 0


def test_pooled_takes_one_variance_for_all():
    # Deviations -1, 0, 1 and -2, 2 about their means: 10 over 2 + 1 degrees of freedom.
    one, two, single = pooled([[1, 2, 3], [3, 7], [4]])
    half = stats.t.ppf(0.975, 3) * (10 / 3) ** 0.5
    assert (one.value, one.low, one.high) == pytest.approx(
        (2, 2 - half / 3**0.5, 2 + half / 3**0.5)
    )
    assert (two.low, single.high) == pytest.approx((5 - half / 2**0.5, 4 + half))
    values = [0.3, 0.1, -0.05, 0.2, 0.4]
    assert pooled([values]) == [student(values)]
    assert pooled([[0.2], [0.3]])[1].low is None
    # Bounds, which scatter little, lend nothing to others.
    assert pooled([values, [0.0, 0.0, 0.0]], [True, False])[0] == student(values)


def test_pooled_intervals_hold_what_they_say():
    """Eight groups of two values, that share what they are compared with: 95 % at equal scatter."""
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(EXPERIMENTS // 4):
        reference = rng.standard_normal(2)
        groups = [(rng.standard_normal(2) - reference).tolist() for _ in range(8)]
        covered.append(pooled(groups)[0].low < 0 < pooled(groups)[0].high)
    assert 0.9 < np.mean(covered) < 0.97


def test_holm_by_hand():
    # Sorted: .01 x 4, .02 x 3, .03 x 2, .8 x 1, each at least the one before.
    assert holm([0.03, 0.01, 0.8, 0.02]) == pytest.approx([0.06, 0.04, 0.8, 0.06])
    assert holm([0.9, 0.6]) == [1, 1]
    assert holm([]) == []


def line(slope, start=0.0):
    return np.array([[start + slope * step for step in STEPS]])


def test_speedup_on_made_up_curves():
    slow, fast = line(1e-3), line(2e-3)
    found = speedup(STEPS, slow, fast, target=0.4, start=0)
    assert found.interval.value == pytest.approx(2)
    assert found.censored == (0, 0)
    # Passed before the first evaluation: all begin at chance at step 0.
    early = speedup(STEPS, slow, fast, target=0.05, start=0)
    assert early.interval.value == pytest.approx(2)
    assert speedup(STEPS, slow, slow, target=0.3, start=0).interval.value == pytest.approx(1)


def test_speedup_of_curves_that_are_evaluated_at_other_steps():
    longer = [*STEPS, 800]
    slow = np.array([[0.5e-3 * step for step in longer]])
    found = speedup(longer, slow, line(2e-3), target=0.4, start=0, other_steps=STEPS)
    assert found.interval.value == pytest.approx(4)
    with pytest.raises(ValueError, match="same seeds and steps"):
        speedup(longer, slow, line(2e-3), target=0.4, start=0)


def test_a_target_at_chance_is_none():
    """It is met at step 0, by everybody."""
    assert speedup(STEPS, line(1e-3, 0.2), line(2e-3, 0.2), target=0.2, start=0.2) is None


def test_a_mean_of_logarithms_over_pairs():
    slow, fast = np.repeat(line(1e-3), 2, 0), np.concatenate([line(2e-3), line(4e-3)])
    found = speedup(STEPS, slow, fast, target=0.2, start=0)
    assert found.interval.value == pytest.approx(8**0.5)
    half = stats.t.ppf(0.975, 1) * np.std(np.log([2, 4]), ddof=1) / 2**0.5
    assert found.interval.low == pytest.approx(math.exp(math.log(8) / 2 - half))
    swapped = speedup(STEPS, fast, slow, target=0.2, start=0)
    assert swapped.interval.low == pytest.approx(1 / found.interval.high)


def test_censored_runs_leave_the_end_open_that_they_could_move():
    slow, fast = np.repeat(line(1e-3), 2, 0), np.concatenate([line(2e-3), line(0.5e-3)])
    other_missed = speedup(STEPS, slow, fast, target=0.3, start=0)
    assert other_missed.censored == (0, 1)
    assert (other_missed.interval.value, other_missed.interval.low) == (None, None)
    assert other_missed.interval.high is not None
    assert other_missed.interval.censored
    baseline_missed = speedup(STEPS, fast, slow, target=0.3, start=0)
    assert baseline_missed.interval.high is None
    assert baseline_missed.interval.low == pytest.approx(1 / other_missed.interval.high)
    both = speedup(STEPS, slow, fast, target=0.9, start=0)
    assert both.interval.low is both.interval.high is both.interval.value is None


def test_curves_of_other_seeds_are_refused():
    with pytest.raises(ValueError, match="same seeds"):
        speedup(STEPS, line(1), np.repeat(line(1), 2, 0), target=1, start=0)


def experiment(rng, seeds, truth, spread=0.12):
    """Curves of paired seeds (two of them) that reach any score ``truth`` times sooner.

    A seed makes both of its runs faster or slower, and each run has its own luck, as logarithms of
    its rate; the curve is a straight line, so that reaching times are those rates.
    """
    shared = 0.2 * rng.standard_normal(seeds)
    rates = [1e-3 * np.exp(shared + spread * rng.standard_normal(seeds)) for _ in range(2)]
    steps = np.array(STEPS)
    return rates[0][:, None] * steps, truth * rates[1][:, None] * steps


def by_bootstrap(rng, slow, fast, target):
    """The percentile bootstrap of the ratio of means over seeds, as this project had it."""
    low = []
    for _ in range(200):
        rows = rng.integers(0, len(slow), len(slow))
        one, two = (
            steps_to_target([0, *STEPS], [0, *curve[rows].mean(0)], target)
            for curve in (slow, fast)
        )
        low.append((one or STEPS[-1]) / (two or STEPS[-1]))
    return np.quantile(low, [0.025, 0.975])


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_intervals_cover_the_truth_as_often_as_they_say(seeds):
    rng, truth, hits = np.random.default_rng(seeds), 1.3, 0
    for _ in range(EXPERIMENTS):
        slow, fast = experiment(rng, seeds, truth)
        interval = speedup(STEPS, slow, fast, target=0.12, start=0).interval
        hits += interval.low <= truth <= interval.high
    assert 0.93 <= hits / EXPERIMENTS <= 0.97


@pytest.mark.parametrize("seeds", [3, 5])
def test_the_bootstrap_of_few_seeds_does_not(seeds):
    rng, truth, hits = np.random.default_rng(seeds), 1.3, 0
    for _ in range(400):
        slow, fast = experiment(rng, seeds, truth)
        low, high = by_bootstrap(rng, slow, fast, 0.12)
        hits += low <= truth <= high
    assert hits / 400 < 0.9


@pytest.mark.parametrize("seeds", [3, 5])
def test_ends_that_are_closed_hold_under_censoring(seeds):
    """Where runs miss the target, the true ratio may not lie beyond a closed end too often."""
    rng, truth, tried, missed = np.random.default_rng(seeds), 1.3, 0, 0
    for _ in range(EXPERIMENTS):
        slow, fast = experiment(rng, seeds, truth, spread=0.2)
        found = speedup(STEPS, slow, fast, target=0.38, start=0)
        if any(found.censored):
            low, high = found.interval.low, found.interval.high
            tried += 1
            missed += (low is not None and low > truth) or (high is not None and high < truth)
    assert tried > 1000
    assert missed / tried < 0.04  # of one end, 2.5 %


def test_the_detectable_effect_is_detected_four_times_out_of_five():
    rng, spread = np.random.default_rng(0), 0.3
    for seeds in (3, 5, 10):
        mean = detectable(spread, seeds)
        values = mean + spread * rng.standard_normal((EXPERIMENTS, seeds))
        found = np.mean([p_value(row) < 0.05 for row in values])
        assert found == pytest.approx(0.8, abs=0.02)
    assert detectable(spread, 1) is None

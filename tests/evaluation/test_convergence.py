import numpy as np
import pytest

from ssvae.evaluation.convergence import bootstrap, speedup, steps_to_target

STEPS = [100, 200, 300, 400]


def test_first_crossing_is_linear_between_points():
    assert steps_to_target(STEPS, [0.1, 0.3, 0.2, 0.5], 0.2) == pytest.approx(150)
    assert steps_to_target(STEPS, [0.1, 0.3, 0.2, 0.5], 0.1) == 100
    assert steps_to_target(STEPS, [0.1, 0.3, 0.2, 0.5], 0.4) == pytest.approx(366.67, abs=0.01)
    assert steps_to_target(STEPS, [0.1, 0.3, 0.2, 0.5], 0.6) is None


def test_speedup_on_made_up_curves():
    baseline, twice = [0.1, 0.2, 0.3, 0.4], [0.2, 0.4, 0.6, 0.8]
    assert speedup(STEPS, baseline, twice) == pytest.approx(2)
    assert speedup(STEPS, baseline, baseline) == pytest.approx(1)
    assert speedup(STEPS, twice, baseline) is None  # never reached
    assert speedup(STEPS, twice, baseline, share=0.5) == pytest.approx(0.5)
    # Measured from chance: half of the way from .2 to .4 is .3
    assert speedup(STEPS, baseline, twice, share=0.5, start=0.2) == pytest.approx(2)


def curves(scale, seeds=5, noise=0.0):
    rng = np.random.default_rng(0)
    return np.array(STEPS) * scale + noise * rng.standard_normal((seeds, len(STEPS)))


def ratio(means):
    return speedup(STEPS, means["a"].tolist(), means["b"].tolist())


def test_interval_covers_the_value_and_shrinks_with_the_noise():
    tight = bootstrap({"a": curves(1e-3), "b": curves(2e-3)}, ratio)
    assert (tight.value, tight.low, tight.high) == pytest.approx((2, 2, 2))
    noisy = bootstrap({"a": curves(1e-3, noise=0.02), "b": curves(2e-3, noise=0.03)}, ratio)
    assert noisy.low < noisy.value < noisy.high
    assert not noisy.censored


def test_censored_is_no_number():
    never = bootstrap({"a": curves(2e-3), "b": curves(1e-3)}, ratio)
    assert never.censored
    assert (never.value, never.low, never.high) == (None, None, None)


def test_some_draws_censored_leave_the_low_end_open():
    slow, fast = [0.1, 0.1, 0.2, 0.3], [0.2, 0.4, 0.6, 0.8]
    mixed = np.array([slow, fast, fast])
    interval = bootstrap({"a": np.array([[0.1, 0.2, 0.3, 0.4]] * 3), "b": mixed}, ratio)
    assert interval.value is not None
    assert interval.low is None
    assert not interval.censored


def test_one_seed_has_no_interval_and_unequal_seeds_are_refused():
    one = bootstrap({"a": curves(1e-3, 1), "b": curves(2e-3, 1)}, ratio)
    assert (one.value, one.low, one.high) == (pytest.approx(2), None, None)
    with pytest.raises(ValueError, match="same seeds"):
        bootstrap({"a": curves(1e-3, 2), "b": curves(2e-3, 3)}, ratio)


def test_interval_agrees_with_a_naive_bootstrap():
    values = np.array([1.0, 2.0, 4.0, 8.0])[:, None]
    interval = bootstrap({"it": values}, lambda means: float(means["it"][0]))
    draws = np.random.default_rng(1).choice(values[:, 0], (20_000, 4)).mean(1)
    assert interval.value == pytest.approx(3.75)
    assert interval.low == pytest.approx(np.quantile(draws, 0.025), abs=0.3)
    assert interval.high == pytest.approx(np.quantile(draws, 0.975), abs=0.3)

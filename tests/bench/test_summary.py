"""The benchmark's figures on made-up curves, whose answers are known."""

import pytest

from ssvae.bench.diffusability import names_of
from ssvae.bench.summary import STARTS, Curves, over_seeds_or_clips, summarise, verdict
from ssvae.evaluation.convergence import Interval
from ssvae.report.tables import interval

STEPS = [100, 200, 300, 400]


def made_up(slope: float, seeds: int = 3, spread: float = 0.0):
    """Rewards that rise in a line from chance, a little higher with every seed."""

    def row(step, seed):
        rise = slope * step * (1 + spread * seed)
        rewards = {q: start + rise for q, start in STARTS.items()}
        return {"step": step, **rewards, "frechet": 100 - step / 10, "diversity": 1.0}

    return [[row(step, seed) for step in STEPS] for seed in range(seeds)]


def measure(reward=0.9):
    return {
        "ceiling": {"reward": reward, "reward_error": 0.01}
        | {"rewards": dict.fromkeys(("shape", "colour", "direction", "texture"), reward)},
        "psnr": 24.0,
        "psnr_error": 0.1,
        "analysis": {
            "robustness": {"0.0": 24.0, "0.3": 22.0},
            **dict.fromkeys(("low_share", "high_share", "slope"), 0.5),
            **dict.fromkeys(("effective_rank", "local_correlation"), 0.5),
        },
    }


@pytest.fixture
def summary():
    rows = {
        "baseline": made_up(1e-3),
        "both": made_up(2e-3, spread=0.05),
        "lcr": made_up(0.5e-3),
    }
    curves = Curves("baseline", [4, 5, 6], rows)
    return summarise(curves, {name: [measure()] for name in rows}, [0])


def test_speedup_and_gain(summary):
    both = summary["variants"]["both"]
    assert both["speedup"]["value"] == pytest.approx(2 * 1.05)
    assert 2 <= both["speedup"]["low"] <= 2.1 <= both["speedup"]["high"] <= 2.2
    assert both["speedup"]["seeds"] == [4, 5, 6]
    start = STARTS["reward"]
    ends = start + 0.84, start + 0.4
    assert both["reward"]["value"] == pytest.approx(ends[0])
    assert both["reward_gain"]["value"] == pytest.approx(ends[0] / ends[1] - 1)
    assert both["speedups"]["fine"]["0.5"]["value"] == pytest.approx(2.1)
    assert both["verdict"] == "faster"


def test_a_target_never_reached_is_censored(summary):
    lcr = summary["variants"]["lcr"]
    assert lcr["speedup"]["censored"]
    assert lcr["speedup"]["value"] is None
    assert lcr["speedups"]["reward"]["0.5"]["value"] == pytest.approx(0.5)
    assert lcr["verdict"] == "ends worse"
    assert interval(lcr["speedup"]) == "–"


def test_the_baseline_is_as_fast_as_itself(summary):
    baseline = summary["variants"]["baseline"]
    assert baseline["speedup"]["value"] == baseline["speedup"]["high"] == pytest.approx(1)
    assert baseline["reward_gain"]["value"] == 0
    assert baseline["verdict"] == "the baseline"


def test_every_quantity_has_its_interval_and_seeds(summary):
    for variant in summary["variants"].values():
        for name in ("speedup", "reward", "reward_gain", "frechet", "psnr", "ceiling"):
            assert set(variant[name]) == {"value", "low", "high", "censored", "seeds"}
    assert summary["variants"]["both"]["ceiling"]["seeds"] == [0]


def test_one_vae_has_an_interval_over_clips():
    one = over_seeds_or_clips([24.0], [0.1])
    assert (one.low, one.high) == pytest.approx((24 - 0.196, 24 + 0.196))
    two = over_seeds_or_clips([24.0, 26.0], [0.1, 0.1])
    assert (two.value, two.low, two.high) == (25, 24, 26)


def test_nothing_is_called_faster_that_ends_worse():
    fast = Interval(3.0, 2.0, 4.0)
    assert verdict(fast, Interval(-0.1, -0.2, -0.05)) == "ends worse"
    assert verdict(fast, Interval(0.1, -0.05, 0.2)) == "faster"
    assert verdict(Interval(1.1, 0.9, 1.3), Interval(0.1, 0.05, 0.2)) == "ends better"
    assert verdict(Interval(1.1, 0.9, 1.3), Interval(0.1, -0.05, 0.2)) == "no difference shown"
    assert verdict(fast, Interval(0.1, None, None)) == "one seed: no interval"


def test_vaes_are_given_as_pairs():
    assert names_of(["a=x", "both=y/z=1"]) == {"a": "x", "both": "y/z=1"}
    assert names_of([]) == {}
    for wrong in (["a"], ["a=", "b=x"], ["a=x", "a=y"], ["a b=x", "c=y"], ["a=x"]):
        with pytest.raises(ValueError, match="--vae takes"):
            names_of(wrong)

"""The benchmark's figures and verdicts on made-up curves, whose answers are known."""

import numpy as np
import pytest

from ssvae.bench.diffusability import names_of
from ssvae.bench.results import table
from ssvae.bench.summary import (
    Claim,
    Curves,
    claims,
    over_seeds_or_clips,
    starts_of,
    summarise,
    verdict,
)
from ssvae.data.world import VOCABULARY
from ssvae.report.tables import interval

STARTS = starts_of(VOCABULARY)
STEPS = [100, 200, 300, 400]


def made_up(slope: float, seeds: int = 5, spread: float = 0.02, seed: int = 0):
    """Rewards that rise in a line from chance, faster or slower by luck."""
    rng = np.random.default_rng(seed)

    def row(step, luck):
        rise = slope * step * (1 + spread * luck)
        rewards = {q: start + rise for q, start in STARTS.items()}
        each = dict.fromkeys(VOCABULARY.kinds, 0.5)
        return {"step": step, **rewards, "rewards": each, "frechet": 100.0, "diversity": 1.0}

    return [[row(step, luck) for step in STEPS] for luck in rng.standard_normal(seeds)]


def measure(reward=0.9, **analysis):
    return {
        "ceiling": {"reward": reward, "reward_error": 0.01}
        | {"rewards": dict.fromkeys(VOCABULARY.kinds, reward)},
        "psnr": 24.0,
        "psnr_error": 0.1,
        "decoder_steps": 100,
        "analysis": {
            "robustness": {"0.0": 24.0, "0.3": 22.0},
            **dict.fromkeys(("low_share", "high_share", "slope"), 0.5),
            **dict.fromkeys(("effective_rank", "local_correlation"), 0.5),
            **analysis,
        },
    }


def summarised(rows, measures=None, controls=()):
    seeds = list(range(len(rows["baseline"])))
    measures = {name: [measure()] * len(seeds) for name in rows} | (measures or {})
    return summarise(Curves("baseline", seeds, rows, controls), measures, seeds)


@pytest.fixture(scope="module")
def summary():
    rows = {
        "baseline": made_up(1e-3),
        "both": made_up(1.5e-3, seed=1),
        "lcr": made_up(0.7e-3, seed=2),
        "lmr": made_up(1e-3, seed=3),
        "null": made_up(1e-3, seed=4),
    }
    return summarised(rows, controls=("null",))


def test_a_planted_difference_and_a_planted_null(summary):
    both, lmr, null = (summary["variants"][name] for name in ("both", "lmr", "null"))
    fast = both["speedups"]["reward"]["0.9"]
    assert fast["value"] == pytest.approx(1.5, rel=0.03)
    assert fast["low"] < 1.5 < fast["high"]
    assert fast["seeds"] == [0, 1, 2, 3, 4]
    assert both["gain"]["value"] == pytest.approx(0.2, rel=0.1)
    assert both["verdict"] == "faster, ends higher"
    assert lmr["verdict"] == "not shown"
    assert (null["verdict"], null["control"]) == ("not shown", True)


def test_a_target_never_reached_is_censored_and_slower_all_the_same(summary):
    lcr = summary["variants"]["lcr"]
    fast = lcr["speedups"]["reward"]["0.9"]
    assert fast["censored"]
    assert fast["never_reached"] == [0, 5]
    assert (fast["value"], fast["low"]) == (None, None)
    assert fast["high"] < 1
    assert lcr["verdict"] == "slower, ends lower"
    assert interval(fast).startswith("at most 0.")
    assert interval(dict(value=None, low=None, high=None)) == "–"


def test_the_baseline_is_as_fast_as_itself(summary):
    baseline = summary["variants"]["baseline"]
    assert baseline["speedups"]["reward"]["0.9"]["value"] == pytest.approx(1)
    assert baseline["gain"]["value"] == 0
    assert baseline["verdict"] == "the baseline"


def test_planted_nulls_come_out_as_not_shown():
    """All four claims of two variants together are wrong in 5 % of the experiments at most."""
    wrong = 0
    for i in range(400):
        rows = {
            name: made_up(1e-3, seed=3 * i + k) for k, name in enumerate(("baseline", "a", "b"))
        }
        curves = Curves("baseline", range(5), rows)
        wrong += any(claim.corrected < 0.05 for claim in claims(curves, ["a", "b"]))
    assert wrong / 400 < 0.08


def test_few_seeds_claim_nothing():
    rows = {"baseline": made_up(1e-3, 3), "both": made_up(2e-3, 3, seed=1)}
    assert summarised(rows)["variants"]["both"]["verdict"] == "not shown: a claim takes 5 seeds"


def test_one_seed_has_no_interval():
    rows = {"baseline": made_up(1e-3, 1), "both": made_up(2e-3, 1, seed=1)}
    summary = summarised(rows)
    fast = summary["variants"]["both"]["speedups"]["reward"]["0.9"]
    assert fast["value"] == pytest.approx(2, rel=0.1)
    assert (fast["low"], fast["high"]) == (None, None)
    assert summary["sensitivity"] == {"speedup": None, "reward": None}


def test_unequal_ceilings_are_no_comparison():
    rows = {"baseline": made_up(1e-3), "both": made_up(2e-3, seed=1)}
    its = summarised(rows, {"both": [measure(0.86)] * 5})["variants"]["both"]
    assert its["verdict"] == "not comparable: ceilings differ by 0.040"
    assert its["ceiling_gap"] == pytest.approx(-0.04)


def test_a_verdict_takes_what_is_left_after_holm():
    def claim(quantity, positive, corrected):
        return Claim("it", quantity, positive, corrected / 2, corrected)

    faster = claim("speedup", True, 0.01)
    assert verdict([faster, claim("reward", False, 0.2)], 5, 0) == "faster"
    assert verdict([faster, claim("reward", False, 0.02)], 5, 0) == "faster, ends lower"
    assert verdict([claim("speedup", True, 0.06), claim("reward", True, 0.9)], 5, 0) == "not shown"


def test_spectra_that_move_as_the_paper_says_and_not():
    rows = {name: made_up(1e-3, 3) for name in ("baseline", "lcr", "lmr")}
    base = [measure(low_share=0.5 + d, local_correlation=0.5) for d in (0, 0.01, 0.02)]
    lcr = [measure(low_share=0.7 + d, local_correlation=0.8 + d) for d in (0, 0.01, 0.02)]
    lmr = [measure(effective_rank=rank) for rank in (0.4, 0.6, 0.5)]
    variants = summarised(rows, {"baseline": base, "lcr": lcr, "lmr": lmr})["variants"]
    moved = variants["lcr"]["movements"]
    assert moved["low_share"]["value"] == pytest.approx(0.2)
    assert all(change["as_the_paper_says"] for change in moved.values())
    assert not variants["lmr"]["movements"]["effective_rank"]["as_the_paper_says"]
    assert variants["baseline"]["movements"] == {}


def test_the_plateau_and_the_power_are_told(summary):
    assert not summary["variants"]["both"]["at_plateau"]
    flat = made_up(1e-3)
    for rows in flat:
        rows[-1] |= {q: rows[-2][q] * 1.01 for q in STARTS}
    assert summarised({"baseline": flat})["variants"]["baseline"]["at_plateau"]
    # Differences of two lucks of 2 % each: 2.8 % of a rise of .4.
    spread = 2**0.5 * 0.02
    assert summary["sensitivity"]["reward"] == pytest.approx(1.68 * spread * 0.4, rel=0.6)
    assert 1.01 < summary["sensitivity"]["speedup"] < 1.12


def test_the_table_says_what_it_takes_to_read_it(summary):
    text = table(summary | {"protocol": {}})
    assert text.count("\n| ") == 1 + 5
    assert "| *null* |" in text
    assert "Not at a plateau yet" in text
    assert "Smallest effect that 5 seeds would have found" in text


def test_one_vae_has_an_interval_over_clips():
    one = over_seeds_or_clips([24.0], [0.1])
    assert (one.low, one.high) == pytest.approx((24 - 0.196, 24 + 0.196))
    two = over_seeds_or_clips([24.0, 26.0], [0.1, 0.1])
    assert two.value == 25
    assert two.high - 25 == pytest.approx(
        12.706, abs=0.01
    )  # t(0.975, 1), and a deviation of root 2


def test_vaes_are_given_as_pairs():
    assert names_of(["a=x", "both=y/z=1"]) == {"a": "x", "both": "y/z=1"}
    assert names_of([]) == {}
    for wrong in (["a"], ["a=", "b=x"], ["a=x", "a=y"], ["a b=x", "c=y"]):
        with pytest.raises(ValueError, match="--vae takes"):
            names_of(wrong)

"""Figures and verdicts on planted curves."""

import pytest

from planted import QUANTITIES, STEPS, compared, curves, record
from ssvae.bench.claims import Claim, verdict
from ssvae.bench.effects import (
    Pair,
    Quantity,
    at_plateau,
    describe,
    effects,
    quantities_of,
    sensitivity,
)
from ssvae.bench.records import Arm
from ssvae.bench.tables import arms_table, effects_table
from ssvae.bench.vaes import names_of
from ssvae.data.world import VOCABULARY
from ssvae.report.tables import interval


@pytest.fixture(scope="module")
def found():
    return compared(
        baseline=curves(1e-3),
        both=curves(1.5e-3, seed=1),
        lcr=curves(0.7e-3, seed=2),
        lmr=curves(1e-3, seed=3),
    )


def test_a_planted_difference_and_a_planted_null(found):
    both, lmr = found["both"], found["lmr"]
    fast = both["speedups"]["0.9"]
    assert fast == both["speedup"]["reward"]
    assert fast["value"] == pytest.approx(1.5, rel=0.03)
    assert fast["low"] < 1.5 < fast["high"]
    assert both["seeds"] == [0, 1, 2, 3, 4]
    assert both["gain"]["reward"]["value"] == pytest.approx(0.2, rel=0.1)
    assert both["verdict"] == "faster, ends higher"
    assert lmr["verdict"] == "not shown"


def test_a_target_never_reached_is_censored_and_slower_all_the_same(found):
    fast = found["lcr"]["speedups"]["0.9"]
    assert fast["censored"]
    assert (fast["value"], fast["low"]) == (None, None)
    assert fast["high"] < 1
    assert found["lcr"]["verdict"] == "slower, ends lower"
    assert interval(fast).startswith("at most 0.")
    assert interval(dict(value=None, low=None, high=None)) == "–"


def test_planted_nulls_come_out_as_not_shown():
    """All four claims of two variants together are wrong in 5 % of the experiments at most."""
    wrong = 0
    for i in range(200):
        names = ("baseline", "a", "b")
        arms = {name: curves(1e-3, seed=3 * i + k) for k, name in enumerate(names)}
        claims = [claim for effect in compared(**arms).values() for claim in effect["claims"]]
        wrong += any(claim["corrected"] < 0.05 for claim in claims)
    assert wrong / 200 < 0.09


def test_few_seeds_claim_nothing_and_borrow_the_scatter_of_others():
    both = curves(2e-3, 3, seed=1)
    effect = compared(baseline=curves(1e-3, 3), both=both)["both"]
    assert effect["verdict"] == "not shown: a claim takes 5 seeds"
    one = compared(baseline=curves(1e-3, 1), both=curves(2e-3, 1, seed=1))["both"]
    assert one["speedups"]["0.9"]["value"] == pytest.approx(2, rel=0.1)
    assert (one["speedups"]["0.9"]["low"], one["gain"]["reward"]["high"]) == (None, None)
    lent = compared(baseline=curves(1e-3), five=curves(1e-3, seed=1), one=curves(1e-3, 1, seed=2))[
        "one"
    ]
    assert lent["gain"]["reward"]["low"] < 0 < lent["gain"]["reward"]["high"]


def test_unequal_ceilings_are_no_comparison():
    effect = compared(baseline=curves(1e-3), both=curves(2e-3, seed=1, ceiling=0.86))["both"]
    assert effect["verdict"] == "not comparable: ceilings differ by 0.040"
    assert effect["ceiling_gap"] == pytest.approx(-0.04)


def test_a_verdict_takes_what_is_left_after_holm():
    def claim(quantity, positive, corrected):
        return Claim("it", quantity, positive, corrected / 2, corrected)

    faster = claim("speedup", True, 0.01)
    assert verdict([faster, claim("gain", False, 0.2)], 5, 0) == "faster"
    assert verdict([faster, claim("gain", False, 0.02)], 5, 0) == "faster, ends lower"
    assert verdict([faster, claim("gain", False, 0.02)], 5, 0, 400) == "faster, behind at 400"
    assert verdict([claim("speedup", True, 0.06), claim("gain", True, 0.9)], 5, 0) == "not shown"
    assert verdict([faster], 5, 0.3).startswith("not comparable")
    assert verdict([faster], 5) == "faster", "distances have no common ceiling"


def test_a_shorter_run_of_the_same_curve_ends_where_that_was_then():
    """One is longer: gains are at the last step that both have, and speed-ups where asked."""
    longer, a, b = [*STEPS, 800], Arm("", "a"), Arm("", "b")
    arms = {
        a: {i: record(0.4e-3 * (1 + 0.01 * i), longer) for i in range(5)},
        b: {i: record(1.2e-3 * (1 + 0.01 * i)) for i in range(5)},
    }
    pairs = [Pair("to the end", a, b, to_the_end=True), Pair("at the last shared", a, b)]
    one, two = effects({"them": pairs}, arms, QUANTITIES)["them"]
    assert [end["step"] for end in one["ends"]] == [800, 400]
    # To 90 % of the rise over 800 steps: 720 steps of its own, 240 of the other.
    assert one["speedup"]["reward"]["value"] == pytest.approx(3, rel=0.01)
    assert two["speedup"]["reward"]["value"] == pytest.approx(3, rel=0.01)
    assert one["gain"]["reward"]["value"] == pytest.approx(0.8 * 400e-3, rel=0.03)
    assert "ahead at 400" in one["verdict"]
    assert two["verdict"] == "faster, ends higher"


def test_distances_are_better_where_they_are_less():
    """From 400 at first to 100, and twice as fast."""

    def far(rate):
        rows = [{"step": s, "frechet": 400 - rate * (s - 100), "kernel": 1.0} for s in STEPS]
        return record(1e-3).__class__(rows, f"{rate}", {"ceiling": {"frechet": 5, "kernel": 0}})

    a, b = Arm("", "a"), Arm("", "b")
    arms = {
        a: {i: far(0.5 + 0.01 * i) for i in range(5)},
        b: {i: far(1 + 0.02 * i) for i in range(5)},
    }
    chief, other = quantities_of(None, arms)
    assert (chief, other.name) == (Quantity("frechet", 400, -1), "kernel")
    (effect,) = effects({"them": [Pair("b", a, b)]}, arms, [chief])["them"]
    assert effect["gain"]["frechet"]["value"] == pytest.approx(0.52 * 300)
    assert effect["speedup"]["frechet"]["value"] > 1.3
    assert effect["verdict"] == "faster, ends higher"
    assert effect["ceiling_gap"] == 0


def test_a_reference_that_has_hardly_risen_gives_no_speedup():
    def flat(rise):
        found = record(rise / 400)
        for row in found.rows:
            row["reward_error"] = 0.02
        return found

    arms = {"baseline": {0: flat(0.01)}, "other": {0: flat(0.3)}}
    effect = compared(**arms)["other"]
    assert "reward" not in effect["speedup"]
    assert effect["gain"]["reward"]["value"] == pytest.approx(0.29)
    arms["baseline"] = {0: flat(0.1)}
    assert "reward" in compared(**arms)["other"]["speedup"]


def test_the_plateau_and_the_power():
    assert at_plateau([[0.5, 0.80, 0.81]])
    assert not at_plateau([[0.5, 0.7, 0.8]])
    assert not at_plateau([[0.8]])
    arms = {Arm("", "a"): curves(1e-3), Arm("", "b"): curves(1e-3, seed=4)}
    pairs = [Pair("b", *arms)]
    # Differences of two lucks of 2 % each: 2.8 % of a rise of .4.
    spread = 2**0.5 * 0.02 * 0.4
    five = sensitivity(arms, pairs, 5, QUANTITIES[0])
    assert five == pytest.approx(1.68 * spread, rel=0.6)
    assert 0 < five < (sensitivity(arms, pairs, 2, QUANTITIES[0]) or 0)


def test_tables_have_a_row_each(found):
    effect_rows = effects_table(list(found.values()), QUANTITIES, (0.5, 0.9))
    assert effect_rows.count("\n| ") == 1 + len(found)
    assert "speed-up to 50%" in effect_rows
    arms = {Arm("cell", "a"): curves(1e-3), Arm("cell", "b"): curves(2e-3)}
    rows = arms_table(describe(arms, QUANTITIES, VOCABULARY), QUANTITIES)
    assert rows.startswith("| cell | VAE |")
    assert rows.count("\n| ") == 3
    assert "| 16x3x8x8 | 0.900 | 100 | 50.0" in rows


def test_vaes_are_given_as_pairs():
    assert names_of(["a=x", "both=y/z=1"]) == {"a": "x", "both": "y/z=1"}
    assert names_of([]) == {}
    for wrong in (["a"], ["a=", "b=x"], ["a=x", "a=y"], ["a b=x", "c=y"]):
        with pytest.raises(ValueError, match="--vae takes"):
            names_of(wrong)

"""Claims and comparisons of rows whose gains are planted."""

import json

import pytest

from studies.diffusability.ladder import report
from studies.diffusability.ladder.arms import LMR_LEARNED, RESCORED, STILLS, TWO_SIZES
from studies.diffusability.ladder.findings import (
    at_the_switch,
    claims,
    comparisons,
    regimes,
    under_noise,
)
from studies.diffusability.ladder.rows import FOLDER

SEEDS = range(11, 16)
END = 0.7


def row(rung, variant, seed, step, reward, **changes):
    scores = {"reward": reward, "reward_error": 0.01, "frechet": 100 * (1 - reward)}
    told = {"kind": "diffusion", "part": 1, "rung": rung, "variant": variant, "setting": ""}
    told |= {"seed": seed, "step": step, "scores": scores, "latents": f"{rung}-{variant}-{seed}"}
    return told | {"ceiling": 0.98} | changes


def planted(rung, gain, **changes):
    """The baseline reaches .5 and then .7; the other is ahead by a gain that scatters a little."""
    rows = []
    for seed in SEEDS:
        extra = gain + 0.002 * (seed - 13)
        for variant, ahead in (("baseline", 0.0), ("lcr", extra)):
            rows += [
                row(rung, variant, seed, 200, 0.5 + ahead, **changes),
                row(rung, variant, seed, 1200, END + ahead, **changes),
            ]
    return rows


ROWS = [*planted(32, 0.02), *planted(64, 0.05), *planted(128, 0.08)]


def test_gains_are_those_that_were_planted_and_the_slope_is_theirs():
    found = comparisons(ROWS)
    assert [(c.place.rung, c.variant, list(c.seeds)) for c in found] == [
        (rung, "lcr", list(SEEDS)) for rung in (32, 64, 128)
    ]
    assert [c.gain.value for c in found] == pytest.approx([0.02, 0.05, 0.08])
    assert found[1].ends == pytest.approx((END, END + 0.05))
    assert found[1].frechet == pytest.approx([100 * gain for gain in found[1].gains])
    assert all(c.speedup is not None and c.speedup.mean > 0 for c in found)
    at_64, at_128, slope, switch = claims(found, ROWS)
    assert at_64.p < 1e-4
    # Of four tests, the one that has not been run among them.
    smallest = min(claim.p for claim in (at_64, at_128, slope))
    assert min(c.corrected for c in (at_64, at_128, slope)) == pytest.approx(4 * smallest)
    # From 4 over 8 to 16 pixels a latent the gain rises by .03 a doubling, for every seed.
    assert slope.values == pytest.approx([0.03] * 5)
    assert (list(switch.values), switch.p) == ([], 1)


def test_pairs_with_other_ceilings_count_in_no_claim_and_are_told():
    rows = [
        r | {"ceiling": 0.95} if (r["variant"], r["seed"]) == ("lcr", 12) else r
        for r in planted(64, 0.05)
    ]
    (found,) = comparisons(rows)
    assert (list(found.seeds), list(found.apart)) == ([11, 13, 14, 15], [12])
    assert "4 (12 apart)" in report.comparisons_table([found])
    assert len(claims([found], rows)[0].values) == 4


def test_the_switch_is_the_first_score_on_larger_clips():
    rows = [
        row(64, variant, seed, step, reward + (0.01 * seed if variant == "lcr" else 0))
        | {"part": 2, "setting": TWO_SIZES, "resolution": resolution}
        for seed in SEEDS
        for variant in ("baseline", "lcr")
        for resolution, step, reward in ((64, 1200, 0.6), (128, 1200, 0.4), (128, 1800, 0.5))
    ]
    assert at_the_switch(rows) == pytest.approx([0.01 * seed for seed in SEEDS])


def test_samplings_are_places_of_their_own_and_controls_stand_beside_part_1():
    again = [
        row(64, variant, 11, 1200, 0.5, setting=RESCORED, sampling_steps=steps, guidance=2.0)
        for variant in ("baseline", "lcr")
        for steps in (6, 16)
    ]
    null = [row(64, "null", seed, 1200, END, part=9) for seed in SEEDS]
    alone = [row(64, "lcr", 11, 1200, 0.5, setting="plain-dit")]  # without a baseline of its own
    found = comparisons([*planted(64, 0.05), *again, *null, *alone])
    places = [(c.place.setting, c.place.detail, c.variant) for c in found]
    assert places == [
        ("", "", "lcr"),
        ("", "", "null"),
        (RESCORED, "6 steps, guidance 2", "lcr"),
        (RESCORED, "16 steps, guidance 2", "lcr"),
    ]
    assert found[1].gain.value == pytest.approx(0, abs=1e-12)


def test_a_run_that_was_made_again_takes_the_first_one_s_place():
    rows = planted(64, 0.05)
    again = [r | {"scores": r["scores"] | {"reward": 0.9}} for r in rows if r["step"] == 1200]
    (found,) = comparisons([*rows, *again])
    assert found.ends == pytest.approx((0.9, 0.9))


def vae(setting, variant, seed, rank, first):
    analysis = {"effective_rank": rank, "explained": [first], "robustness": {"0.0": 25, "0.3": 24}}
    told = {"kind": "vae", "part": 8, "rung": 32, "setting": setting, "variant": variant}
    return told | {"seed": seed, "analysis": analysis}


def test_lmr_concentrates_only_where_it_does_in_every_seed():
    rows = [vae("lmr-recipe", "baseline", seed, 10, 0.2) for seed in range(3)]
    rows += [vae("lmr-recipe", "lmr", seed, 12, 0.3) for seed in range(3)]
    rows += [vae("lmr-blocks", "lmr", seed, 9, 0.3) for seed in range(3)]
    plain, blocks = regimes(rows)
    assert (plain.setting, plain.reference, plain.concentrates) == ("lmr-recipe", "baseline", False)
    assert blocks.ranks == [(10, 9)] * 3, "masks stand beside the recipe's baseline"
    assert blocks.concentrates
    assert not regimes([*rows, vae("lmr-blocks", "lmr", 0, 11, 0.3)])[1].concentrates
    table = report.regimes_table([plain, blocks])
    assert "| lmr-blocks | baseline | 3 | 10.0, 9.0 | 0.200, 0.300 | 1.00, 1.00 | yes |" in table


def test_the_page_is_of_the_rows(tmp_path):
    assert report.write(folder=tmp_path).read_text() == (FOLDER / "results.md").read_text()


def test_the_page_says_what_is_run_and_what_is_not(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(r) + "\n" for r in planted(64, 0.05)))
    page = report.write(file, tmp_path).read_text()
    (claim,) = [line for line in page.splitlines() if line.startswith("| gain of LCR at rung 64")]
    assert "| 5 | 0.050 (" in claim
    assert claim.endswith("positive |")
    assert page.count("not run yet") == 3
    assert (tmp_path / "by-rung.svg").exists()


def test_what_noise_takes_is_of_the_variant_s_own_reward():
    rows = [
        row(32, variant, seed, step, reward - cost * noise, setting=LMR_LEARNED)
        | ({"latent_noise": noise} if noise else {})
        for seed in (0, 1, 2)
        for variant, reward, cost in (("baseline", 0.7, 1.0), ("lmr", 0.6, 0.1))
        for step, noise in ((800, 0.0), (1200, 0.0), (1200, 0.2), (1200, 0.4))
    ]
    baseline, lmr = under_noise(rows)
    assert (baseline.variant, lmr.variant) == ("baseline", "lmr")
    assert baseline.plain == pytest.approx([0.7] * 3)
    assert baseline.lost[0.4] == pytest.approx([0.4] * 3)
    assert lmr.lost[0.2] == pytest.approx([0.02] * 3)
    assert "0.020 (0.020 to 0.020)" in report.noise_table([baseline, lmr])
    assert under_noise(ROWS) == []


def test_the_way_to_go_begins_at_the_chance_of_the_setting_s_clips():
    """Of stills' many pictures few are named by chance, so that the same curves are slower."""
    plain = comparisons(planted(64, 0.05))[0].speedup
    stills = comparisons(planted(64, 0.05, setting=STILLS))[0].speedup
    assert plain is not None
    assert stills is not None
    assert stills.mean != pytest.approx(plain.mean)

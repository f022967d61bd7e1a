"""What the page on diffusability says beside its tables, computed anew from `results/`."""

import json
from pathlib import Path
from statistics import mean

import pytest
from scipy.stats import ttest_1samp

from ssvae.bench.comparisons import CUSTOM_ARM, WHOLE, Pair, learned
from ssvae.bench.map_summary import PairedCurves
from ssvae.bench.records import read_records
from ssvae.bench.scales import RIVALS_AND_TUNED, mini
from ssvae.bench.summary import starts_of
from ssvae.data import vocabulary_of
from ssvae.regularizers import LCRConfig

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "results" / "map-mini"
PAGE = " ".join((ROOT / "docs" / "diffusability.md").read_text().split())
CHOSEN = [
    "se",
    "eq",
    "noise-weak",
    "input-masking-weak",
    "future-weak",
    "prefix",
    "spectrum-strong",
]


@pytest.fixture(scope="module")
def arms():
    return learned(read_records(RESULTS))


@pytest.fixture(scope="module")
def effects():
    return json.loads((RESULTS / "summary.json").read_text())["effects"]


def short(value: float, digits: int = 3, sign: str = "") -> str:
    return f"{value:{sign}.{digits}f}".replace("0.", ".", 1)


def gains(arms, cell: str, seeds, quantity: str = "reward", variant: str = "lcr") -> list[float]:
    """Of a variant over the baseline, at the last step."""
    ends = (
        [arms[cell, name][s].rows[-1][quantity] for s in seeds] for name in (variant, "baseline")
    )
    return [one - two for one, two in zip(*ends, strict=True)]


@pytest.mark.parametrize(
    ("results", "data", "told"),
    [
        ("map-mini", "world", "by that measure the recipe takes {:.1f} times fewer"),
        ("map-mini-stills", "stills", "(by the other tables' measure {:.1f} times)"),
    ],
)
def test_the_recipe_by_the_measure_of_the_other_tables(results, data, told):
    paired = PairedCurves.of(
        Pair("", CUSTOM_ARM, WHOLE), learned(read_records(RESULTS.parent / results))
    )
    found = paired.faster("reward", starts_of(vocabulary_of(data))["reward"])
    assert found is not None
    assert told.format(found.interval.value) in PAGE


def test_seeds_that_led_to_more_and_those_that_came_later(arms, effects):
    cells = ("channels-48", "patch-2")
    first, later = ([gains(arms, cell, s) for cell in cells] for s in ((1, 2), (0, 3, 4)))
    told = [" and ".join(short(mean(g)) for g in both) for both in (first, later)]
    p = " and ".join(short(ttest_1samp(g, 0).pvalue, 2) for g in later)
    assert f"gave {told[0]}, the three later ones {told[1]} (p of {p})" in PAGE
    claims = [c["p"] for e in effects["regularisers"] for c in e["claims"] if len(e["seeds"]) == 5]
    assert len(claims) == 4
    assert f"the four claims that have five seeds {short(4 * min(claims), 2)}" in PAGE


def test_what_is_coarse_and_the_frechet_distance(arms):
    wide, patches = (gains(arms, cell, range(5), "coarse") for cell in ("channels-48", "patch-2"))
    told = [(short(mean(g)), ttest_1samp(g, 0).pvalue) for g in (wide, patches)]
    assert f"by {told[0][0]} with 48 channels, p {short(told[0][1], 3)}, and by" in PAGE
    assert f"by {told[1][0]} with patches, p {short(told[1][1], 2)}, half of it from one" in PAGE
    assert 0.45 < max(patches) / sum(patches) < 0.55
    farther = [
        value
        for cell in ("time-plus-half", "recommended", "recommended-48")
        for value in gains(arms, cell, (1, 2, 3), "frechet")
    ]
    told = f"each of these nine pairs (by {min(farther):.0f} to {max(farther):.0f})"
    assert f"higher in {told}" in PAGE


def test_the_baseline_of_the_seed_that_chose_the_rivals(arms):
    own = {s: r.rows[-1]["reward"] for s, r in arms["channels-48", "baseline"].items()}
    assert min(own, key=own.get) == 1
    first, chosen, every = own[1], mean(own[s] for s in (1, 2, 3)), mean(own.values())
    told = f"{short(first)} in seed 1, at {short(chosen)} over seeds 1 to 3, at {short(every)} over"
    assert f"the baseline is at {told} all five" in PAGE
    rivals = [
        short(mean(arms["channels-48", v][s].rows[-1]["reward"] for v in CHOSEN)) for s in (1, 2, 3)
    ]
    assert (
        f"setting, are themselves at {rivals[0]}, {rivals[1]} and {rivals[2]} in the three seeds"
        in PAGE
    )
    (gain,), (other,) = (gains(arms, "channels-48", [1], variant=v) for v in ("eq", "eq-weak"))
    told = (
        f"its paper's setting ({short(gain, sign='+')} on that seed, and also on films of pictures)"
    )
    assert f"{told} and a quarter of the steps ({short(other, sign='+')}), which was ahead" in PAGE


def test_ceilings_and_timings(arms, effects):
    gap = max(abs(e["ceiling_gap"]) for e in effects["regularisers"])
    assert f"the two ceilings of a row differ by {short(gap)} at most" in PAGE
    rivals = {
        variant: mean(r.measure["ceiling"]["reward"] for r in its.values())
        for (cell, variant), its in arms.items()
        if cell == "channels-48" and variant in RIVALS_AND_TUNED
    }
    lowest = min(
        (r.measure["ceiling"]["reward"], arm) for arm, its in arms.items() for r in its.values()
    )
    assert lowest[1] == ("channels-48", "noise")
    each = [short(r.measure["ceiling"]["reward"]) for r in arms[lowest[1]].values()]
    noise, masking = rivals.pop("noise"), rivals.pop("input-masking-strong")
    ended = f"{', '.join(each[:-1])} and {each[-1]}"
    told = f"stopped at {ended}, input masking to .9 at {short(masking)})"
    assert told in PAGE
    told = (
        f"ceiling is {short(noise)} of latent noise at its paper's setting and {short(masking)} of"
    )
    assert told in PAGE
    told = f"the others lie between {short(min(rivals.values()))} and {short(max(rivals.values()))}"
    assert noise < masking < min(rivals.values())
    assert told in PAGE
    speeds = [
        record.steps_per_second
        for (cell, _), its in arms.items()
        for record in its.values()
        if cell == "channels-48" and record.steps_per_second
    ]
    told = f"those of the same model differ by up to {max(speeds) / min(speeds):.1f} times"
    assert told in PAGE


def test_lmr(effects):
    found = {e["other"]: e for e in effects["regularisers"]}
    for arm, after in (
        ("default/lmr", " alone"),
        ("default/both", " with"),
        ("channels-48/lmr", " at"),
    ):
        gain, seeds = found[arm]["gain"]["reward"], len(found[arm]["seeds"])
        value, low, high = (short(gain[k]) for k in ("value", "low", "high"))
        assert f"{value} ({low} to {high}; {seeds} seed{'s' * (seeds > 1)}){after}" in PAGE
    arms = {
        (arm["cell"], arm["variant"]): arm
        for arm in json.loads((RESULTS / "summary.json").read_text())["arms"]
    }
    ranks = [
        arms[arm]["spectra"]["effective_rank"]
        for arm in (("default", "lmr"), ("channels-48", "lmr"), ("channels-48", "baseline"))
    ]
    told = (
        "effective rank {:.1f} at the default, {:.1f} at 48 channels, where the baseline has {:.1f}"
    )
    assert told.format(*ranks) in PAGE
    pictures = json.loads((ROOT / "results/map-mini-stills/summary.json").read_text())["effects"]
    (there,) = (e for e in pictures["regularisers"] if e["other"] == "channels-48/lmr")
    gain, seeds = there["gain"]["reward"], len(there["seeds"])
    value, low, high = (short(gain[k]) for k in ("value", "low", "high"))
    assert f"LMR is at {value} ({low} to {high}; {seeds} seed{'s' * (seeds > 1)})" in PAGE
    steps = [arms["default", name]["decoder_steps"] for name in ("lmr", "baseline")]
    assert "steps of the decoder ({:.0f}, the baseline's {:.0f})".format(*steps) in PAGE


def test_how_wide_intervals_are(effects):
    gains = {e["other"]: e["gain"]["reward"] for e in effects["regularisers"]}
    three, one = (
        short((gains[arm]["high"] - gains[arm]["low"]) / 2)
        for arm in ("channels-48/se", "channels-48/se-weak")
    )
    assert f"interval of three seeds is {three} to either side, of one {one}" in PAGE


def test_which_rivals_are_behind(arms, effects):
    found = {
        e["other"].removeprefix("channels-48/"): e["gain"]["reward"]
        for e in effects["regularisers"]
    }
    behind = {v for v in RIVALS_AND_TUNED if found[v]["high"] < 0}
    assert behind == {"future", "input-masking", "noise", "noise-weak"}
    assert "Their intervals exclude 0, before any correction." in PAGE
    for told, variant in (
        ("dropped future in half of the steps with a weight on motion", "future"),
        ("input masking at its paper's ratio", "input-masking"),
        ("at gamma .3", "noise-weak"),
        ("at its paper's gamma of 3", "noise"),
        ("Spectrum matching at its paper's weight is level", "spectrum"),
    ):
        first, *later = (
            short(g, sign="+") for g in gains(arms, "channels-48", (1, 2, 3), variant=variant)
        )
        mean_of_them = short(found[variant]["value"])
        assert f"{told} ({mean_of_them}: {first}, then {' and '.join(later)})" in PAGE


def test_what_can_be_found():
    (one, two) = json.loads((RESULTS / "summary.json").read_text())["sensitivity"].values()
    told = "two seeds find a gain of {} on one VAE and of {} on two, five seeds {} and {},"
    assert told.format(*(short(kind[n], 2) for n in ("2", "5") for kind in (one, two))) in PAGE


def test_effective_ranks():
    arms = json.loads((RESULTS / "summary.json").read_text())["arms"]
    rank = {(a["cell"], a["variant"]): a["spectra"]["effective_rank"] for a in arms}
    wide, narrow = (
        f"{rank[cell, 'baseline']:.0f} to {rank[cell, 'lcr']:.0f}"
        for cell in ("pixels-64", "channels-48")
    )
    assert f"most with 64x64 pixels ({wide}) and at 48 channels ({narrow})" in PAGE


def test_the_weight_of_lcr_is_told():
    weights = mini().vae.lcr.weight, LCRConfig().weight
    told = f"weight of LCR: {short(weights[0], 1)} where the paper has {short(weights[1])}"
    assert told in PAGE


def test_every_variant_of_the_benchmark_has_its_setting():
    page = (ROOT / "docs" / "regularizers.md").read_text()
    rows = [row for row in page.splitlines() if row.startswith("| `")]
    for name, settings in RIVALS_AND_TUNED.items():
        (row,) = (row for row in rows if f"`{name}`" in row.split("|")[1])
        for setting, value in settings.items():
            option = setting.replace("_", "-")
            if isinstance(value, bool):
                option = option.replace(".turns", ".no-turns")
            assert f"--{option}" in row, setting
            if isinstance(value, float):
                assert f"{value:g}" in row, setting

"""Cells and variants of the study, what they share, and a small part of it whole."""

import dataclasses
import json

import pytest

from micro import micro, options
from planted import QUANTITIES, record
from ssvae.bench.effects import describe, effects
from ssvae.bench.records import ROWS, Arm, RunKey, read_records
from ssvae.bench.scales import laptop
from ssvae.bench.vaes import HURT
from ssvae.data.world import VOCABULARY
from ssvae.recipes import dit_tiny, dit_tiny_conventional
from ssvae.vae import problems_of
from studies.diffusability import prediction, regularizer_table, reports
from studies.diffusability.cells import (
    CELLS,
    CONVENTIONAL,
    DEFAULT,
    RECOMMENDED,
    RECOMMENDED_48,
    arm_of,
    latents_of,
)
from studies.diffusability.comparisons import families, in_order
from studies.diffusability.reports import STUDIES, Study
from studies.diffusability.run import run_cells
from studies.diffusability.variants import VARIANTS, settings_of, title_of, vae_of


def test_cells_are_sound_and_differ_from_the_default():
    scales = {name: cell.of(laptop()) for name, cell in CELLS.items()}
    for name, scale in scales.items():
        assert problems_of(scale.vae) == []
        assert scale.decoder.model == scale.vae.model
        assert scale.decoder.clip == scale.vae.clip
        diffusion = dataclasses.replace(scale.diffusion, latents="a cache", steps=100)
        assert diffusion.problems().found == []
        assert (scale == scales[DEFAULT]) is (name == DEFAULT)
    assert scales[CONVENTIONAL].evaluations[-3:] == (2000, 3200, 4800)
    assert scales[CONVENTIONAL].diffusion == dit_tiny_conventional()
    assert scales[RECOMMENDED].diffusion == dit_tiny()


def test_variants_are_sound_and_differ():
    vaes = {name: vae_of(laptop(), name, 0) for name in VARIANTS}
    assert [problems_of(vae) for vae in vaes.values()] == [[]] * len(vaes)
    assert len({repr(vae) for vae in vaes.values()}) == len(vaes)
    assert len({title_of(name) for name in VARIANTS}) == len(vaes)
    weak = settings_of("latent-noise-weak")
    assert weak == {"latent_noise.enabled": True, "latent_noise.gamma": 0.3}
    assert settings_of("both") == {"lcr.enabled": True, "lmr.enabled": True}


def test_what_would_be_the_same_is_run_once():
    def name(cell, variant):
        return latents_of(Arm(cell, variant), 3, laptop())

    assert name("whitened", "lcr") == name(DEFAULT, "lcr") == "lcr-3"
    assert name("threshold-60", "lcr") == "threshold-60-lcr-3"
    assert name("grid-16", "baseline") == "grid-16-baseline-3"
    assert name(DEFAULT, "null") == "null-3"
    # Without LCR there is no threshold.
    for variant in ("baseline", "lmr", "null"):
        assert arm_of("threshold-60", variant, laptop()) == (DEFAULT, variant)
    assert arm_of("threshold-60", "lcr", laptop()) == ("threshold-60", "lcr")
    assert arm_of("whitened", "lcr", laptop()) == ("whitened", "lcr")
    assert arm_of("whitened", "mine", laptop()) == ("whitened", "mine")  # a VAE that is given


def test_a_pair_is_compared_once_and_only_over_common_seeds():
    records = {RunKey(c, "baseline", 0): record(1e-3) for c in (DEFAULT, RECOMMENDED, "patch-2")}
    records |= {
        RunKey(RECOMMENDED, "lcr", 0): record(1e-3),
        RunKey(DEFAULT, "lcr", 1): record(1e-3),
    }
    arms = in_order(records)
    assert next(iter(arms)) == (DEFAULT, "baseline")
    found = families(arms, laptop()).values()
    pairs = [(pair.reference, pair.other) for family in found for pair in family]
    assert len({frozenset(pair) for pair in pairs}) == len(pairs) == 3
    assert (DEFAULT, "lcr") not in [other for _, other in pairs]


def test_additions_are_beside_the_same_latents_without_them():
    names = [(RECOMMENDED_48, v) for v in ("baseline", "lcr")]
    names += [("next-layer-sync", v) for v in ("baseline", "lcr")]
    arms = in_order({RunKey(c, v, 0): record(1e-3) for c, v in names})
    found = families(arms, laptop())
    pairs = [(p.label, p.reference.title, p.other.title) for p in found["next"]]
    assert pairs == [
        ("LayerSync", "recommended-48/baseline", "next-layer-sync/baseline"),
        ("LayerSync, lcr", "recommended-48/lcr", "next-layer-sync/lcr"),
    ]
    assert [p.other.title for p in found["regularisers"]] == ["recommended-48/lcr"]
    for cell in (RECOMMENDED_48, "next-layer-sync"):
        assert latents_of(Arm(cell, "lcr"), 1, laptop()) == "recommended-48-lcr-1"
    assert CELLS["next-layer-sync"].of(laptop()).diffusion.objective.layer_sync == 0.2


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    where = options(tmp_path_factory.mktemp("study"), part="world")
    cells = (DEFAULT, "whitened", "threshold-60")
    run_cells(micro(), where, cells, ("baseline", "lcr"), {})
    return where


def test_a_part_whole(done):
    arms = in_order(read_records(done.out))
    assert len(arms) == 5
    assert ("threshold-60", "baseline") not in arms  # it is the default's
    compared = families(arms, laptop())
    assert set(compared) == {"regularisers", "settings"}
    pairs = [(p.reference.title, p.other.title) for p in compared["regularisers"]]
    assert ("default/baseline", "threshold-60/lcr") in pairs
    vaes = {path.name for path in (done.work / "vae").iterdir() if "decoder" not in path.name}
    assert vaes == {f"{v}-{s}" for v in ("baseline", "lcr", "threshold-60-lcr") for s in (0, 1)}
    run = json.loads((done.work / "diffusion" / "whitened.lcr.0" / "config.json").read_text())
    assert run["normalization"] == "whitened"
    record = read_records(done.out)[RunKey("whitened", "lcr", 1)]
    assert record.latents == "lcr-1"
    line = (done.out / ROWS).read_text().splitlines()[-1]
    assert json.loads(line)["settings"] == {"vae.lcr.threshold": 0.6, "lcr.enabled": True}


def test_other_cells_seeds_and_controls_join(done):
    before = in_order(read_records(done.out))
    later = dataclasses.replace(done, seeds=(0,))
    run_cells(micro(), later, (CONVENTIONAL, RECOMMENDED), ("baseline",), {})
    run_cells(micro(), later, (DEFAULT,), (HURT, "null"), {})
    arms = in_order(read_records(done.out))
    assert {arm: arms[arm] for arm in before} == before
    hurt, own = arms[Arm(DEFAULT, HURT)][0], arms[Arm(DEFAULT, "baseline")][0]
    assert hurt.latents == f"baseline-0-{HURT}"
    ceilings = [r.measure["ceiling"]["reward"] for r in (hurt, own)]
    assert ceilings[0] == pytest.approx(ceilings[1], abs=1e-3)
    found = effects(families(arms, laptop()), arms, QUANTITIES)
    assert [e["label"] for e in found["parts"]] == ["noisier timesteps"]
    assert [end["step"] for end in found["recipe"][0]["ends"]] == [16, 4]


def test_recipes_on_a_vae_that_is_given(done, tmp_path):
    vae = str(done.work / "vae" / "baseline-0-decoder")
    here = dataclasses.replace(options(tmp_path), seeds=(0,))
    run_cells(micro(), here, (DEFAULT, CONVENTIONAL), ("lcr",), {"baseline": vae})
    assert list(read_records(here.out)) == [
        (DEFAULT, "baseline", 0),
        (CONVENTIONAL, "baseline", 0),
    ]
    for cells, variants, vaes, message in (
        ((DEFAULT,), (), {"mine": vae}, "must be called baseline, got mine"),
        ((DEFAULT,), ("baseline",), {}, "vaes.baseline was .* and is None"),
        (("grid-16",), ("lcr",), {"baseline": vae}, "take none by --vae: grid-16"),
        (("nowhere",), ("lcr",), {}, "cells are some of default, conventional"),
        ((DEFAULT,), ("lcp",), {}, "variants are some of baseline, lcr"),
    ):
        with pytest.raises(ValueError, match=message):
            run_cells(micro(), here, cells, variants, vaes)


def test_tables_of_regularisers():
    """The baseline first, each beside its other settings, with its cost; those tried apart."""
    records = {
        RunKey("channels-48", v, s): record(r)
        for v, r, seeds in (
            ("baseline", 1e-3, 3),
            ("latent-noise", 5e-4, 3),
            ("lcr", 2e-3, 2),
            ("latent-noise-weak", 1e-3, 3),
            ("scale-equivariance", 1e-3, 3),
            ("latent-noise-mild", 1e-3, 2),
        )
        for s in range(seeds)
    }
    arms = in_order(records)
    described = describe(arms, QUANTITIES, VOCABULARY)
    found = effects(families(arms, laptop()), arms, QUANTITIES)
    both = regularizer_table.tables(described, found)
    assert list(both) == ["channels-48", "channels-48-tried"]
    table, tried = both.values()
    head, _, *rows = [
        [c.strip() for c in line.strip("|").split("|")] for line in table.splitlines()
    ]
    named = {row[1]: dict(zip(head, row, strict=True)) for row in rows}
    assert list(named) == [
        *("`baseline`", "`lcr`", "`latent-noise`", "`latent-noise-weak`", "`scale-equivariance`")
    ]
    costs = regularizer_table.costs()
    assert named["`latent-noise-weak`"]["a step"] == f"{costs['latent-noise']:.2f}"
    assert named["`lcr`"]["gain in reward"].startswith("0.400 ")
    assert named["`latent-noise`"]["gain in reward"].startswith("-0.200 ")
    assert named["`baseline`"]["verdict"] == ""
    (mild,) = tried.splitlines()[2:]
    assert "| `latent-noise-mild` | 2 |" in mild
    assert regularizer_table.tables(described[:2], {}) == {}


@pytest.mark.slow
def test_what_predicts(done, monkeypatch, tmp_path):
    """Over the VAEs of the cells that change the VAE alone, a point each."""
    study = Study("a part")
    monkeypatch.setattr(reports, "RESULTS", tmp_path)
    study.folder.mkdir()
    with pytest.raises(ValueError, match="got none in .*run the cell default"):
        prediction.prediction_of(study)
    (study.folder / ROWS).write_text((done.out / ROWS).read_text())
    here = dataclasses.replace(done, out=study.folder)
    (group,) = prediction.run_prediction(study, here, scale=micro()).values()
    points = {(p.family, p.seed): p for p in group.points}
    names = ("default/baseline", "default/lcr", "threshold-60/lcr")
    assert {(name, seed) for name in names for seed in (0, 1)} <= set(points)
    record, point = (
        read_records(study.folder)[RunKey(DEFAULT, "lcr", 1)],
        points["default/lcr", 1],
    )
    assert point.figures["effective_rank"] == record.measure["analysis"]["effective_rank"]
    assert point.measured["frechet"] == record.rows[-1]["frechet"]
    assert {"joint_viv", "past_r2", "srss", "lnc", "tfvd_frechet"} <= set(point.figures)
    of_reward = group.correlations["reward"]
    assert set(of_reward) <= set(point.figures) - {"values"}  # all alike, so it tells nothing
    assert list(of_reward) == sorted(of_reward, key=lambda n: -abs(of_reward[n].rho.value or 0))
    assert (study.folder / "prediction.png").stat().st_size > 300
    # Figures that are in the rows need no latents again; a VAE that is gone is trained again.
    rows = (study.folder / ROWS).read_text().splitlines(keepends=True)
    elsewhere = dataclasses.replace(here, work=tmp_path / "anew")
    (again,) = prediction.run_prediction(study, elsewhere, scale=micro()).values()
    assert again.points == group.points
    assert not elsewhere.work.exists()
    (study.folder / ROWS).write_text("".join(rows[:-1]))
    (remade,) = prediction.run_prediction(study, elsewhere, scale=micro()).values()
    (label,) = {path.name for path in (elsewhere.work / "latents").iterdir() if path.is_dir()}
    one, other = (
        next(p.figures for p in each.points if p.latents == label) for each in (group, remade)
    )
    assert one == pytest.approx(other, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("name", STUDIES)
def test_reports_are_those_of_the_rows(name):
    """``python -m studies.diffusability report`` writes them anew."""
    study = STUDIES[name]
    assert (study.folder / "tables.md").read_text() == reports.page(reports.report_of(study))
    if name == "world":
        table = prediction.page(prediction.prediction_of(study))
        assert "VAEs of one size: 48x3x8x8 of clips of 9x32x32" in table
        assert (study.folder / "prediction.md").read_text() == table

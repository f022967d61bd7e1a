"""The map: cells, what they share, and effects with intervals of known answers."""

import dataclasses
import json

import numpy as np
import pytest
from micro import micro, options

from ssvae.bench.cells import CELLS, CUSTOM, DEFAULT, RECOMMENDED
from ssvae.bench.map import latents_of, run_map
from ssvae.bench.map_results import effects_table, map_table
from ssvae.bench.map_summary import Pair, effects, families, learned
from ssvae.bench.records import Record
from ssvae.bench.scales import mini
from ssvae.bench.summary import starts_of
from ssvae.data.video import probe
from ssvae.data.world import VOCABULARY
from ssvae.recipes import dit_tiny, dit_tiny_custom
from ssvae.vae import problems_of

STEPS = [100, 200, 300, 400]
STARTS = starts_of(VOCABULARY)


def test_cells_are_sound_and_differ_from_the_default():
    made = {name: cell.of(mini()) for name, cell in CELLS.items()}
    for name, scale in made.items():
        assert problems_of(scale.vae) == []
        assert scale.decoder.model == scale.vae.model
        assert scale.decoder.clip == scale.vae.clip
        diffusion = dataclasses.replace(scale.diffusion, latents="a cache", steps=100)
        assert diffusion.problems() == []
        assert (scale == made[DEFAULT]) is (name == DEFAULT)
    assert made[CUSTOM].evaluations[-3:] == (2000, 3200, 4800)
    assert made[CUSTOM].diffusion == dit_tiny_custom()
    assert made[RECOMMENDED].diffusion == dit_tiny()


def test_vaes_that_are_trained_alike_are_trained_once():
    def of(cell, variant):
        return latents_of(cell, variant, 3, mini())

    assert of("whitened", "lcr") == of(DEFAULT, "lcr") == "lcr-3"
    assert of("threshold-60", "baseline") == "baseline-3"  # no LCR, so no threshold
    assert of("threshold-60", "lcr") == "threshold-60-lcr-3"
    assert of("grid-16", "baseline") == "grid-16-baseline-3"


def record(slope, steps=STEPS, ceiling=0.9, speed=2.0):
    """A reward that rises in a line from chance."""

    def row(step):
        each = dict.fromkeys(VOCABULARY.kinds, 0.5)
        scores = {q: start + slope * step for q, start in STARTS.items()}
        return {"step": step, **scores, "rewards": each, "frechet": 100.0}

    spectra = dict.fromkeys(("low_share", "high_share", "slope"), 0.5)
    spectra |= dict.fromkeys(("effective_rank", "local_correlation"), 0.5)
    measure = {
        "ceiling": {"reward": ceiling},
        "psnr": 24.0,
        "analysis": spectra | {"protocol": {"latent_shape": [16, 3, 8, 8]}},
    }
    return Record([row(step) for step in steps], measure, {}, {}, speed)


def test_planted_effects_come_out_with_one_scatter_for_all():
    rng = np.random.default_rng(0)
    records = {}
    for seed in range(5):
        luck = [1 + 0.02 * rng.standard_normal() for _ in range(5)]
        records[f"learn {DEFAULT}-baseline-{seed}"] = record(1e-3 * luck[0])
        records[f"learn {DEFAULT}-lcr-{seed}"] = record(1.5e-3 * luck[1])
        if seed < 2:  # few seeds borrow the others' scatter
            records[f"learn patch-2-baseline-{seed}"] = record(0.5e-3 * luck[2])
            records[f"learn patch-2-lcr-{seed}"] = record(0.5e-3 * luck[3], ceiling=0.8)
        longer = [*STEPS, 800]
        records[f"learn {CUSTOM}-baseline-{seed}"] = record(0.4e-3 * luck[4], longer)
    arms = learned(records)
    assert next(iter(arms)) == (DEFAULT, "baseline")
    assert list(arms["patch-2", "lcr"]) == [0, 1]
    compared = families(arms)
    found = {e["other"]: e for e in effects(compared["regularisers"], arms, VOCABULARY)}
    lcr, few = found[f"{DEFAULT}/lcr"], found["patch-2/lcr"]
    assert lcr["speedup"]["reward"]["value"] == pytest.approx(1.5, rel=0.03)
    assert lcr["verdict"] == "faster, ends higher"
    assert lcr["gain"]["reward"]["value"] == pytest.approx(0.2, rel=0.1)
    narrow, wide = (
        np.log(e["speedup"]["reward"]["high"] / e["speedup"]["reward"]["low"]) for e in (lcr, few)
    )
    assert wide / narrow == pytest.approx((5 / 2) ** 0.5)
    assert few["verdict"].startswith("not comparable: ceilings differ by 0.1")
    # The custom is learned twice as long, and has its own end: .32 above chance after 800 steps.
    pair = Pair("x", (CUSTOM, "baseline"), (DEFAULT, "lcr"))
    (whole,) = effects([pair], arms, VOCABULARY)
    assert whole["steps"] == [800, 400]
    assert whole["speedup"]["reward"]["value"] == pytest.approx(1.5 / 0.4, rel=0.05)


def test_a_pair_without_common_seeds_says_nothing():
    records = {"learn default-baseline-0": record(1e-3), "learn default-lcr-1": record(1e-3)}
    pair = Pair("x", (DEFAULT, "baseline"), (DEFAULT, "lcr"))
    assert effects([pair], learned(records), VOCABULARY) == []


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    where = dataclasses.replace(options(tmp_path_factory.mktemp("map")), dtype="bfloat16")
    cells = (DEFAULT, "whitened", "threshold-60")
    return where, run_map(micro(), where, cells, ("baseline", "lcr"), {})


def test_the_map_whole(done):
    where, summary = done
    arms = {(a["cell"], a["variant"]): a for a in summary["arms"]}
    assert len(arms) == 5
    assert ("threshold-60", "baseline") not in arms  # it is the default's
    compared = [(e["reference"], e["other"]) for e in summary["effects"]["regularisers"]]
    assert ("default/baseline", "threshold-60/lcr") in compared
    assert arms["whitened", "lcr"]["seeds"] == [0, 1]
    vaes = {path.name for path in (where.work / "vae").iterdir() if "decoder" not in path.name}
    assert vaes == {f"{v}-{s}" for v in ("baseline", "lcr", "threshold-60-lcr") for s in (0, 1)}
    run = json.loads((where.work / "diffusion" / "whitened-lcr-0" / "config.json").read_text())
    assert (run["channels"], run["dtype"]) == ("whitened", "bfloat16")
    assert (
        json.loads((where.work / "vae" / "lcr-0" / "config.json").read_text())["dtype"] == "float32"
    )
    # Diffusion models under another map of one VAE's latents: the same ceiling to the last bit.
    assert arms["whitened", "lcr"]["ceiling"] == arms[DEFAULT, "lcr"]["ceiling"]
    assert set(summary["effects"]) == {"regularisers", "settings"}
    for name in ("figure.svg", "figure.png", "summary.json", "table.md", "settings.md"):
        assert (where.out / name).stat().st_size > 300
    assert map_table(summary).count("\n| ") == 6
    assert effects_table(summary).count("\n| ") >= 3 + 3
    assert (where.out / "configs" / "diffusion-whitened-lcr-0.json").exists()


def test_other_cells_and_seeds_join(done):
    where, before = done
    later = dataclasses.replace(where, seeds=(0,))
    summary = run_map(micro(), later, (CUSTOM, RECOMMENDED), ("baseline",), {})
    joined = [(a["cell"], a["variant"]) for a in summary["arms"]]
    assert joined[2:4] == [(CUSTOM, "baseline"), (RECOMMENDED, "baseline")]
    assert [a for a in summary["arms"] if a["cell"] not in (CUSTOM, RECOMMENDED)] == before["arms"]
    (recipe, *_) = summary["effects"]["recipe"]
    assert (recipe["reference"], recipe["steps"]) == ("custom/baseline", [16, 4])
    assert [e["label"] for e in summary["effects"]["parts"]] == ["times nearer the noise"]
    assert probe(where.out / "samples.mp4").frames == 9
    assert "custom/baseline, default/baseline, recommended/baseline" in (
        where.out / "samples.md"
    ).read_text().replace("\n", " ")


def test_recipes_on_a_vae_that_is_given(done, tmp_path):
    where, _ = done
    vae = str(where.work / "vae" / "baseline-0-decoder")
    here = dataclasses.replace(options(tmp_path), seeds=(0,))
    summary = run_map(micro(), here, (DEFAULT, CUSTOM), ("lcr",), {"baseline": vae})
    assert [(a["cell"], a["variant"]) for a in summary["arms"]] == [
        (DEFAULT, "baseline"),
        (CUSTOM, "baseline"),
    ]
    with pytest.raises(ValueError, match="cells that train other VAEs take none by --vae: grid-16"):
        run_map(micro(), here, ("grid-16",), ("lcr",), {"baseline": vae})
    with pytest.raises(ValueError, match="cells are some of default, custom"):
        run_map(micro(), here, ("nowhere",), ("lcr",), {})

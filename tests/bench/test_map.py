"""The map: cells, what they share, and effects with intervals of known answers."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from micro import micro, options

from ssvae.bench import regularizer_table
from ssvae.bench.cells import (
    CELLS,
    CUSTOM,
    DEFAULT,
    RECOMMENDED,
    arm_and_seed,
    arm_of,
    label_of,
    latents_of,
)
from ssvae.bench.comparisons import families, learned
from ssvae.bench.map import run_map
from ssvae.bench.map_results import arms_table, effects_table
from ssvae.bench.map_summary import describe, effects, sensitivity
from ssvae.bench.prediction import run_prediction
from ssvae.bench.records import Record, read_records
from ssvae.bench.scales import mini
from ssvae.bench.summary import starts_of
from ssvae.data.video import probe
from ssvae.data.world import VOCABULARY
from ssvae.recipes import dit_tiny, dit_tiny_conventional
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
        assert diffusion.problems().found == []
        assert (scale == made[DEFAULT]) is (name == DEFAULT)
    assert made[CUSTOM].evaluations[-3:] == (2000, 3200, 4800)
    assert made[CUSTOM].diffusion == dit_tiny_conventional()
    assert made[RECOMMENDED].diffusion == dit_tiny()


def test_what_would_be_the_same_is_run_once():
    def of(cell, variant):
        return latents_of((cell, variant), 3, mini())

    assert of("whitened", "lcr") == of(DEFAULT, "lcr") == "lcr-3"
    assert of("threshold-60", "lcr") == "threshold-60-lcr-3"
    assert of("grid-16", "baseline") == "grid-16-baseline-3"
    assert of(DEFAULT, "null") == "null-3"
    # Without LCR there is no threshold.
    for variant in ("baseline", "lmr", "null"):
        assert arm_of("threshold-60", variant, mini()) == (DEFAULT, variant)
    assert arm_of("threshold-60", "lcr", mini()) == ("threshold-60", "lcr")
    assert arm_of("whitened", "lcr", mini()) == ("whitened", "lcr")
    assert arm_of("whitened", "mine", mini()) == ("whitened", "mine")  # a VAE that is given


def test_labels_say_which_arm_and_seed():
    assert label_of(("custom-times", "baseline"), 3) == "custom-times.baseline.3"
    assert arm_and_seed("custom-times.baseline.3") == (("custom-times", "baseline"), 3)
    for other in ("baseline-3", "nowhere.baseline.3", "custom.baseline.x"):
        assert arm_and_seed(other) is None


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


def arms_of(curves):
    """Arms from curves by cell, variant and seed."""
    return learned({f"learn {label_of((c, v), s)}": r for (c, v, s), r in curves.items()})


def test_planted_effects_come_out():
    rng, curves = np.random.default_rng(0), {}
    for seed in range(5):
        luck = [1 + 0.02 * rng.standard_normal() for _ in range(4)]
        curves[DEFAULT, "baseline", seed] = record(1e-3 * luck[0])
        curves[DEFAULT, "lcr", seed] = record(1.5e-3 * luck[1])
        if seed < 2:  # few seeds borrow the others' scatter
            curves["patch-2", "baseline", seed] = record(0.5e-3 * luck[2])
            curves["patch-2", "lcr", seed] = record(0.5e-3 * luck[3], ceiling=0.8)
    arms = arms_of(curves)
    assert next(iter(arms)) == (DEFAULT, "baseline")
    pairs = families(arms, mini())["regularisers"]
    found = {e["other"]: e for e in effects({"them": pairs}, arms, VOCABULARY)["them"]}
    lcr, few = found[f"{DEFAULT}/lcr"], found["patch-2/lcr"]
    assert lcr["speedup"]["reward"]["value"] == pytest.approx(1.5, rel=0.03)
    assert lcr["verdict"] == "faster, ends higher"
    assert lcr["gain"]["reward"]["value"] == pytest.approx(0.2, rel=0.1)
    assert lcr["time_of_a_step"] == 1
    assert few["verdict"].startswith("not comparable: ceilings differ by 0.1")
    assert few["gain"]["reward"]["low"] < 0 < few["gain"]["reward"]["high"]
    assert 0 < sensitivity(arms, pairs, 5) < sensitivity(arms, pairs, 2)


def test_a_shorter_run_of_the_same_curve_ends_where_that_was_then():
    """The custom is longer: gains are at the last step that both have, and speed-ups where asked."""
    curves, longer = {}, [*STEPS, 800]
    for seed in range(5):
        shift = 1 + 0.01 * seed
        curves[CUSTOM, "baseline", seed] = record(0.4e-3 * shift, longer)
        curves["patch-2", "baseline", seed] = record(0.4e-3 * (1.01 + 0.01 * (seed % 2)) * shift)
        curves[RECOMMENDED, "baseline", seed] = record(1.2e-3 * shift)
    arms = arms_of(curves)
    compared = families(arms, mini())
    found = effects(compared, arms, VOCABULARY)
    (recipe,), (alone,) = found["recipe"], found["alone"]
    assert [end["step"] for end in recipe["ends"]] == [800, 400]
    # To 90 % of the custom's rise over 800 steps: 720 steps of its own, 240 of the other.
    assert recipe["speedup"]["reward"]["value"] == pytest.approx(3, rel=0.01)
    assert recipe["gain"]["reward"]["value"] == pytest.approx(0.8 * 400e-3, rel=0.03)
    assert alone["shared_step"] == 400
    assert alone["speedup"]["reward"]["value"] == pytest.approx(1.015, rel=0.01)
    assert "lower" not in alone["verdict"]


def test_a_pair_is_compared_once_and_only_over_common_seeds():
    both = {(c, "baseline", 0): record(1e-3) for c in (DEFAULT, RECOMMENDED, "patch-2")}
    arms = arms_of(
        both | {(RECOMMENDED, "lcr", 0): record(1e-3), (DEFAULT, "lcr", 1): record(1e-3)}
    )
    pairs = [(p.reference, p.other) for its in families(arms, mini()).values() for p in its]
    assert len({frozenset(pair) for pair in pairs}) == len(pairs) == 3
    assert (DEFAULT, "lcr") not in [other for _, other in pairs]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    where = options(tmp_path_factory.mktemp("map"))
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
    run = json.loads((where.work / "diffusion" / "whitened.lcr.0" / "config.json").read_text())
    assert run["normalization"] == "whitened"
    # Diffusion models under another map of one VAE's latents: the same ceiling to the last bit.
    assert arms["whitened", "lcr"]["ceiling"] == arms[DEFAULT, "lcr"]["ceiling"]
    assert set(summary["effects"]) == {"regularisers", "settings"}
    for name in (
        "figure.svg",
        "figure.png",
        "summary.json",
        "arms.md",
        "effects.md",
        "settings.md",
    ):
        assert (where.out / name).stat().st_size > 300
    assert arms_table(summary).count("\n| ") == 6
    assert effects_table(summary).count("\n| ") >= 3 + 3
    assert (where.out / "configs" / "diffusion-whitened.lcr.0.json").exists()


def test_what_predicts(done, tmp_path):
    """Over the VAEs of the cells that change the VAE alone, a point each."""
    where, _ = done
    here = dataclasses.replace(where, out=tmp_path)
    summary = run_prediction(micro(), here, where.out)
    points = [(p["family"], p["seed"]) for p in summary["points"]]
    families = ("default/baseline", "default/lcr", "threshold-60/lcr")
    assert points == [(family, seed) for family in families for seed in (0, 1)]
    record = read_records(where.out)["learn default.lcr.1"]
    point = summary["points"][3]
    assert point["figures"]["effective_rank"] == record.measure["analysis"]["effective_rank"]
    assert point["measured"]["frechet"] == record.rows[-1]["frechet"]
    assert {"joint_viv", "neighbours_r2", "decoded_strongest"} <= set(point["figures"])
    found = summary["correlations"]["reward"]
    assert set(found) == set(point["figures"]) - {"values"}  # all alike, so it tells nothing
    assert list(found) == sorted(found, key=lambda name: -abs(found[name]["rho"]["value"]))
    assert (tmp_path / "figure.png").stat().st_size > 300
    assert (tmp_path / "table.md").read_text().count("\n| ") == len(found) + 1
    # Figures that are kept need no latents again.
    elsewhere = dataclasses.replace(here, work=tmp_path / "nothing")
    assert run_prediction(micro(), elsewhere, where.out) == summary
    with pytest.raises(ValueError, match="are not in"):
        run_prediction(micro(), dataclasses.replace(elsewhere, out=tmp_path / "o"), where.out)
    with pytest.raises(ValueError, match="got none in .*--cells default"):
        run_prediction(micro(), here, tmp_path / "empty")
    given = tmp_path / "given"
    shutil.copytree(where.out, given)
    plan = json.loads((given / "plan.json").read_text()) | {"vaes": {"baseline": "somewhere"}}
    (given / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(ValueError, match="VAEs that were given"):
        run_prediction(micro(), here, given)


def test_other_cells_and_seeds_join(done):
    where, before = done
    later = dataclasses.replace(where, seeds=(0,))
    summary = run_map(micro(), later, (CUSTOM, RECOMMENDED), ("baseline",), {})
    joined = [(a["cell"], a["variant"]) for a in summary["arms"]]
    assert joined[2:4] == [(CUSTOM, "baseline"), (RECOMMENDED, "baseline")]
    assert [a for a in summary["arms"] if a["cell"] not in (CUSTOM, RECOMMENDED)] == before["arms"]
    recipe, without_times = summary["effects"]["recipe"]
    assert without_times["other"] == "default/baseline"
    assert [end["step"] for end in recipe["ends"]] == [16, 4]
    assert [e["label"] for e in summary["effects"]["parts"]] == ["times nearer the noise"]
    assert probe(where.out / "samples.mp4").frames == 9
    told = (where.out / "samples.md").read_text()
    assert "custom/baseline after 16 steps, default/baseline after 4 steps" in told


def test_the_format_is_that_of_diffusion_models_alone(tmp_path, fresh_process):
    scale = dataclasses.replace(micro(), evaluations=(2,))
    here = dataclasses.replace(options(tmp_path, dtype="bfloat16"), seeds=(0,))
    run_map(scale, here, (DEFAULT,), ("baseline",), {})
    runs = {"vae/baseline-0": "float32", "diffusion/default.baseline.0": "bfloat16"}
    for run, dtype in runs.items():
        assert json.loads((here.work / run / "config.json").read_text())["dtype"] == dtype


def test_recipes_on_a_vae_that_is_given(done, tmp_path):
    where, _ = done
    vae = str(where.work / "vae" / "baseline-0-decoder")
    here = dataclasses.replace(options(tmp_path), seeds=(0,))
    summary = run_map(micro(), here, (DEFAULT, CUSTOM), ("lcr",), {"baseline": vae})
    assert [(a["cell"], a["variant"]) for a in summary["arms"]] == [
        (DEFAULT, "baseline"),
        (CUSTOM, "baseline"),
    ]
    with pytest.raises(ValueError, match="must be called baseline, got mine"):
        run_map(micro(), here, (DEFAULT,), (), {"mine": vae})
    with pytest.raises(ValueError, match="vaes.baseline was .* and is None"):
        run_map(micro(), here, (DEFAULT,), ("baseline",), {})
    with pytest.raises(ValueError, match="cells that train other VAEs take none by --vae: grid-16"):
        run_map(micro(), here, ("grid-16",), ("lcr",), {"baseline": vae})
    with pytest.raises(ValueError, match="cells are some of default, custom"):
        run_map(micro(), here, ("nowhere",), ("lcr",), {})


def test_the_tables_of_regularisers():
    """The baseline first, each rival beside its other settings, with what it costs; those that were tried apart."""
    curves = {
        ("channels-48", v, s): record(r)
        for v, r, seeds in (
            ("baseline", 1e-3, 3),
            ("noise", 5e-4, 3),
            ("lcr", 2e-3, 2),
            ("noise-weak", 1e-3, 3),
            ("se", 1e-3, 3),
            ("noise-mild", 1e-3, 2),
        )
        for s in range(seeds)
    }
    arms = arms_of(curves)
    summary = {
        "arms": describe(arms, VOCABULARY),
        "effects": effects(families(arms, mini()), arms, VOCABULARY),
    }
    both = regularizer_table.tables(summary, {"lcr": 1.03, "noise": 0.97})
    assert list(both) == ["channels-48", "channels-48-tried"]
    table, tried = both.values()
    head, _, *rows = [
        [c.strip() for c in line.strip("|").split("|")] for line in table.splitlines()
    ]
    named = {row[0]: dict(zip(head, row, strict=True)) for row in rows}
    assert list(named) == ["none", "LCR", "SE", "latent noise", "latent noise, gamma .3"]
    assert [row["a step"] for row in named.values()] == ["–", "1.03", "–", "0.97", "0.97"]
    assert named["LCR"]["gain in reward"].startswith("0.400 ")
    assert named["latent noise"]["gain in reward"].startswith("-0.200 ")
    assert named["none"]["verdict"] == ""
    assert named["latent noise, gamma .3"]["variant"] == "`noise-weak`"
    assert "a step" not in regularizer_table.tables(summary, {})["channels-48"]
    (mild,) = tried.splitlines()[2:]
    assert mild.startswith("| latent noise, gamma 1 | `noise-mild` | 2 | 0.97 |")
    few = summary | {"arms": summary["arms"][:2]}
    assert regularizer_table.tables(few, {}) == {}

"""The benchmarks whole, at a size that takes seconds."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch

from micro import micro, options
from ssvae.bench.interventions import MAPS, run_interventions
from ssvae.bench.records import ROWS, RunKey, keep_plan, read_records, rows_of
from ssvae.bench.scales import BASELINE, BOTH, NULL, SCALES, Scale
from ssvae.bench.stages import learn, train_vae
from ssvae.bench.vaes import HURT, run_vaes
from ssvae.data.video import probe
from ssvae.diffusion import train_diffusion
from ssvae.evaluation.probe import SIZE, save_probe, train_probe
from ssvae.evaluation.reward import true_clips, true_clips_tensors
from ssvae.regularizers import registered
from ssvae.training import make_accelerator
from ssvae.vae import problems_of, train_autoencoder

replace = dataclasses.replace


def short() -> Scale:
    return replace(micro(), evaluations=(2,))


@pytest.fixture(scope="module")
def vaes(tmp_path_factory) -> dict[str, str]:
    """Two VAEs of the benchmark's shape."""
    folder, found = tmp_path_factory.mktemp("vaes"), {}
    for name, variant in (("baseline", BASELINE), ("mine", "lcr")):
        found[name] = str(folder / name)
        train_autoencoder(micro().vae_of(variant, 0), folder / name, make_accelerator("cpu"))
    return found


@pytest.fixture(scope="module")
def done(vaes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    return folder, run_vaes(micro(), options(folder), vaes)


def test_scales_are_sound():
    for make in SCALES.values():
        scale = make()
        variants = scale.variants(0)
        assert [problems_of(v) for v in variants.values()] == [[]] * len(variants)
        assert replace(scale.decoder, init="a run").problems().found == []
        assert scale.decoder.learning_rate_at(1) == scale.decoder.learning_rate_at(10_000)
        assert scale.diffusion.cooldown_steps == 0  # the benchmark's branches have it
        enabled = {
            name: {field for field in registered() if getattr(vae, field).enabled}
            for name, vae in variants.items()
        }
        assert enabled.pop(BASELINE) == set()
        assert enabled.pop(BOTH) == {"lcr", "lmr"}
        assert enabled == {name.replace("_", "-"): {name} for name in registered()}
        assert scale.vae_of(NULL, 3) == replace(variants[BASELINE], seed=1003)


def test_results(done):
    folder, summary = done
    out = folder / "out"
    names = ["baseline", "mine", NULL, HURT]
    assert [arm["variant"] for arm in summary["arms"]] == names
    assert [e["label"] for e in summary["effects"]["Over the baseline"]] == ["mine"]
    assert [e["label"] for e in summary["effects"]["Controls"]] == [NULL, HURT]
    rows = rows_of(out / ROWS)
    assert [row["kind"] for row in rows].count("diffusion") == 2 * 2 * len(names)
    # Given VAEs serve all seeds, and the null learns the baseline's latents.
    latents = sorted(row["latents"] for row in rows if row["kind"] == "vae")
    assert latents == ["baseline", "mine", HURT]
    record = read_records(out)[RunKey("", "mine", 1)]
    assert [row["step"] for row in record.rows] == [2, 4]
    assert record.losses["loss"] == pytest.approx(2, abs=0.7)
    assert {"processor", "threads", "dtype", "torch", "commit"} <= set(record.provenance)
    assert (out / "figure.svg").read_text().startswith("<?xml")
    assert (out / "figure.png").stat().st_size > 10_000
    assert (out / "tables.md").read_text().count("\n| ") == 3 * 2 + 1 + 2 + 4
    assert probe(out / "samples.mp4").frames == 9
    assert str(folder) not in (out / "plan.json").read_text() + (out / "tables.md").read_text()


def test_controls_share_the_baselines_ceiling(done):
    arms = {arm["variant"]: arm for arm in done[1]["arms"]}
    assert arms[HURT]["ceiling"] == pytest.approx(arms["baseline"]["ceiling"], abs=1e-3)
    assert arms[NULL]["ceiling"] == arms["baseline"]["ceiling"]
    assert arms[HURT]["spectra"]["low_share"] < arms["baseline"]["spectra"]["low_share"]


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_goes_on_where_it_stopped_with_the_same_figures(vaes, done, jobs, tmp_path):
    folder, summary = done
    here = options(tmp_path, jobs=jobs)
    shutil.copytree(folder / "work", here.work)
    shutil.rmtree(here.work / "diffusion" / "mine.1")  # as if killed before its last run,
    (here.work / "latents" / "mine.json").unlink()  # and while a VAE was measured
    rows = [row for row in rows_of(folder / "out" / ROWS) if row.get("variant") != "mine"]
    here.out.mkdir()
    (here.out / ROWS).write_text("".join(json.dumps(row) + "\n" for row in rows))
    threads = torch.get_num_threads()
    torch.set_num_threads(jobs * threads)  # processes divide them, and fewer would sum otherwise
    again = run_vaes(micro(), here, vaes)
    torch.set_num_threads(threads)
    assert (
        again["effects"]["Over the baseline"][0]["gain"]
        == (summary["effects"]["Over the baseline"][0]["gain"])
    )


def test_a_vae_of_ones_own_takes_part(vaes, tmp_path):
    mine = str(Path(__file__).parents[1] / "own_vaes.py:causal")
    here = replace(options(tmp_path), seeds=(0,))
    summary = run_vaes(short(), here, {"baseline": vaes["baseline"], "mine": mine})
    (row,) = summary["effects"]["Over the baseline"]
    assert row["label"] == "mine"
    assert [r["kind"] for r in rows_of(here.out / ROWS)].count("diffusion") == 4


def test_rows_of_elsewhere_join(vaes, done, tmp_path):
    folder, summary = done
    here = options(tmp_path)
    here.out.mkdir()
    lines = (folder / "out" / ROWS).read_text().splitlines(keepends=True)
    kept = [line for line in lines if not ('"seed": 1' in line and f'"{HURT}", ' in line)]
    (here.out / ROWS).write_text("".join(kept))
    missing = set(read_records(folder / "out")) - set(read_records(here.out))
    assert missing == {RunKey("", HURT, 1)}
    again = run_vaes(micro(), here, vaes)
    for one, two in zip(again["effects"]["Controls"], summary["effects"]["Controls"], strict=True):
        assert (one["gain"], one["speedups"]) == (two["gain"], two["speedups"])
    # The missing curve and what it needs, and nothing else.
    assert [run.name for run in (here.work / "diffusion").iterdir()] == [f"{HURT}.1"]
    (here.out / ROWS).write_text('{"rows": []}\n')
    with pytest.raises(ValueError, match=r"rows.jsonl holds lines that are no results"):
        run_vaes(micro(), here, vaes)


def test_another_plan_in_the_same_folder_is_refused(vaes, done):
    folder, _ = done
    other = replace(micro(), clips=9)
    with pytest.raises(ValueError, match=r"began with other settings \(scale.clips was 8 and is 9"):
        run_vaes(other, options(folder), vaes)
    with pytest.raises(ValueError, match="began with other settings .dtype was float32"):
        run_vaes(micro(), options(folder, dtype="bfloat16"), vaes)


def test_what_cannot_be_compared(vaes, tmp_path):
    with pytest.raises(ValueError, match="at least two autoencoders to compare, got 1"):
        run_vaes(micro(), options(tmp_path), {"a": vaes["mine"]})
    with pytest.raises(ValueError, match="the controls are called null"):
        run_vaes(micro(), options(tmp_path), {"null": vaes["mine"], "other": vaes["baseline"]})


def test_what_is_refused_leaves_nothing_behind(vaes, tmp_path, own_films):
    wrong_size = micro().changed({"vae.clip.frames": 8})
    for scale, message in (
        (short().on(str(own_films)), "give --network"),
        (short().on(str(tmp_path / "nowhere")), "nowhere"),
        (wrong_size, r"baseline: .*4n \+ 1"),
    ):
        with pytest.raises(ValueError, match=message):
            run_vaes(scale, options(tmp_path / "x"), vaes)
        assert not (tmp_path / "x").exists()


def test_films_whose_captions_may_say_anything(vaes, tmp_path, own_films):
    """Distances on a network's features are scored, and it says of which."""
    scale = short().on(str(own_films))
    where = replace(options(tmp_path, network="probe"), seeds=(0,))
    summary = run_vaes(scale, where, vaes)
    (effect,) = summary["effects"]["Over the baseline"]
    assert set(effect["gain"]) == {"frechet", "kernel"}
    assert summary["protocol"]["features"].startswith("probe of the procedural world")
    text = (where.out / "tables.md").read_text()
    assert "gain in Fréchet" in text
    assert "reward" not in text.split("Protocol")[0].replace("rewards are scored", "")
    assert (where.out / "figure.png").stat().st_size > 10_000


@pytest.fixture(scope="module")
def own_films(tmp_path_factory) -> Path:
    from ssvae.data import World, write_video

    folder = tmp_path_factory.mktemp("films")
    for i in range(4):
        write_video(folder / f"{i}.mp4", World(12, 32, 32, seed=i).batch([0]).video[0], 8)
    return folder


def test_a_decoder_that_was_stopped_inside_a_round_goes_on(tmp_path):
    scale = replace(micro(), decoder_round=3, decoder_rounds=2)
    where, recipe = options(tmp_path), micro().vae_of("lcr", 0)
    vae, decoder = (where.work / "vae" / name for name in ("it", "it-decoder"))
    train_autoencoder(recipe, vae, make_accelerator("cpu"))
    begun = replace(scale.decoder, seed=0, init=str(vae), steps=4)  # a step into the second round
    train_autoencoder(begun, decoder, make_accelerator("cpu"))
    prepared = train_vae("it", recipe, scale, where)
    assert prepared.measure["decoder_steps"] == 6
    assert "step-00000006" in prepared.vae


def test_a_point_is_what_a_run_of_its_length_would_give(done, tmp_path):
    """Bit for bit: the constant rate and a branch in which it falls, against one run."""
    folder, _ = done
    where, scale = replace(options(folder), seeds=(0,)), replace(micro(), cooldown=0.5)
    rows = learn(tmp_path / "curve", "mine", None, 3, scale, where)
    assert [row["step"] for row in rows] == [2, 4]
    branch = tmp_path / "curve" / "branches" / "4"
    config = json.loads((branch / "config.json").read_text())
    assert (config["steps"], config["cooldown_steps"]) == (4, 2)
    recipe = replace(
        micro().diffusion, latents=config["latents"], steps=4, cooldown_steps=2, seed=3
    )
    last = train_diffusion(recipe, tmp_path / "run", make_accelerator("cpu"))
    (end,) = (branch / "checkpoints").glob("step-00000004")
    for name in ("model.safetensors", "transformer/diffusion_pytorch_model.safetensors"):
        assert (last / name).read_bytes() == (end / name).read_bytes()


def test_interventions_leave_the_ceiling(tmp_path):
    where = replace(options(tmp_path), seeds=(0,))
    summary = run_interventions(short(), where, None)
    arms = {arm["variant"]: arm for arm in summary["arms"]}
    assert list(arms) == list(MAPS)
    ceilings = [arm["ceiling"] for arm in arms.values()]
    assert max(ceilings) - min(ceilings) < 1e-3
    assert max(arm["round_trip"] for arm in arms.values()) < 1e-3
    low = {name: arm["spectra"]["low_share"] for name, arm in arms.items()}
    assert low["power-0"] < low["baseline"] < low["power-1.5"] < low["power-2"]


def test_a_plan_is_kept_where_it_is_the_same(tmp_path):
    here = options(tmp_path)
    keep_plan(here, micro(), {"vaes": {}})
    keep_plan(here, micro(), {"vaes": {}})
    with pytest.raises(ValueError, match="vaes.a was None and is b"):
        keep_plan(here, micro(), {"vaes": {"a": "b"}})


@pytest.mark.slow
def test_the_benchmark_on_stills(vaes, tmp_path):
    """Another source is a setting: its captions, its probe, its chance."""
    scale = short().on("stills")
    untrained = train_probe(2, batch_size=2, data="stills")
    true = true_clips(untrained, clips=64, data="stills")
    save_probe(untrained, tmp_path / "probe.safetensors", true_clips_tensors(true, SIZE))
    where = replace(options(tmp_path), seeds=(0,), probe=tmp_path / "probe.safetensors")
    summary = run_vaes(scale, where, vaes)
    assert set(summary["arms"][1]["attributes"]) == {"move", "picture"}
    assert " over " in (where.out / "samples.md").read_text()
    save_probe(train_probe(1, batch_size=2), tmp_path / "world.safetensors")
    other = replace(options(tmp_path / "x"), probe=tmp_path / "world.safetensors")
    with pytest.raises(ValueError, match="captions of stills say something else|those of stills"):
        run_vaes(scale, other, vaes)

"""The benchmarks whole, at a size that takes seconds."""

import dataclasses
import json
import shutil

import pytest
import torch
from micro import micro, options

from ssvae.bench.diffusability import run_diffusability
from ssvae.bench.interventions import MAPS, run_interventions
from ssvae.bench.records import keep_plan
from ssvae.bench.scales import SCALES, Scale
from ssvae.bench.stages import learn, train_vae
from ssvae.data.video import probe
from ssvae.diffusion import train_diffusion
from ssvae.evaluation.probe import SIZE, save_probe, train_probe
from ssvae.evaluation.reward import true_clips, true_clips_tensors
from ssvae.training import make_accelerator
from ssvae.vae import problems_of, train_autoencoder

replace = dataclasses.replace


def short() -> Scale:
    return replace(micro(), evaluations=(2,))


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    return folder, run_diffusability(micro(), options(folder), {})


def test_scales_are_sound():
    for make in SCALES.values():
        scale = make()
        variants = scale.variants(0)
        assert [problems_of(v) for v in variants.values()] == [[]] * 4
        assert replace(scale.decoder, init="a run").problems().found == []
        assert scale.decoder.learning_rate_at(1) == scale.decoder.learning_rate_at(10_000)
        assert scale.diffusion.cooldown_steps == 0  # the benchmark's branches have it
        kinds = {(v.lcr.enabled, v.lmr.enabled) for v in variants.values()}
        assert len(kinds) == 4


def test_results(done):
    folder, summary = done
    out = folder / "out"
    assert json.loads((out / "summary.json").read_text()) == json.loads(json.dumps(summary))
    names = ["baseline", "lcr", "lmr", "both", "null", "whitened-frequencies"]
    assert list(summary["variants"]) == names
    assert summary["variants"]["both"]["reward"]["seeds"] == [0, 1]
    assert summary["variants"]["both"]["decoder_steps"] == 1  # of a VAE that never gets there
    curve = json.loads((out / "curves" / "both-1.json").read_text())
    assert [row["step"] for row in curve["rows"]] == [2, 4]
    assert curve["losses"]["loss"] == pytest.approx(2, abs=0.7)
    assert (out / "figure.svg").read_text().startswith("<?xml")
    assert (out / "figure.png").stat().st_size > 10_000
    for name in ("table.md", "overview.md"):
        assert (out / name).read_text().count("\n| ") == 7
    assert probe(out / "samples.mp4").frames == 9
    # VAEs and their decoders' stages, caches, diffusion runs of two seeds.
    assert len(list((out / "configs").glob("*.json"))) == 2 * (5 * 2 + 5 + 6)
    for config in (out / "configs").glob("*.json"):
        assert str(folder) not in config.read_text()


def test_each_seed_has_vaes_of_its_own_and_the_null_has_others(done):
    folder, _ = done
    work = folder / "work"

    def seed(path):
        return json.loads((work / path / "config.json").read_text())["seed"]

    for kind in ("vae", "diffusion"):
        assert [seed(f"{kind}/lcr-{s}") for s in (0, 1)] == [0, 1]
        assert [seed(f"{kind}/null-{s}") for s in (0, 1)] == [1000, 1001]
    assert seed("diffusion/whitened-frequencies-1") == 1


def test_controls_share_the_baselines_ceiling(done):
    _, summary = done
    baseline, whitened = (summary["variants"][n] for n in ("baseline", "whitened-frequencies"))
    assert whitened["ceiling"]["value"] == pytest.approx(baseline["ceiling"]["value"], abs=1e-3)
    assert whitened["spectra"]["low_share"] < baseline["spectra"]["low_share"]


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_goes_on_where_it_stopped_with_the_same_figures(done, jobs):
    folder, summary = done
    work = folder / "work"
    shutil.rmtree(work / "diffusion" / "both-1")  # as if killed before its last run,
    (work / "latents" / "lcr-1.json").unlink()  # and while a VAE was measured
    for curve in ("both-1", "lcr-1"):
        (folder / "out" / "curves" / f"{curve}.json").unlink()
    threads = torch.get_num_threads()
    torch.set_num_threads(jobs * threads)  # processes divide them, and fewer would sum otherwise
    again = run_diffusability(micro(), options(folder, jobs=jobs), {})
    torch.set_num_threads(threads)
    assert again["variants"] == summary["variants"]
    assert (work / "diffusion" / "both-1").exists()


def test_curves_that_were_learned_elsewhere_join(done, tmp_path):
    folder, summary = done
    here = options(tmp_path)
    shutil.copytree(folder / "out", here.out)
    (here.out / "curves" / "whitened-frequencies-1.json").unlink()
    again = run_diffusability(micro(), here, {})
    assert again["variants"] == summary["variants"]
    # The missing curve and what it needs, and nothing else.
    assert [run.name for run in (here.work / "diffusion").iterdir()] == ["whitened-frequencies-1"]
    vaes = sorted(run.name for run in (here.work / "vae").iterdir())
    assert vaes == ["baseline-1", "baseline-1-decoder"]
    assert (here.out / "samples.mp4").exists()
    (here.out / "curves" / "lcr-0.json").write_text('{"rows": []}')
    with pytest.raises(ValueError, match="lcr-0.json is no curve of a benchmark"):
        run_diffusability(micro(), here, {})
    with pytest.raises(
        ValueError, match="out began with other settings .scale.clips was 8 and is 9"
    ):
        run_diffusability(replace(micro(), clips=9), replace(here, work=tmp_path / "w"), {})


def test_a_decoder_that_was_stopped_inside_a_round_goes_on(tmp_path):
    scale = replace(micro(), decoder_round=3, decoder_rounds=2)
    where, recipe = options(tmp_path), micro().variants(0)["lcr"]
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
    rows = learn(tmp_path / "curve", "lcr-0", None, 3, scale, where)
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


def test_another_plan_in_the_same_folder_is_refused(done, tmp_path):
    folder, _ = done
    older = json.loads((folder / "work" / "plan.json").read_text())
    del older["scale"]["vae"]["optimizer"]  # a setting that an older version did not have
    here = options(tmp_path)
    here.work.mkdir()
    (here.work / "plan.json").write_text(json.dumps(older))
    keep_plan(here, micro(), {"vaes": "trained"})
    assert json.loads((here.work / "plan.json").read_text())["scale"]["vae"]["optimizer"] == "muon"
    other = replace(micro(), clips=9)
    with pytest.raises(ValueError, match=r"began with other settings \(scale.clips was 8 and is 9"):
        run_diffusability(other, options(folder), {})
    with pytest.raises(ValueError, match="began with other settings .dtype was float32"):
        run_diffusability(micro(), options(folder, dtype="bfloat16"), {})


@pytest.mark.slow
def test_swapping_two_vaes_swaps_the_result(done, tmp_path):
    folder, _ = done
    a, b = (folder / "work" / "vae" / f"{name}-0-decoder" for name in ("baseline", "both"))
    results = []
    for i, pair in enumerate(([a, b], [b, a])):
        where = replace(options(tmp_path / str(i)), seeds=(0,))
        vaes = dict(zip(("baseline", "other"), map(str, pair), strict=True))
        results.append(run_diffusability(short(), where, vaes)["variants"])
    one, two = results
    for quantity in ("reward", "frechet", "ceiling", "psnr"):
        assert one["baseline"][quantity] == two["other"][quantity]
        assert one["other"][quantity] == two["baseline"][quantity]
    with pytest.raises(ValueError, match="the controls are called null"):
        run_diffusability(micro(), options(tmp_path / "x"), {"null": str(a), "other": str(b)})


def test_interventions_leave_the_ceiling(tmp_path):
    where = replace(options(tmp_path), seeds=(0,))
    summary = run_interventions(short(), where, None)
    assert list(summary["variants"]) == list(MAPS)
    ceilings = [v["ceiling"]["value"] for v in summary["variants"].values()]
    assert max(ceilings) - min(ceilings) < 1e-3
    assert max(v["round_trip"] for v in summary["variants"].values()) < 1e-3
    spectra = {name: v["spectra"] for name, v in summary["variants"].items()}
    assert spectra["power-0"]["low_share"] < spectra["baseline"]["low_share"]
    assert spectra["power-2"]["low_share"] > spectra["power-1.5"]["low_share"]
    assert spectra["power-1.5"]["low_share"] > spectra["baseline"]["low_share"]


@pytest.mark.slow
def test_the_benchmark_on_stills(done, tmp_path):
    """Another source is a setting: its captions, its probe, its chance."""
    folder, _ = done
    scale = short()
    scale = replace(
        scale,
        vae=replace(scale.vae, data="stills"),
        decoder=replace(scale.decoder, data="stills"),
    )
    vaes = {
        name: str(folder / "work" / "vae" / f"{name}-0-decoder") for name in ("baseline", "lcr")
    }
    untrained = train_probe(2, batch_size=2, data="stills")
    true = true_clips(untrained, clips=64, data="stills")
    save_probe(untrained, tmp_path / "probe.safetensors", true_clips_tensors(true, SIZE))
    where = replace(options(tmp_path), seeds=(0,), probe=tmp_path / "probe.safetensors")
    summary = run_diffusability(scale, where, vaes)
    assert set(summary["variants"]["lcr"]["attributes"]) == {"move", "picture"}
    assert " over " in (where.out / "samples.md").read_text()
    save_probe(train_probe(1, batch_size=2), tmp_path / "world.safetensors")
    other = replace(options(tmp_path / "x"), probe=tmp_path / "world.safetensors")
    with pytest.raises(ValueError, match="captions of stills say something else|those of stills"):
        run_diffusability(scale, other, vaes)

"""The benchmarks whole, at a size that takes seconds."""

import dataclasses
import json
import shutil

import pytest

from ssvae.bench.diffusability import run_diffusability
from ssvae.bench.interventions import MAPS, run_interventions
from ssvae.bench.learning import Options
from ssvae.bench.scales import SCALES, Scale, mini
from ssvae.data.video import probe
from ssvae.training import make_accelerator

replace = dataclasses.replace


def micro() -> Scale:
    scale = mini()
    small = replace(scale.start.model, base_channels=8, z_dim=4)

    def stage(recipe):
        return replace(recipe, steps=2, batch_size=2, model=small)

    return replace(
        scale,
        start=stage(scale.start),
        vae=stage(scale.vae),
        decoder=stage(scale.decoder),
        clips=16,
        diffusion=replace(
            scale.diffusion,
            batch_size=4,
            model=replace(scale.diffusion.model, layers=1, heads=1, ffn_dim=32),
        ),
        evaluations=(1, 2),
        evaluation=replace(scale.evaluation, samples=8, steps=1),
    )


def options(folder, **changes) -> Options:
    return Options(folder / "out", folder / "work", (0, 1), "cpu", **changes)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    return folder, run_diffusability(micro(), options(folder), make_accelerator("cpu"), {})


def test_scales_are_sound():
    for make in SCALES.values():
        scale = make()
        stages = [scale.start, *scale.variants(0, "start").values()]
        assert [replace(s, init=None).problems() for s in stages] == [[]] * 5
        assert replace(scale.decoder, init="a run").problems() == []
        assert scale.diffusion.decay_steps is None  # each point is a run of its own length
        kinds = {(s.lcr.weight > 0, len(s.lmr.ratios) > 1) for s in stages[1:]}
        assert len(kinds) == 4


def test_results(done):
    folder, summary = done
    out = folder / "out"
    assert json.loads((out / "summary.json").read_text()) == json.loads(json.dumps(summary))
    assert list(summary["variants"]) == ["baseline", "lcr", "lmr", "both"]
    assert summary["variants"]["both"]["reward"]["seeds"] == [0, 1]
    curves = json.loads((out / "curves.json").read_text())
    assert [row["step"] for row in curves["rows"]["both"][1]] == [1, 2]
    assert curves["losses"]["lcr"][0]["loss"] == pytest.approx(2, abs=0.7)
    assert (out / "figure.svg").read_text().startswith("<?xml")
    assert (out / "figure.png").stat().st_size > 10_000
    assert (out / "table.md").read_text().count("\n| ") == 5
    assert probe(out / "samples.mp4").frames == 9
    assert len(list((out / "configs").glob("*.json"))) == 9 + 4 + 8
    for config in (out / "configs").glob("*.json"):
        assert str(folder) not in config.read_text()


def test_goes_on_where_it_stopped_with_the_same_figures(done):
    folder, summary = done
    run = folder / "work" / "diffusion" / "both-1"
    shutil.rmtree(run)  # as if killed before its last run
    again = run_diffusability(micro(), options(folder), make_accelerator("cpu"), {})
    assert again["variants"] == summary["variants"]
    assert run.exists()


def test_another_plan_in_the_same_folder_is_refused(done):
    folder, _ = done
    other = replace(micro(), clips=17)
    with pytest.raises(ValueError, match=r"began with another plan \(scale differ"):
        run_diffusability(other, options(folder), make_accelerator("cpu"), {})


def test_swapping_two_vaes_swaps_the_result(done, tmp_path):
    folder, _ = done
    a, b = (folder / "work" / "vae" / f"{name}-decoder-0" for name in ("baseline", "both"))
    results = []
    for i, pair in enumerate(([a, b], [b, a])):
        where = replace(options(tmp_path / str(i)), seeds=(0,))
        vaes = dict(zip(("baseline", "other"), map(str, pair), strict=True))
        results.append(run_diffusability(micro(), where, make_accelerator("cpu"), vaes)["variants"])
    one, two = results
    for quantity in ("reward", "frechet", "ceiling", "psnr"):
        assert one["baseline"][quantity] == two["other"][quantity]
        assert one["other"][quantity] == two["baseline"][quantity]


def test_interventions_leave_the_ceiling(tmp_path):
    where = replace(options(tmp_path), seeds=(0,))
    summary = run_interventions(micro(), where, make_accelerator("cpu"), None)
    assert list(summary["variants"]) == list(MAPS)
    ceilings = [v["ceiling"]["value"] for v in summary["variants"].values()]
    assert max(ceilings) - min(ceilings) < 1e-3
    assert max(v["round_trip"] for v in summary["variants"].values()) < 1e-3
    spectra = {name: v["spectra"] for name, v in summary["variants"].items()}
    assert spectra["power-0"]["low_share"] < spectra["baseline"]["low_share"]
    assert spectra["power-2"]["low_share"] > spectra["power-1.5"]["low_share"]
    assert spectra["power-1.5"]["low_share"] > spectra["baseline"]["low_share"]

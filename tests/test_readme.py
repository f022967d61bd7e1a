"""What the README and the pages of docs/ show, run as it stands there."""

import json
import re
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLCogVideoX, AutoencoderKLWan

from made_videos import write
from ssvae.diffusion.pipeline import assemble, load_config, save_pipeline
from ssvae.models.official import load_official
from ssvae.recipes import RECIPES
from ssvae.storage.runs import checkpoints

ROOT = Path(__file__).parent.parent


def blocks(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


README = (ROOT / "README.md").read_text()
SIX_LINES, LIBRARY = blocks(README)
(PIPELINE,) = blocks((ROOT / "docs" / "diffusion.md").read_text())


def wan():
    torch.manual_seed(0)
    return AutoencoderKLWan(
        base_dim=8,
        z_dim=4,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
    )


def test_six_lines_on_a_foreign_vae():
    vae = wan()
    clips = torch.rand(2, 3, 9, 32, 32) * 2 - 1
    names = dict(vae=vae, clips=clips)
    exec(SIX_LINES, names)
    with_lcr = {n: p.grad.clone() for n, p in vae.named_parameters() if p.grad is not None}
    assert "encoder.conv_in.weight" in with_lcr
    assert "decoder.conv_in.weight" in with_lcr
    assert all(torch.isfinite(g).all() for g in with_lcr.values())
    assert names["masking"].token.grad is not None
    assert names["lcr"](names["posterior"].mean) > 0

    # The same without LCR and its balance: the encoder learns something else, the decoder not.
    vae.zero_grad()
    torch.manual_seed(1)
    exec(SIX_LINES, names)
    balanced = {n: p.grad.clone() for n, p in vae.named_parameters()}
    vae.zero_grad()
    torch.manual_seed(1)
    exec(re.sub(r"moments = .*", "moments = posterior.parameters", SIX_LINES), names)
    plain = {n: p.grad for n, p in vae.named_parameters()}
    assert torch.equal(balanced["decoder.conv_in.weight"], plain["decoder.conv_in.weight"])
    assert not torch.equal(balanced["encoder.conv_in.weight"], plain["encoder.conv_in.weight"])


def test_regularisers_on_cogvideox():
    torch.manual_seed(0)
    vae = AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * 4,
        up_block_types=("CogVideoXUpBlock3D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=2,
        temporal_compression_ratio=4,
    )
    code = SIX_LINES.replace("vae.config.z_dim", "4").replace("vae.quant_conv", "last")
    # CogVideoX has no quant_conv: its encoder ends on a causal convolution that wraps one.
    names = dict(vae=vae, clips=torch.rand(1, 3, 9, 32, 32), last=vae.encoder.conv_out.conv)
    exec(code, names)
    gradient = vae.encoder.conv_in.conv.weight.grad
    assert gradient is not None
    assert torch.isfinite(gradient).all()


def test_library_example(capsys):
    exec(LIBRARY, {})
    assert len(capsys.readouterr().out.split()) == 3


def test_an_exported_pipeline(run, tmp_path):
    checkpoint = checkpoints(run)[-1][1]
    save_pipeline(assemble(checkpoint), load_config(checkpoint), tmp_path / "pipeline")
    names = {}
    exec(PIPELINE.replace('"pipeline"', repr(str(tmp_path / "pipeline"))), names)
    assert names["video"].shape == (1, 9, 32, 32, 3)


def test_the_page_about_inference(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    load_official(ROOT / "tests" / "parity" / "official_small.ckpt")[0].save_pretrained("model")
    write(tmp_path / "clip.mp4", 11, 48, 64)
    checkpoint = checkpoints(run)[-1][1]
    save_pipeline(assemble(checkpoint), load_config(checkpoint), tmp_path / "pipeline")
    names: dict = {}
    page = (ROOT / "docs" / "inference.md").read_text()
    assert "fullgraph=True" in page
    for code in blocks(page):  # that the graph is whole shows before it is compiled
        exec(code.replace("fullgraph=True", 'fullgraph=True, backend="eager"'), names)
    assert capsys.readouterr().out.count("torch.Size([1, 3, ") == 4  # 1 + 4 + 4 + 4 frames
    assert names["again"].shape == names["clip"].shape
    assert names["second"].shape[2] == 8
    assert names["video"].shape == (1, 9, 32, 32, 3)


def test_the_page_about_training():
    """Its code runs, and it names every recipe."""
    page = (ROOT / "docs" / "training.md").read_text()
    for code in blocks(page):
        exec(code, {})
    for name in RECIPES:
        assert f"`{name.removesuffix('-baseline')}`" in page, name


@pytest.mark.parametrize("page", ["analysis", "scaling", "evaluation"])
def test_the_code_of_other_pages(page, capsys):
    for code in blocks((ROOT / "docs" / f"{page}.md").read_text()):
        exec(code, {})


COMMANDS = "demo models app train shards encode decode reconstruct convert stats analyze cache-latents train-diffusion generate export fit-map"


EVALUATE = [f"evaluate {what}" for what in ("reconstruction", "generation", "judge", "compare")]


@pytest.mark.parametrize(
    "command",
    [
        *COMMANDS.split(),
        "bench diffusability",
        "bench interventions",
        "bench map",
        "bench predict",
        "train-probe",
        "recipes",
        *EVALUATE,
    ],
)
def test_every_command_is_listed(command):
    assert f"| `ssvae {command}" in README


def test_what_is_said_of_the_benchmark_is_what_it_gave():
    results = ROOT / "results" / "diffusability-mini"
    table, docs = (results / "overview.md").read_text().strip(), ROOT / "docs"
    assert table in README
    assert table in (docs / "diffusion.md").read_text()
    figure = (docs / "images" / "diffusability.svg").read_text()
    assert figure == (results / "figure.svg").read_text()


def test_what_is_said_of_the_map_is_what_it_gave():
    results, docs = ROOT / "results" / "map-mini", ROOT / "docs"
    page, summary = (docs / "diffusability.md").read_text(), results / "summary.json"
    families = json.loads(summary.read_text())["effects"]
    rivals = [f"regularisers-channels-48{which}" for which in ("", "-tried")]
    for name in (*families, *rivals):
        assert (results / f"{name}.md").read_text().strip() in page, name
    assert (docs / "images" / "map.svg").read_text() == (results / "figure.svg").read_text()
    (recipe, *_) = families["recipe"]
    fast, gain = recipe["speedup"]["reward"], recipe["gain"]["reward"]
    assert len(recipe["seeds"]) == 5
    told = f"{fast['value']:.1f} times fewer steps than the custom ({fast['low']:.1f} to {fast['high']:.1f}"
    assert told in page.replace("\n", " ")
    assert told in README.replace("\n", " ")
    assert f"{gain['value']:.3f}".removeprefix("0") + " of reward" in page
    (long,) = (e for e in families["recipe"] if e["other"] == "recommended-long/baseline")
    (custom, its_own), lead = long["ends"], long["gain"]["reward"]["value"]
    assert f"{100 * lead / custom['reward']:.0f} % higher" in README
    assert f"at {its_own['reward']:.3f} where".replace("0.", ".") in README
    (lcr,) = (e for e in families["regularisers"] if e["other"] == "channels-48/lcr")
    fast = lcr["speedup"]["reward"]
    told = f"{fast['value']:.2f} times fewer steps ({fast['low']:.2f} to {fast['high']:.2f})"
    assert told in README.replace("\n", " ")
    assert lcr["verdict"] == "not shown"


def test_what_is_said_of_films_of_pictures_is_what_they_gave():
    results = ROOT / "results" / "map-mini-stills"
    page = (ROOT / "docs" / "diffusability.md").read_text()
    for table in ("recipe", "regularisers-channels-48"):
        assert (results / f"{table}.md").read_text().strip() in page
    figure = (ROOT / "docs" / "images" / "map-stills.svg").read_text()
    assert figure == (results / "figure.svg").read_text()
    effects = json.loads((results / "summary.json").read_text())["effects"]
    (lcr,) = (e for e in effects["regularisers"] if e["other"] == "default/lcr")
    low, value, high = (
        f"{lcr['gain']['reward'][k]:.3f}".replace("0.", ".") for k in ("low", "value", "high")
    )
    assert f"a latent is at {value} ({low} to {high}; {len(lcr['seeds'])} seeds)" in page
    (recipe, *_) = effects["recipe"]
    fast = recipe["speedup"]["reward"]
    told = f"{fast['value']:.2f} ({fast['low']:.2f} to {fast['high']:.2f}) times fewer steps"
    assert told in page
    told = f"{fast['value']:.1f} times fewer ({fast['low']:.1f} to {fast['high']:.1f}; five seeds)"
    assert told in README
    assert len(recipe["seeds"]) == 5
    assert f"five seeds, *{recipe['verdict']}*" in page
    ends = {
        cell: [
            json.loads((results / "curves" / f"{cell}.baseline.{s}.json").read_text())["rows"][-1]
            for s in recipe["seeds"]
        ]
        for cell in ("custom", "recommended")
    }
    moves = [row["rewards"]["move"] for rows in ends.values() for row in rows]
    assert f"(rewards of {min(moves):.2f} to {max(moves):.2f},".replace("0.", ".") in page
    custom, own = (
        sum(row["frechet"] for row in ends[cell]) / 5 for cell in ("custom", "recommended")
    )
    assert (
        f"after 1200 steps ({own:.0f}) is level with the custom after 4800 ({custom:.0f})" in page
    )


def test_what_is_said_of_a_student_is_what_was_measured():
    found = json.loads((ROOT / "results" / "distil" / "film.json").read_text())
    page = (ROOT / "docs" / "training.md").read_text()
    for row in found["rows"]:
        told = f"| {row['encoder']} | {row['decoder']} | {row['psnr']:.2f} | {row['ssim']:.3f} |"
        assert told in page
    teacher, student = (found["costs"][name]["decode_seconds"] for name in ("teacher", "student"))
    assert f"decodes {teacher / student:.1f} times" in page
    sizes = json.loads((ROOT / "results" / "distil" / "sizes.json").read_text())["rows"]
    for row in sizes:
        told = (
            f"{row['decode_seconds']:.2f}"
            if row["decode_seconds"] < 10
            else f"{row['decode_seconds']:.1f}"
        )
        assert told.removeprefix("0") in page


def test_what_a_regulariser_costs_and_gave_is_what_was_measured():
    results = ROOT / "results" / "map-mini"
    costs = json.loads((results / "costs.json").read_text())
    effects = json.loads((results / "summary.json").read_text())["effects"]["regularisers"]
    gains = {e["label"]: (e["gain"]["reward"], len(e["seeds"])) for e in effects}
    names = dict(
        LocalCorrelation=("lcr", "LCR"), LatentMasking=("lmr", "LMR"),
        ScaleEquivariance=("se", "SE"), Equivariance=("eq", "EQ-VAE"),
        LatentNoise=("noise", "latent noise, gamma .3"),
        InputMasking=("input-masking", "input masking to .35"),
        FutureDropping=("future", "dropped future, in a quarter"),
        ChannelPrefix=("prefix", "channel prefixes"),
        SpectrumMatching=("spectrum", "spectrum matching, weight .1"),
    )  # fmt: skip
    rows = {
        row.split("`")[1]: row
        for row in (ROOT / "docs" / "regularizers.md").read_text().splitlines()
        if row.startswith("| `")
    }
    for module, (name, label) in names.items():
        assert f"| {costs[name]:.2f} |".replace("| 0.", "| .") in rows[module], module
        gain, seeds = gains[f"{label}: 48 channels"]
        value, low, high = (f"{gain[k]:.3f}".replace("0.", ".") for k in ("value", "low", "high"))
        assert f"| {value} ({low} to {high}; {seeds}) |" in rows[module], module


def test_what_is_said_of_alpha_is_what_was_measured():
    page = (ROOT / "docs" / "alpha.md").read_text()
    mixed, alone = (
        json.loads((ROOT / "results" / "alpha" / f"{name}.json").read_text())
        for name in ("film", "film-alone")
    )
    given, trained = mixed["of clips with alpha, dB"]
    rows = {"given four channels": (mixed, given), "trained on": (mixed, trained)}
    rows["trained on cut-outs alone"] = alone, trained
    for label, (found, model) in rows.items():
        cut, whole = found["of clips with alpha, dB"][model], found["of clips without, dB"][model]
        values = *(cut[name] for name in ("before black", "before white", "alpha")), whole
        told = " | ".join(f"{value:.2f}".removeprefix("0") for value in values)
        assert f"| {label} | {told} |" in page
    assert f"| {mixed['of clips without, dB']['film']:.2f} |" in page


def test_what_is_said_of_the_rivals_is_what_was_measured():
    """Gains of the chosen settings over the baseline, seed by seed, and what corrects LCR's."""
    page = " ".join((ROOT / "docs" / "diffusability.md").read_text().split())
    results = ROOT / "results" / "map-mini"

    def gain(variant: str, seed: int, of: Path = results) -> str:
        ends = [
            json.loads((of / "curves" / f"channels-48.{each}.{seed}.json").read_text())
            for each in (variant, "baseline")
        ]
        value = ends[0]["rows"][-1]["reward"] - ends[1]["rows"][-1]["reward"]
        return f"{value:+.3f}".replace("0.", ".", 1)

    for rival, variant, seeds in (
        ("Input masking to half of its paper's ratio", "input-masking-weak", (1, 2, 3)),
        ("Spectrum matching at ten times its weight", "spectrum-strong", (1, 2, 3)),
        ("Channel prefixes of eighths", "prefix", (1, 2, 3)),
        ("SE", "se", (1, 2, 3)),
        ("EQ-VAE", "eq", (1, 2, 3)),
        ("EQ-VAE in a quarter of the steps", "eq-weak", (1, 2, 3)),
        ("Dropped future in a quarter of the steps", "future-weak", (1, 2, 3)),
    ):
        first, *later = (gain(variant, seed) for seed in seeds)
        assert f"{rival}: {first}, then {' and '.join(later)}." in page
    stills = ROOT / "results" / "map-mini-stills"
    summary = json.loads((stills / "summary.json").read_text())["effects"]["regularisers"]
    (own,) = (e for e in summary if e["other"] == "channels-48/lcr")
    each = [gain("lcr", seed, stills) for seed in own["seeds"]]
    value, low, high = (
        f"{own['gain']['reward'][k]:.3f}".replace("0.", ".") for k in ("value", "low", "high")
    )
    told = f"{value} ({low} to {high}; {len(each)} seeds: {', '.join(each[:-1])} and {each[-1]})"
    assert f"**None leads, LCR neither**: it is at {told}" in page
    (claim,) = (c for c in own["claims"] if c["quantity"] == "reward")
    assert (claim["corrected"] > 0.05, claim["positive"]) == (True, False)
    assert f"Behind, by itself (p {claim['p']:.2f})".replace("0.", ".") in page
    assert f"it is behind ({value}, {low} to {high}; five seeds)" in " ".join(README.split())
    assert f"it was behind ({value}, {low} to {high}; {len(each)} seeds)" in page
    assert "on the procedural world it is ahead in five of five. Behind, by itself" in page
    assert all(gain("lcr", seed).startswith("+") for seed in range(5))
    level = [gain("spectrum-strong", seed, stills) for seed in (1, 2, 3)]
    assert f"is level in reward ({level[0]}, {level[1]} and {level[2]})" in page
    level = [gain("prefix", seed, stills) for seed in (1, 2, 3)]
    assert f"Channel prefixes are level too ({level[0]}, {level[1]} and {level[2]})" in page
    turning = [gain("se", seed, stills) for seed in (1, 2, 3)]
    assert f"SE is ahead in one seed of three: {', '.join(turning)}" in page

    def frechet(variant: str, seed: int, of: Path) -> float:
        path = of / "curves" / f"channels-48.{variant}.{seed}.json"
        return json.loads(path.read_text())["rows"][-1]["frechet"]

    its, others = (
        [f"{frechet(variant, seed, stills):.0f}" for seed in (1, 2, 3)]
        for variant in ("spectrum-strong", "baseline")
    )
    told = ", ".join(its[:-1]) + f" and {its[-1]} for the baseline's "
    assert (
        f"({told}{', '.join(others[:-1])} and {others[-1]}), on the procedural world in one of"
        in page
    )
    assert all(int(a) < int(b) for a, b in zip(its, others, strict=True))
    lower = [
        frechet("spectrum-strong", seed, results) < frechet("baseline", seed, results)
        for seed in (1, 2, 3)
    ]
    assert sum(lower) == 1
    gains = {e["other"].split("/")[1]: e["gain"]["reward"]["value"] for e in summary}
    for rivals, told in (
        (
            ("se", "input-masking-weak", "future-weak"),
            "SE, input masking and dropped future are at {} to {}",
        ),
        (("noise-weak",), "latent noise is at {}"),
        (("eq",), "**EQ-VAE far behind**: {} "),
    ):
        low, high = (f"{f(gains[r] for r in rivals):.3f}".replace("0.", ".") for f in (min, max))
        assert told.format(low, high) in page
    assert ", ".join(gain("lcr", seed) for seed in (0, 3)) + f" and {gain('lcr', 4)}" in page
    effects = json.loads((results / "summary.json").read_text())["effects"]["regularisers"]
    lcr = {e["label"]: e["claims"][1] for e in effects if e["label"].startswith("LCR")}
    single = [lcr[f"LCR: {cell}"]["p"] for cell in ("48 channels", "patches of 2x2")]
    told = " and ".join(f"{p:.2f}".removeprefix("0") for p in single)
    claims = sum(len(e["claims"]) for e in effects)
    assert (
        f"Over all five their p are {told}; Holm over the {claims} of these tables gives 1" in page
    )
    assert {lcr["LCR: 48 channels"]["corrected"], lcr["LCR: patches of 2x2"]["corrected"]} == {1.0}


def test_what_is_said_of_number_formats_is_what_was_measured():
    """The same VAEs and seeds, learned in bfloat16 (the map) and in float32 (the benchmark)."""
    found = []
    for path in (ROOT / "results" / "map-mini" / "curves").glob("default.*.json"):
        _, variant, seed = path.stem.split(".")
        other = ROOT / "results" / "diffusability-mini" / "curves" / f"{variant}-{seed}.json"
        if other.exists():
            half, full = (json.loads(p.read_text()) for p in (path, other))
            if half["measure"]["ceiling"] == full["measure"]["ceiling"]:  # the very same VAE
                found.append(half["rows"][-1]["reward"] - full["rows"][-1]["reward"])
    assert len(found) == 10
    largest, mean = max(map(abs, found)), abs(sum(found) / len(found))
    told = f"differ by at most {largest:.3f}, in the mean by {mean:.3f}".replace("0.", ".")
    page = " ".join((ROOT / "docs" / "diffusability.md").read_text().split())
    assert told in page


def test_what_a_cache_spares_a_student_is_what_was_measured():
    rows = json.loads((ROOT / "results" / "distil" / "steps.json").read_text())["rows"]
    film, published = ((row["cached_seconds"], row["encoding_seconds"]) for row in rows)
    page = (ROOT / "docs" / "training.md").read_text()
    assert f"takes {film[0]:.2f} s for {film[1]:.2f} with".replace("0.", ".") in page
    told = f"and {published[0]:.2f} s for {published[1]:.1f} with".replace(" 0.", " .")
    assert told in page


def test_what_is_said_of_strips_is_what_was_measured():
    found = json.loads((ROOT / "results" / "strips" / "film.json").read_text())
    page = (ROOT / "docs" / "inference.md").read_text()
    for row in found["rows"]:
        sent = row["sent"] / 1e6 / found["frames"]
        told = f"| {row['task']} | {row['processes']} | {row['megabytes']:.0f} | {sent:.2f} |"
        assert told.replace("| 0.00 |", "| 0 |") in page


def test_what_is_said_of_prediction_is_what_was_measured():
    from scipy.stats import spearmanr

    results, docs = ROOT / "results" / "predict-mini", ROOT / "docs"
    page = (docs / "diffusability.md").read_text()
    assert (results / "table.md").read_text().strip() in page
    assert (docs / "images" / "predict.svg").read_text() == (results / "figure.svg").read_text()
    found = json.loads((results / "summary.json").read_text())

    def told(target: str, figure: str) -> list[str]:
        """Its rho, and without the family whose loss weakens it most."""
        one = found["correlations"][target][figure]
        values = one["rho"]["value"], min(one["without"].values(), key=abs)
        return [f"{value:.2f}".replace("0.", ".", 1) for value in values]

    assert "steps to 90 % ({}, and {} without any".format(*told("steps", "values")) in page
    assert "the reward ({}, and {})".format(*told("reward", "values")) in page
    steps = [told("steps", figure)[0] for figure in ("joint_viv_sum", "effective_rank")]
    assert "order the steps ({} and {})".format(*steps) in page
    points = found["points"]
    wide = [p for p in points if p["figures"]["values"] == 48 * 3 * 64]
    assert {p["figures"]["values"] for p in points} == {48 * 3 * 64, 16 * 3 * 64}
    unreached = [p["measured"]["steps"] is None for p in wide]
    assert sum(unreached) == sum(p["measured"]["steps"] is None for p in points)
    assert f"{sum(unreached)} of the {len(points)} never get there" in page
    wide = [p for p in wide if not p["family"].startswith("pixels-64")]
    families = len({p["family"] for p in wide})
    told_of = f"among the {len(wide)} VAEs of 48\nchannels and 32x32 pixels, of {families} families"
    assert told_of in page
    rho = {
        (name, target): float(
            spearmanr([p["figures"][name] for p in wide], [p["measured"][target] for p in wide])[0]
        )
        for name in wide[0]["figures"]
        if name != "values"
        for target in ("reward", "frechet")
    }
    strongest = max(rho, key=lambda pair: abs(rho[pair]))
    assert strongest == ("psnr", "reward")
    assert f"by more than {abs(rho[strongest]):.2f} ".replace("0.", ".") in page
    curves = ROOT / "results" / "map-mini" / "curves"
    decoder_steps = [
        json.loads((curves / f"{p['family'].replace('/', '.')}.{p['seed']}.json").read_text())[
            "measure"
        ]["decoder_steps"]
        for p in wide
    ]
    orders = [
        f"{spearmanr(decoder_steps, values)[0]:.2f}".replace("0.", ".")
        for values in (
            [p["figures"]["psnr"] for p in wide],
            [p["measured"]["reward"] for p in wide],
        )
    ]
    assert "which orders PSNR by {} and the reward by {}".format(*orders) in page

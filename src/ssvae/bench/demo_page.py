"""The demo's page: what both VAEs and their diffusion models gave, side by side."""

import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch

from ssvae.analysis import FidelityResult
from ssvae.bench.claims import SAME_CEILING
from ssvae.bench.demo import (
    HELD_OUT_SEED,
    REGULARISED,
    SHOWN,
    DemoRuns,
    Variant,
    held_out,
    real_clip,
)
from ssvae.bench.scales import BASELINE
from ssvae.bench.stages import CACHE_SEED
from ssvae.data import probe
from ssvae.data.world import VOCABULARY
from ssvae.report import html
from ssvae.report.figures import Band, Spectra, diffusability_figure, to_svg, training_figure
from ssvae.report.tables import Row, analysis_rows, number, percent
from ssvae.storage.files import write_json
from ssvae.training import make_accelerator


def write_page(runs: DemoRuns) -> Path:
    """Write ``report.html``, its figures and ``summary.json``; the page's path."""
    figures = _figures(runs)
    (runs.out / "figures").mkdir(parents=True, exist_ok=True)
    for name, svg in figures.items():
        (runs.out / "figures" / f"{name}.svg").write_text(svg)
    summary = {
        name: variant.measures.analysis.summary()
        | dict(real_reconstruction=variant.measures.real_scores)
        | dict(diffusion=variant.scores, ceiling=variant.ceiling)
        | dict(decoder_steps=variant.prepared.measure["decoder_steps"])
        for name, variant in runs.variants.items()
    }
    write_json(runs.out / "summary.json", summary, indent=2)
    recipe = runs.variants[REGULARISED].recipe
    analysis = runs.variants[BASELINE].measures.analysis
    return html.render(
        runs.out / "report.html",
        "demo.html.j2",
        lead=_lead(runs),
        allowed=_allowed(runs),
        names=list(runs.variants),
        rows=rows_of(runs),
        strips=_strips(runs),
        spectra_svg=figures["spectra"],
        training_svg=figures["training"],
        parameters=f"{analysis.model.parameters / 1e6:.2f} M",
        clips_seen=f"{recipe.steps * recipe.batch_size:,}",
        steps=f"{recipe.steps:,}",
        batch_size=recipe.batch_size,
        analysed=f"Posterior means of {analysis.protocol.clips} held-out procedural clips",
        protocol=_protocol(runs),
    )


def rows_of(runs: DemoRuns) -> list[Row]:
    """The figures of both, beside each other."""
    variants = runs.variants
    measures = {name: variant.measures for name, variant in variants.items()}
    steps = variants[BASELINE].scores[-1]["step"]

    def row(name: str, note: str, value: Callable[[str], str]) -> Row:
        return Row(name, tuple(value(variant) for variant in variants), note)

    def fidelity(name: str) -> FidelityResult:
        found = measures[name].analysis.fidelity
        assert found is not None
        return found

    procedural, real = "held-out procedural clips", "real clips, never trained on"
    return [
        *analysis_rows([m.analysis for m in measures.values()]),
        row("PSNR", f"dB, {procedural}", lambda n: number(fidelity(n).psnr, 2)),
        row("SSIM", procedural, lambda n: number(fidelity(n).ssim)),
        row("PSNR, real", f"dB, {real}", lambda n: number(measures[n].real_scores["psnr"], 2)),
        row("SSIM, real", real, lambda n: number(measures[n].real_scores["ssim"])),
        row(
            "reward",
            f"of generated clips after {steps} diffusion steps, one seed",
            lambda n: number(variants[n].scores[-1]["reward"]),
        ),
        row(
            "reward's ceiling",
            "true clips, reconstructed: no diffusion model can pass it",
            lambda n: number(variants[n].ceiling),
        ),
    ]


def _strips(runs: DemoRuns) -> list[html.VideoStrip]:
    """Films: what was generated, procedural clips, and real ones."""
    captions = runs.options.scorer(runs.scale).captions[:SHOWN]
    measures = {name: variant.measures for name, variant in runs.variants.items()}
    strips = [
        html.strip(
            "Generated clips",
            "The same captions and the same noise, row by row: "
            f"{'; '.join(captions)}. {_by_attribute(runs)}",
            {name: html.grid(v.samples, 3, 4) for name, v in runs.variants.items()},
            fps=6,
        ),
        html.strip(
            "The procedural world",
            "Six clips that neither VAE has seen, enlarged.",
            {"original": html.grid(held_out(runs.scale, range(SHOWN)), 3, 4)}
            | {name: html.grid(m.procedural, 3, 4) for name, m in measures.items()},
            fps=6,
        ),
    ]
    for i, video in enumerate(runs.videos):
        clip = real_clip(video)
        named = {"original": clip} | {name: m.real[i] for name, m in measures.items()}
        note = f"{clip.shape[1]} frames of real video; the VAEs know nothing but moving shapes."
        strips.append(html.strip(video.name, note, named, probe(video).fps))
    return strips


def _figures(runs: DemoRuns) -> dict[str, str]:
    """Spectra with learning curves, and the VAEs' training, as SVG."""
    variants = runs.variants
    return dict(
        spectra=to_svg(
            diffusability_figure(
                {name: Spectra.of(v.measures.analysis) for name, v in variants.items()},
                {name: _band(variant) for name, variant in variants.items()},
                {name: variant.ceiling for name, variant in variants.items()},
            )
        ),
        training=to_svg(training_figure({n: variant.metrics for n, variant in variants.items()})),
    )


def _band(variant: Variant) -> Band:
    """Rewards over steps, with 95 % intervals over clips."""
    rewards = [row["reward"] for row in variant.scores]
    halves = [1.96 * row["reward_error"] for row in variant.scores]
    pairs = list(zip(rewards, halves, strict=True))
    return Band(
        [row["step"] for row in variant.scores],
        rewards,
        [reward - half for reward, half in pairs],
        [reward + half for reward, half in pairs],
    )


def _lead(runs: DemoRuns) -> str:
    """What changed, in sentences that hold whichever way it went."""
    base, regularised = (runs.variants[n].measures.analysis for n in (BASELINE, REGULARISED))
    low = percent(base.frequency.low_share), percent(regularised.frequency.low_share)
    rank = base.channels.effective_rank, regularised.channels.effective_rank
    one, two = runs.variants[BASELINE], runs.variants[REGULARISED]
    last = one.scores[-1], two.scores[-1]
    return (
        "Local correlation regularisation (LCR) makes neighbouring latents alike. With it "
        f"{low[1]} of their energy lies at low frequencies instead of {low[0]}, and their channels "
        f"have an effective rank of {rank[1]:.1f} instead of {rank[0]:.1f}. Its price at the "
        f"ceiling (what true clips score once they are reconstructed): {two.ceiling:.3f} against "
        f"{one.ceiling:.3f}. After {last[0]['step']} steps the same diffusion model's clips score "
        f"{last[1]['reward']:.3f} on its latents and {last[0]['reward']:.3f} on the baseline's."
    )


def _by_attribute(runs: DemoRuns) -> str:
    """What of a caption the clips show: why a shape may be none yet."""
    last = [variant.scores[-1] for variant in runs.variants.values()]

    def of_kind(kind: str) -> str:
        found = " and ".join(f"{row['rewards'][kind]:.2f}" for row in last)
        return f"{kind} {found} ({VOCABULARY.chance([kind]):.2f})"

    return (
        f"After {last[0]['step']} steps the probe finds what was asked for with probability (by "
        "chance in brackets): " + ", ".join(map(of_kind, VOCABULARY.kinds)) + "."
    )


def _allowed(runs: DemoRuns) -> str:
    """What may be concluded from one seed."""
    gap = abs(runs.variants[REGULARISED].ceiling - runs.variants[BASELINE].ceiling)
    fair = (
        f"The ceilings agree to {gap:.3f}, so the two scores may be set side by side"
        if gap <= SAME_CEILING
        else f"The ceilings differ by {gap:.3f}, so the two scores may not be compared"
    )
    return (
        f"{fair}; but one seed shows what the pieces are and how they fit, not which is faster. "
        "ssvae bench vaes asks that of VAEs of yours, over five seeds, with controls."
    )


def _protocol(runs: DemoRuns) -> str:
    scale, recipe = runs.scale, runs.variants[REGULARISED].recipe
    analysis = runs.variants[REGULARISED].measures.analysis
    device = make_accelerator(runs.options.device, runs.options.dtype).device
    clip, evaluation = recipe.clip, scale.evaluation
    return (
        f"ssvae {version('ssvae')}, torch {torch.__version__}, on {device.type} with "
        f"{torch.get_num_threads()} threads; seed {recipe.seed}. Training clips of {clip.frames} "
        f"frames of {clip.height}x{clip.width} from the procedural world, latents of "
        f"{analysis.protocol.latent_shape[0]} channels at {analysis.compression['time']:g}x "
        f"compression in time and {analysis.compression['height']:g}x in space. LCR with weight "
        f"{recipe.lcr.weight:g} and threshold {recipe.lcr.threshold:g}. Then the decoder alone, "
        f"in rounds of {scale.decoder_round} steps, until true clips that it reconstructs score "
        f"{scale.ceiling:g}. Spectra and scores from posterior means, on {analysis.protocol.clips} "
        f"clips of world {HELD_OUT_SEED}; PSNR over [0, 1], the mean over clips; SSIM with an "
        f"11x11 Gaussian window. Diffusion models learn the latents of {scale.clips} clips of "
        f"world {CACHE_SEED}; {evaluation.samples} clips an "
        f"evaluation, {evaluation.steps} sampling steps, guidance {evaluation.guidance:g}. Real "
        f"clips: {', '.join(v.name for v in runs.videos)}, up to 33 frames, at most 320 pixels "
        f"wide. This call took {time.monotonic() - runs.began:.0f} s."
    )

"""The demo's page: what both VAEs and their diffusion models gave, side by side."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from ssvae.analysis import Analysis, analyze, psnr, ssim
from ssvae.bench.claims import SAME_CEILING
from ssvae.bench.demo import REGULARISED, SHOWN, DemoRuns, Variant
from ssvae.bench.scales import BASELINE
from ssvae.bench.stages import CACHE_SEED
from ssvae.data import World, probe, read_clip
from ssvae.data.world import VOCABULARY
from ssvae.inference import reconstruct_clips
from ssvae.models import AutoencoderKLSSVAE
from ssvae.models.finding import load_vae
from ssvae.report import html
from ssvae.report.figures import Band, Spectra, diffusability_figure, to_svg, training_figure
from ssvae.report.tables import Row, analysis_rows, number, percent
from ssvae.storage.files import write_json
from ssvae.training import make_accelerator

HELD_OUT_SEED = 1_000_003  # a world that no training run of a small seed has seen
HELD_OUT_CLIPS = 256


@dataclass(frozen=True)
class DemoMeasures:
    """What was measured of both VAEs."""

    vaes: Mapping[str, AutoencoderKLSSVAE]
    clips: int
    """Held-out procedural clips that were analysed."""
    first: torch.Tensor
    """Some of them (N, 3, T, H, W)."""
    real: Sequence[torch.Tensor]
    """Real clips (3, T, H, W)."""
    reconstructions: Mapping[str, Sequence[torch.Tensor]]
    analyses: Mapping[str, Analysis]
    real_scores: Mapping[str, Mapping[str, float]]
    rows: Sequence[Row]
    """All figures, for a table."""


def measure_demo(runs: DemoRuns, advance: Callable[[int, str], Any]) -> DemoMeasures:
    """Analyse both VAEs, and pass the real clips through them."""
    device = make_accelerator(runs.options.device, runs.options.dtype).device
    vaes = {name: load_vae(v.prepared.vae, device) for name, v in runs.variants.items()}
    world, clips = World(*runs.scale.size, HELD_OUT_SEED), min(HELD_OUT_CLIPS, runs.scale.clips)
    held_out = [world.batch(range(i, min(i + 32, clips))) for i in range(0, clips, 32)]
    real = [_real_clip(video) for video in runs.videos]
    analyses, real_scores, reconstructions = {}, {}, {}
    for i, (name, vae) in enumerate(vaes.items()):
        analyses[name] = analyze(vae, (batch.video for batch in held_out))
        advance(2 * i + 1, f"spectra and scores of {name}")
        reconstructions[name] = [reconstruct_clips(vae, clip[None])[0] for clip in real]
        real_scores[name] = _mean_scores(reconstructions[name], real)
        advance(2 * i + 2, f"real clips through {name}")
    rows = _rows(runs, analyses, real_scores)
    first = held_out[0].video[:SHOWN]
    return DemoMeasures(vaes, clips, first, real, reconstructions, analyses, real_scores, rows)


def write_page(runs: DemoRuns, measures: DemoMeasures) -> Path:
    """Write ``report.html``, its figures and ``summary.json``; the page's path."""
    figures = _figures(runs, measures.analyses)
    (runs.out / "figures").mkdir(parents=True, exist_ok=True)
    for name, svg in figures.items():
        (runs.out / "figures" / f"{name}.svg").write_text(svg)
    summary = {
        name: measures.analyses[name].summary()
        | dict(real_reconstruction=measures.real_scores[name])
        | dict(diffusion=variant.scores, ceiling=variant.ceiling)
        | dict(decoder_steps=variant.prepared.measure["decoder_steps"])
        for name, variant in runs.variants.items()
    }
    write_json(runs.out / "summary.json", summary, indent=2)
    recipe = runs.variants[REGULARISED].recipe
    parameters = sum(p.numel() for p in measures.vaes[BASELINE].parameters())
    return html.render(
        runs.out / "report.html",
        "demo.html.j2",
        lead=_lead(runs, measures.analyses),
        allowed=_allowed(runs),
        names=list(measures.vaes),
        rows=measures.rows,
        strips=_strips(runs, measures),
        spectra_svg=figures["spectra"],
        training_svg=figures["training"],
        parameters=f"{parameters / 1e6:.2f} M",
        clips_seen=f"{recipe.steps * recipe.batch_size:,}",
        steps=f"{recipe.steps:,}",
        batch_size=recipe.batch_size,
        analysed=f"Posterior means of {measures.clips} held-out procedural clips",
        protocol=_protocol(runs, measures),
    )


def _rows(
    runs: DemoRuns,
    analyses: Mapping[str, Analysis],
    real_scores: Mapping[str, Mapping[str, float]],
) -> list[Row]:
    """The figures of both, beside each other."""
    variants = runs.variants
    steps = variants[BASELINE].scores[-1]["step"]

    def row(name: str, note: str, value: Callable[[str], str]) -> Row:
        return Row(name, tuple(value(variant) for variant in variants), note)

    procedural, real = "held-out procedural clips", "real clips, never trained on"
    return [
        *analysis_rows(list(analyses.values())),
        row("PSNR", f"dB, {procedural}", lambda n: number(analyses[n].fidelity.psnr, 2)),
        row("SSIM", procedural, lambda n: number(analyses[n].fidelity.ssim)),
        row("PSNR, real", f"dB, {real}", lambda n: number(real_scores[n]["psnr"], 2)),
        row("SSIM, real", real, lambda n: number(real_scores[n]["ssim"])),
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


def _strips(runs: DemoRuns, measures: DemoMeasures) -> list[html.VideoStrip]:
    """Films: what was generated, procedural clips, and real ones."""
    captions = runs.options.scorer(runs.scale).captions[:SHOWN]
    vaes, first = measures.vaes, measures.first
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
            {"original": html.grid(first, 3, 4)}
            | {n: html.grid(reconstruct_clips(vae, first), 3, 4) for n, vae in vaes.items()},
            fps=6,
        ),
    ]
    for i, (video, clip) in enumerate(zip(runs.videos, measures.real, strict=True)):
        named = {"original": clip} | {name: measures.reconstructions[name][i] for name in vaes}
        note = f"{clip.shape[1]} frames of real video; the VAEs know nothing but moving shapes."
        strips.append(html.strip(video.name, note, named, probe(video).fps))
    return strips


def _figures(runs: DemoRuns, analyses: Mapping[str, Analysis]) -> dict[str, str]:
    """Spectra with learning curves, and the VAEs' training, as SVG."""
    variants = runs.variants
    return dict(
        spectra=to_svg(
            diffusability_figure(
                {name: Spectra.of(analysis) for name, analysis in analyses.items()},
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


def _real_clip(video: Path) -> torch.Tensor:
    """33 frames of a video from its second second on, 320 pixels wide at most: (3, T, H, W)."""
    info = probe(video)
    scale = min(1.0, 320 / info.width)
    height, width = (max(16, round(n * scale) // 2 * 2) for n in (info.height, info.width))
    frames = min(33, info.frames)
    start = max(0.0, min(1.0, info.duration - (frames + 1) / float(info.fps)))
    return read_clip(video, frames, start, size=(height, width))


def _mean_scores(
    reconstructions: list[torch.Tensor], clips: list[torch.Tensor]
) -> dict[str, float]:
    """PSNR and SSIM over clips (3, T, H, W) of several sizes."""
    pairs = [(a[None], b[None]) for a, b in zip(reconstructions, clips, strict=True)]
    scores = {"psnr": psnr, "ssim": ssim}
    return {n: float(torch.cat([f(a, b) for a, b in pairs]).mean()) for n, f in scores.items()}


def _lead(runs: DemoRuns, analyses: Mapping[str, Analysis]) -> str:
    """What changed, in sentences that hold whichever way it went."""
    base, regularised = analyses[BASELINE], analyses[REGULARISED]
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


def _protocol(runs: DemoRuns, measures: DemoMeasures) -> str:
    scale, recipe = runs.scale, runs.variants[REGULARISED].recipe
    vae = measures.vaes[REGULARISED]
    clip, evaluation = recipe.clip, scale.evaluation
    return (
        f"ssvae {version('ssvae')}, torch {torch.__version__}, on {vae.device.type} with "
        f"{torch.get_num_threads()} threads; seed {recipe.seed}. Training clips of {clip.frames} "
        f"frames of {clip.height}x{clip.width} from the procedural world, latents of "
        f"{vae.config['z_dim']} channels at {vae.time_factor}x compression in time and "
        f"{vae.space_factor}x in space. LCR with weight {recipe.lcr.weight:g} and threshold "
        f"{recipe.lcr.threshold:g}. Then the decoder alone, in rounds of {scale.decoder_round} "
        f"steps, until true clips that it reconstructs score {scale.ceiling:g}. Spectra and scores "
        f"from posterior means, on {measures.clips} clips of world {HELD_OUT_SEED}; PSNR over [0, "
        "1], the mean over clips; SSIM with an 11x11 Gaussian window. Diffusion models learn the "
        f"latents of {scale.clips} clips of world {CACHE_SEED}; {evaluation.samples} clips an "
        f"evaluation, {evaluation.steps} sampling steps, guidance {evaluation.guidance:g}. Real "
        f"clips: {', '.join(v.name for v in runs.videos)}, up to 33 frames, at most 320 pixels "
        f"wide. This call took {time.monotonic() - runs.began:.0f} s."
    )

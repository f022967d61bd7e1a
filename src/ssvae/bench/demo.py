"""The demo's runs and measures: one seed of two variants of the benchmark, smaller."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from ssvae.analysis import Analysis, analyze, psnr, ssim
from ssvae.bench.records import RunKey, recording
from ssvae.bench.scales import BASELINE, Scale, laptop
from ssvae.bench.scoring import Sampling
from ssvae.bench.stages import SAMPLES, Options, Prepared, train_vae
from ssvae.bench.tasks import OnProgress, Task, run_tasks
from ssvae.data import World, probe, read_clip
from ssvae.inference import reconstruct_clips
from ssvae.latents.cache import LatentCache
from ssvae.models.finding import load_vae
from ssvae.storage.files import read_rows
from ssvae.vae import VAERecipe

REGULARISED = "LCR"
VARIANTS = {BASELINE: BASELINE, REGULARISED: "lcr"}
"""Their names here, and in the benchmark."""
GENERATED = 128  # clips at each evaluation
SHOWN = 6
HELD_OUT_SEED = 1_000_003  # a world that no training run of a small seed has seen
HELD_OUT_CLIPS = 256
MEASURING = 50  # steps of a diffusion model that measuring a VAE takes as long as


@dataclass(frozen=True)
class Measures:
    """What a VAE does to clips that it has not seen."""

    analysis: Analysis
    """Of held-out procedural clips."""
    procedural: torch.Tensor
    """Some of these, reconstructed (N, 3, T, H, W)."""
    real: Sequence[torch.Tensor]
    """Real clips, reconstructed (3, T, H, W)."""
    real_scores: Mapping[str, float]
    """PSNR in dB, and SSIM, the mean over these."""


@dataclass(frozen=True)
class Variant:
    """One of the two VAEs, and the diffusion model on its latents."""

    recipe: VAERecipe
    prepared: Prepared
    metrics: Sequence[Mapping[str, float | None]]
    """Of the VAE's training, a row a step."""
    scores: Sequence[Mapping[str, Any]]
    """Of the diffusion model, a row an evaluation."""
    samples: torch.Tensor
    """Clips that it generated (N, 3, T, H, W)."""
    measures: Measures

    @property
    def ceiling(self) -> float:
        """The reward of true clips that the VAE reconstructs."""
        return self.prepared.measure["ceiling"]["reward"]


@dataclass(frozen=True)
class DemoRuns:
    """All that was trained."""

    out: Path
    scale: Scale
    options: Options
    variants: Mapping[str, Variant]
    """The baseline first."""
    videos: Sequence[Path]
    began: float


def run_demo(
    out: Path,
    steps: int | None,
    diffusion_steps: int,
    seed: int,
    device: str,
    dtype: str,
    videos: Sequence[Path],
    on_progress: OnProgress = lambda done, total, note: None,
) -> DemoRuns:
    """Train both VAEs, and a diffusion model on the latents of each; go on where it was stopped."""
    began = time.monotonic()
    for video in videos:
        probe(video)  # a wrong path should not wait for the end of the training
    scale = demo_scale(steps, diffusion_steps)
    recipes = {name: scale.vae_of(variant, seed) for name, variant in VARIANTS.items()}
    jobs = min(len(VARIANTS), torch.get_num_threads())
    options = Options(out, out / "runs", (seed,), device, dtype, jobs=jobs, part="demo")
    tasks, learners, measures, labels = [], {}, {}, {}
    for name, recipe in recipes.items():
        label = labels[name] = f"{VARIANTS[name]}-{seed}-{recipe.steps}"
        runs = tuple(options.work / "vae" / run for run in (label, f"{label}-decoder"))
        arguments = label, recipe, scale, options
        taken = recipe.steps + 2 * scale.decoder_round
        tasks.append(Task(f"latents {label}", train_vae, arguments, runs=runs, steps=taken))
        key = RunKey("", f"{label}-{diffusion_steps}", seed)
        learners[name] = recording(key, label, None, seed, scale, options)
        measures[name] = Task(
            f"spectra and clips of {label}",
            measure,
            (label, scale, options, videos),
            needs=(f"latents {label}",),
            steps=MEASURING,
        )
    done = run_tasks([*tasks, *learners.values(), *measures.values()], jobs, on_progress)
    variants = {
        name: Variant(
            recipe=recipes[name],
            prepared=done[f"latents {labels[name]}"],
            metrics=read_rows(options.work / "vae" / labels[name] / "metrics.jsonl"),
            scores=done[task.name].rows,
            samples=load_file(task.runs[0] / SAMPLES)["clips"][:SHOWN],
            measures=done[measures[name].name],
        )
        for name, task in learners.items()
    }
    return DemoRuns(out, scale, options, variants, videos, began)


def demo_scale(steps: int | None, diffusion_steps: int) -> Scale:
    """The benchmark's scale for two cores, with a shorter diffusion run and fewer samples."""
    scale = dataclasses.replace(
        laptop(),
        evaluations=(diffusion_steps // 2, diffusion_steps),
        evaluation=Sampling(samples=GENERATED),
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
        evaluation=Sampling(samples=min(GENERATED, 4 * steps)),
    )


def measure(label: str, scale: Scale, options: Options, videos: Sequence[Path]) -> Measures:
    """Analyse the VAE whose latents are called ``label``, and pass real clips through it."""
    device = options.accelerator().device
    vae = load_vae(LatentCache(options.work / "latents" / label).vae, device)
    clips = min(HELD_OUT_CLIPS, scale.clips)
    batches = (held_out(scale, range(i, min(i + 32, clips))) for i in range(0, clips, 32))
    real = [real_clip(video) for video in videos]
    reconstructions = [reconstruct_clips(vae, clip[None])[0] for clip in real]
    return Measures(
        analysis=analyze(vae, batches),
        procedural=reconstruct_clips(vae, held_out(scale, range(SHOWN))),
        real=reconstructions,
        real_scores=_mean_scores(reconstructions, real),
    )


def held_out(scale: Scale, indices: Sequence[int]) -> torch.Tensor:
    """Procedural clips (B, 3, T, H, W) that no VAE has seen."""
    return World(*scale.size, HELD_OUT_SEED).batch(indices).video


def real_clip(video: Path) -> torch.Tensor:
    """33 frames of a video from its second second on, 320 pixels wide at most: (3, T, H, W)."""
    info = probe(video)
    scale = min(1.0, 320 / info.width)
    height, width = (max(16, round(n * scale) // 2 * 2) for n in (info.height, info.width))
    frames = min(33, info.frames)
    start = max(0.0, min(1.0, info.duration - (frames + 1) / float(info.fps)))
    return read_clip(video, frames, start, size=(height, width))


def _mean_scores(
    reconstructions: Sequence[torch.Tensor], clips: Sequence[torch.Tensor]
) -> dict[str, float]:
    """PSNR and SSIM over clips (3, T, H, W) of several sizes."""
    pairs = [(a[None], b[None]) for a, b in zip(reconstructions, clips, strict=True)]
    scores = {"psnr": psnr, "ssim": ssim}
    return {n: float(torch.cat([f(a, b) for a, b in pairs]).mean()) for n, f in scores.items()}

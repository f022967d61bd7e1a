"""The demo's runs: one seed of two variants of the benchmark, smaller."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from ssvae.bench.records import RunKey, recording
from ssvae.bench.scales import BASELINE, Scale, laptop
from ssvae.bench.scoring import Sampling
from ssvae.bench.stages import SAMPLES, Options, Prepared, train_vae
from ssvae.bench.tasks import OnProgress, Task, run_tasks
from ssvae.data import probe
from ssvae.storage.files import read_rows
from ssvae.vae import VAERecipe

REGULARISED = "LCR"
VARIANTS = {BASELINE: BASELINE, REGULARISED: "lcr"}
"""Their names here, and in the benchmark."""
GENERATED = 128  # clips at each evaluation
SHOWN = 6


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
    tasks, learners, labels = [], {}, {}
    for name, recipe in recipes.items():
        label = labels[name] = f"{VARIANTS[name]}-{seed}-{recipe.steps}"
        runs = tuple(options.work / "vae" / run for run in (label, f"{label}-decoder"))
        arguments = label, recipe, scale, options
        taken = recipe.steps + 2 * scale.decoder_round
        tasks.append(Task(f"latents {label}", train_vae, arguments, runs=runs, steps=taken))
        key = RunKey("", f"{label}-{diffusion_steps}", seed)
        learners[name] = recording(key, label, None, seed, scale, options)
    done = run_tasks([*tasks, *learners.values()], jobs, on_progress)
    variants = {
        name: Variant(
            recipe=recipes[name],
            prepared=done[f"latents {labels[name]}"],
            metrics=read_rows(options.work / "vae" / labels[name] / "metrics.jsonl"),
            scores=done[task.name].rows,
            samples=load_file(task.runs[0] / SAMPLES)["clips"][:SHOWN],
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

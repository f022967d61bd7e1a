"""Many learning curves: one after the other, or some at once in processes of their own."""

import logging
import multiprocessing
import os
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ssvae.bench.scales import Scale
from ssvae.bench.stages import Judge, learning_curve
from ssvae.console import configure_logging, note_of, progress
from ssvae.models.backbones import load_backbone
from ssvae.training import make_accelerator
from ssvae.training.diffusion import DiffusionRecipe


@dataclass(frozen=True)
class Options:
    """Where a benchmark works, and on what."""

    out: Path
    """Folder of the results."""
    work: Path
    """Folder of the runs, which may be large."""
    seeds: tuple[int, ...]
    device: str = "auto"
    dtype: str = "float32"
    probe: Path | None = None
    """Another probe than the package's."""
    jobs: int = 1
    """Diffusion models trained at once."""


@dataclass(frozen=True)
class Variant:
    """Latents to learn: a VAE, and a map of its latents if any."""

    vae: str
    """Where the VAE is."""
    latents: Path
    """Their cache."""
    map: Path | None = None


@dataclass(frozen=True)
class Job:
    """One learning curve."""

    run: Path
    variant: Variant
    seed: int

    def recipe(self, scale: Scale) -> DiffusionRecipe:
        """The scale's diffusion model on these latents."""
        variant = self.variant
        return replace(
            scale.diffusion,
            latents=str(variant.latents),
            map=None if variant.map is None else str(variant.map),
            seed=self.seed,
        )


def learn_all(
    jobs: Sequence[Job], scale: Scale, options: Options, judge: Judge
) -> list[list[dict[str, Any]]]:
    """Train and score every job, or go on; the rows of each."""
    if options.jobs == 1:
        rows = []
        for job in jobs:
            with progress(f"diffusion: {job.run.name}", max(scale.evaluations)) as advance:
                rows.append(_learn(job, scale, options, judge, advance))
        return rows
    # Threads that share the cores of one small model wait for each other; processes do not.
    threads = max(1, torch.get_num_threads() // options.jobs)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.jobs, context, _start, (threads,)) as pool:
        futures = [pool.submit(_work, job, scale, options) for job in jobs]
        try:
            total = len(jobs) * max(scale.evaluations)
            with progress(f"diffusion: {len(jobs)} runs", total) as advance:
                pending = set(futures)
                while pending:
                    _, pending = wait(pending, timeout=5, return_when=FIRST_EXCEPTION)
                    for future in set(futures) - pending:
                        future.result()
                    finished = sum(future.done() for future in futures)
                    advance(sum(map(_steps_done, jobs)), f"{finished} of {len(jobs)} runs done")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in multiprocessing.active_children():
                worker.terminate()
            raise
    return [future.result() for future in futures]


def _steps_done(job: Job) -> int:
    path = job.run / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _start(threads: int) -> None:
    torch.set_num_threads(threads)
    configure_logging(debug=False)
    logging.getLogger("ssvae").setLevel("WARNING")  # each resumes at every evaluation
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose parent was killed must not write beside the next one."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


_judge: Judge | None = None  # of a worker process


def _work(job: Job, scale: Scale, options: Options) -> list[dict[str, Any]]:
    global _judge
    if _judge is None:
        device = make_accelerator(options.device, options.dtype).device
        _judge = Judge(scale.evaluation, scale.size, options.probe, device)
    return _learn(job, scale, options, _judge, None)


def _learn(
    job: Job, scale: Scale, options: Options, judge: Judge, advance: Any
) -> list[dict[str, Any]]:
    accelerator = make_accelerator(options.device, options.dtype)
    return learning_curve(
        job.recipe(scale),
        job.run,
        scale.evaluations,
        judge,
        load_backbone(job.variant.vae, accelerator.device),
        accelerator,
        None if advance is None else lambda step, metrics: advance(step, note_of(metrics)),
    )

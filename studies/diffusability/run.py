"""Running cells and variants of the study: LCR, LMR, other regularisers, and recipes, over
seeds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from ssvae.bench.records import (
    Arm,
    RunKey,
    keep_plan,
    read_records,
    recording,
    still_needed,
    training,
)
from ssvae.bench.scales import BASELINE, Scale, seed_of
from ssvae.bench.stages import Options, encode_vae, map_latents
from ssvae.bench.tasks import OnProgress, Task, run_tasks
from ssvae.bench.vaes import HURT
from ssvae.latents.maps import MapConfig
from ssvae.models.finding import resolve_vae
from studies.diffusability.cells import CELLS, arm_of, latents_of
from studies.diffusability.variants import VARIANTS, settings_of, vae_of


def run_cells(
    scale: Scale,
    options: Options,
    cells: Sequence[str],
    variants: Sequence[str],
    vaes: Mapping[str, str],
    on_progress: OnProgress = lambda done, total, note: None,
) -> None:
    """Run these variants in these cells, or go on where they were stopped; rows join in one file.

    ``variants`` are VAEs that are trained, the null among them, or the baseline's latents under the
    map that is known to hurt; ``vaes`` (names to folders or hub ids, one of them the baseline) take
    their place where given, and serve all seeds.
    """
    vaes = {name: resolve_vae(path) for name, path in vaes.items()}
    _check(cells, variants, vaes)
    settings = {name: asdict(cell) for name, cell in CELLS.items()}
    keep_plan(options, scale, {"vaes": vaes or "trained", "cells": settings})
    tasks = [
        task  # a whole seed before the next, so that any stop leaves whole seeds
        for seed in options.seeds
        for cell in cells
        for name in vaes or variants
        for task in _tasks(arm_of(cell, name, scale), seed, scale, options, vaes)
    ]
    unique = list({task.name: task for task in tasks}.values())
    run_tasks(still_needed(unique, read_records(options.out)), options.jobs, on_progress)


def _check(cells: Sequence[str], variants: Sequence[str], vaes: Mapping[str, str]) -> None:
    """A ValueError for cells and variants that are not there, and for VAEs that fit none."""
    known = {"cells": (cells, list(CELLS))}
    if not vaes:
        known["variants"] = (variants, [*VARIANTS, HURT])
    for what, (asked, those) in known.items():
        if not asked or set(asked) - set(those):
            raise ValueError(f"{what} are some of {', '.join(those)}; got {', '.join(asked)}")
    others = [c for c in cells if any(name.startswith("vae.") for name in CELLS[c].changes)]
    if vaes and others:
        raise ValueError(f"cells that train other VAEs take none by --vae: {', '.join(others)}")
    if vaes and BASELINE not in vaes:
        raise ValueError(
            f"one of --vae is what the others are compared with and must be called {BASELINE}, got "
            f"{', '.join(vaes)}"
        )


def vae_task(arm: Arm, seed: int, scale: Scale, options: Options) -> Task:
    """An arm's VAE and its latents, trained or, where they are there, looked at."""
    changed, latents = CELLS[arm.cell].of(scale), latents_of(arm, seed, scale)
    return training(latents, vae_of(changed, arm.variant, seed), changed, options)


def _tasks(
    arm: Arm, seed: int, scale: Scale, options: Options, vaes: Mapping[str, str]
) -> list[Task]:
    """A VAE, given or trained, and a diffusion model on its latents."""
    changed, key = CELLS[arm.cell].of(scale), RunKey(*arm, seed)
    settings = dict(CELLS[arm.cell].changes) | settings_of(arm.variant)
    if arm.variant in vaes:
        latents = arm.variant
        arguments = (latents, vaes[arm.variant], changed, options)
        prepare = [Task(f"latents {latents}", encode_vae, arguments)]
    elif arm.variant == HURT:
        baseline = Arm(arm.cell, BASELINE)
        latents = latents_of(baseline, seed, scale)
        mapped = f"{latents}-{HURT}"
        arguments = mapped, latents, None, MapConfig(power=0.0), changed, options
        needs = (f"latents {latents}",)
        return [
            vae_task(baseline, seed, scale, options),
            Task(f"latents {mapped}", map_latents, arguments, needs=needs),
            recording(key, latents, mapped, seed, changed, options, settings),
        ]
    else:
        latents = latents_of(arm, seed, scale)
        prepare = [vae_task(arm, seed, scale, options)]
    seed_of_run = seed_of(arm.variant, seed)
    return [*prepare, recording(key, latents, None, seed_of_run, changed, options, settings)]

"""The map: LCR and LMR, and what else a recipe is made of, under settings that differ one at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ssvae.bench.cells import CELLS, Arm, arm_of, label_of, latents_of
from ssvae.bench.map_results import write_map
from ssvae.bench.records import keep_plan, read_records, recording, still_needed, training
from ssvae.bench.scales import BASELINE, NULL, RIVALS_AND_TUNED, Scale, seed_of
from ssvae.bench.stages import Options, encode_vae
from ssvae.bench.tasks import OnProgress, Task, run_tasks
from ssvae.models.finding import resolve_vae


def run_map(
    scale: Scale,
    options: Options,
    cells: Sequence[str],
    variants: Sequence[str],
    vaes: Mapping[str, str],
    on_progress: OnProgress = lambda done, total, note: None,
) -> dict[str, Any]:
    """Run these cells of the map, or go on where they were stopped, and write the results.

    ``variants`` are VAEs that are trained, the null among them; ``vaes`` (names to folders or hub
    ids, one of them the baseline) take their place where given, and serve all seeds. What other calls
    gave under the same plan, of other cells and seeds, is in the results too.
    """
    vaes = {name: resolve_vae(path) for name, path in vaes.items()}
    _check(cells, variants, vaes, scale)
    settings = {name: asdict(cell) for name, cell in CELLS.items()}
    keep_plan(
        options, scale, {"vaes": vaes or "trained", "cells": settings, "rivals": RIVALS_AND_TUNED}
    )
    tasks = [
        task  # a whole seed before the next, so that any stop leaves whole seeds
        for seed in options.seeds
        for cell in cells
        for name in vaes or variants
        for task in _tasks(arm_of(cell, name, scale), seed, scale, options, vaes)
    ]
    unique = list({task.name: task for task in tasks}.values())
    run_tasks(still_needed(unique, read_records(options.out)), options.jobs, on_progress)
    return write_map(scale, options, vaes)


def _check(
    cells: Sequence[str], variants: Sequence[str], vaes: Mapping[str, str], scale: Scale
) -> None:
    """A ValueError for cells and variants that are not there, and for VAEs that fit none."""
    known = {"cells": (cells, list(CELLS))}
    if not vaes:
        known["variants"] = (variants, [*scale.variants(0), NULL, *RIVALS_AND_TUNED])
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


def _tasks(
    arm: Arm, seed: int, scale: Scale, options: Options, vaes: Mapping[str, str]
) -> list[Task]:
    """A VAE, given or trained, and a diffusion model on its latents."""
    cell, variant = arm
    changed = CELLS[cell].of(scale)
    if vaes:
        latents = variant
        arguments = (latents, vaes[variant], changed, options)
        prepare = Task(f"latents {latents}", encode_vae, arguments)
    else:
        latents = latents_of(arm, seed, scale)
        prepare = training(latents, changed.vae_of(variant, seed), changed, options)
    own = seed_of(variant, seed)
    return [prepare, recording(label_of(arm, seed), latents, None, own, changed, options)]

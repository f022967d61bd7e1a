"""The map: LCR and LMR, and what else a recipe is made of, under settings that differ one at a time."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from ssvae.bench.cells import CELLS, DEFAULT, arm_of
from ssvae.bench.map_results import write_map
from ssvae.bench.records import keep_plan, read_records, recording, still_needed, training
from ssvae.bench.scales import Scale
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

    ``variants`` are VAEs that are trained; ``vaes`` (names to folders or hub ids) take their place
    where given, and serve all seeds. What other calls gave under the same plan, of other cells and
    seeds, is in the results too.
    """
    vaes = {name: resolve_vae(path) for name, path in vaes.items()}
    _check(cells, variants, vaes, scale)
    keep_plan(
        options, scale, {"vaes": vaes, "cells": {n: dict(c.changes) for n, c in CELLS.items()}}
    )
    names = list(vaes or variants)
    tasks = [
        task  # a whole seed before the next, so that any stop leaves whole seeds
        for seed in options.seeds
        for cell in cells
        for name in names
        for task in _tasks(*arm_of(cell, name), seed, scale, options, vaes)
    ]
    unique = list({task.name: task for task in tasks}.values())
    records = read_records(options.out)
    run_tasks(still_needed(unique, records), options.jobs, on_progress)
    return write_map(scale, options)


def _check(
    cells: Sequence[str], variants: Sequence[str], vaes: Mapping[str, str], scale: Scale
) -> None:
    """A ValueError for cells and variants that are not there."""
    for what, asked, known in (
        ("cells", cells, list(CELLS)),
        ("variants", variants, list(scale.variants(0))),
    ):
        unknown = [name for name in asked if name not in known]
        if unknown or not asked:
            raise ValueError(f"{what} are some of {', '.join(known)}; got {', '.join(asked)}")
    others = [c for c in cells if any(name.startswith("vae.") for name in CELLS[c].changes)]
    if vaes and others:
        raise ValueError(f"cells that train other VAEs take none by --vae: {', '.join(others)}")


def latents_of(cell: str, variant: str, seed: int, scale: Scale) -> str:
    """What the latents of a cell are called: those of VAEs that are trained alike are the same."""

    def made(name: str) -> Scale:
        changed = CELLS[name].of(scale)
        return dataclasses.replace(
            changed,
            vae=changed.variants(seed)[variant],
            diffusion=scale.diffusion,
            evaluations=scale.evaluations,
        )

    first = next(name for name in CELLS if made(name) == made(cell))
    return f"{variant}-{seed}" if first == DEFAULT else f"{first}-{variant}-{seed}"


def _tasks(
    cell: str, variant: str, seed: int, scale: Scale, options: Options, vaes: Mapping[str, str]
) -> list[Task]:
    """A VAE, given or trained, and a diffusion model on its latents."""
    changed = CELLS[cell].of(scale)
    if vaes:
        latents = variant
        arguments = (latents, vaes[variant], changed, options)
        prepare = Task(f"latents {latents}", encode_vae, arguments)
    else:
        latents = latents_of(cell, variant, seed, scale)
        prepare = training(latents, changed.variants(seed)[variant], changed, options)
    return [prepare, recording(f"{cell}-{variant}-{seed}", latents, None, seed, changed, options)]

"""Interventions: one frozen VAE, its latents under invertible maps, so that the spectrum alone
differs.

What a diffusion model makes goes back through the inverse before it is decoded: the same clips can
be said, the ceiling is the same to rounding.
"""

from dataclasses import replace
from typing import Any

from ssvae.bench.records import (
    ROWS,
    RunKey,
    keep_plan,
    read_records,
    recording,
    still_needed,
)
from ssvae.bench.report import write_report
from ssvae.bench.scales import BASELINE, Scale
from ssvae.bench.stages import Options, encode_vae, map_latents, train_vae
from ssvae.bench.tasks import OnProgress, Task, run_tasks
from ssvae.bench.vaes import check_takes, comparison_of
from ssvae.latents.maps import MapConfig
from ssvae.models.finding import resolve_vae
from ssvae.models.names import is_own

MAPS = {
    BASELINE: MapConfig(),
    "as-they-are": MapConfig(normalization="global"),
    "principal": MapConfig(normalization="principal"),
    "whitened": MapConfig(normalization="whitened"),
    "power-0": MapConfig(power=0.0),
    "power-1.5": MapConfig(power=1.5),
    "power-2": MapConfig(power=2.0),
    "scrambled": MapConfig(scramble=(1, 4, 4)),
}
"""The first is the usual: each channel standardised."""
SOURCE = "vae"


def run_interventions(
    scale: Scale,
    options: Options,
    vae: str | None,
    on_progress: OnProgress = lambda done, total, note: None,
) -> dict[str, Any]:
    """Run all interventions on one VAE, or go on where they were stopped, and write the results.

    ``vae`` is a folder or a hub id; where None the baseline of the scale is trained.
    """
    vae = resolve_vae(vae) if vae else None
    if vae is not None:
        check_takes(SOURCE, vae, scale)
        options = replace(options, own=(vae,) * is_own(vae))
    options.scorer(scale)  # which may refuse
    keep_plan(options, scale, {"vae": vae, "maps": sorted(MAPS), "network": options.network})
    tasks = still_needed(_tasks(scale, options, vae), read_records(options.out))
    run_tasks(tasks, options.jobs, on_progress)
    return write_report(
        comparison_of(BASELINE, [name for name in MAPS if name != BASELINE]),
        read_records(options.out / ROWS),
        scale,
        options,
    )


def _tasks(scale: Scale, options: Options, vae: str | None) -> list[Task]:
    """The VAE's latents, the maps of them, and a diffusion model on each for every seed."""
    name = f"latents {SOURCE}"
    if vae is None:
        recipe = scale.vae_of(BASELINE, 0)
        tasks = [Task(name, train_vae, (SOURCE, recipe, scale, options))]
    else:
        tasks = [Task(name, encode_vae, (SOURCE, vae, scale, options))]
    for label, config in MAPS.items():
        arguments = label, SOURCE, vae, config, scale, options
        tasks.append(Task(f"latents {label}", map_latents, arguments, needs=(name,)))
    for seed in options.seeds:
        tasks += [
            recording(RunKey("", label, seed), SOURCE, label, seed, scale, options)
            for label in MAPS
        ]
    return tasks

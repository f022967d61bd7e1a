"""Which of these VAEs is learned faster? The same diffusion model on the latents of each."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ssvae.bench.effects import Pair
from ssvae.bench.records import (
    ROWS,
    Arm,
    RunKey,
    keep_plan,
    read_records,
    recording,
    still_needed,
)
from ssvae.bench.report import Comparison, write_report
from ssvae.bench.scales import BASELINE, NULL, Scale, seed_of
from ssvae.bench.stages import Options, encode_vae, map_latents
from ssvae.bench.tasks import OnProgress, Task, run_tasks
from ssvae.latents.maps import MapConfig
from ssvae.models.finding import open_vae, resolve_vae
from ssvae.models.names import is_own

HURT = "whitened-frequencies"
"""A control beside the null: the baseline's latents under a map that is known to hurt."""
CONTROLS = NULL, HURT


def run_vaes(
    scale: Scale,
    options: Options,
    vaes: Mapping[str, str],
    on_progress: OnProgress = lambda done, total, note: None,
) -> dict[str, Any]:
    """Run the whole benchmark, or go on where it was stopped, and write its results.

    ``vaes`` are names to folders or hub ids; the one called baseline, or the first, is what the
    others are compared with. They serve all seeds, so that the noise of their own training is not
    in the intervals. Curves that stand in the results are not learned again, wherever they were.
    """
    if len(vaes) < 2:
        raise ValueError(f"--vae takes at least two autoencoders to compare, got {len(vaes)}")
    if taken := set(CONTROLS) & set(vaes):
        raise ValueError(
            f"the controls are called {' and '.join(sorted(taken))}: choose other names"
        )
    vaes = {name: resolve_vae(path) for name, path in vaes.items()}
    options = replace(options, own=tuple(filter(is_own, vaes.values())))
    baseline = BASELINE if BASELINE in vaes else next(iter(vaes))
    # What is refused is refused before anything is written.
    for name, vae in vaes.items():
        check_takes(name, vae, scale)
    options.scorer(scale)
    keep_plan(options, scale, {"vaes": vaes, "network": options.network})
    tasks = [
        task  # a whole seed before the next, so that any stop leaves whole seeds
        for seed in options.seeds
        for task in _tasks(baseline, seed, scale, options, vaes)
    ]
    unique = list({task.name: task for task in tasks}.values())
    run_tasks(still_needed(unique, read_records(options.out)), options.jobs, on_progress)
    return write_report(
        comparison_of(baseline, [name for name in vaes if name != baseline], CONTROLS),
        read_records(options.out / ROWS),
        scale,
        options,
    )


def check_takes(name: str, vae: str, scale: Scale) -> None:
    """A ValueError for a VAE that clips of this size do not suit."""
    try:
        open_vae(vae, "meta").latent_shape(*scale.size)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def comparison_of(
    baseline: str, others: Sequence[str], controls: Sequence[str] = (), cell: str = ""
) -> Comparison:
    """Variants over one baseline, and controls, whose answer is known, beside them."""
    reference = Arm(cell, baseline)

    def pairs(names: Sequence[str]) -> list[Pair]:
        return [Pair(name, reference, Arm(cell, name)) for name in names]

    return Comparison(reference, {"Over the baseline": pairs(others), "Controls": pairs(controls)})


def _tasks(
    baseline: str, seed: int, scale: Scale, options: Options, vaes: Mapping[str, str]
) -> list[Task]:
    """A seed's stages: latents, then the controls, then a diffusion model on each."""
    tasks = [
        Task(f"latents {name}", encode_vae, (name, vae, scale, options))
        for name, vae in vaes.items()
    ]
    arguments = HURT, baseline, vaes[baseline], MapConfig(power=0.0), scale, options
    tasks.append(Task(f"latents {HURT}", map_latents, arguments, needs=(f"latents {baseline}",)))
    for name in [*vaes, NULL]:
        latents, own = baseline if name == NULL else name, seed_of(name, seed)
        tasks.append(recording(RunKey("", name, seed), latents, None, own, scale, options))
    return [*tasks, recording(RunKey("", HURT, seed), baseline, HURT, seed, scale, options)]


def names_of(vaes: Sequence[str]) -> dict[str, str]:
    """NAME=PATH pairs as a mapping; a ValueError for anything else."""
    named: dict[str, str] = {}
    for pair in vaes:
        name, equals, path = pair.partition("=")
        if not (name and equals and path) or name in named or not name.replace("-", "").isalnum():
            raise ValueError(
                f"--vae takes NAME=PATH with names of letters, digits and -, each once; got {pair}"
            )
        named[name] = path
    return named

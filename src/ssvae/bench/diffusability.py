"""The diffusability benchmark: the same diffusion model on latents that differ in the VAE alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from ssvae.bench.records import keep_plan, read_records, recording, still_needed, training
from ssvae.bench.results import write_results
from ssvae.bench.scales import BASELINE, NULL, Scale, seed_of
from ssvae.bench.stages import Options, encode_vae, map_latents
from ssvae.bench.summary import Curves, summarise
from ssvae.bench.tasks import OnProgress, Task, run_tasks
from ssvae.data import vocabulary_of
from ssvae.latents.maps import MapConfig
from ssvae.models.finding import resolve_vae

HURT = "whitened-frequencies"
"""A control beside the null: the baseline's latents under a map that is known to hurt."""


def run_diffusability(
    scale: Scale,
    options: Options,
    vaes: Mapping[str, str],
    on_progress: OnProgress = lambda done, total, note: None,
) -> dict[str, Any]:
    """Run the whole benchmark, or go on where it was stopped, and write its results.

    Curves that stand in the results are not learned again, wherever they were. ``vaes`` (names to folders
    or hub ids) replaces the four variants that are trained else; the one called baseline, or the
    first, is what the others are compared with. Given VAEs serve all seeds, so that the noise of their
    own training is not in the intervals.
    """
    if len(vaes) == 1:
        raise ValueError("--vae takes at least two autoencoders to compare, got one")
    vaes = {name: resolve_vae(path) for name, path in vaes.items()}
    names = list(vaes or scale.variants(0))
    taken = {NULL, HURT} & set(names)
    if taken:
        raise ValueError(
            f"the controls are called {' and '.join(sorted(taken))}: choose other names"
        )
    keep_plan(options, scale, {"vaes": vaes or "trained"})
    baseline = BASELINE if BASELINE in names else names[0]
    tasks = [
        task  # a whole seed before the next, so that any stop leaves whole seeds
        for seed in options.seeds
        for task in _tasks(baseline, seed, scale, options, vaes)
    ]
    unique = list({task.name: task for task in tasks}.values())
    records = read_records(options.out)
    records |= run_tasks(still_needed(unique, records), options.jobs, on_progress)
    everything = [*names, NULL, HURT]
    of = {name: [records[f"learn {name}-{seed}"] for seed in options.seeds] for name in everything}
    rows = {name: [record.rows for record in its] for name, its in of.items()}
    curves = Curves(baseline, options.seeds, rows, (NULL, HURT), vocabulary_of(scale.data))
    vae_seeds = options.seeds[:1] if vaes else options.seeds
    measures = {name: [r.measure for r in its[: len(vae_seeds)]] for name, its in of.items()}
    summary = summarise(curves, measures, vae_seeds)
    protocol = {"vaes": dict(vaes) or "trained", "dtype": options.dtype}
    return write_results(summary, curves, measures, scale, protocol, options)


def _latents(name: str, baseline: str, seed: int, given: bool) -> str:
    """What the latents of a variant are called: those of given VAEs serve all seeds."""
    if given:
        return baseline if name == NULL else name
    return f"{name}-{seed}"


def _tasks(
    baseline: str, seed: int, scale: Scale, options: Options, vaes: Mapping[str, str]
) -> list[Task]:
    """A seed's stages: VAEs, then the controls, then a diffusion model on each."""
    tasks = []
    if vaes:
        variants = [*vaes, NULL]
        for name, vae in vaes.items():
            tasks.append(Task(f"latents {name}", encode_vae, (name, vae, scale, options)))
    else:
        recipes = scale.variants(seed)
        recipes[NULL] = scale.vae_of(NULL, seed)
        variants = list(recipes)
        for name, recipe in recipes.items():
            tasks.append(training(f"{name}-{seed}", recipe, scale, options))
    label, source = (_latents(name, baseline, seed, bool(vaes)) for name in (HURT, baseline))
    arguments = label, source, None, MapConfig(power=0.0), scale, options
    tasks.append(Task(f"latents {label}", map_latents, arguments, needs=(f"latents {source}",)))
    for name in variants:
        latents = _latents(name, baseline, seed, bool(vaes))
        own = seed_of(name, seed)
        tasks.append(recording(f"{name}-{seed}", latents, None, own, scale, options))
    return [*tasks, recording(f"{HURT}-{seed}", source, label, seed, scale, options)]


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

"""The diffusability benchmark: the same diffusion model on latents that differ in the VAE alone."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from ssvae.bench.results import write_results
from ssvae.bench.scales import BASELINE, Scale
from ssvae.bench.stages import Options, encode_vae, learn, map_latents, train_vae
from ssvae.bench.summary import Curves, summarise
from ssvae.bench.tasks import Task, run_tasks
from ssvae.data.files import write_text
from ssvae.diffusion.shaping import MapConfig
from ssvae.training.checkpoint import resolve_vae

NULL, HURT = "null", "whitened-frequencies"
"""The controls: the baseline again, and the baseline's latents under a map that is known to hurt."""
NULL_SEEDS = 1000
"""Seeds of the null are those of the baseline and this, for VAE and diffusion model."""


def run_diffusability(scale: Scale, options: Options, vaes: Mapping[str, str]) -> dict[str, Any]:
    """Run the whole benchmark, or go on where it was stopped, and write its results.

    ``vaes`` (names to folders or hub ids) replaces the four variants that are trained else; the
    one called baseline, or the first, is what the others are compared with. Given VAEs serve all
    seeds, so that the noise of their own training is not in the intervals.
    """
    vaes = {name: resolve_vae(path) for name, path in vaes.items()}
    check_plan(options, scale, {"vaes": vaes})
    names = list(vaes or scale.variants(0))
    baseline = BASELINE if BASELINE in names else names[0]
    taken = {NULL, HURT} & set(names)
    if taken:
        raise ValueError(
            f"the controls are called {' and '.join(sorted(taken))}: choose other names"
        )
    tasks = [
        task
        for seed in options.seeds  # a whole seed before the next, so that any stop leaves whole seeds
        for task in (
            _given_vaes(vaes, baseline, seed, scale, options)
            if vaes
            else _trained_vaes(baseline, seed, scale, options)
        )
    ]
    unique = list({task.name: task for task in tasks}.values())
    done = run_tasks("diffusability", unique, options.jobs)
    everything = [*names, NULL, HURT]
    rows = {name: [done[f"learn {name}-{seed}"] for seed in options.seeds] for name in everything}
    vae_seeds = options.seeds[:1] if vaes else options.seeds
    sources = {name: name for name in names} | {HURT: HURT, NULL: baseline if vaes else NULL}
    measures = {
        name: [done[f"latents {sources[name]}-{seed}"].measure for seed in vae_seeds]
        for name in everything
    }
    curves = Curves(baseline, options.seeds, rows, (NULL, HURT))
    summary = summarise(curves, measures, vae_seeds)
    protocol = {"vaes": dict(vaes) or "trained", "dtype": options.dtype}
    return write_results(summary, curves, measures, scale, protocol, options)


def _trained_vaes(baseline: str, seed: int, scale: Scale, options: Options) -> list[Task]:
    """A seed's stages: VAEs of its own, then the controls, then a diffusion model on each."""
    recipes = scale.variants(seed)
    recipes[NULL] = dataclasses.replace(recipes[baseline], seed=seed + NULL_SEEDS)
    tasks = []
    for name, recipe in recipes.items():
        label = f"{name}-{seed}"
        runs = tuple(options.work / "vae" / run for run in (label, f"{label}-decoder"))
        tasks.append(
            Task(
                f"latents {label}",
                train_vae,
                (label, recipe, scale, options),
                runs=runs,
                steps=recipe.steps + scale.decoder_round * scale.decoder_rounds // 2,
            )
        )
    tasks.append(_whitened(f"{baseline}-{seed}", f"{HURT}-{seed}", scale, options))
    return tasks + [
        learning(
            f"{name}-{seed}",
            f"{baseline if name == HURT else name}-{seed}",
            f"{name}-{seed}" if name == HURT else None,
            seed + NULL_SEEDS * (name == NULL),
            scale,
            options,
        )
        for name in [*recipes, HURT]
    ]


def _given_vaes(
    vaes: Mapping[str, str], baseline: str, seed: int, scale: Scale, options: Options
) -> list[Task]:
    """A seed's stages where VAEs are given: their latents are those of the first seed."""
    first = options.seeds[0]
    tasks = [
        Task(f"latents {name}-{first}", encode_vae, (f"{name}-{first}", vae, scale, options))
        for name, vae in vaes.items()
    ]
    tasks.append(_whitened(f"{baseline}-{first}", f"{HURT}-{first}", scale, options))
    sources = {name: name for name in vaes} | {NULL: baseline, HURT: baseline}
    return tasks + [
        learning(
            f"{name}-{seed}",
            f"{source}-{first}",
            f"{HURT}-{first}" if name == HURT else None,
            seed + NULL_SEEDS * (name == NULL),
            scale,
            options,
        )
        for name, source in sources.items()
    ]


def _whitened(source: str, label: str, scale: Scale, options: Options) -> Task:
    arguments = label, source, None, MapConfig(power=0.0), scale, options
    return Task(f"latents {label}", map_latents, arguments, needs=(f"latents {source}",))


def learning(
    label: str, source: str, map_label: str | None, seed: int, scale: Scale, options: Options
) -> Task:
    """The task of a learning curve on the latents of ``source``, under a map if any."""
    run = options.work / "diffusion" / label
    branches = [run / "branches" / str(steps) for steps in scale.evaluations]
    last = max(scale.evaluations)
    falling = sum(round(scale.cooldown * steps) for steps in scale.evaluations)
    return Task(
        f"learn {label}",
        learn,
        (run, source, map_label, seed, scale, options),
        needs=(f"latents {map_label or source}",),
        runs=(run, *branches),
        steps=last - round(scale.cooldown * last) + falling,
    )


def check_plan(options: Options, scale: Scale, extra: Mapping[str, Any]) -> None:
    """A benchmark goes on under the plan it began with; seeds may be added."""
    settings = {"scale": dataclasses.asdict(scale), "dtype": options.dtype, "probe": options.probe}
    plan = json.loads(json.dumps({**settings, **extra}, default=str))
    path = options.work / "plan.json"
    if path.exists():
        before = json.loads(path.read_text())
        if before != plan:
            keys = sorted(before | plan)
            changed = [k for k in keys if before.get(k) != plan.get(k)]
            raise ValueError(
                f"the benchmark in {options.work} began with another plan ({', '.join(changed)} "
                "differ): choose another --work folder, or remove that one"
            )
        return
    options.work.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(plan, indent=2) + "\n")


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
    if len(named) == 1:
        raise ValueError("--vae takes at least two autoencoders to compare, got one")
    return named

"""The diffusability benchmark: the same diffusion model on latents that differ in the VAE alone."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from ssvae.bench.learning import Job, Options, Variant, learn_all
from ssvae.bench.results import write_results
from ssvae.bench.scales import BASELINE, Scale
from ssvae.bench.stages import Judge, write_cache
from ssvae.bench.summary import Curves, summarise
from ssvae.console import progress, train_with_progress
from ssvae.data.files import write_text
from ssvae.diffusion.latents import CacheConfig, LatentCache
from ssvae.diffusion.shaping import LatentMap
from ssvae.models.backbones import Backbone, load_backbone
from ssvae.training.checkpoint import find_vae, resolve_vae

CACHE_SEED = 2_000_003  # the world of the cached clips: not that of any VAE's training


def run_diffusability(
    scale: Scale, options: Options, accelerator: Accelerator, vaes: Mapping[str, str]
) -> dict[str, Any]:
    """Run the whole benchmark, or go on where it was stopped, and write its results.

    ``vaes`` (names to folders or hub ids) replaces the four variants that are trained else; the
    one called baseline, or the first, is what the others are compared with.
    """
    vaes = {name: resolve_vae(path) for name, path in vaes.items()}
    check_plan(options.work, scale, options, vaes)
    judge = Judge(scale.evaluation, scale.size, options.probe, accelerator.device)
    trained = [0] if vaes or not scale.vae_for_each_seed else list(options.seeds)
    found = {seed: vaes or train_vaes(scale, options, seed) for seed in trained}
    names = list(found[trained[0]])
    baseline = BASELINE if BASELINE in names else names[0]

    variants: dict[tuple[str, int], Variant] = {}
    measures: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for seed in trained:
        for name, vae in found[seed].items():
            folder = options.work / "latents" / f"{name}-{seed}"
            variants[name, seed] = Variant(vae, folder)
            backbone = encode(scale, vae, folder, accelerator)
            path, plain = folder.with_suffix(".json"), LatentCache(folder).fit()
            measures[name].append(remembered(path, judge, backbone, plain))
    jobs = [
        Job(
            options.work / "diffusion" / f"{name}-{seed}",
            variants[name, seed if len(trained) > 1 else trained[0]],
            seed,
        )
        for seed in options.seeds
        for name in names
    ]
    curves = Curves(
        baseline, options.seeds, by_variant(names, learn_all(jobs, scale, options, judge))
    )
    summary = summarise(curves, measures, trained)
    protocol = {"evaluation": dataclasses.asdict(scale.evaluation), "vaes": dict(vaes) or "trained"}
    return write_results(summary, curves, measures, judge, protocol, options)


def check_plan(
    work: Path, scale: Scale, options: Options, extra: Mapping[str, Any] | None = None
) -> None:
    """A benchmark goes on under the plan it began with; seeds may be added."""
    plan = json.loads(
        json.dumps(
            {"scale": dataclasses.asdict(scale), "probe": options.probe, **(extra or {})},
            default=str,
        )
    )
    path = work / "plan.json"
    if path.exists():
        before = json.loads(path.read_text())
        if before != plan:
            keys = sorted(before | plan)
            changed = [k for k in keys if before.get(k) != plan.get(k)]
            raise ValueError(
                f"the benchmark in {work} began with another plan ({', '.join(changed)} differ): "
                "choose another --work folder, or remove that one"
            )
        return
    work.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(plan, indent=2) + "\n")


def train_vaes(scale: Scale, options: Options, seed: int) -> dict[str, str]:
    """Train the four VAEs in three stages each, the first of them shared: their folders."""
    runs, device, dtype = options.work / "vae", options.device, options.dtype

    def run(title: str, recipe: Any) -> Path:
        folder = runs / f"{title.replace(' ', '-')}-{seed}"
        train_with_progress(f"VAE {seed}: {title}", recipe, folder, device, dtype)
        return folder

    start = run("start", dataclasses.replace(scale.start, seed=seed))
    found = {}
    for name, recipe in scale.variants(seed, str(start)).items():
        learned = run(name, recipe)
        second = dataclasses.replace(scale.decoder, seed=seed, init=str(learned))
        found[name] = str(find_vae(run(f"{name} decoder", second)).resolve())
    return found


def encode(scale: Scale, vae: str, folder: Path, accelerator: Accelerator) -> Backbone:
    """Cache a VAE's latents of the same clips; the VAE."""
    config = CacheConfig(vae, clips=scale.clips, seed=CACHE_SEED).of_size(scale.size)
    backbone = load_backbone(vae, accelerator.device)
    with progress(f"latents: {folder.name}", scale.clips) as advance:
        write_cache(backbone, folder, config, accelerator, lambda done: advance(done, ""))
    return backbone


def by_variant(names: Sequence[str], rows: Sequence[Any]) -> dict[str, list[Any]]:
    """Rows of jobs, seed by seed and within a seed by variant, as lists over seeds."""
    return {name: list(rows[i :: len(names)]) for i, name in enumerate(names)}


def remembered(
    path: Path, judge: Judge, backbone: Backbone, latent_map: LatentMap | None = None
) -> dict[str, Any]:
    """What a VAE can do, measured once."""
    if not path.exists():
        write_text(path, json.dumps(judge.measure(backbone, latent_map)))
    return json.loads(path.read_text())


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

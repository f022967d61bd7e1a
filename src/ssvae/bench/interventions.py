"""Interventions: one frozen VAE, its latents under invertible maps, so that the spectrum alone differs.

What a diffusion model makes goes back through the inverse before it is decoded: the same clips can
be said, the ceiling is the same to rounding.
"""

import dataclasses
from typing import Any

import torch
from accelerate import Accelerator

from ssvae.bench.diffusability import by_variant, check_plan, encode, remembered
from ssvae.bench.learning import Job, Options, Variant, learn_all
from ssvae.bench.results import write_results
from ssvae.bench.scales import BASELINE, Scale
from ssvae.bench.stages import Judge
from ssvae.bench.summary import Curves, summarise
from ssvae.console import train_with_progress
from ssvae.diffusion.latents import LatentCache
from ssvae.diffusion.mapped import MappedAutoencoder, load_map, save_map
from ssvae.diffusion.shaping import LatentMap, MapConfig
from ssvae.training.checkpoint import find_vae, resolve_vae

MAPS = {
    BASELINE: MapConfig(),
    "as-they-are": MapConfig(channels="global"),
    "principal": MapConfig(channels="principal"),
    "whitened": MapConfig(channels="whitened"),
    "power-0": MapConfig(power=0.0),
    "power-1.5": MapConfig(power=1.5),
    "power-2": MapConfig(power=2.0),
    "scrambled": MapConfig(scramble=(1, 4, 4)),
}
"""The first is the custom: each channel standardised."""


def run_interventions(
    scale: Scale, options: Options, accelerator: Accelerator, vae: str | None
) -> dict[str, Any]:
    """Run all interventions on one VAE, or go on where they were stopped, and write the results.

    ``vae`` is a folder or a hub id; where None the baseline of the scale is trained.
    """
    vae = resolve_vae(vae) if vae else None
    check_plan(options.work, scale, options, {"vae": vae, "maps": sorted(MAPS)})
    judge = Judge(scale.evaluation, scale.size, options.probe, accelerator.device)
    where = vae or _train(scale, options)
    folder = options.work / "latents" / "vae"
    backbone = encode(scale, where, folder, accelerator)
    cache, variants, measures, errors = LatentCache(folder), {}, {}, {}
    for name, config in MAPS.items():
        path = folder.with_name(f"{name}.safetensors")
        if not path.exists():
            save_map(cache.fit(config), path)
        fitted = load_map(path)
        variants[name] = Variant(where, folder, path)
        errors[name] = round_trip(fitted, cache)
        # Measured through the map: its spectra, and the ceiling, which must be that of all.
        mapped = MappedAutoencoder.of(backbone, fitted).backbone()
        measures[name] = [remembered(path.with_suffix(".json"), judge, mapped)]
    jobs = [
        Job(options.work / "diffusion" / f"{name}-{seed}", variants[name], seed)
        for seed in options.seeds
        for name in MAPS
    ]
    curves = Curves(
        BASELINE, options.seeds, by_variant(list(MAPS), learn_all(jobs, scale, options, judge))
    )
    summary = summarise(curves, measures, [0])
    for name, config in MAPS.items():
        summary["variants"][name]["map"] = dataclasses.asdict(config)
        summary["variants"][name]["round_trip"] = errors[name]
    protocol = {"evaluation": dataclasses.asdict(scale.evaluation), "vae": vae or "trained"}
    return write_results(summary, curves, measures, judge, protocol, options)


def _train(scale: Scale, options: Options) -> str:
    """The scale's shared first stage: a VAE without regularisers."""
    run = options.work / "vae" / "start-0"
    train_with_progress("VAE", scale.start, run, options.device, options.dtype)
    return str(find_vae(run).resolve())


@torch.no_grad()
def round_trip(fitted: LatentMap, cache: LatentCache) -> float:
    """The largest error of undoing a map, in standard deviations of the latents: measured."""
    return max(
        float((fitted.inverse(fitted(z)) - z).abs().max() / z.std()) for z in cache.batches()
    )

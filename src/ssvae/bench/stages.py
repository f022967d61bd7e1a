"""The stages that benchmarks are made of. Each goes on where it was stopped."""

import dataclasses
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from safetensors.torch import save_file

from ssvae.bench.scales import Scale
from ssvae.bench.scoring import Scorer, scorer_of
from ssvae.diffusion.recipe import DiffusionRecipe
from ssvae.diffusion.trainer import train_diffusion
from ssvae.latents.cache import CacheConfig, LatentCache
from ssvae.latents.encoding import write_cache
from ssvae.latents.mapped import MappedAutoencoder, load_map, save_map
from ssvae.latents.maps import MapConfig
from ssvae.models.backbones import Backbone, load_backbone
from ssvae.models.finding import find_vae, open_vae
from ssvae.storage.files import read_rows, write_json, write_text
from ssvae.storage.runs import checkpoints
from ssvae.training.checkpoint import branch
from ssvae.training.devices import make_accelerator
from ssvae.training.progress import silent
from ssvae.training.run_log import OnStep
from ssvae.vae.recipe import VAERecipe
from ssvae.vae.trainer import train_autoencoder

SHOWN = 8  # clips of each run that are kept to be looked at
SAMPLES = "samples.safetensors"
CACHE_SEED = 2_000_003  # the source of the cached clips: not that of any VAE's training


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
    """Number format in which diffusion models are trained and sampled. VAEs, which are what is
    compared, are trained and measured in float32."""
    probe: Path | None = None
    """Another probe than the package's."""
    network: str | None = None
    """The network whose features are compared where captions may say anything."""
    part: str = ""
    """What the rows of the results are called together."""
    jobs: int = 1
    """Stages that run at once."""
    compile: bool = False
    """Compile the diffusion models' blocks."""
    own: tuple[str, ...] = ()
    """VAEs of the user's own that were named to this command: no others are imported."""

    def accelerator(self, dtype: str = "float32") -> Accelerator:
        """The device, and a number format; those that were made before are done with."""
        AcceleratorState._reset_state()  # one process trains VAEs and diffusion models in turn
        return make_accelerator(self.device, dtype, training=True)

    def vae(self, name: str, device: torch.device) -> Backbone:
        """The VAE that a cache is of; one of the user's own where this command was given it."""
        return (open_vae if name in self.own else load_backbone)(name, device)

    def scorer(self, scale: Scale) -> Scorer:
        """The scorer, on a GPU where there is one."""
        device = "cuda" if torch.cuda.is_available() and self.device != "cpu" else "cpu"
        return scorer_of(scale.evaluation, scale.size, self.probe, self.network, device, scale.data)


@dataclass(frozen=True)
class Prepared:
    """Latents to learn: a VAE, their cache, a map of them if any, and what the VAE can do."""

    vae: str
    latents: Path
    measure: dict[str, Any]
    map: Path | None = None


def train_vae(label: str, recipe: VAERecipe, scale: Scale, options: Options) -> Prepared:
    """A VAE from scratch, then its decoder alone until its ceiling is the scale's; its latents.

    The decoder's stage goes on in rounds, for what it reaches is known only when it is measured; a
    VAE that is there already has none. What it took stands in the measure as ``decoder_steps``.
    """
    accelerator, scorer = options.accelerator(), options.scorer(scale)
    trained = run = options.work / "vae" / label
    train_autoencoder(recipe, trained, accelerator, silent)
    longer = trained.with_name(f"{label}-decoder")
    decoder = dataclasses.replace(scale.decoder, seed=recipe.seed, init=str(trained))
    size, begun = scale.decoder_round, checkpoints(longer)[-1][0] if checkpoints(longer) else 0
    steps = 0
    for number in range(-(-begun // size), scale.decoder_rounds + 1):  # from where it is
        if number:
            steps, run = number * size, longer
            train_autoencoder(dataclasses.replace(decoder, steps=steps), run, accelerator, silent)
            accelerator.free_memory()
        backbone = load_backbone(str(find_vae(run)), accelerator.device)
        if scorer.ceiling(backbone)["reward"] >= scale.ceiling:
            break
    return encode_vae(label, str(find_vae(run).resolve()), scale, options, steps)


def encode_vae(
    label: str, vae: str, scale: Scale, options: Options, decoder_steps: int = 0
) -> Prepared:
    """The latents of a VAE that is there, and its measure."""
    accelerator, folder = options.accelerator(), options.work / "latents" / label
    frames, height, width = scale.size
    config = CacheConfig(
        vae,
        data=scale.data,
        clips=scale.clips,
        frames=frames,
        height=height,
        width=width,
        seed=CACHE_SEED,
    )
    backbone = open_vae(vae, accelerator.device)
    plain = write_cache(backbone, folder, config, accelerator).fit()
    path = folder.with_suffix(".json")
    if not path.exists():
        measure = options.scorer(scale).measure(backbone, plain) | {"decoder_steps": decoder_steps}
        write_json(path, measure)
    return Prepared(vae, folder, measured(label, options))


def map_latents(
    label: str, source: str, vae: str | None, config: MapConfig, scale: Scale, options: Options
) -> Prepared:
    """The latents of ``source`` under a map, measured through it: spectra, and the same ceiling.

    ``vae`` is the VAE of ``source``; where None, the one that was trained for it.
    """
    accelerator, folder = options.accelerator(), options.work / "latents" / source
    where = vae or LatentCache(folder).vae
    map_path = folder.with_name(f"{label}.safetensors")
    if not map_path.exists():
        save_map(LatentCache(folder).fit(config), map_path)
    path = map_path.with_suffix(".json")
    if not path.exists():
        fitted, cache = load_map(map_path), LatentCache(folder)
        # The largest error of undoing the map, in standard deviations of the latents.
        error = max(
            float((fitted.inverse(fitted(z)) - z).abs().max() / z.std()) for z in cache.batches()
        )
        mapped = MappedAutoencoder.of(options.vae(where, accelerator.device), fitted).backbone()
        measure = options.scorer(scale).measure(mapped) | {"round_trip": error}
        write_json(path, measure)
    return Prepared(where, folder, measured(label, options), map_path)


def learn(
    run: Path, source: str, map_label: str | None, seed: int, scale: Scale, options: Options
) -> list[dict[str, Any]]:
    """Train and score a diffusion model on the latents of ``source``, or go on: its rows."""
    latents, accelerator = options.work / "latents", options.accelerator(options.dtype)
    cache = LatentCache(latents / source)
    recipe = dataclasses.replace(
        scale.diffusion,
        latents=str(cache.path),
        map=None if map_label is None else str(latents / f"{map_label}.safetensors"),
        seed=seed,
        compile=options.compile,
    )
    backbone = options.vae(cache.vae, accelerator.device)
    scorer = options.scorer(scale)
    return learning_curve(
        recipe, run, scale.evaluations, scale.cooldown, scorer, backbone, accelerator
    )


def measured(label: str, options: Options) -> dict[str, Any]:
    """What was measured of the VAE, or of the map, whose latents are called ``label``."""
    return json.loads((options.work / "latents" / f"{label}.json").read_text())


def learning_curve(
    recipe: DiffusionRecipe,
    run: Path,
    evaluations: Sequence[int],
    cooldown: float,
    scorer: Scorer,
    backbone: Backbone,
    accelerator: Accelerator,
    on_step: OnStep = silent,
) -> list[dict[str, Any]]:
    """Score what runs of each of these lengths give: a row of scores for each.

    The rate of ``recipe`` is constant. At the end of each length its share ``cooldown`` is a branch
    in which the rate falls to zero, so that each point is, bit for bit, a run of that length with
    that decay, at the price of the branches alone. The rows are in the run's ``scores.jsonl``.
    """
    path = run / "scores.jsonl"
    rows = read_rows(path) if path.exists() else []
    for steps in evaluations:
        if any(row["step"] == steps for row in rows):
            continue
        falling = round(cooldown * steps)
        trunk = steps - falling
        constant = dataclasses.replace(recipe, steps=trunk)
        checkpoint = train_diffusion(constant, run, accelerator, on_step)
        if falling:
            end = run / "branches" / str(steps)
            branch(run, trunk, end)
            decayed = dataclasses.replace(recipe, steps=steps, cooldown_steps=falling)
            checkpoint = train_diffusion(decayed, end, accelerator, silent)
        accelerator.free_memory()  # of the trainer that is done
        with accelerator.autocast():
            clips = scorer.sample(checkpoint, backbone)
        scores = scorer.score(clips)
        if steps == max(evaluations):
            save_file({"clips": clips[:SHOWN].contiguous()}, run / SAMPLES)
        elif falling:
            shutil.rmtree(checkpoint)  # it is scored, and 30 MB
        rows.append({"step": steps, **scores})
        write_text(path, "".join(json.dumps(row) + "\n" for row in rows))
    return rows

"""Seconds of training until a diffusion recipe scores what the conventional one ends at.

    python benchmarks/time_to_score.py [--seeds 0 1 2] [--recipes conventional recommended ...]
        [--dtype float32] [--compile] [--work runs/time-to-score] [--out FILE]

All learn the latents of one VAE, 4096 clips of 9x32x32 of the procedural world, and are scored as
in the benchmark of VAEs. Seconds are those of training steps alone, without start, saving and
scoring; nothing else should run. A recipe is a run, or several, each from the EMA of the one before
(--init). Rows are added to FILE: a line for each recipe, seed and length. A recipe that was stopped
begins anew.
"""

import argparse
import dataclasses
import shutil
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from ssvae.bench.provenance import provenance
from ssvae.bench.records import append_rows, read_rows
from ssvae.bench.scales import laptop
from ssvae.bench.stages import Options, encode_vae
from ssvae.diffusion import train_diffusion
from ssvae.diffusion.recipe import DiffusionRecipe
from ssvae.models.backbones import load_backbone
from ssvae.models.finding import resolve_vae
from ssvae.recipes import dit_tiny, dit_tiny_conventional

VAE, CONVENTIONAL = "tiny-baseline", "conventional"


@dataclass(frozen=True)
class Stage:
    """A run, and its lengths that are scored."""

    recipe: DiffusionRecipe
    lengths: tuple[int, ...]


BEST, PLAIN = dit_tiny(), dit_tiny_conventional()
COARSE = dataclasses.replace(BEST, model=PLAIN.model)
RECIPES: dict[str, list[Stage]] = {
    CONVENTIONAL: [Stage(PLAIN, (1200, 2400, 3600, 4800))],
    "recommended": [Stage(BEST, (600, 800, 1000, 1200, 1400))],
    "patches of 2x2": [Stage(COARSE, (1200, 1600, 2000, 2400))],
    "patches of 2x2, then one token per latent": [
        Stage(COARSE, (600,)),
        Stage(BEST, (200, 400, 600, 800, 1000)),
    ],
}


def curve(
    stages: list[Stage], latents: Path, seed: int, run: Path, options: Options
) -> Iterator[dict[str, Any]]:
    """The scores of each length, with the steps and the seconds until there."""
    scale, spent, steps_before, start = laptop(), 0.0, 0, None
    for number, stage in enumerate(stages):
        recipe = dataclasses.replace(stage.recipe, latents=str(latents), seed=seed, init=start)
        start = str(run / str(number))
        done = 0
        for length in stage.lengths:
            stamps: list[float] = []
            accelerator = options.accelerator(options.dtype)
            checkpoint = train_diffusion(
                dataclasses.replace(recipe, steps=length, compile=options.compile),
                start,
                accelerator,
                lambda step, metrics, stamps=stamps: stamps.append(time.perf_counter()),
            )
            laps = [b - a for a, b in pairwise(stamps)]
            spent += statistics.median(laps) * (length - done)
            done = length
            scorer = options.scorer(scale)
            with accelerator.autocast():
                clips = scorer.sample(checkpoint, load_backbone(resolve_vae(VAE)))
            scores = scorer.score(clips)
            step = steps_before + length
            yield {"step": step, "seconds": spent, "scores": scores}
        steps_before += done


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), choices=RECIPES)
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--work", type=Path, default=Path("runs/time-to-score"))
    parser.add_argument("--out", type=Path, default=Path("results/time-to-score/rows.jsonl"))
    given = parser.parse_args()

    options = Options(
        given.out, given.work, tuple(given.seeds), "cpu", given.dtype, compile=given.compile
    )
    latents = encode_vae("latents", resolve_vae(VAE), laptop(), options).latents
    rows = read_rows(given.out) if given.out.exists() else []
    known = {(row["recipe"], row["seed"], row["dtype"], row["compiled"]) for row in rows}
    for seed in given.seeds:
        for name in given.recipes:
            if (name, seed, given.dtype, given.compile) in known:
                continue
            run = given.work / f"{name}-{seed}-{given.dtype}{'-compiled' * given.compile}"
            shutil.rmtree(run, ignore_errors=True)  # half of its seconds are not known
            found = []
            for row in curve(RECIPES[name], latents, seed, run, options):
                scores = row["scores"]
                print(
                    f"{name}, seed {seed}: {row['step']} steps, {row['seconds']:.0f} s, "
                    f"reward {scores['reward']:.3f}, Fréchet {scores['frechet']:.0f}",
                    flush=True,
                )
                about = provenance("cpu", given.dtype, given.compile)
                found.append({"recipe": name, "seed": seed, **row, **about})
            append_rows(given.out, found)


if __name__ == "__main__":
    main()

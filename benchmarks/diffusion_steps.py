"""What a step of diffusion training costs: the recommended recipe, the conventional, and between.

    python benchmarks/diffusion_steps.py [--rounds 40] [--dtype float32] [--compile] [--out FILE]

All take turns on the latents of one cache, of clips of 9x32x32 by the shipped tiny-baseline.
Printed are the median of a step and the ratio to the conventional recipe's, round by round, with
its quartiles. --out adds them to a file, a row for each recipe, number format and compilation.
"""

import argparse
import dataclasses
import statistics
import tempfile
import time
from itertools import islice
from pathlib import Path

from ssvae.bench.provenance import provenance
from ssvae.bench.records import append_rows
from ssvae.diffusion.trainer import DiffusionTrainer
from ssvae.latents.cache import CacheConfig
from ssvae.latents.encoding import write_cache
from ssvae.models.backbones import load_backbone
from ssvae.models.finding import resolve_vae
from ssvae.recipes import dit_tiny, dit_tiny_conventional
from ssvae.training import make_accelerator

FIRST = 3
"""Rounds that warm up."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()

    best, conventional = dit_tiny(), dit_tiny_conventional()
    recipes = {
        "conventional": conventional,
        "patches of 2x2, Muon": dataclasses.replace(best, model=conventional.model),
        "one token per latent, AdamW": dataclasses.replace(
            best, optimizer="adamw", learning_rate=conventional.learning_rate
        ),
        "recommended": best,
    }
    vae = resolve_vae("tiny-baseline")
    config = CacheConfig(vae=vae, data="world", clips=512, frames=9, height=32, width=32)
    steps, seconds = FIRST + options.rounds, {name: list[float]() for name in recipes}
    with tempfile.TemporaryDirectory() as folder:
        accelerator = make_accelerator("cpu", options.dtype)
        write_cache(load_backbone(vae), Path(folder) / "latents", config, accelerator)
        runs = {}
        for name, recipe in recipes.items():
            recipe = dataclasses.replace(
                recipe, latents=f"{folder}/latents", steps=steps, compile=options.compile
            )
            trainer = DiffusionTrainer(recipe, accelerator)
            runs[name] = trainer, list(islice(trainer.batches(1, steps), steps))
        for number in range(steps):
            for name in (*runs, *runs)[number % len(runs) :][: len(runs)]:
                trainer, batches = runs[name]
                began = time.perf_counter()
                trainer.step(number + 1, batches[number])
                seconds[name].append(time.perf_counter() - began)

    rows = []
    for name, values in seconds.items():
        values, first = values[FIRST:], seconds["conventional"][FIRST:]
        low, middle, high = statistics.quantiles(
            [a / b for a, b in zip(values, first, strict=True)], n=4
        )
        median = 1e3 * statistics.median(values)
        print(f"{name:28} {median:7.1f} ms   x {middle:.2f} ({low:.2f} to {high:.2f})")
        row = {"recipe": name, "milliseconds": median, "ratio": middle, "low": low, "high": high}
        rows.append(row | provenance("cpu", options.dtype, options.compile))
    if options.out is not None:
        append_rows(options.out, rows)


if __name__ == "__main__":
    main()

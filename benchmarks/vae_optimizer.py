"""What Muon is worth in training an autoencoder: one recipe, its optimiser alone changed.

python benchmarks/vae_optimizer.py [--out runs/vae-optimizer] [--steps 600] [--batch 4] [--seed 100]

It trains tiny-baseline with Muon, and with Adam at several rates, and tells the time of a step, the
PSNR of held-out clips, and what these score with the probe (the ceiling of any diffusion model on
it). Runs that are there are not trained again.
"""

import argparse
import dataclasses
import time
from pathlib import Path
from typing import Literal

from accelerate import Accelerator

from ssvae.bench.scales import laptop
from ssvae.bench.stages import Options
from ssvae.models.backbones import load_backbone
from ssvae.models.finding import find_vae
from ssvae.recipes import tiny_baseline
from ssvae.report.tables import markdown
from ssvae.vae import VAERecipe, VAETrainer, train_autoencoder

OPTIMIZERS: list[tuple[Literal["muon", "adam"], float]] = [
    ("muon", 1e-3),
    ("adam", 5e-4),
    ("adam", 1e-3),
    ("adam", 2e-3),
    ("adam", 4e-3),
]


def seconds_of_a_step(recipe: VAERecipe, accelerator: Accelerator) -> float:
    """The middle of seven steps, after one to warm up."""
    trainer, times = VAETrainer(recipe, accelerator), []
    for step, batch in enumerate(trainer.batches(1, 8), 1):
        began = time.perf_counter()
        trainer.step(step, batch)
        times.append(time.perf_counter() - began)
    return sorted(times[1:])[3]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("runs/vae-optimizer"))
    parser.add_argument("--steps", type=int, default=tiny_baseline().steps)
    parser.add_argument("--batch", type=int, default=tiny_baseline().batch_size)
    parser.add_argument("--seed", type=int, default=100)
    given = parser.parse_args()

    scale = laptop()
    options = Options(given.out, given.out, (given.seed,))
    accelerator, scorer = options.accelerator(), options.scorer(scale)
    rows = []
    for optimizer, rate in OPTIMIZERS:
        recipe = dataclasses.replace(
            tiny_baseline(),
            optimizer=optimizer,
            learning_rate=rate,
            final_learning_rate=rate / 100,
            steps=given.steps,
            batch_size=given.batch,
            seed=given.seed,
        )
        run = given.out / f"{optimizer}-{rate:g}-{given.steps}-{given.batch}"
        train_autoencoder(recipe, run, accelerator)
        seconds = seconds_of_a_step(recipe, accelerator)
        measure = scorer.measure(load_backbone(str(find_vae(run)), accelerator.device))
        rank, low = (measure["analysis"][name] for name in ("effective_rank", "low_share"))
        rows.append(
            [
                f"{optimizer}, {rate:g}",
                f"{seconds:.3f}",
                f"{measure['psnr']:.2f}",
                f"{measure['ceiling']['reward']:.3f}",
                f"{low:.1%}",
                f"{rank:.1f}",
            ]
        )
    columns = ["optimiser, Adam's rate", "s a step", "PSNR", "ceiling", "low frequencies", "rank"]
    print(markdown(columns, rows))


if __name__ == "__main__":
    main()

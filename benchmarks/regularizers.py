r"""What each regulariser costs a training step of a VAE.

    python benchmarks/regularizers.py [--scale laptop] [--batch 4] [--rounds 30] \
        [--out studies/diffusability/results/costs.json]

All take turns, so that a machine whose speed drifts is fair to all. Printed are the median of a
step and the ratio to the step without regularisers, round by round, with its quartiles. --out keeps
the medians of the ratios, which the table of regularisers takes.
"""

import argparse
import dataclasses
import statistics
import time
from pathlib import Path

import torch

from ssvae.bench.scales import BASELINE, SCALES
from ssvae.data import World
from ssvae.regularizers import Draws
from ssvae.storage.files import write_json
from ssvae.storage.seeds import generator_of
from ssvae.vae import build
from ssvae.vae.objective import Objective


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--scale", default="laptop", choices=SCALES)
    parser.add_argument("--batch", type=int, default=None)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()

    device = "cuda" if torch.cuda.is_available() else "cpu"
    scale = SCALES[options.scale]()
    names = list(scale.variants(0))
    batch = options.batch or scale.vae.batch_size
    clips = World(*scale.size).batch(range(batch)).on(device)
    runs = {}
    for name in names:
        torch.manual_seed(0)
        recipe = dataclasses.replace(scale.vae_of(name, 0), batch_size=batch)
        objective = Objective(build(recipe), recipe).train().to(device)
        runs[name] = objective, torch.optim.Adam(objective.parameters(), 1e-4, fused=True)

    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(options.rounds + 3):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            objective, optimizer = runs[name]
            generator = generator_of(0, 0, number, device=device)
            if device == "cuda":
                torch.cuda.synchronize()
            began = time.perf_counter()
            objective(clips, Draws(generator)).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            if device == "cuda":
                torch.cuda.synchronize()
            if number >= 3:  # the first warm up
                seconds[name].append(time.perf_counter() - began)

    size = "x".join(str(side) for side in scale.size)
    print(
        f"{batch} clips of {size}, {device}, {torch.get_num_threads()} threads, {options.rounds} "
        "rounds"
    )
    costs = {}
    for name, values in seconds.items():
        ratios = [a / b for a, b in zip(values, seconds[BASELINE], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        costs[name] = middle
        median = 1e3 * statistics.median(values)
        print(f"{name:16} {median:8.1f} ms   x {middle:.3f} ({low:.3f} to {high:.3f})")
    if options.out is not None:
        write_json(options.out, costs, indent=1)


if __name__ == "__main__":
    main()

"""Whether captions are read at once: accuracy of each attribute after few steps, on one VAE.

python benchmarks/conditioning.py VAE [--out runs/conditioning] [--batch 32] [--steps 250 1000]
                                  [--cooldown 0.1] [--optimizer muon] [--seed 100] [--dtype float32]

VAE is a run, a model's folder or a hub id, for clips of 9 frames of 32 x 32 of the procedural
world. It trains dit-tiny and scores what it makes at each length: the share of 256 clips in which
the probe names what the caption asks for, beside the same of true clips that the VAE reconstructs.
"""

import argparse
import dataclasses
from pathlib import Path

from ssvae.bench.scales import laptop
from ssvae.bench.stages import Options, encode_vae, learning_curve
from ssvae.data.world import VOCABULARY
from ssvae.models.backbones import load_backbone
from ssvae.models.finding import resolve_vae
from ssvae.report.tables import markdown


def row(name: str, scores: dict) -> list[str]:
    figures = [scores["reward"], *(scores["accuracy"][kind] for kind in VOCABULARY.kinds)]
    return [name, *(f"{figure:.3f}" for figure in figures), f"{scores['frechet']:.0f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("vae")
    parser.add_argument("--out", type=Path, default=Path("runs/conditioning"))
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, nargs="+", default=[250, 1000])
    parser.add_argument("--cooldown", type=float, default=0.1)
    parser.add_argument("--optimizer", default="muon")
    parser.add_argument("--seed", type=int, default=100)
    parser.add_argument("--dtype", default="float32")
    given = parser.parse_args()

    scale, vae = laptop(), resolve_vae(given.vae)
    options = Options(given.out, given.out, (given.seed,), dtype=given.dtype)
    prepared = encode_vae("latents", vae, scale, options)
    accelerator = options.accelerator()
    recipe = dataclasses.replace(
        scale.diffusion,
        latents=str(prepared.latents),
        batch_size=given.batch,
        optimizer=given.optimizer,
        seed=given.seed,
    )
    rows = learning_curve(
        recipe,
        given.out / f"{given.optimizer}-{given.batch}-{given.cooldown:g}",
        given.steps,
        given.cooldown,
        options.scorer(scale),
        load_backbone(vae, accelerator.device),
        accelerator,
    )
    table = [row(f"{r['step']} steps of {given.batch}", r) for r in rows]
    table.append(row("true clips, reconstructed", prepared.measure["ceiling"]))
    print(markdown(["", "reward", *VOCABULARY.kinds, "Fréchet"], table))


if __name__ == "__main__":
    main()

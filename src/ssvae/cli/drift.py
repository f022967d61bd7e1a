"""The command that tells how clips drift that are encoded and decoded again and again."""

import json
from dataclasses import asdict
from pathlib import Path

import torch
import tyro

from ssvae.analysis import Drift, Subject, measure_drift
from ssvae.cli.analysis import open_models
from ssvae.cli.common import Common, CommonOptions, check_outputs
from ssvae.cli.console import console, print_rows, progress
from ssvae.data import open_fixed
from ssvae.models.backbones import Backbone
from ssvae.models.layouts import common_channels
from ssvae.report.drift_figure import drift_figure
from ssvae.report.figures import save_figure
from ssvae.report.tables import Row
from ssvae.storage.files import write_text


def drift(
    models: tyro.conf.Positional[tuple[str, ...]] = (),
    *,
    videos: str,
    rounds: int = 10,
    extend: bool = False,
    out: Path | None = None,
    figure: Path | None = None,
    clips: int = 8,
    frames: int = 17,
    size: tuple[int, int] = (256, 256),
    fps: float | None = None,
    seed: int = 1,
    common: CommonOptions = Common(),
) -> None:
    """PSNR, colour and contrast of clips that are encoded and decoded again and again.

    Args:
        models: VAEs, each as MODEL or NAME=MODEL, as for ssvae analyze; those that come with ssvae
            where none is given.
        videos: "world", "stills:FOLDER", a video, a folder of videos, a list, or tar files.
        rounds: Times that each clip goes through.
        extend: Play clips backwards in each round, so that what was last comes first: films that
            are made longer by their own last frames.
        out: Write all figures to this file, .json.
        figure: Draw them into this file, .png, .svg or .pdf.
        clips: Number of clips. Of files they are the same in every run, evenly drawn.
        frames: Frames a clip.
        size: Height and width that clips are resized and cropped to.
        fps: Frame rate that videos are resampled to; each video's own where not given.
        seed: Seed of the world.
    """
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, got {rounds}")
    check_outputs(None, out, figure)
    device = common.accelerator().device
    vaes = open_models(models, frames, size, common)
    channels = common_channels(vae.layout for vae in vaes.values())
    source = open_fixed(videos, clips, frames, *size, fps, seed, device, channels)
    each_clip = [batch.video for batch in source.batches(1, 0, 1)]
    if not each_clip:
        raise ValueError(f"none of the {clips} clips could be read: the log names the files")
    seen = torch.cat(each_clip)
    found = _measured(vaes, seen, rounds, extend)
    print_rows(list(found), _rows(found, rounds))
    way = "played backwards in each round" if extend else "each round from what the last made"
    console.print(
        f"{len(seen)} clips of {frames} frames of {size[0]}x{size[1]}, {way}", soft_wrap=True
    )
    if out is not None:
        protocol = dict(videos=videos, clips=len(seen), frames=frames, size=size, extend=extend)
        figures = {name: asdict(drift) for name, drift in found.items()}
        write_text(out, json.dumps(dict(protocol=protocol, drift=figures), indent=2) + "\n")
    if figure is not None:
        save_figure(drift_figure(found), figure)
        console.print(f"figure: {figure}", soft_wrap=True)


def _rows(found: dict[str, Drift], rounds: int) -> list[Row]:
    """Some rounds of each measure, a column a model."""
    return [
        Row(
            f"{label}, round {n}",
            tuple(f"{getattr(drift, name)[n - 1]:{digits}}" for drift in found.values()),
            note,
        )
        for name, label, digits, note in (
            ("psnr", "PSNR", ".2f", "dB over [0, 1]"),
            ("colour", "colour", ".2f", "levels of 255 that the mean has moved"),
            ("contrast", "contrast", ".3f", "deviation over the original's"),
        )
        for n in sorted({1, 2, 5, rounds} & set(range(1, rounds + 1)))
    ]


def _measured(
    vaes: dict[str, Backbone], clips: torch.Tensor, rounds: int, extend: bool
) -> dict[str, Drift]:
    """What becomes of the clips in each model."""
    found: dict[str, Drift] = {}
    each = len(clips) * rounds
    with progress("measuring", each * len(vaes)) as advance:
        for i, (name, vae) in enumerate(vaes.items()):

            def tell(done: int, i: int = i, name: str = name) -> None:
                advance(i * each + done, name)

            found[name] = measure_drift(Subject.of(vae), clips, rounds, extend, tell)
    return found

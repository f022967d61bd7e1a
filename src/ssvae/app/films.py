"""Films that are handed to the page: cut to what it shows, and named as they were."""

import logging
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch

from ssvae.data.opened import NamedBytes
from ssvae.data.pixels import of_colours, to_clip
from ssvae.data.sources import open_source
from ssvae.data.video import Frame, probe, read_frames
from ssvae.data.video_writer import write_video
from ssvae.data.world import World
from ssvae.models.layouts import Layout, common_channels, common_length, common_side

EXAMPLE = "a synthetic film"
EXAMPLES = {
    "shapes over waves": "world",
    "shapes over waves, with detail": "detailed-world",
    "a camera over a picture": "stills",
}
"""Films that the page offers, and the sources that they are of."""
EXAMPLE_SIZE = 33, 128, 128
EXAMPLE_CLIP, EXAMPLE_FPS = 7, 8.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """How much of a film the page takes."""

    megabytes: int = 100
    """Size of a file."""
    seconds: float = 4.0
    """Of a film, from its beginning."""
    side: int = 256
    """Longer side in pixels; larger films are made smaller."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name} must be positive, got {value}")


@dataclass(frozen=True)
class Film:
    """A clip (C, T, H, W) in [-1, 1], and what it is."""

    name: str
    clip: torch.Tensor
    fps: float
    description: str
    """What was done to it, in words."""


def read_film(path: Path, layouts: Iterable[Layout], limits: Limits) -> Film:
    """The beginning of a film, or a picture, of a size and length that models of all ``layouts``
    take.

    A ValueError that names the file as it was called where it cannot be read or is too small.
    """
    layouts = list(layouts)
    side = common_side(layouts)
    if path.stat().st_size > limits.megabytes * 1e6:
        raise ValueError(
            f"{path.name} is larger than {limits.megabytes} MB: give a shorter or smaller film"
        )
    file = NamedBytes(path.read_bytes(), path.name)
    info = probe(file)
    shown = info.height, info.width * info.pixel_aspect
    scale = min(1.0, limits.side / max(shown))
    height, width = (round(n * scale) // side * side for n in shown)
    if min(height, width) < 2 * side:
        raise ValueError(
            f"{path.name} is {info.width}x{info.height}, made smaller to a longer side of "
            f"{limits.side}: these models take sides of at least {2 * side}"
        )
    read = read_frames(file, size=(height, width), channels=common_channels(layouts))
    frames = list(_until(limits.seconds, read))
    if not frames:
        raise ValueError(f"{path.name}: no frames in it: re-encode or replace the file")
    whole = common_length(layouts, len(frames))
    if whole > len(frames):
        raise ValueError(
            f"{path.name} has {len(frames)} frames, these models take at least {whole}: give a "
            "longer film"
        )
    fps = float(info.fps) if info.fps > 0 else 25.0
    description = f"{whole} frames of {width}x{height}, {fps:.3g} a second"
    if (info.width, info.height) != (width, height):
        description += f"; the film is {info.width}x{info.height}"
    clip = to_clip(frame.image for frame in frames[:whole])
    return Film(path.name, clip, fps, description)


def example_film(layouts: Iterable[Layout]) -> Film:
    """A clip of the procedural world."""
    layouts = list(layouts)
    side = common_side(layouts)
    frames, size = common_length(layouts, 33), -(-64 // side) * side
    batch = World(frames, size, size).batch([7])
    description = f"“{batch.captions[0]}”, {frames} frames of {size}x{size}"
    clip = of_colours(batch.video[0].cpu(), common_channels(layouts))
    return Film(EXAMPLE, clip, 8.0, description)


def example_films(folder: Path) -> dict[str, Path]:
    """Films to begin with, by what they show; written into a folder."""
    folder.mkdir(parents=True)
    found = {}
    for name, source in EXAMPLES.items():
        try:
            batch = open_source(source, *EXAMPLE_SIZE).batch([EXAMPLE_CLIP])
        except ValueError as error:  # a package that few need is not installed
            logger.info("no example of %s: %s", name, error)
            continue
        found[name] = folder / f"{name}.mp4"
        write_video(found[name], batch.on()[0], fps=EXAMPLE_FPS)
    return found


def _until(seconds: float, frames: Iterator[Frame]) -> Iterator[Frame]:
    first = next(frames, None)
    if first is None:
        return
    yield first
    for frame in islice(frames, 10_000):
        if frame.time - first.time > seconds:
            return
        yield frame

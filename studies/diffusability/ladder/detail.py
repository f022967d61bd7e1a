"""How much of the world's detail a VAE keeps, octave by octave."""

from collections.abc import Iterator

import torch

from ssvae.data.world import DETAIL, DETAIL_HIGHEST, DETAIL_LOWEST, World
from ssvae.models.backbones import Backbone
from ssvae.transforms import dct3

CLIPS = 64
SEED = 8_000_002  # a world that nothing is trained on
FRAMES = 9


def octaves(side: int) -> list[float]:
    """The lower ends of the detail's octaves that clips of this side show, in cycles a side."""
    highest, found = DETAIL_HIGHEST * side / 2, []
    lower = DETAIL_LOWEST
    while lower < highest:
        found.append(lower)
        lower *= 2
    return found


@torch.no_grad()
def kept_detail(backbone: Backbone, side: int, clips: int = CLIPS) -> dict[str, float]:
    """The share of the detail that reconstructions keep in each octave, by its lower end.

    The same scenes with detail and without differ in the detail d alone. Of a reconstruction of the
    former, less the latter, it is the projection on d over d's own energy: 1 where all is kept, 0
    where nothing is, whatever else is lost or made up.
    """
    projected = torch.zeros(len(octaves(side)), dtype=torch.float64)
    energy = torch.zeros_like(projected)
    for detailed, plain in _pairs(side, clips):
        reconstruction = backbone.decode(backbone.encode(detailed).mean).float().cpu()
        detail, kept = (_in_space(x - plain) for x in (detailed, reconstruction))
        for i, lower in enumerate(octaves(side)):
            band = _band(side, lower)
            projected[i] += (detail * kept)[..., band].sum()
            energy[i] += detail.square()[..., band].sum()
    shares = (projected / energy).tolist()
    return {f"{lower:g}": share for lower, share in zip(octaves(side), shares, strict=True)}


def _pairs(side: int, clips: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    worlds = [World(FRAMES, side, side, SEED, detail=detail) for detail in (DETAIL, 0.0)]
    for start in range(0, clips, 16):
        indices = range(start, min(start + 16, clips))
        detailed, plain = (world.batch(indices).video for world in worlds)
        yield detailed, plain


def _in_space(clips_BCTHW: torch.Tensor) -> torch.Tensor:
    """Each frame's cosine transform."""
    frames = clips_BCTHW.double().unsqueeze(-3)  # one frame in time is its own transform
    return dct3(frames).squeeze(-3)


def _band(side: int, lower: float) -> torch.Tensor:
    """The coefficients (side, side) of an octave; number j has j / 2 cycles a side."""
    cycles = torch.arange(side) / 2
    radius = (cycles[:, None].square() + cycles.square()).sqrt()
    return (radius >= lower) & (radius < 2 * lower)

"""Drift: what becomes of clips that are encoded and decoded again and again."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ssvae.analysis.fidelity import psnr
from ssvae.analysis.subject import Subject

ROUNDS = 5


@dataclass(frozen=True)
class Drift:
    """Figures after each round, from the first: means over clips."""

    psnr: tuple[float, ...]
    """Of the original, in dB."""
    colour: tuple[float, ...]
    """How far a clip's mean colour has moved, in levels of 255: the mean over channels."""
    contrast: tuple[float, ...]
    """Deviation of a clip's values over the original's."""


@torch.no_grad()
def measure_drift(
    vae: Subject,
    clips: torch.Tensor,
    rounds: int = ROUNDS,
    extend: bool = False,
    on_round: Callable[[int], Any] = lambda done: None,
) -> Drift:
    """Encode and decode clips (N, 3, T, H, W) in [-1, 1] ``rounds`` times, each by itself.

    Latents are posterior means, clips are cut to [-1, 1] between rounds as a file would cut them.
    With ``extend`` each clip goes on with its own last frames: it is played backwards in each
    round, so that what was last comes first, as where a film is made longer piece by piece; what is
    right is known. Clips that give NaN or infinity are left out. ``on_round`` hears how many passes
    are done.

    Raises:
        ValueError: for no clips or rounds, or where no clip came through.
    """
    if not len(clips) or rounds < 1:
        raise ValueError(
            f"drift takes at least one clip and one round, got {len(clips)} clips and {rounds} "
            "rounds"
        )
    rows, done = [], 0
    for original in clips.split(1):
        truth, seen = original, original
        own = torch.zeros(3, rounds, dtype=torch.float64)
        for i in range(rounds):
            if extend and i:
                truth, seen = truth.flip(2), seen.flip(2)
            seen = vae.decode(vae.encode(vae.placed(seen))).to(original).clamp(-1, 1)
            shift = 127.5 * (seen.mean((0, 2, 3, 4)) - truth.mean((0, 2, 3, 4))).abs().mean()
            own[0, i], own[1, i] = float(psnr(seen, truth)), float(shift)
            own[2, i] = float(seen.std() / truth.std().clamp(min=1e-6))
            done += 1
            on_round(done)
        if own.isfinite().all():
            rows.append(own)
    if not rows:
        raise ValueError(
            f"every one of the {len(clips)} clips gave NaN or infinity: the weights are broken, or "
            "the dtype overflows; try float32"
        )
    of_psnr, colour, contrast = torch.stack(rows).mean(0).tolist()
    return Drift(tuple(of_psnr), tuple(colour), tuple(contrast))

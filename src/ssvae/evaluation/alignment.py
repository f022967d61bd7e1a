"""Are two films the same, frame by frame? By the times of their frames, and by what these show."""

from itertools import islice
from pathlib import Path

import torch

from ssvae.analysis.fidelity import psnr
from ssvae.data import read_frames

SHARE = 0.5  # of a frame: times that are farther apart are of other frames
BETTER = 3.0  # decibels by which frames agree better under a shift, where they are shifted


def check_same_times(true: Path, other: Path, frames: int) -> None:
    """A ValueError where the first frames of two files are shown at other times, from each one's
    first.
    """
    one, two = (
        [frame.time for frame in islice(read_frames(path, size=(8, 8)), frames)]
        for path in (true, other)
    )
    if min(len(one), len(two)) < 2:
        return
    first, second = ([time - times[0] for time in times] for times in (one, two))
    period = first[-1] / (len(first) - 1)
    apart = [abs(a - b) for a, b in zip(first, second, strict=False)]
    if max(apart) > SHARE * period:
        at = apart.index(max(apart))
        rates = [(len(times) - 1) / times[-1] for times in (first, second)]
        raise ValueError(
            f"{true} and {other} show their frames at other times: {rates[0]:.4g} and "
            f"{rates[1]:.4g} a second, frame {at + 1} {max(apart):.3g} s apart; give --fps, to "
            "which both are brought"
        )


def check_aligned(true: torch.Tensor, other: torch.Tensor, name: str) -> None:
    """A ValueError where two clips (C, T, H, W) agree much better when one is shifted by a
    frame.
    """
    if true.shape[1] < 3:
        return
    here = float(psnr(other[None, :, 1:-1], true[None, :, 1:-1]))
    for shift, word in ((1, "late"), (-1, "early")):
        moved = other[None, :, 1 + shift : other.shape[1] - 1 + shift]
        there = float(psnr(moved, true[None, :, 1:-1]))
        if there > here + BETTER:
            raise ValueError(
                f"the frames of {name} agree better one frame {word} ({there:.1f} dB, as they are "
                f"{here:.1f} dB): the reconstruction has lost or gained a frame at its beginning"
            )

"""How the pixels of sources fall with frequency: the slope of log power on log frequency.

    python benchmarks/sources.py world stills VIDEOS [--clips 256] [--size 32]

Of single frames, by their discrete cosine transforms; every source at one size. Beside it the slope
over octaves of cycles a side, of all from half a cycle on and of those from 4 on.
"""

import argparse
import math

import numpy as np
import torch

from ssvae.data import open_fixed
from ssvae.spectra.frequency import FrequencyResult, FrequencySpectrum


def spectrum_of(source: str, clips: int, size: int) -> FrequencyResult:
    """That of all frames of clips of 9 frames."""
    spectrum = FrequencySpectrum()
    for batch in open_fixed(source, clips, 9, size, size).batches(32):
        frames = batch.on().transpose(1, 2).flatten(0, 1)
        spectrum.update(frames)
    return spectrum.result()


def octave_slope(power: torch.Tensor, lowest: float) -> float:
    """The slope of log mean power over log cycles a side, an octave a point, from ``lowest`` cycles
    on.
    """
    plane = power.sum(0)
    cycles = torch.arange(len(plane)) / 2
    radius = (cycles[:, None].square() + cycles.square()).sqrt()
    points = []
    while lowest <= len(plane) / 4:
        octave = plane[(radius >= lowest) & (radius < 2 * lowest)]
        points.append((math.log(1.5 * lowest), math.log(float(octave.mean()))))
        lowest *= 2
    x, y = np.array(points).T
    return float(np.polyfit(x, y, 1)[0])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("sources", nargs="+")
    parser.add_argument("--clips", type=int, default=256)
    parser.add_argument("--size", type=int, default=32)
    arguments = parser.parse_args()
    for source in arguments.sources:
        found = spectrum_of(source, arguments.clips, arguments.size)
        octaves = ", ".join(f"{octave_slope(found.power, low):.2f}" for low in (0.5, 4.0))
        print(f"{source}: {found.slope:.2f}; over octaves {octaves}")


if __name__ == "__main__":
    main()

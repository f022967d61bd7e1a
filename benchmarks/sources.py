"""How the pixels of sources fall with frequency: the slope of log power on log frequency.

    python benchmarks/sources.py world stills VIDEOS [--clips 256] [--size 32]

Of single frames, by their discrete cosine transforms; every source at one size.
"""

import argparse

from ssvae.data import open_fixed
from ssvae.spectra.frequency import FrequencySpectrum


def slope_of(source: str, clips: int, size: int) -> float:
    """The slope over all frames of clips of 9 frames."""
    spectrum = FrequencySpectrum()
    for batch in open_fixed(source, clips, 9, size, size).batches(32):
        frames = batch.on().transpose(1, 2).flatten(0, 1)
        spectrum.update(frames)
    return spectrum.result().slope


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("sources", nargs="+")
    parser.add_argument("--clips", type=int, default=256)
    parser.add_argument("--size", type=int, default=32)
    arguments = parser.parse_args()
    for source in arguments.sources:
        print(f"{source}: {slope_of(source, arguments.clips, arguments.size):.2f}")


if __name__ == "__main__":
    main()

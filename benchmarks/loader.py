"""Clips a second a core from shards, and what share of the time is FFmpeg's.

    python benchmarks/loader.py [--src FOLDER] [--clips 200] [--frames 17] [--size 128] [--fps 8]

Without SRC it makes clips of 640x480 from the procedural world. One thread reads the same clips in
turns: through the whole loader, and with FFmpeg alone (open, seek, decode the frames that are
needed, convert those that are used). Then so many threads as there are cores.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from ssvae.data import Clip, Collection, Loader, Shards, World, batches
from ssvae.data.listing import find_media
from ssvae.data.opened import NamedBytes, VideoFile
from ssvae.data.shard_writer import copy_file, render, write_shards
from ssvae.data.shards import expand


class FFmpegAlone(Clip):
    """The same frames, decoded and converted, and nothing done with them."""

    def read(self, file: VideoFile, where: float):
        assert isinstance(file, NamedBytes)
        file.seek(0)
        opened: Any = av.open(file)
        with opened as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            rate = float(stream.average_rate or 25)
            duration = float((stream.duration or 0) * (stream.time_base or 0))
            span = (self.frames - 1) / (self.fps or rate) + 2 / rate
            start = where * max(duration - span, 0)
            if start:
                container.seek(int(start / (stream.time_base or 1)), stream=stream)
            used, due = 0, start
            for frame in container.decode(stream):
                if frame.time is not None and frame.time >= due - 1e-6:
                    frame.reformat(width=self.width, height=self.height, format="rgb24")
                    used += 1
                    due = start + used / (self.fps or rate)
                if used == self.frames:
                    break
        return BLANK[self.frames, self.height, self.width]


BLANK = {}


class Numbered(Dataset):
    """A loader's batches by number, as DataLoader wants them."""

    def __init__(self, loader: Loader):
        self.loader = loader

    def __getitem__(self, number: int) -> torch.Tensor:
        return self.loader.read(number).video


def seconds_of_processes(loader: Loader, numbers: range, workers: int) -> float:
    """By worker processes, which are started first."""
    given = DataLoader(
        Numbered(loader),
        batch_size=None,
        sampler=[numbers[0], *numbers],
        num_workers=workers,
        multiprocessing_context="fork",
    )
    batches_of = iter(given)
    next(batches_of)
    began = time.perf_counter()
    for _ in batches_of:
        pass
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--src", default=None)
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--frames", type=int, default=17)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--fps", type=float, default=8)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        if options.src is None:
            make = render(World(90, 480, 640), "world", (90, 480, 640), fps=30, seed=0)
            write_shards(range(4), make, out, 2)
        else:
            write_shards(find_media(options.src), copy_file, out, 8)
        size = options.frames, options.size, options.size
        BLANK[size] = np.zeros((3, *size), np.uint8)
        shelf = Shards(folder, expand(f"{folder}/*.tar"), videos_only=True)
        loader = Loader([Collection(shelf, Clip(*size, options.fps))], 1)
        decoding = Loader([Collection(shelf, FFmpegAlone(*size, options.fps))], 1)

        def seconds(which: Loader, numbers: range, workers: int) -> float:
            began = time.perf_counter()
            for _ in batches(which, numbers, workers):
                pass
            return time.perf_counter() - began

        seconds(loader, range(5), 1)
        whole = alone = 0.0
        for start in range(0, options.clips, 20):
            numbers = range(start, start + 20)
            whole += seconds(loader, numbers, 1)
            alone += seconds(decoding, numbers, 1)
        cores = len(os.sched_getaffinity(0))
        many = processes = 0.0
        for start in range(0, options.clips, 50):
            numbers = range(start, min(start + 50, options.clips))
            many += seconds(loader, numbers, cores)
            processes += seconds_of_processes(loader, numbers, cores)
    print(f"{options.clips} clips of {'x'.join(map(str, size))} at {options.fps:g} fps")
    print(f"one thread     {options.clips / whole:7.1f} clips a second")
    print(f"FFmpeg alone   {options.clips / alone:7.1f}, {alone / whole:.0%} of the loader's time")
    print(
        f"{cores} threads      {options.clips / many:7.1f}, {options.clips / many / cores:.1f} a "
        "core"
    )
    print(
        f"{cores} processes    {options.clips / processes:7.1f}, {many / processes:.0%} of the "
        "threads'"
    )


if __name__ == "__main__":
    main()

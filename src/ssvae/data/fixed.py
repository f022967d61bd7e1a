"""Clips to measure on: the same in every run, whatever the order of files, batches or processes."""

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from ssvae.data.batch import Batch, Source, check_finite
from ssvae.data.collection import Clip, Files, Shelf
from ssvae.data.loader import ahead
from ssvae.data.opened import NamedBytes, VideoError
from ssvae.data.pixels import floats_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FixedClip:
    """One clip (C, T, H, W) in [-1, 1]."""

    video: torch.Tensor
    caption: str
    name: str
    """No two clips of a set have the same."""


@dataclass
class FixedClips:
    """So many clips, by number. One that cannot be read is left out, and named in ``broken``."""

    number: int
    read: Callable[[int], FixedClip]
    """Clip of a number; may raise a VideoError."""
    from_files: bool
    broken: dict[str, str] = field(default_factory=dict)
    """What could not be read, and why; known when the clips have been read."""

    def batches(self, size: int, process: int = 0, processes: int = 1) -> Iterator[Batch]:
        """A process's share of the clips, in batches; none is empty."""
        own = range(process, self.number, processes)
        parts = [own[i : i + size] for i in range(0, len(own), size)]
        read = ahead(self._batch, parts, 2) if self.from_files else map(self._batch, parts)
        for batch in read:
            if batch.captions:
                yield batch

    def _batch(self, numbers: Sequence[int]) -> Batch:
        clips = []
        for number in numbers:
            try:
                clips.append(self.read(number))
            except VideoError as error:
                again = error.name in self.broken
                logger.log(
                    logging.DEBUG if again else logging.WARNING, "left out a clip: %s", error
                )
                self.broken[error.name] = error.reason
        if not clips:
            return Batch(torch.empty(0), [])
        names = [clip.name for clip in clips]
        # NumPy stacks: see Source.read_ahead.
        on_cpu = clips[0].video.device.type == "cpu"
        videos = [clip.video for clip in clips]
        video = (
            torch.from_numpy(np.stack([v.numpy() for v in videos]))
            if on_cpu
            else torch.stack(videos)
        )
        if not self.from_files:  # clips from files are made of bytes
            check_finite(video, f"{names[0]} and what follows it")
        return Batch(video, [clip.caption for clip in clips], names)


def file_of(name: str) -> str:
    """What the clips of one file have in common of their names."""
    return re.sub(r"(?:, (?:part|again|source) \d+)+$", "", name)


def of_source(source: Source, number: int) -> FixedClips:
    """The first clips of an endless source."""

    def read(i: int) -> FixedClip:
        batch = source.batch([i])
        return FixedClip(batch.on()[0], batch.captions[0], batch.names[0])

    return FixedClips(number, read, from_files=source.read_ahead)


def of_shelf(shelf: Shelf, clip: Clip, number: int) -> FixedClips:
    """Clips of the files on a shelf, in the order of their names.

    Of fewer clips than files, files at equal distances give one each; else each file gives as many
    as another, or one more, which divide its length evenly. One clip lies in a file's middle.
    """
    if isinstance(shelf, Files):
        shelf = Files(
            shelf.name, sorted(shelf.items, key=lambda item: (str(item.path), item.caption))
        )
    places = [(s, i) for s, length in enumerate(shelf.lengths) for i in range(length)]
    files = len(places)
    # A list may name a file again, perhaps with another caption.
    again, seen = list[int](), Counter[object]()
    for s, _ in places:
        entry = shelf.items[s].path if isinstance(shelf, Files) else len(again)
        again.append(seen[entry])
        seen[entry] += 1

    def read(k: int) -> FixedClip:
        if number <= files:
            at, part, parts = k * files // number, 0, 1
        else:
            at, part = k % files, k // files
            parts = (number - at - 1) // files + 1
        file, caption = shelf.item(*places[at])
        name = file.name if isinstance(file, NamedBytes) else str(file)
        try:
            video = floats_of(clip.read(file, (part + 0.5) / parts))
        except VideoError:
            raise
        except Exception as error:  # what is in the files may raise anything
            kind = f"unreadable ({type(error).__name__})"
            raise VideoError(file, kind, "re-encode or replace the file") from error
        if parts > 1:
            name += f", part {part + 1}"
        return FixedClip(video, caption, f"{name}, again {again[at]}" if again[at] else name)

    return FixedClips(number, read, from_files=True)


def joined(sets: Sequence[FixedClips]) -> FixedClips:
    """The clips of several sets, one set after the other."""
    ends = np.cumsum([clips.number for clips in sets])

    def read(i: int) -> FixedClip:
        k = int(np.searchsorted(ends, i, side="right"))
        clip = sets[k].read(i - int(ends[k]) + sets[k].number)
        # Sets may lie on several devices, and hold the same files.
        return FixedClip(clip.video.cpu(), clip.caption, f"{clip.name}, source {k + 1}")

    return FixedClips(int(ends[-1]), read, any(clips.from_files for clips in sets))

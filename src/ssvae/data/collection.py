"""A source over files: every item once an epoch, from wherever the files lie.

A collection is divided into shards, which are visited one by one: tar files, or single files, each
a shard of its own. The order is a pure function of (seed, epoch), and a clip one of (seed, index),
so nothing has to be saved for a run to resume, and any number of threads reads the same clips.
"""

import logging
import re
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from ssvae.data.batch import Batch, in_turn
from ssvae.data.captions import caption_in
from ssvae.data.opened import NamedBytes, VideoError, VideoFile
from ssvae.data.video import IMAGES, draw_bytes
from ssvae.storage.digests import checksum_of_rows
from ssvae.storage.distant import DistantError, content_at
from ssvae.storage.seeds import permuted, uniform

logger = logging.getLogger(__name__)

ATTEMPTS = 20  # draws for one clip before the data set is called unusable
DRAWS = 10  # random numbers from which a clip is made
MANY = 2**17  # single files whose orders are stored, 16 bytes each
READS_BEFORE_JUDGING = 100  # until then, no share of broken items ends a run


@dataclass(frozen=True)
class Clip:
    """What is made of every file."""

    frames: int
    height: int
    width: int
    fps: float | None = None
    """Frame rate that videos are resampled to by their times; None keeps each one's own."""
    channels: int = 3
    """Of grey 1, of colours 3, with alpha 4: see :mod:`ssvae.data.pixels`."""

    def read(self, file: VideoFile, where: float) -> np.ndarray:
        """The clip at the share ``where`` of the starts that the file has: bytes (C, T, H, W)."""
        size = self.height, self.width
        return draw_bytes(file, self.frames, where, self.fps, size, self.channels)

    def make(self, file: VideoFile, caption: str, draws: np.ndarray) -> tuple[np.ndarray, str]:
        """The clip at a start that is drawn, and the caption as it is."""
        return self.read(file, float(draws[0])), caption

    def __str__(self) -> str:
        rate = f" at {self.fps:g} frames a second" if self.fps else ""
        return f"clips of {self.frames} frames{rate}"


class Maker(Protocol):
    """Turns files into clips. As text it says what clips are asked for."""

    def make(self, file: VideoFile, caption: str, draws: np.ndarray) -> tuple[np.ndarray, str]:
        """A file's clip, bytes (C, T, H, W), that these draws (DRAWS,) in [0, 1) choose; its
        caption.
        """
        ...


class ShardError(VideoError):
    """A shard that cannot be reached, and all that lies in it."""


class Shelf(Protocol):
    """Where items lie: shards, each of some items."""

    name: str

    @property
    def lengths(self) -> Sequence[int] | np.ndarray:
        """Items of each shard."""
        ...

    def item(self, shard: int, index: int) -> tuple[VideoFile, str]:
        """A file and its caption. Errors of the machine may be raised; the caller counts them."""
        ...

    def checksum(self) -> str:
        """Of the names and sizes of all files and their captions, in order."""
        ...


class Collection:
    """A source of clips from the files on a shelf.

    Index by index a file and a start in it are drawn: in an epoch every file once, shard after
    shard, in an order of its own. A file that cannot be read is named in the log and counted by
    reason in ``broken``, and another is drawn in its place. Where more than the share
    ``max_broken`` of what was read was broken, a ValueError says so.
    """

    read_ahead = True

    def __init__(self, shelf: Shelf, clip: Maker, seed: int = 0, max_broken: float = 0.5):
        self.shelf, self.clip, self.seed, self.max_broken = shelf, clip, seed, max_broken
        self._lengths = np.asarray(shelf.lengths)
        self.ends = np.cumsum(self._lengths)
        self._shard_order = lru_cache(maxsize=16)(self._draw_shard_order)
        # Of very many single files no order is stored.
        self._computed = len(self._lengths) > MANY and len(self._lengths) == len(self)
        self.reads, self.broken = 0, Counter[str]()
        self._named: set[tuple[int, int | None] | None] = set()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Items of an epoch."""
        return int(self.ends[-1])

    def indices(self, number: int, size: int, process: int, processes: int) -> Sequence[int]:
        """Each process has a stretch of every epoch's order, so that none opens others' shards."""
        if len(self) < processes:
            return in_turn(number, size, process, processes)
        stretch = len(self) // processes
        chosen = []
        for n in range(number * size, (number + 1) * size):
            position = process * stretch + n % stretch
            chosen.append(n // stretch * len(self) + position)
        return chosen

    def batch(self, indices: Sequence[int]) -> Batch:
        """Read the clips of these indices."""
        clips = [self._read(index) for index in indices]
        # NumPy stacks: see Source.read_ahead.
        video = torch.from_numpy(np.stack([clip for clip, _ in clips]))
        names = [f"clip {index} of {self.shelf.name}" for index in indices]
        return Batch(video, [caption for _, caption in clips], names)

    def locate(self, index: int) -> tuple[int, int]:
        """The shard, and the item in it, that an index draws."""
        epoch, position = divmod(index, len(self))
        if self._computed:
            return permuted(position, len(self), self.seed, epoch), 0
        order, ends = self._shard_order(epoch)
        rank = int(np.searchsorted(ends, position, side="right"))
        shard = int(order[rank])
        length = int(self._lengths[shard])
        if length == 1:
            return shard, 0
        within = position - int(ends[rank]) + length
        return shard, int(_item_order(self.seed, epoch, shard, length)[within])

    def _draw_shard_order(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The order of shards in an epoch, and where each ends."""
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self._lengths))
        return order, np.cumsum(self._lengths[order])

    def _read(self, index: int) -> tuple[np.ndarray, str]:
        u = uniform(self.seed, [index], ATTEMPTS + DRAWS - 1)[0]
        draws, elsewhere = np.append(u[0], u[ATTEMPTS:]), u[1:ATTEMPTS].tolist()
        shard, item = self.locate(index)
        for attempt, draw in enumerate([*elsewhere, 0.0]):
            reached = True
            try:
                file, caption = self.shelf.item(shard, item)
                item = self.clip.make(file, caption, draws)
            except ShardError as error:
                reached = False
                self._count(error, (shard, None))
            except Exception as error:  # what is in the files may raise anything
                self._count(error, (shard, item))
            else:
                self._count()
                return item
            # In an item's place another of its shard, which is open, or any of the same epoch.
            length = int(self._lengths[shard])
            if reached and length > 1 and attempt < ATTEMPTS // 2:
                item = int(draw * length)
            else:
                shard, item = self.locate(index - index % len(self) + int(draw * len(self)))
        raise ValueError(
            f"no usable clip in {ATTEMPTS} draws from {self.shelf.name} ({self.reasons()}): "
            f"{self.clip} were asked for"
        )

    def reasons(self) -> str:
        """Why items were left out, and how often."""
        return ", ".join(f"{reason} {n} times" for reason, n in self.broken.most_common())

    def _count(
        self, error: Exception | None = None, where: tuple[int, int | None] | None = None
    ) -> None:
        with self._lock:
            if isinstance(error, ShardError) and where in self._named:
                return  # one misfortune, however many items lie in the shard
            self.reads += 1
            if error is None:
                return
            known = isinstance(error, VideoError)
            self.broken[error.reason if known else f"unreadable ({type(error).__name__})"] += 1
            broken = self.broken.total()
            again = where in self._named
            self._named.add(where)
            logger.log(logging.DEBUG if again else logging.WARNING, "skipped a clip: %s", error)
            judged = self.reads >= READS_BEFORE_JUDGING
        if judged and broken > self.max_broken * self.reads:
            raise ValueError(
                f"{broken} of {self.reads} items read from {self.shelf.name} are broken "
                f"({self.reasons()}), more than the share of {self.max_broken:g} that is borne: "
                "mend or leave out the files that the log names, or raise max_broken"
            )


@lru_cache(maxsize=64)
def _item_order(seed: int, epoch: int, shard: int, length: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch, shard)).permutation(length)


@dataclass(frozen=True)
class FileItem:
    """A film or a picture, and what it shows."""

    path: Path | str
    """Where it lies; text where that is a URL."""
    caption: str = ""
    beside: str = ""
    """The URL of the caption, where it is read with a distant file."""
    version: str = ""
    """What tells a distant file's content from another."""

    @property
    def ending(self) -> str:
        """Of its name."""
        return Path(re.split(r"[?#]", str(self.path))[0]).suffix.lower()

    @property
    def is_image(self) -> bool:
        """By its name."""
        return self.ending in IMAGES

    def read(self) -> tuple[VideoFile, str]:
        """The file, fetched where it is distant, and its caption; a VideoError where it cannot be
        had.
        """
        if isinstance(self.path, Path):
            return self.path, self.caption
        try:
            file = NamedBytes(content_at(self.path), self.path)
            return file, self.caption or (caption_in(self.beside) if self.beside else "")
        except DistantError as error:
            raise VideoError(
                self.path, error.reason, "look at the store that it lies in"
            ) from error


class Files:
    """A shelf of single files."""

    def __init__(self, name: str, items: Sequence[FileItem]):
        self.name, self.items = name, items
        self.lengths = np.ones(len(items), np.int64)

    def item(self, shard: int, index: int) -> tuple[VideoFile, str]:
        """A file and its caption."""
        return self.items[shard].read()

    def checksum(self) -> str:
        """Of the names and sizes of all files and their captions, in order."""
        return checksum_of_rows([str(i.path), _version(i), i.caption] for i in self.items)


def _version(item: FileItem) -> int | str:
    if not isinstance(item.path, Path):
        return item.version
    return item.path.stat().st_size if item.path.is_file() else -1

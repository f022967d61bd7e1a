"""Where clips come from: a name on the command line to a source."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ssvae.data.batch import Batch, Source
from ssvae.data.captions import say_where
from ssvae.data.collection import Clip, Collection, FileItem, Files
from ssvae.data.fixed import FixedClips, joined, of_shelf, of_source
from ssvae.data.hub_datasets import HubDataset, is_hub_dataset
from ssvae.data.listing import files_below, find_media, media_among
from ssvae.data.lists import is_list, read_list
from ssvae.data.pixels import check_channels
from ssvae.data.shards import Shards, expand, is_shards
from ssvae.data.stills import CameraMoves, carried_pictures, name_of, stills_vocabulary
from ssvae.data.video import EXTENSIONS, IMAGES
from ssvae.data.vocabulary import Vocabulary
from ssvae.data.world import DETAIL, VOCABULARY, World
from ssvae.storage.distant import files_at, is_distant

WORLDS = {"world": 0.0, "detailed-world": DETAIL}
"""Procedural worlds, and the deviation of the detail in each."""


def open_source(
    name: str,
    frames: int,
    height: int,
    width: int,
    fps: float | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    max_broken: float = 0.5,
    channels: int = 3,
) -> Source:
    """The source called ``name``.

    "world" (procedural clips, rendered on ``device``), "detailed-world" (the same with detail that
    grows with the clips' size), "stills:FOLDER" (a camera that moves over pictures), "stills" (over
    those that scikit-image carries), a video, a folder of videos or of tar files, a ``.csv`` or
    ``.jsonl`` list, or a pattern of tar files (``data/{000..099}.tar``, wildcards); each of these
    may be a URL (see ssvae.storage.distant). "datasets:OWNER/NAME" is a data set of the hub (see
    :mod:`ssvae.data.hub_datasets`).
    ``A:3,B:1`` draws three clips from A for each from B. With one frame a clip, images belong to a
    source as videos do. ``channels`` are 3, or 1 for grey, or 4 for alpha (see
    :mod:`ssvae.data.pixels`), of which the world has the shape alone.

    Raises:
        ValueError: where there is no such source, or nothing usable in it.
    """
    parts = _parts(name)
    if len(parts) > 1:
        size = frames, height, width
        members = [
            open_source(part, *size, fps, seed, device, max_broken, channels) for part, _ in parts
        ]
        return Mixture(members, [weight for _, weight in parts])
    name = parts[0][0]
    endless = open_endless(name, frames, height, width, seed, device, max_broken, channels)
    if endless is not None:
        return endless
    clip = Clip(frames, height, width, fps, channels)
    return Collection(open_shelf(name, frames), clip, seed, max_broken)


def open_endless(
    name: str,
    frames: int,
    height: int,
    width: int,
    seed: int = 0,
    device: torch.device | str = "cpu",
    max_broken: float = 0.5,
    channels: int = 3,
) -> Source | None:
    """The source called ``name`` if it makes any number of clips that differ, else None."""
    check_channels(channels)
    if name in WORLDS:
        return World(frames, height, width, seed, device, channels, WORLDS[name])
    if not is_endless(name):
        return None
    pictures = Files(name, _pictures(name.partition(":")[2]))
    return Collection(pictures, CameraMoves(frames, height, width, channels), seed, max_broken)


def is_endless(name: str) -> bool:
    """Whether a source makes any number of clips that differ."""
    return name in (*WORLDS, "stills") or name.startswith("stills:")


def vocabulary_of(name: str) -> Vocabulary:
    """What the captions of a source can say; a ValueError for one whose captions may say
    anything.
    """
    if name in WORLDS:
        return VOCABULARY
    if is_endless(name):
        return stills_vocabulary(_pictures(name.partition(":")[2]))
    raise ValueError(
        f"captions of {name} may say anything, so that nothing can be scored by them: give "
        '"world", "stills" or "stills:FOLDER"'
    )


def known_vocabulary(name: str) -> Vocabulary | None:
    """What captions of a source can say; None where they may say anything."""
    try:
        return vocabulary_of(name)
    except ValueError:
        return None


def _pictures(where: str) -> list[FileItem]:
    """The pictures of a folder or a list, each with its caption or, without one, its file's
    name.
    """
    if not where:
        return carried_pictures()
    listed = is_list(where)
    pictures = [
        replace(item, caption=(item.caption if listed else "") or name_of(item.path), beside="")
        for item in (read_list if listed else find_media)(where)
        if item.is_image
    ]
    if not pictures:
        raise ValueError(f"no pictures in {where}: their names must end in {', '.join(IMAGES)}")
    return pictures


def open_fixed(
    name: str,
    clips: int,
    frames: int,
    height: int,
    width: int,
    fps: float | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    channels: int = 3,
) -> FixedClips:
    """Clips to measure on, of the source called ``name`` as for :func:`open_source`.

    Of files they are the same whatever the order in which a list names them, and ``seed`` counts
    for the world and stills alone. Sources in a mixture give clips in the proportion of their
    weights.
    """
    if clips < 1:
        raise ValueError(f"clips must be at least 1, got {clips}")
    size = frames, height, width
    parts = _parts(name)
    if len(parts) > 1:
        ends = np.cumsum([0] + [weight for _, weight in parts]) * clips // sum(w for _, w in parts)
        shares = np.diff(ends).tolist()
        return joined(
            [
                open_fixed(part, share, *size, fps, seed, device, channels)
                for (part, _), share in zip(parts, shares, strict=True)
                if share
            ]
        )
    name = parts[0][0]
    endless = open_endless(name, frames, height, width, seed, device, channels=channels)
    if endless is not None:
        return of_source(endless, clips)
    return of_shelf(open_shelf(name, frames), Clip(*size, fps, channels), clips)


def count_files(name: str, frames: int) -> int | None:
    """Files of the source called ``name``; None where it makes any number of clips, or a part of it
    does.
    """
    total = 0
    for part, _ in _parts(name):
        if is_endless(part):
            return None
        total += int(np.sum(open_shelf(part, frames).lengths))
    return total


def items_of(source: Source) -> str:
    """How many files a source draws from, and a checksum of them and their captions, such as "12
    files, 3f2a..."; empty where it makes its clips.
    """
    if isinstance(source, Mixture):
        return "; ".join(items_of(part) for part in source.sources)
    if not isinstance(source, Collection):
        return ""
    return f"{len(source)} files, {source.shelf.checksum()[:16]}"


def open_shelf(name: str, frames: int) -> Files | Shards | HubDataset:
    """The files of a source, wherever they lie."""
    if is_hub_dataset(name):
        return HubDataset(name, videos_only=frames > 1)
    if is_shards(name):
        return _shards(name, expand(name), frames)
    listed = is_list(name)
    distant = files_at(name) if is_distant(name) and not listed else {}
    below = [*distant, *(map(str, files_below(Path(name))) if Path(name).is_dir() else ())]
    urls = sorted(file for file in below if file.endswith(".tar"))
    if urls and any(file.lower().endswith(EXTENSIONS) for file in below):
        raise ValueError(
            f"{name} holds both videos and tar files: name the one, or {name}/*.tar, or join them "
            "with a comma"
        )
    if urls:
        return _shards(name, urls, frames)
    fitting: Sequence[FileItem]
    if listed:
        fitting = read_list(name) if frames == 1 else read_list(name).films()
    else:
        items = media_among(name, distant) if distant else find_media(name)
        fitting = [item for item in items if frames == 1 or not item.is_image]
    if not len(fitting):
        raise ValueError(
            f"{name} holds images alone, but clips of {frames} frames were asked for: give videos, "
            "or ask for 1 frame"
        )
    return Files(name, fitting)


def _shards(name: str, urls: Sequence[str], frames: int) -> Shards:
    shards = Shards(name, urls, videos_only=frames > 1)
    say_where(urls[0], shards.captions_found())
    return shards


def _parts(name: str) -> list[tuple[str, int]]:
    """The sources that a name joins, each with its weight."""
    if Path(name).exists():
        return [(name, 1)]
    parts = []
    for part in re.split(r",(?![^{]*\})", name):  # commas in braces belong to a pattern
        weighted = re.fullmatch(r"(.+):(\d+)", part.strip())
        source, weight = (weighted[1], int(weighted[2])) if weighted else (part.strip(), 1)
        if not source or weight < 1:
            raise ValueError(
                f"a mixture of sources is written A:3,B:1 with weights of at least 1, got {name!r}"
            )
        parts.append((source, weight))
    return parts


class Mixture:
    """Several sources in turn, each as often as its weight says."""

    def __init__(self, sources: Sequence[Source], weights: Sequence[int]):
        self.sources, self.weights = sources, weights
        self.read_ahead = any(source.read_ahead for source in sources)
        # The round in which sources take turns, spread evenly: (source, its number of the turn).
        spread = sorted(
            ((turn + 0.5) / weight, k, turn)
            for k, weight in enumerate(weights)
            for turn in range(weight)
        )
        self.round = [(k, turn) for _, k, turn in spread]

    def indices(self, number: int, size: int, process: int, processes: int) -> Sequence[int]:
        """As each source divides its own among processes."""
        chosen = []
        for n in range(number * size, (number + 1) * size):
            k, own = self._own(n)
            (index,) = self.sources[k].indices(own, 1, process, processes)
            rounds, turn = divmod(index, self.weights[k])
            chosen.append(rounds * len(self.round) + self.round.index((k, turn)))
        return chosen

    def batch(self, indices: Sequence[int]) -> Batch:
        """The clips of these indices."""
        batches = [self.sources[k].batch([own]) for k, own in map(self._own, indices)]
        if all(batch.video.dtype == torch.uint8 for batch in batches):
            # NumPy: see Source.read_ahead.
            video = torch.from_numpy(np.concatenate([batch.video.numpy() for batch in batches]))
        else:
            video = torch.cat([batch.on(batches[0].video.device) for batch in batches])
        return Batch(video, [caption for batch in batches for caption in batch.captions])

    def _own(self, index: int) -> tuple[int, int]:
        """The source of an index, and the source's own index."""
        rounds, place = divmod(index, len(self.round))
        k, turn = self.round[place]
        return k, rounds * self.weights[k] + turn

"""Commands about data sets."""

from collections import Counter
from pathlib import Path

import tyro

from ssvae.cli.common import Common, CommonOptions
from ssvae.cli.console import console, progress
from ssvae.data.listing import find_media
from ssvae.data.lists import is_list, read_list
from ssvae.data.shard_writer import copy_file, render, write_shards
from ssvae.data.sources import open_endless
from ssvae.storage.files import check_apart, check_folder


def shards(
    src: tyro.conf.Positional[str],
    dst: tyro.conf.Positional[Path],
    per_shard: int = 1000,
    clips: int = 10_000,
    frames: int = 33,
    size: tuple[int, int] = (128, 128),
    fps: float = 8,
    seed: int = 0,
    common: CommonOptions = Common(),
) -> None:
    """Write videos and images into tar files to train on, with captions, sizes and rates beside.

    Args:
        src: A folder, a .csv or .jsonl list of files with captions, "world", or "stills:FOLDER".
        dst: The folder of the shards. The same command goes on where it stopped.
        per_shard: Items in a tar file.
        clips: Clips of the world, or of stills.
        frames: Frames of each of these clips.
        size: Height and width of these clips.
        fps: Frames a second of these clips.
        seed: Seed of these clips.
    """
    check_apart(dst, src)
    check_folder(dst)
    source = open_endless(src, frames, *size, seed)
    if source is not None:
        items, make = list(range(clips)), render(source, src, (frames, *size), fps, seed)
    else:
        items, make = (read_list(src) if is_list(src) else find_media(src)), copy_file
    with progress("writing", len(items)) as advance:
        written, broken = write_shards(items, make, dst, per_shard, lambda n: advance(n, ""))
    if not written:
        raise ValueError(f"nothing in {src} is usable: the log names each file and its reason")
    left_out = ", ".join(f"{reason} {n} times" for reason, n in Counter(broken).most_common())
    console.print(
        f"{written} items in {-(-len(items) // per_shard)} shards in {dst}"
        + (f"; left out: {left_out}" if broken else ""),
        soft_wrap=True,
    )

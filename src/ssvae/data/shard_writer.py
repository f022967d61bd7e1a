"""Write shards in the layout of the published training code; see :mod:`ssvae.data.shards`."""

import hashlib
import json
import logging
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

from webdataset.writer import TarWriter

from ssvae.data.batch import Source
from ssvae.data.clock import may_jump
from ssvae.data.collection import FileItem
from ssvae.data.opened import NamedBytes, VideoError, local
from ssvae.data.pyav import av
from ssvae.data.shards import meta_of
from ssvae.data.video import probe, read_frames
from ssvae.data.video_writer import VideoWriter, write_video
from ssvae.storage.files import check_empty, replacing, write_text
from ssvae.storage.locks import LOCK, written_alone
from ssvae.storage.settings import keep_settings

logger = logging.getLogger(__name__)

KEPT = (".mp4", ".avi", ".jpg", ".png")  # what the published layout takes as it is

Item = FileItem | int
Make = Callable[[Item, Path], tuple[bytes, str, dict[str, Any]]]
"""An item and a scratch folder to a file's bytes, its ending, and its fields."""


def write_shards(
    items: Sequence[Item],
    make: Make,
    out: str | Path,
    per_shard: int = 1000,
    on_item: Callable[[int], Any] = lambda done: None,
) -> tuple[int, list[str]]:
    """Write items into ``out/000000.tar`` and so on, with their fields beside each.

    A shard is there whole or not at all, and holds a stretch of the items, so that the same call
    goes on where it was stopped. Returns the number of items in all shards, and why others are not.
    Where there are none, nothing is left.
    """
    out = Path(out)
    if not (out / "shards.json").exists():
        check_empty(out, (LOCK,))
    with written_alone(out, "shards"):
        settings = dict(items=_digest(items, make), per_shard=per_shard)
        keep_settings(out / "shards.json", f"the shards in {out}", settings)
        written, broken = _write_all(items, make, out, per_shard, on_item)
        if not written:  # the next call may be about other items
            for shard in _shards(out, items, per_shard):
                shard.unlink()
                Path(meta_of(str(shard))).unlink()
            (out / "shards.json").unlink()
            (out / LOCK).unlink()  # while it is held: who comes now makes one of its own
            with suppress(OSError):
                out.rmdir()
    return written, broken


def _write_all(
    items: Sequence[Item], make: Make, out: Path, per_shard: int, on_item: Callable[[int], Any]
) -> tuple[int, list[str]]:
    written, broken = 0, []
    for number, shard in enumerate(_shards(out, items, per_shard)):
        meta = Path(meta_of(str(shard)))
        start = number * per_shard
        stretch = items[start : start + per_shard]
        if shard.exists() and meta.exists():
            written += len(meta.read_text().splitlines())
            on_item(start + len(stretch))
        else:
            rows, reasons = _write_shard(shard, stretch, start, make, on_item)
            written, broken = written + rows, broken + reasons
    return written, broken


def _shards(out: Path, items: Sequence[Item], per_shard: int) -> list[Path]:
    return [out / f"{number:06d}.tar" for number in range(-(-len(items) // per_shard))]


def _digest(items: Sequence[Item], make: Make) -> str:
    """What tells one set of items from another."""
    named = [str(item) for item in items] + [getattr(make, "settings", "")]
    return hashlib.sha256("\n".join(named).encode()).hexdigest()


def _write_shard(
    shard: Path, items: Sequence[Item], first: int, make: Make, on_item: Callable[[int], Any]
) -> tuple[int, list[str]]:
    rows, broken = [], []
    with tempfile.TemporaryDirectory(prefix="ssvae-") as scratch, replacing(shard) as partial:
        with open(partial, "wb") as file, TarWriter(file, mtime=0) as tar:
            for number, item in enumerate(items, first):
                try:
                    content, ending, fields = make(item, Path(scratch))
                except VideoError as error:
                    logger.warning("left out: %s", error)
                    broken.append(error.reason)
                else:
                    key = f"{number:09d}"
                    tar.write({"__key__": key, ending.removeprefix("."): content, "id": key})
                    rows.append(json.dumps({"key": key, **fields}) + "\n")
                on_item(number + 1)
        # The fields first: a shard without them would be taken for one that has none.
        write_text(Path(meta_of(str(shard))), "".join(rows))
    return len(rows), broken


def copy_file(item: Item, scratch: Path) -> tuple[bytes, str, dict[str, Any]]:
    """A file as it is where the layout takes its kind; else its frames in an ``.mp4``.

    A film with alpha stays as it is, for that holds none; our reader takes it.
    """
    assert isinstance(item, FileItem)
    file, caption = item.read()
    if isinstance(file, NamedBytes):
        source = scratch / f"distant{item.ending}"
        source.write_bytes(file.getvalue())
    else:
        source = Path(file)
    info = probe(source)
    fields = dict(width=info.width, height=info.height, caption=caption)
    if not item.is_image:
        fields |= dict(fps=float(info.fps), duration=info.duration)
    ending = item.ending.replace(".jpeg", ".jpg")
    if ending in KEPT or info.has_alpha:
        return source.read_bytes(), ending, fields
    path = scratch / "video.mp4"
    if not _repacked(source, path):
        with VideoWriter(
            path,
            info.width,
            info.height,
            info.fps,
            info.time_base,
            pixel_aspect=info.pixel_aspect,
        ) as writer:
            for frame in read_frames(source):
                writer.write(frame.image, frame.time, frame.duration)
    return path.read_bytes(), ".mp4", fields


def _repacked(source: Path, target: Path) -> bool:
    """Whether the frames could be copied into another container without decoding them."""
    try:
        with (
            av.open(local(source), metadata_errors="replace") as one,
            av.open(local(target), "w") as other,
        ):
            if may_jump(one):  # whose clock another container would take at its word
                return False
            if one.streams.video[0].codec_context.name not in ("h264", "hevc", "mpeg4", "av1"):
                return False
            copy = other.add_stream_from_template(one.streams.video[0])
            for packet in one.demux(one.streams.video[0]):
                if packet.size and packet.dts is None:
                    return False  # Matroska does not tell the order of decoding
                if packet.size:
                    packet.stream = copy
                    other.mux(packet)
    except (av.FFmpegError, ValueError):
        return False
    return True


def render(source: Source, name: str, size: tuple[int, int, int], fps: float, seed: int) -> Make:
    """What makes a video of a clip of the endless source called ``name``; ``size`` is (T, H, W)."""
    frames, height, width = size

    def make(item: Item, scratch: Path) -> tuple[bytes, str, dict[str, Any]]:
        assert isinstance(item, int)
        batch = source.batch([item])
        path = scratch / "clip.mp4"
        write_video(path, batch.on()[0], Fraction(fps).limit_denominator(1000))
        facts = dict(width=width, height=height, caption=batch.captions[0])
        return path.read_bytes(), ".mp4", facts | dict(fps=fps, duration=frames / fps)

    make.settings = f"{name} {seed} {size} {fps}"  # type: ignore[attr-defined]
    return make

"""Clips: video files, the procedural world, and batches of either."""

from ssvae.data.batch import Batch, Source
from ssvae.data.loader import batches
from ssvae.data.sources import VideoFolder, find_videos, open_source
from ssvae.data.video import (
    VideoError,
    VideoWriter,
    probe,
    read_clip,
    read_frames,
    to_clip,
    to_images,
    write_video,
)
from ssvae.data.world import World

__all__ = [
    "Batch",
    "Source",
    "VideoError",
    "VideoFolder",
    "VideoWriter",
    "World",
    "batches",
    "find_videos",
    "open_source",
    "probe",
    "read_clip",
    "read_frames",
    "to_clip",
    "to_images",
    "write_video",
]

"""Clips: video files, the procedural world, and batches of either."""

from ssvae.data.batch import Batch, Source
from ssvae.data.collection import Clip, Collection
from ssvae.data.fixed import FixedClips
from ssvae.data.listing import find_videos
from ssvae.data.loader import Loader, batches
from ssvae.data.opened import VideoError
from ssvae.data.pixels import of_colours, over, to_clip, to_images, to_show
from ssvae.data.shards import Shards
from ssvae.data.sources import (
    count_files,
    is_endless,
    known_vocabulary,
    open_endless,
    open_fixed,
    open_shelf,
    open_source,
    vocabulary_of,
)
from ssvae.data.video import probe, read_clip, read_frames
from ssvae.data.video_writer import VideoWriter, write_video
from ssvae.data.vocabulary import Vocabulary
from ssvae.data.world import World

__all__ = [
    "Batch",
    "Clip",
    "Collection",
    "FixedClips",
    "Loader",
    "Shards",
    "Source",
    "VideoError",
    "VideoWriter",
    "Vocabulary",
    "World",
    "batches",
    "count_files",
    "find_videos",
    "is_endless",
    "known_vocabulary",
    "of_colours",
    "open_endless",
    "open_fixed",
    "open_shelf",
    "open_source",
    "over",
    "probe",
    "read_clip",
    "read_frames",
    "to_clip",
    "to_images",
    "to_show",
    "vocabulary_of",
    "write_video",
]

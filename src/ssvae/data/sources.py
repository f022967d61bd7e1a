"""Where clips come from: a name on the command line to a source."""

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ssvae.data.batch import Batch, Source
from ssvae.data.video import EXTENSIONS, VideoError, probe, read_clip
from ssvae.data.world import World, uniform

logger = logging.getLogger(__name__)

ATTEMPTS = 20  # draws for one clip before the data set is called unusable


def find_videos(path: str | Path) -> list[Path]:
    """The video file that ``path`` is, or all video files below that folder, sorted."""
    path = Path(path)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise ValueError(f"no file or folder {path}: give a video file or a folder of videos")
    videos = sorted(p for p in path.rglob("*") if p.is_file() and p.suffix.lower() in EXTENSIONS)
    if not videos:
        raise ValueError(
            f"no videos below {path}: their names must end in one of {', '.join(EXTENSIONS)}"
        )
    return videos


class VideoFolder:
    """A source of clips drawn from the videos below a folder (or from one file).

    Index by index a video and a start in it are drawn, as a pure function of (seed, index). A clip
    that cannot be read is drawn anew from another video; each is named in the log and counted by
    reason in ``skipped``. Captions are the file names without their endings.
    """

    read_ahead = True

    def __init__(
        self,
        path: str | Path,
        frames: int,
        height: int,
        width: int,
        fps: float | None = None,
        seed: int = 0,
    ):
        self.path, self.videos = Path(path), find_videos(path)
        self.frames, self.height, self.width = frames, height, width
        self.fps, self.seed = fps, seed
        self.skipped: Counter[str] = Counter()
        self._lengths: dict[Path, tuple[float, float]] = {}  # duration and frame rate

    def batch(self, indices: Sequence[int]) -> Batch:
        """Read the clips of these indices."""
        clips = [self._clip(index) for index in indices]
        # NumPy stacks: see Source.read_ahead.
        video = torch.from_numpy(np.stack([clip.numpy() for clip, _ in clips]))
        return Batch(video, [caption for _, caption in clips])

    def _clip(self, index: int) -> tuple[torch.Tensor, str]:
        draws = uniform(self.seed, [index], 2 * ATTEMPTS)[0].reshape(ATTEMPTS, 2)
        for which, where in draws.tolist():
            video = self.videos[int(which * len(self.videos))]
            try:
                if video not in self._lengths:
                    info = probe(video)
                    self._lengths[video] = info.duration, float(info.fps)
                duration, fps = self._lengths[video]
                # A frame to spare, for containers round their durations.
                span = (self.frames - 1) / (self.fps or fps) + 2 / fps
                start = where * max(duration - span, 0)
                clip = read_clip(video, self.frames, start, self.fps, (self.height, self.width))
                return clip, video.stem
            except VideoError as error:
                self.skipped[error.reason] += 1
                logger.warning("skipped a clip: %s", error)
        reasons = ", ".join(f"{reason} {n} times" for reason, n in self.skipped.most_common())
        raise ValueError(
            f"no usable clip in {ATTEMPTS} draws from {self.path} ({reasons}): clips of "
            f"{self.frames} frames"
            + (f" at {self.fps:g} frames a second" if self.fps else "")
            + " were asked for"
        )


def open_source(
    name: str,
    frames: int,
    height: int,
    width: int,
    fps: float | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> Source:
    """The source called ``name``: "world", or the path of a video or of a folder of videos."""
    if name == "world":
        return World(frames, height, width, seed, device)
    return VideoFolder(name, frames, height, width, fps, seed)

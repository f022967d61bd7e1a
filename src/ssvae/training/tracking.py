"""Metrics and sample films to a tracker: TensorBoard, Weights & Biases, trackio."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker

from ssvae.data.pyav import av
from ssvae.data.video import read_frames

logger = logging.getLogger(__name__)

TRACKERS = ("tensorboard", "wandb", "trackio")
MOST_BYTES = 2**23  # of a film inside TensorBoard's file


def check_tracker(name: str | None) -> None:
    """A ValueError where there is no such tracker, or it is not installed."""
    if name is not None and name not in TRACKERS:
        raise ValueError(f"a tracker is one of {', '.join(TRACKERS)}, got {name}")
    if name is not None and find_spec(name) is None:
        raise ValueError(
            f"the tracker {name} is not installed: pip install {name}, or choose another"
        )


class Tracking:
    """A tracker of a run, on the main process; elsewhere, and where ``name`` is None, nothing."""

    def __init__(
        self,
        name: str | None,
        out: Path,
        config: Mapping[str, Any],
        first_step: int,
        accelerator: Accelerator,
    ):
        self.name, self._tracker = name, None
        if name is not None and accelerator.is_main_process:
            self._tracker = self._start(name, out, config, first_step)

    @staticmethod
    def _start(name: str, out: Path, config: Mapping[str, Any], first_step: int) -> GeneralTracker:
        kind: Any = LOGGER_TYPE_TO_CLASS[name]
        if name == "tensorboard":
            # What an earlier call wrote after its last checkpoint is written again.
            tracker = kind(name, logging_dir=out, purge_step=first_step)
        else:
            place = hashlib.sha256(str(out.resolve()).encode()).hexdigest()[:12]
            resume = dict(resume="allow", id=place) if name == "wandb" else {}
            tracker = kind("ssvae", name=out.resolve().name, **resume)
        tracker.start()
        if name != "tensorboard":
            tracker.store_init_configuration(dict(config))
        return tracker

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Numbers of a step."""
        if self._tracker is not None:
            self._tracker.log(dict(metrics), step=step)

    def film(self, name: str, path: Path, step: int) -> None:
        """A video file of a step."""
        if self._tracker is None or not path.is_file():
            return
        if self.name == "tensorboard":
            self._animate(name, path, step)
            return
        video = import_module(str(self.name)).Video
        self._tracker.log({name: video(str(path), format="mp4")}, step=step)

    def _animate(self, name: str, path: Path, step: int) -> None:
        """TensorBoard shows a GIF where it expects a picture."""
        from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[attr-defined]

        gif = path.with_suffix(".gif")
        height, width = _to_gif(path, gif)
        content = gif.read_bytes()
        gif.unlink()
        if len(content) > MOST_BYTES:
            logger.info("%s is too large for TensorBoard; it stays a file", path)
            return
        image = Summary.Image(
            height=height, width=width, colorspace=3, encoded_image_string=content
        )
        summary = Summary(value=[Summary.Value(tag=name, image=image)])
        tracker: Any = self._tracker
        tracker.tracker.file_writer.add_summary(summary, step)

    def close(self) -> None:
        """Write what waits."""
        if self._tracker is not None:
            self._tracker.finish()


def _to_gif(path: Path, gif: Path) -> tuple[int, int]:
    """The same film as a GIF; its height and width."""
    frames = [frame.image for frame in read_frames(path)]
    height, width = frames[0].shape[:2]
    with av.open(str(gif), "w") as container:
        stream: Any = container.add_stream("gif", rate=8)
        stream.width, stream.height, stream.pix_fmt = width, height, "rgb8"
        for image in frames:
            picture = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="rgb8")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return height, width

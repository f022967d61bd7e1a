"""Metrics and sample films to a tracker: TensorBoard, Weights & Biases, trackio."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, get_args

from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker

from ssvae.data.pyav import av
from ssvae.data.video import read_frames

logger = logging.getLogger(__name__)

Kind = Literal["tensorboard", "wandb", "trackio"]
MOST_BYTES = 2**23  # of a film inside TensorBoard's file


@dataclass(frozen=True)
class Tracker:
    """A tracker, and what a run is called in it; TensorBoard knows folders alone."""

    kind: Kind = "tensorboard"
    project: str = "ssvae"
    name: str | None = None
    """That of the run's folder where None."""
    group: str | None = None

    def check(self) -> None:
        """A ValueError where there is no such tracker, or it is not installed."""
        if self.kind not in get_args(Kind):
            raise ValueError(f"a tracker is one of {', '.join(get_args(Kind))}, got {self.kind}")
        if find_spec(self.kind) is None:
            raise ValueError(
                f"the tracker {self.kind} is not installed: pip install {self.kind}, or choose "
                "another"
            )


class Tracking:
    """A tracker of a run, on the main process; elsewhere, and without one, nothing."""

    def __init__(
        self,
        tracker: Tracker | None,
        out: Path,
        config: Mapping[str, Any],
        first_step: int,
        accelerator: Accelerator,
    ):
        self.kind, self._tracker = None, None
        if tracker is not None and accelerator.is_main_process:
            self.kind = tracker.kind
            self._tracker = self._start(tracker, out, config, first_step)

    @staticmethod
    def _start(
        tracker: Tracker, out: Path, config: Mapping[str, Any], first_step: int
    ) -> GeneralTracker:
        kind: Any = LOGGER_TYPE_TO_CLASS[tracker.kind]
        if tracker.kind == "tensorboard":
            # What an earlier call wrote after its last checkpoint is written again.
            started = kind(tracker.kind, logging_dir=out, purge_step=first_step)
        else:
            # The same folder is the same run, which goes on.
            place = hashlib.sha256(str(out.resolve()).encode()).hexdigest()[:12]
            own = dict(id=place) if tracker.kind == "wandb" else {}
            name = tracker.name or out.resolve().name
            started = kind(tracker.project, name=name, group=tracker.group, resume="allow", **own)
        started.start()
        if tracker.kind != "tensorboard":
            started.store_init_configuration(dict(config))
        return started

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Numbers of a step."""
        if self._tracker is not None:
            self._tracker.log(dict(metrics), step=step)

    def film(self, name: str, path: Path, step: int) -> None:
        """A video file of a step."""
        if self._tracker is None or not path.is_file():
            return
        if self.kind == "tensorboard":
            self._animate(name, path, step)
            return
        video = import_module(str(self.kind)).Video
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

"""Video files to latents, latents to video files, and both at once.

Everything streams: frames are read as the network takes them and written as it gives them. Size,
frame times and sound of a video are kept; the last frame and the right and lower edges are repeated
up to a length and size that fit, and cut off again.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterator
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from ssvae.data.batch import check_finite
from ssvae.data.video import (
    VideoInfo,
    probe,
    read_frames,
    read_sound,
    to_clip,
    to_images,
)
from ssvae.data.video_writer import VideoWriter
from ssvae.inference.latent_file import LatentFile, LatentWriter, VideoFacts
from ssvae.models import AutoencoderKLSSVAE

logger = logging.getLogger(__name__)

Progress = Callable[[int], Any]


@torch.no_grad()
def encode_video(
    vae: AutoencoderKLSSVAE,
    source: str | Path,
    target: str | Path,
    on_progress: Progress = lambda frames: None,
) -> int:
    """Encode a video file into a file of latents (the posterior's mean); see :class:`LatentFile`.

    ``on_progress`` hears the number of frames read. Returns the number of frames.
    """
    info, times = _probed(source, target), []
    sound = read_sound(source) if info.has_audio else None
    facts = _facts_of(info)
    with LatentWriter(target, facts) as writer:
        for posterior in vae.encode_stream(_frames(vae, source, info, times.append), pad=True):
            check_finite(posterior.mean, f"the latents of {source} before frame {len(times)}")
            writer.write(posterior.mean[0])
            on_progress(len(times))
        writer.finish(times, sound)
    _warn_if_cut_off(source, info, len(times))
    return len(times)


@torch.no_grad()
def decode_video(
    vae: AutoencoderKLSSVAE,
    source: str | Path,
    target: str | Path,
    on_progress: Progress = lambda frames: None,
) -> int:
    """Decode a file of latents into a video file, with the times and the sound of the original.

    ``on_progress`` hears the number of frames written. Returns the number of frames.
    """
    file = LatentFile(source)
    length, channels, h, w = file.shape
    facts, side = file.facts, vae.space_factor
    expected = vae.config["z_dim"], -(-facts.height // side), -(-facts.width // side)
    frames = length and 1 + (length - 1) * vae.time_factor
    if (channels, h, w) != expected or not len(file.times) <= frames < len(
        file.times
    ) + vae.time_factor:
        raise ValueError(
            f"{source} holds latents of another model: {length} of {channels}x{h}x{w} for "
            f"{len(file.times)} frames of {facts.height}x{facts.width}, this model's would be "
            f"{'x'.join(map(str, expected))} each: give the model that encoded them"
        )
    sound = file.sound()
    at_once = vae.frames_at_once(h * side, w * side) // vae.time_factor
    latents = (
        file.latents(i, min(i + at_once, length))[None].to(vae.device, vae.dtype)
        for i in range(0, length, at_once)
    )
    audio = BytesIO(sound) if sound is not None else None
    with _writer(target, facts, audio) as writer:
        return _write(vae, latents, writer, deque(file.times), facts, str(source), on_progress)


@torch.no_grad()
def reconstruct_video(
    vae: AutoencoderKLSSVAE,
    source: str | Path,
    target: str | Path,
    on_progress: Progress = lambda frames: None,
) -> int:
    """Encode and decode a video file into another.

    ``on_progress`` hears the number of frames written. Returns the number of frames.
    """
    info, times = _probed(source, target), deque()
    facts = _facts_of(info)
    latents = (
        posterior.mean
        for posterior in vae.encode_stream(_frames(vae, source, info, times.append), pad=True)
    )
    audio = source if info.has_audio else None
    with _writer(target, facts, audio) as writer:
        done = _write(vae, latents, writer, times, facts, str(source), on_progress)
    _warn_if_cut_off(source, info, done)
    return done


def _probed(source: str | Path, target: str | Path) -> VideoInfo:
    if Path(source).resolve() == Path(target).resolve():
        raise ValueError(f"source and target are the same file, {source}: give another target")
    return probe(source)


def _facts_of(info: VideoInfo) -> VideoFacts:
    return VideoFacts(info.height, info.width, info.fps, info.time_base, info.pixel_aspect)


def _writer(target: str | Path, facts: VideoFacts, audio: str | Path | BytesIO | None):
    return VideoWriter(
        target,
        facts.width,
        facts.height,
        facts.fps,
        facts.time_base,
        audio_from=audio,
        pixel_aspect=facts.pixel_aspect,
    )


def _frames(
    vae: AutoencoderKLSSVAE, source: str | Path, info: VideoInfo, on_time: Callable[[float], Any]
) -> Iterator[torch.Tensor]:
    """The frames of a file, (1, 3, T, H, W) with sides that fit; ``on_time`` hears their times."""
    # Some videos change their size on the way.
    frames = read_frames(source, size=(info.height, info.width), square=False)
    side = vae.space_factor
    beyond = (0, -info.width % side, 0, -info.height % side, 0, 0)
    at_once = vae.frames_at_once(info.height + beyond[3], info.width + beyond[1])
    size = 1 + at_once  # the first frame is a piece of its own
    while some := list(islice(frames, size)):
        size = at_once
        for frame in some:
            on_time(frame.time)
        clip = to_clip(frame.image for frame in some)[None]
        yield F.pad(clip, beyond, mode="replicate").to(vae.device, vae.dtype)


def _write(
    vae: AutoencoderKLSSVAE,
    latents: Iterator[torch.Tensor],
    writer: VideoWriter,
    times: deque[float],
    facts: VideoFacts,
    source: str,
    on_progress: Progress,
) -> int:
    """Decode and write as many frames as there are times: what padding added has none."""
    done = 0
    for clip in vae.decode_stream(latents):
        clip = clip[0, :, : len(times), : facts.height, : facts.width]
        check_finite(clip, f"the decoding of {source} from frame {done} on")
        for image in to_images(clip):
            writer.write(image, times.popleft())
        done += clip.shape[1]
        on_progress(done)
    return done


def _warn_if_cut_off(source: str | Path, info: VideoInfo, done: int) -> None:
    if done < 0.9 * info.frames:
        logger.warning(
            "%s says it holds %d frames, but only %d could be read: it may be cut off",
            source,
            info.frames,
            done,
        )

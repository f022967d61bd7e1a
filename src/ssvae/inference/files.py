"""Video files to latents, latents to video files, and both at once.

Everything streams: frames are read as the network takes them and written as it gives them. Size,
frame times and sound of a video are kept; the last frame and the right and lower edges are repeated
up to a length and size that fit, and cut off again.

Where processes share clips (``vae.parallelize``) all of them read, and one writes: the others have
no target.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from ssvae.data.batch import check_finite
from ssvae.data.pixels import to_clip, to_images
from ssvae.data.video import (
    Frame,
    VideoInfo,
    probe,
    read_frames,
    read_sound,
)
from ssvae.data.video_writer import VideoWriter
from ssvae.inference.latent_file import LatentFile, LatentWriter, VideoFacts
from ssvae.models import AutoencoderKLSSVAE
from ssvae.models.fingerprint import check_same_latents, latents_fingerprint

logger = logging.getLogger(__name__)

Progress = Callable[[int], Any]
WHOLE = 0.9
"""The share of what a video says it holds that counts as all of it."""


@dataclass
class Shown:
    """When the frames that have been read are shown, in seconds, and for how long the last one
    is.
    """

    times: list[float]
    last: float = 0.0

    def add(self, frame: Frame) -> None:
        """One more frame."""
        self.times.append(frame.time)
        self.last = frame.duration


@torch.no_grad()
def encode_video(
    vae: AutoencoderKLSSVAE,
    source: str | Path,
    target: str | Path | None,
    on_progress: Progress = lambda frames: None,
    strict: bool = False,
) -> int:
    """Encode a video file into a file of latents (the posterior's mean); see :class:`LatentFile`.

    ``on_progress`` hears the number of frames read. Returns the number of frames. A video that is
    cut off gives a warning; where ``strict``, a ValueError and no file.
    """
    info, shown = _probed(source, target), Shown([])
    sound = read_sound(source) if info.has_audio else None
    facts = replace(_facts_of(info), encoder=latents_fingerprint(vae))
    with nullcontext() if target is None else LatentWriter(target, facts) as writer:
        for posterior in vae.encode_stream(_frames(vae, source, info, shown), pad=True):
            read = len(shown.times)
            check_finite(posterior.mean, f"the latents of {source} before frame {read}")
            if writer is not None:
                writer.write(posterior.mean[0])
            on_progress(read)
        if writer is not None:
            writer.finish(shown.times, sound, shown.last)
        _check_length(source, info, shown, strict)
    return len(shown.times)


@torch.no_grad()
def decode_video(
    vae: AutoencoderKLSSVAE,
    source: str | Path,
    target: str | Path | None,
    on_progress: Progress = lambda frames: None,
    any_encoder: bool = False,
) -> int:
    """Decode a file of latents into a video file, with the times and the sound of the original.

    ``on_progress`` hears the number of frames written. Returns the number of frames. A ValueError
    where the model's encoder is not the one that made them, unless ``any_encoder``.
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
    if not any_encoder:
        remedy = (
            "give the model that encoded it, or --any-encoder where their latents mean the same"
        )
        check_same_latents(str(source), facts.encoder, vae, remedy)
    sound = file.sound()
    at_once = vae.frames_at_once(h * side, w * side) // vae.time_factor
    latents = (
        file.latents(i, min(i + at_once, length))[None].to(vae.device, vae.dtype)
        for i in range(0, length, at_once)
    )
    audio = BytesIO(sound) if sound is not None else None
    with _writer(target, facts, audio, vae.config["out_channels"]) as writer:
        shown = Shown(file.times, facts.last)
        return _write(vae, latents, writer, shown, facts, str(source), on_progress)


@torch.no_grad()
def reconstruct_video(
    vae: AutoencoderKLSSVAE,
    source: str | Path,
    target: str | Path | None,
    on_progress: Progress = lambda frames: None,
    strict: bool = False,
) -> int:
    """Encode and decode a video file into another.

    ``on_progress`` hears the number of frames written. Returns the number of frames. A video that
    is cut off gives a warning; where ``strict``, a ValueError and no file.
    """
    info, shown = _probed(source, target), Shown([])
    facts = _facts_of(info)
    latents = (
        posterior.mean
        for posterior in vae.encode_stream(_frames(vae, source, info, shown), pad=True)
    )
    audio = source if info.has_audio else None
    with _writer(target, facts, audio, vae.config["out_channels"]) as writer:
        done = _write(vae, latents, writer, shown, facts, str(source), on_progress)
        _check_length(source, info, shown, strict)
    return done


def _probed(source: str | Path, target: str | Path | None) -> VideoInfo:
    if target is not None and Path(source).resolve() == Path(target).resolve():
        raise ValueError(f"source and target are the same file, {source}: give another target")
    return probe(source)


def _facts_of(info: VideoInfo) -> VideoFacts:
    return VideoFacts(info.height, info.width, info.fps, info.time_base, info.pixel_aspect)


def _writer(
    target: str | Path | None,
    facts: VideoFacts,
    audio: str | Path | BytesIO | None,
    channels: int,
):
    if target is None:
        return nullcontext()
    return VideoWriter(
        target,
        facts.width,
        facts.height,
        facts.fps,
        facts.time_base,
        audio_from=audio,
        pixel_aspect=facts.pixel_aspect,
        channels=channels,
    )


def _frames(
    vae: AutoencoderKLSSVAE, source: str | Path, info: VideoInfo, shown: Shown
) -> Iterator[torch.Tensor]:
    """The frames of a file, (1, C, T, H, W) with sides that fit, and their times into ``shown``."""
    frames = read_frames(source, channels=vae.config["in_channels"])
    side = vae.space_factor
    beyond = (0, -info.width % side, 0, -info.height % side, 0, 0)
    at_once = vae.frames_at_once(info.height + beyond[3], info.width + beyond[1])
    number = 1 + at_once  # the first frame is a piece of its own
    while some := list(islice(frames, number)):
        number = at_once
        for frame in some:
            shown.add(frame)
        clip = to_clip(frame.image for frame in some)[None]
        yield F.pad(clip, beyond, mode="replicate").to(vae.device, vae.dtype)


def _write(
    vae: AutoencoderKLSSVAE,
    latents: Iterator[torch.Tensor],
    writer: VideoWriter | None,
    shown: Shown,
    facts: VideoFacts,
    source: str,
    on_progress: Progress,
) -> int:
    """Decode and write as many frames as there are times, which may be added meanwhile: what
    padding added has none.
    """
    done, times = 0, shown.times
    for clip in vae.decode_stream(latents):
        clip = clip[0, :, : len(times) - done, : facts.height, : facts.width]
        check_finite(clip, f"the decoding of {source} from frame {done} on")
        if writer is not None:
            for i, image in enumerate(to_images(clip), done):
                writer.write(image, times[i] - min(times[0], 0.0), shown.last or None)
        done += clip.shape[1]
        on_progress(done)
    return done


def _check_length(source: str | Path, info: VideoInfo, shown: Shown, strict: bool) -> None:
    """Tell of a video of which much less could be read than it says it holds.

    By the times of its frames, for its rate may vary, and some that it counts may be cut off by an
    edit.
    """
    read = shown.times[-1] + shown.last if shown.times else 0.0
    held = max(info.claimed, info.duration)
    if read >= WHOLE * held:
        return
    message = f"{source} says it holds {held:.2f} seconds, but only {read:.2f} could be read"
    if strict:
        raise ValueError(f"{message}: mend it, or take what there is, without --strict")
    logger.warning("%s: it may be cut off", message)

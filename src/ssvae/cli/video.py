"""Commands that take a video file through the autoencoder.

Started by torchrun, several processes share each frame, to the same result.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from ssvae.cli.common import Common, CommonOptions
from ssvae.cli.console import console, progress
from ssvae.data import probe
from ssvae.inference import LatentFile, decode_video, encode_video, reconstruct_video
from ssvae.models import AutoencoderKLSSVAE
from ssvae.storage.distant import here

Source = tyro.conf.Positional[str]
Target = tyro.conf.Positional[Path]
FILM = "film"
"""The shipped model for films."""


@dataclass(frozen=True)
class Limits:
    """How much of a video is in memory at once."""

    frames: int | None = None
    """Frames to take at once, a multiple of the temporal compression; by default what is good for
    the size of the video. It changes memory and speed alone."""
    tile: int | None = None
    """Side in pixels of overlapping tiles, for frames too large for memory; they change the result
    slightly. By default frames are not tiled."""

    def apply(self, vae: AutoencoderKLSSVAE) -> None:
        """Set the model to them."""
        if self.frames is not None:
            vae.enable_streaming(self.frames)
        if self.tile is not None:
            vae.enable_tiling(self.tile, self.tile)


LimitOptions = Annotated[Limits, tyro.conf.arg(name="")]


def encode(
    source: Source,
    target: Target,
    model: str = FILM,
    strict: bool = False,
    limits: LimitOptions = Limits(),
    common: CommonOptions = Common(),
) -> None:
    """Encode a video of any length and size into a file of latents, for ssvae decode.

    Args:
        source: The video to read, here or at a URL.
        target: The file to write, NAME.safetensors: the posterior's mean, as the model gives it,
            with the times of the frames and the sound.
        model: A model: a run, a checkpoint, a model folder, or one that comes with ssvae.
        strict: Refuse a video that is cut off, where else there is a warning.
    """
    work = partial(encode_video, strict=strict)
    with here(source) as film:
        total = probe(film).frames
        _run(("encoding", "encoded into"), work, film, target, model, total, limits, common)


def decode(
    source: Source,
    target: Target,
    model: str = FILM,
    any_encoder: bool = False,
    limits: LimitOptions = Limits(),
    common: CommonOptions = Common(),
) -> None:
    """Decode a file of latents into a video with the original's frame times and sound.

    Args:
        source: The file that ssvae encode wrote.
        target: The video to write; .mp4, .mkv, .mov, .webm or .png. With alpha, where the model has
            four channels, any but .mp4.
        model: The model that encoded it.
        any_encoder: Decode also what another encoder made.
    """
    work = partial(decode_video, any_encoder=any_encoder)
    with here(source) as film:
        total = len(LatentFile(film).times)
        _run(("decoding", "written to"), work, film, target, model, total, limits, common)


def reconstruct(
    source: Source,
    target: Target,
    model: str = FILM,
    strict: bool = False,
    limits: LimitOptions = Limits(),
    common: CommonOptions = Common(),
) -> None:
    """Encode and decode a video of any length and size; frame times and sound are kept.

    Args:
        source: The video to read, here or at a URL.
        target: The video to write; .mp4, .mkv, .mov, .webm or .png. With alpha, where the model has
            four channels, any but .mp4.
        model: A model: a run, a checkpoint, a model folder, or one that comes with ssvae.
        strict: Refuse a video that is cut off, where else there is a warning.
    """
    work = partial(reconstruct_video, strict=strict)
    with here(source) as film:
        total = probe(film).frames
        _run(("reconstructing", "written to"), work, film, target, model, total, limits, common)


def _run(
    words: tuple[str, str],
    work: Callable[..., int],
    source: Path,
    target: Path,
    model: str,
    total: int,
    limits: Limits,
    common: Common,
) -> None:
    doing, done = words
    accelerator, vae = common.accelerator(), common.load(model)
    limits.apply(vae)
    if accelerator.num_processes > 1:
        vae.parallelize()
    main = accelerator.is_main_process
    with progress(doing, total, shown=main) as advance:
        to = target if main else None
        frames = work(vae, source, to, lambda done: advance(min(done, total), ""))
    if main:
        console.print(f"{frames} frames {done} {target}", soft_wrap=True)

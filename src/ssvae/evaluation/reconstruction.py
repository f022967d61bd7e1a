"""Reconstructions: of clips, of whole files, and how good they are."""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torchmetrics.functional.image import structural_similarity_index_measure

from ssvae.data.batch import check_finite, in_batches
from ssvae.data.video import Frame, VideoWriter, probe, read_frames, to_clip, to_images
from ssvae.models import AutoencoderKLSSVAE
from ssvae.spectra.robustness import psnr

logger = logging.getLogger(__name__)

PIXELS_AT_ONCE = 17 * 1280 * 720  # what reconstruct_video takes at once, unless told


@torch.no_grad()
def reconstruct(vae: AutoencoderKLSSVAE, clips: torch.Tensor) -> torch.Tensor:
    """Encode and decode clips (B, 3, T, H, W) of any length and size, from the posterior's mean.

    The last frame and the right and lower edges are repeated up to the next size that fits, and
    cut off again.
    """
    T, H, W = clips.shape[2:]
    side = vae.space_factor
    padded = F.pad(clips, (0, -W % side, 0, -H % side, 0, 0), mode="replicate")
    padded = padded.to(vae.device, vae.dtype)
    latents = vae.encode(padded, pad=True).latent_dist.mode()
    return vae.decode(latents, num_frames=T).sample[..., :H, :W].to(clips)


def ssim(reconstruction: torch.Tensor, clips: torch.Tensor) -> torch.Tensor:
    """SSIM of each clip, the mean over its frames, (B, 3, T, H, W) clamped to [-1, 1]: (B,).

    The usual 11 x 11 Gaussian window (sigma 1.5), so sides of at least 11 pixels.
    """
    if min(clips.shape[-2:]) < 11:
        raise ValueError(f"SSIM needs sides of at least 11 pixels, got {tuple(clips.shape[-2:])}")
    a, b = (
        ((x.float().clamp(-1, 1) + 1) / 2).transpose(1, 2).flatten(0, 1)
        for x in (reconstruction, clips)
    )
    frames = structural_similarity_index_measure(a, b, data_range=1.0, reduction="none")
    assert isinstance(frames, torch.Tensor)
    return frames.view(len(clips), -1).mean(1)


@dataclass(frozen=True)
class ReconstructionScores:
    """Means over clips."""

    psnr: float
    """dB, over [0, 1]."""
    ssim: float
    clips: int


def score_reconstruction(
    vae: AutoencoderKLSSVAE, clips: torch.Tensor | Iterable[torch.Tensor]
) -> ReconstructionScores:
    """PSNR and SSIM of reconstructions, over batches (B, 3, T, H, W) in [-1, 1] or one tensor."""
    values: list[torch.Tensor] = []
    for batch in in_batches(clips):
        made = reconstruct(vae, batch)
        values.append(torch.stack([psnr(made, batch), ssim(made, batch)]))
    if not values:
        raise ValueError("scores need at least one batch of clips, got none")
    means = torch.cat(values, 1).double().mean(1).tolist()
    return ReconstructionScores(*means, clips=sum(v.shape[1] for v in values))


def frames_at_once(height: int, width: int) -> int:
    """How many frames (4n + 1, 5 to 17) :func:`reconstruct_video` takes at once by default."""
    fit = PIXELS_AT_ONCE // (height * width)
    return max(5, min(17, fit - (fit - 1) % 4))


def reconstruct_video(
    vae: AutoencoderKLSSVAE,
    source: str | Path,
    target: str | Path,
    frames: int | None = None,
    on_progress: Callable[[int], Any] | None = None,
) -> int:
    """Reconstruct a video file of any length and size into another, ``frames`` at a time.

    Size, frame times and sound are kept. Each piece is encoded on its own, so memory does not
    grow with length. ``on_progress`` hears the number of frames written. Returns that number.
    """
    if Path(source).resolve() == Path(target).resolve():
        raise ValueError(f"source and target are the same file, {source}: give another target")
    info = probe(source)
    at_once = frames_at_once(info.height, info.width) if frames is None else frames
    if at_once < 1:
        raise ValueError(f"frames must be at least 1, got {at_once}")
    done = 0
    # Some videos change their size on the way.
    frames_of_one_size = read_frames(source, size=(info.height, info.width))
    with VideoWriter(
        target,
        info.width,
        info.height,
        info.fps,
        time_base=info.time_base,
        audio_from=source if info.has_audio else None,
    ) as writer:
        for piece in _pieces(frames_of_one_size, at_once):
            clip = to_clip(frame.image for frame in piece)
            made = reconstruct(vae, clip[None])
            check_finite(made, f"the reconstruction of {source} from frame {done} on")
            for image, frame in zip(to_images(made[0]), piece, strict=True):
                writer.write(image, frame.time)
            done += len(piece)
            if on_progress is not None:
                on_progress(done)
    if done < 0.9 * info.frames:
        logger.warning(
            "%s says it holds %d frames, but only %d could be read: it may be cut off",
            source,
            info.frames,
            done,
        )
    return done


def _pieces(items: Iterable[Frame], size: int) -> Iterator[list[Frame]]:
    iterator = iter(items)
    while piece := list(islice(iterator, size)):
        yield piece

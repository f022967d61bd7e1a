"""What the page asks of a VAE: a reconstruction with its marks, latents as pictures, latents
disturbed.

Shape legend: C channels, t, h, w frames and sides of latents; T, H, W those of clips.
"""

import time
from collections.abc import Generator
from dataclasses import dataclass

import torch

from ssvae.analysis import Analysis, Analyzer, Subject
from ssvae.analysis.fidelity import Quality, quality
from ssvae.data.batch import check_finite
from ssvae.losses import LPIPS
from ssvae.models.backbones import Backbone
from ssvae.models.layouts import common_length
from ssvae.transforms import dct3, inverse_dct3

WINDOW = 17  # frames of the pieces that a film is analysed in, where it is longer
BITS = 16  # of a latent's value, as files of latents in half precision hold it


@dataclass(frozen=True)
class Reconstruction:
    """A clip (3, T, H, W) as a VAE gives it back, and how well."""

    clip: torch.Tensor
    quality: Quality
    encode_seconds: float
    decode_seconds: float
    bits_per_pixel: float
    """Of the latents in half precision, over frames and pixels of the clip."""


@torch.no_grad()
def encoded(backbone: Backbone, clip: torch.Tensor) -> torch.Tensor:
    """Posterior means (1, C, t, h, w) of a clip (3, T, H, W), on the CPU."""
    parameter = next(backbone.vae.parameters())
    z = backbone.encode(clip[None].to(parameter.device, parameter.dtype)).mean
    check_finite(z, "the latents")
    return z.float().cpu()


@torch.no_grad()
def decoded(backbone: Backbone, z: torch.Tensor) -> torch.Tensor:
    """The clip (3, T, H, W) in [-1, 1] of latents (1, C, t, h, w), on the CPU."""
    parameter = next(backbone.vae.parameters())
    clip = backbone.decode(z.to(parameter.device, parameter.dtype))[0]
    check_finite(clip, "the decoding")
    return clip.float().cpu().clamp(-1, 1)


def reconstructed(
    backbone: Backbone, clip: torch.Tensor, lpips: LPIPS | None
) -> Generator[None, None, Reconstruction]:
    """Encode a clip (3, T, H, W), decode it, and measure both, in a piece each."""
    start = time.perf_counter()
    z = encoded(backbone, clip)
    encode_seconds = time.perf_counter() - start
    yield
    start = time.perf_counter()
    reconstruction = decoded(backbone, z)
    decode_seconds = time.perf_counter() - start
    yield
    pixels = clip[0].numel()
    marks = quality(reconstruction[None], clip[None], lpips)
    return Reconstruction(
        reconstruction, marks, encode_seconds, decode_seconds, BITS * z.numel() / pixels
    )


def principal_colours(z: torch.Tensor, basis: torch.Tensor | None = None) -> torch.Tensor:
    """The three strongest principal channels of ``basis`` (``z`` itself where None) as red, green,
    blue.

    Latents (1, C, t, h, w) to (3, t, h, w) in [-1, 1]: each channel from its 2nd to its 98th
    percentile in ``basis``, so that no outlier darkens all; grey where there are fewer channels.
    """
    of = (z if basis is None else basis)[0].flatten(1).double()
    mean = of.mean(1, keepdim=True)
    vectors = torch.linalg.svd(of - mean, full_matrices=False)[0][:, :3]
    vectors = vectors * torch.where(vectors.sum(0) < 0, -1.0, 1.0)  # the sign is ours to choose
    reference = vectors.T @ (of - mean)
    low, high = (reference.quantile(q, 1, keepdim=True) for q in (0.02, 0.98))
    scores = vectors.T @ (z[0].flatten(1).double() - mean)
    colours = torch.zeros(3, scores.shape[1], dtype=torch.float64)
    colours[: len(scores)] = ((scores - low) / (high - low).clamp(min=1e-12)).clamp(0, 1) * 2 - 1
    return colours.view(3, *z.shape[2:]).float()


def on_frames(pictures: torch.Tensor, clip: torch.Tensor, backbone: Backbone) -> torch.Tensor:
    """Pictures of latents (3, t, h, w) at the size and the frames of their clip (3, T, H, W)."""
    T, H, W = clip.shape[1:]
    frames = pictures.shape[1]
    latent = torch.arange(T) * frames // T
    if backbone.lone_first_frame and frames > 1:  # which is of the first frame alone
        latent = ((torch.arange(T) - 1) * (frames - 1) // (T - 1) + 1).clamp(min=0)
    rows = torch.arange(H) * pictures.shape[2] // H
    columns = torch.arange(W) * pictures.shape[3] // W
    return pictures[:, latent][:, :, rows][..., columns]


def disturbed(z: torch.Tensor, noise: float, cut: float, seed: int = 0) -> torch.Tensor:
    """Latents (1, C, t, h, w) without their frequencies above ``cut``, then with noise.

    ``cut`` is a share of the band, by f = (i/t + j/h + k/w) / 3 as spectra are drawn; the noise's
    deviation is ``noise`` times each channel's own.
    """
    T, H, W = z.shape[2:]
    f = sum(
        (torch.arange(n) / n).view([-1 if d == axis else 1 for d in range(3)]) / 3
        for axis, n in enumerate((T, H, W))
    )
    assert isinstance(f, torch.Tensor)
    if cut < 1:
        z = inverse_dct3(dct3(z) * (f <= cut * f.max()))
    if noise > 0:
        drawn = torch.randn(z.shape, generator=torch.Generator().manual_seed(seed))
        z = z + noise * z.std((0, 2, 3, 4), keepdim=True) * drawn
    return z.float()


def analysed(backbone: Backbone, clip: torch.Tensor) -> Generator[None, None, Analysis]:
    """The analysis of a film (3, T, H, W) alone, in pieces of :data:`WINDOW` frames where it is
    longer.
    """
    window = common_length([backbone.layout], min(clip.shape[1], WINDOW))
    subject, analyzer = Subject.of(backbone), Analyzer()
    for begin in range(0, clip.shape[1] // window * window, window):
        analyzer.update(subject, clip[None, :, begin : begin + window])
        yield
    return analyzer.result()

"""How latents are laid out over their own grid: alike nearby, alike under one caption.

Shape legend: N clips, C channels, T frames, H height, W width of the latents.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from ssvae.transforms import dct3

FAR = 3 / 8
"""Of the grid's longer side: positions that far apart are distant (6 of 16 in the source)."""


def standardised(latents_NCTHW: torch.Tensor) -> torch.Tensor:
    """In float64, each channel of mean 0 and deviation 1; dead ones are 0.

    Raises:
        ValueError: for latents of another shape, of fewer than two clips, or without one that
            varies.
    """
    if latents_NCTHW.ndim != 5 or len(latents_NCTHW) < 2:
        raise ValueError(
            "latents must be (batch, channels, frames, height, width) of at least two clips, got "
            f"{tuple(latents_NCTHW.shape)}"
        )
    z = latents_NCTHW.detach().cpu().double()
    std, mean = torch.std_mean(z, (0, 2, 3, 4), keepdim=True)
    live = std > 1e-6 * (std.square() + mean.square()).sqrt()
    if not live.any():
        raise ValueError("latents must vary: every channel is constant")
    return torch.where(live, (z - mean) / torch.where(live, std, 1), 0)


def viv_within(latents_NCTHW: torch.Tensor, captions: Sequence[str]) -> dict[str, float]:
    """Velocity irreducible variance (arXiv 2606.03578) of latents given their caption.

    The residuals about each caption's mean have, at each frequency, a covariance over channels;
    ``s`` are the eigenvalues of all. For Gaussian residuals and uniform times what no model can
    learn of the velocity is ``viv_within`` = pi/2 mean(sqrt(s)), a mean over values that shrinks
    with what the caption tells. ``viv_rho`` = mean(sqrt(s)) / sqrt(mean(s)) is its ratio to that of
    white residuals of the same variance: 1 for these, less the fewer modes hold the variance,
    whatever the number of channels and positions.

    Raises:
        ValueError: where no caption has two clips.
    """
    z = standardised(latents_NCTHW)
    residuals, freedom = _residuals(z, captions)
    rows = dct3(residuals).flatten(2)
    covariance = torch.einsum("nif,njf->fij", rows, rows) / freedom
    roots = torch.linalg.eigvalsh(covariance).clamp(min=0).sqrt().flatten()
    mean = float(roots.mean())
    return {
        "viv_within": math.pi / 2 * mean,
        "viv_rho": mean / float(roots.square().mean().sqrt()),
    }


def _residuals(z: torch.Tensor, captions: Sequence[str]) -> tuple[torch.Tensor, int]:
    """Latents less their caption's mean, and how many are free; lone captions are left out."""
    names = list(dict.fromkeys(captions))
    place = {name: i for i, name in enumerate(names)}
    group = torch.tensor([place[caption] for caption in captions])
    counts = torch.bincount(group, minlength=len(names)).double()
    sums = torch.zeros(len(names), *z.shape[1:], dtype=z.dtype).index_add_(0, group, z)
    kept = counts[group] > 1
    if not kept.any():
        raise ValueError(
            f"no caption of {len(captions)} clips has two of them: give more clips, or captions "
            "that repeat"
        )
    means = sums / counts.view(-1, 1, 1, 1, 1)
    return (z - means[group])[kept], int(kept.sum()) - int((counts > 1).sum())


def local_over_distant(latents_NCTHW: torch.Tensor) -> float:
    """Cosine of latents side by side in space, less that of distant ones (LDS, as 2606.03578 has it
    from the study of representations).

    Channels are standardised. A ValueError for grids without distant positions.
    """
    cosine, near, far = _cosines(standardised(latents_NCTHW))
    return float(cosine[:, near].mean() - cosine[:, far].mean())


def subject_structure(latents_NCTHW: torch.Tensor, masks_NTHW: torch.Tensor) -> float:
    """Semantic-region self-similarity (SRSS, after arXiv 2606.03578).

    For each position inside the mask: the mean cosine with positions of the mask beside it, less
    that with distant ones outside; the mean over a frame's positions that have both, then over
    frames. Channels are standardised. ``masks`` is true where the subject is, on the latents' grid:
    see :func:`on_latent_grid`.

    Raises:
        ValueError: where no position has both.
    """
    cosine, near, far = _cosines(standardised(latents_NCTHW))
    inside = masks_NTHW.flatten(0, 1).flatten(1)  # (N T, H W)
    within = inside[:, :, None] & inside[:, None, :] & near
    outside = inside[:, :, None] & ~inside[:, None, :] & far
    counts = [pairs.sum(2) for pairs in (within, outside)]
    alike, other = (
        (cosine * pairs).sum(2) / count.clamp(min=1)
        for pairs, count in zip((within, outside), counts, strict=True)
    )
    both = (counts[0] > 0) & (counts[1] > 0)
    seen = both.any(1)
    if not seen.any():
        raise ValueError(
            "no position of a subject has one beside it inside and a distant one outside: the "
            f"latents' grid of {latents_NCTHW.shape[3]}x{latents_NCTHW.shape[4]} is too small"
        )
    of_frames = ((alike - other) * both).sum(1)[seen] / both.sum(1)[seen]
    return float(of_frames.mean())


def on_latent_grid(
    cover_N1THW: torch.Tensor, shape: tuple[int, int, int], lone_first_frame: bool
) -> torch.Tensor:
    """Where a subject covers at least half of what a latent stands for: (N, t, h, w), true or not.

    ``cover`` is in [0, 1] for each pixel, ``shape`` (t, h, w) that of the latents.
    """
    t, h, w = shape
    if lone_first_frame and t > 1:
        first, rest = cover_N1THW[:, :, :1], cover_N1THW[:, :, 1:]
        parts = [
            F.adaptive_avg_pool3d(first, (1, h, w)),
            F.adaptive_avg_pool3d(rest, (t - 1, h, w)),
        ]
        return torch.cat(parts, 2)[:, 0] >= 0.5
    return F.adaptive_avg_pool3d(cover_N1THW, shape)[:, 0] >= 0.5


def _cosines(z_NCTHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Of all pairs of positions of a frame (N T, H W, H W), and which pairs (H W, H W) are beside
    each other and which distant, by steps along rows and columns.
    """
    H, W = z_NCTHW.shape[3:]
    rows = F.normalize(z_NCTHW.transpose(1, 2).flatten(0, 1).flatten(2), dim=1)
    place = torch.cartesian_prod(torch.arange(H), torch.arange(W))
    steps = (place[:, None] - place).abs().sum(2)
    near, far = steps == 1, steps >= max(2, FAR * max(H, W))
    if not near.any() or not far.any():
        raise ValueError(f"a grid of {H}x{W} positions has none that are distant: use larger clips")
    return rows.transpose(1, 2) @ rows, near, far

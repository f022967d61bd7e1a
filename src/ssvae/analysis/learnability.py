"""Figures of latents that may tell how a diffusion model will learn them, without training one."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F

from ssvae.analysis.fidelity import psnr
from ssvae.analysis.structure import standardised
from ssvae.spectra.joint import JointResult, JointSpectrum

STRONGEST = 0.1
"""The share of joint modes whose decoding is looked at."""
MOST = 2048
"""Clips that the regression looks at."""
RIDGE = 1e-3
"""Beside the mean variance of the neighbours' values."""
CUBE = [(i, j, k) for i in range(3) for j in range(3) for k in range(3)]
"""A position, (1, 1, 1), and those about it."""


def learnability(
    latents: torch.Tensor, decode: Callable[[torch.Tensor], torch.Tensor], decoded: int = 64
) -> dict[str, float]:
    """Figures of latents (B, C, T, H, W), without a name for good or bad: what each predicts is
    measured.

    ``joint_viv`` and ``joint_loss``: what no model of Gaussian latents can learn, at uniform times
    (arXiv 2606.03578) and at logit-normal ones of mean 0, a mean over values; ``joint_viv_sum`` is
    its sum over a position's. ``joint_effective_share`` and ``joint_modes``: the effective number
    of joint modes, as a share of the values and by itself. ``joint_concentration``: the variance in
    the strongest tenth of them. ``neighbours_r2``: the share of a position's variance that a ridge
    regression tells from the 26 around it. ``decoded_strongest``: PSNR in dB of the first
    ``decoded`` clips, decoded from the strongest tenth of the modes, beside those of all modes:
    what the decoder needs beyond what is learned first.
    """
    joint = JointSpectrum()
    for batch in latents.split(256):
        joint.update(batch)
    modes = joint.result()
    return {
        "joint_viv": modes.irreducible_loss(),
        "joint_loss": modes.irreducible_loss(mean=0.0),
        "joint_viv_sum": modes.irreducible_loss() * latents.shape[1],
        "joint_effective_share": modes.effective_share,
        "joint_modes": modes.effective_share * modes.variances.numel(),
        "joint_concentration": modes.concentration(STRONGEST),
        "neighbours_r2": neighbours_r2(latents),
        "decoded_strongest": decoded_strongest(latents[:decoded], modes, decode),
    }


@torch.no_grad()
def decoded_strongest(
    latents: torch.Tensor, modes: JointResult, decode: Callable[[torch.Tensor], torch.Tensor]
) -> float:
    """PSNR in dB of clips from the strongest :data:`STRONGEST` of the modes, beside those from
    all.
    """
    found = []
    for z in latents.split(16):
        whole, part = decode(z), decode(modes.strongest(z, STRONGEST))
        found.append(psnr(part, whole).double().cpu())
    return float(torch.cat(found).mean())


def neighbours_r2(latents: torch.Tensor, positions: int = 20_000, seed: int = 0) -> float:
    """How much of a latent its 26 neighbours in space and time tell, linearly: R² on held-out
    clips.

    Latents (B, C, T, H, W), channels standardised; outside is the mean, 0. The regression is fitted
    on positions of the first half of the (first 2048) clips and tested on as many of the other;
    dead channels are left out. A ValueError for fewer than two clips.
    """
    around = [offset for offset in CUBE if offset != (1, 1, 1)]
    return _linear_r2(latents, around, 0, positions, seed)


def past_r2(latents: torch.Tensor, positions: int = 20_000, seed: int = 0) -> float:
    """How much of a latent the nine about its place in the frame before tell, as for
    :func:`neighbours_r2`: what PV-VAE (arXiv 2605.02134) wants high.

    A ValueError for latents of one frame.
    """
    if latents.ndim == 5 and latents.shape[2] < 2:
        raise ValueError("latents of one frame have no past: use longer clips")
    return _linear_r2(latents, [offset for offset in CUBE if offset[0] == 0], 1, positions, seed)


def _linear_r2(
    latents: torch.Tensor,
    offsets: Sequence[tuple[int, int, int]],
    first: int,
    positions: int,
    seed: int,
) -> float:
    """R² on held-out clips of positions from frame ``first`` on, told from those at ``offsets``."""
    z = standardised(latents[:MOST])
    z = z[:, z.abs().amax((0, 2, 3, 4)) > 0]
    half = len(z) // 2
    generator = torch.Generator().manual_seed(seed)
    (x, y), (held_x, held_y) = (
        _drawn(part, offsets, first, positions, generator) for part in (z[:half], z[half:])
    )
    gram = x.T @ x
    gram += RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    weights = torch.linalg.solve(gram, x.T @ y)
    error = (held_y - held_x @ weights).square().mean()
    return float(1 - error / held_y.square().mean())


def _drawn(
    z: torch.Tensor,
    offsets: Sequence[tuple[int, int, int]],
    first: int,
    positions: int,
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """What stands at the offsets (n, offsets C), and values (n, C), at positions that are drawn."""
    B, _, T, H, W = z.shape
    padded = F.pad(z, (1,) * 6)
    cells = B * (T - first) * H * W
    drawn = torch.randperm(cells, generator=generator)[: min(positions, cells)]
    b, t, h, w = torch.unravel_index(drawn, (B, T - first, H, W))
    t = t + first
    around = [padded[b, :, t + i, h + j, w + k] for i, j, k in offsets]
    return torch.cat(around, 1), z[b, :, t, h, w]

"""Figures of latents that may tell how a diffusion model will learn them, without training one."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F

from ssvae.analysis.fidelity import psnr
from ssvae.spectra.joint import JointResult, JointSpectrum

STRONGEST = 0.1
"""The share of joint modes whose decoding is looked at."""
MOST = 2048
"""Clips that the regression looks at."""
RIDGE = 1e-3
"""Beside the mean variance of the neighbours' values."""


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
    if latents.ndim != 5 or len(latents) < 2:
        raise ValueError(
            "latents must be (batch, channels, frames, height, width) of at least two clips, got "
            f"{tuple(latents.shape)}"
        )
    latents = latents[:MOST].cpu()  # for double precision, which not every device has
    std, mean = torch.std_mean(latents.double(), (0, 2, 3, 4), keepdim=True)
    live = (std > 1e-6 * (std.square() + mean.square()).sqrt()).flatten()
    if not live.any():
        raise ValueError("latents must vary: every channel is constant")
    z = ((latents.double() - mean) / std)[:, live]
    half = len(z) // 2
    generator = torch.Generator().manual_seed(seed)
    (x, y), (held_x, held_y) = (_drawn(part, positions, generator) for part in (z[:half], z[half:]))
    gram = x.T @ x
    gram += RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    weights = torch.linalg.solve(gram, x.T @ y)
    error = (held_y - held_x @ weights).square().mean()
    return float(1 - error / held_y.square().mean())


def _drawn(
    z: torch.Tensor, positions: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Neighbours (n, 26 C) and values (n, C) at positions that are drawn."""
    B, _, T, H, W = z.shape
    padded = F.pad(z, (1,) * 6)
    cells = B * T * H * W
    drawn = torch.randperm(cells, generator=generator)[: min(positions, cells)]
    b, t, h, w = torch.unravel_index(drawn, (B, T, H, W))
    offsets: Sequence[tuple[int, int, int]] = [
        (i, j, k) for i in range(3) for j in range(3) for k in range(3) if (i, j, k) != (1, 1, 1)
    ]
    around = [padded[b, :, t + i, h + j, w + k] for i, j, k in offsets]
    return torch.cat(around, 1), z[b, :, t, h, w]

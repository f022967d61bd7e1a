"""Small autoencoders of several shapes, no layer of which is zero, for fresh ones hide mistakes."""

from pathlib import Path

import torch
from torch import nn

from ssvae import AutoencoderKLSSVAE
from ssvae.losses import perceptual

SHAPES = [
    dict(),
    dict(attention=True),
    dict(time_factors=(1, 2), space_factors=(2, 2), patch_size=1),
    dict(time_factors=(1, 2, 2), space_factors=(2, 1, 2), channel_multipliers=(1, 2, 4, 4)),
    dict(time_factors=(1, 1), space_factors=(2, 2)),
]


def make(shape: dict) -> AutoencoderKLSSVAE:
    torch.manual_seed(0)
    vae = AutoencoderKLSSVAE.from_preset("tiny", z_dim=4, base_channels=8, **shape).eval()
    for parameter in vae.parameters():
        nn.init.normal_(parameter, std=0.08)
    return vae


NARROW = tuple(tuple(width // 8 for width in stage) for stage in perceptual.STAGES)
"""VGG16 an eighth as wide, for ``perceptual.STAGES``: it would take nearly all of a training
step."""


def write_lpips(folder: Path) -> tuple[str, str]:
    """Random weights of LPIPS, as wide as its stages are now: files of its VGG16 and of its
    channels.
    """
    torch.manual_seed(0)
    torch.save(perceptual.VGG16().state_dict(), folder / "vgg.pt")
    ends = [stage[-1] for stage in perceptual.STAGES]
    linear = {f"lin{i}.model.1.weight": torch.rand(1, n, 1, 1) for i, n in enumerate(ends)}
    torch.save(linear, folder / "linear.pt")
    return str(folder / "vgg.pt"), str(folder / "linear.pt")

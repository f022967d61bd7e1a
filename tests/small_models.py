"""Small autoencoders of several shapes, no layer of which is zero, for fresh ones hide mistakes."""

import torch
from torch import nn

from ssvae import AutoencoderKLSSVAE

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

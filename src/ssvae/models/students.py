"""Shapes of small models that share the latents of another."""

import math

from ssvae.models.config import AutoencoderConfig, StudentSize
from ssvae.models.layouts import Layout, causal

# Width of the first level, and residual blocks of encoder and decoder in each.
SIZES: dict[str, tuple[int, int, int]] = {
    "small": (16, 1, 1),
    "medium": (32, 1, 2),
    "large": (64, 2, 3),
}
LARGEST_PATCH = 4  # pixels: more would leave the first convolution to do what levels should


def student_of(layout: Layout, size: StudentSize) -> AutoencoderConfig:
    """The shape of a model with a teacher's latents: its channels, compression and statistics.

    A ValueError where the teacher compresses by what is no power of two.
    """
    own = causal(layout.time_factor)
    if not layout.of_images and layout.clip_lengths != own:
        raise ValueError(
            f"a student is causal and takes {own} frames, this teacher {layout.clip_lengths}: take "
            "one that is causal"
        )
    for name, factor in (("time", layout.time_factor), ("space", layout.space_factor)):
        if factor.bit_count() != 1:
            raise ValueError(
                f"a student halves {name} again and again, so a teacher must compress it by a "
                f"power of two, got {factor}"
            )
    width, encoder_blocks, decoder_blocks = SIZES[size]
    patch = min(LARGEST_PATCH, max(layout.space_factor // 4, 1))
    halvings = int(math.log2(layout.space_factor // patch)), int(math.log2(layout.time_factor))
    steps = max(halvings)
    space, time = ((1,) * (steps - n) + (2,) * n for n in halvings)
    return AutoencoderConfig(
        z_dim=layout.channels,
        in_channels=layout.in_channels,
        out_channels=layout.out_channels,
        base_channels=width,
        channel_multipliers=tuple(min(2**level, 4) for level in range(steps + 1)),
        encoder_blocks=encoder_blocks,
        decoder_blocks=decoder_blocks,
        time_factors=time,
        space_factors=space,
        patch_size=patch,
        attention=False,
        latents_mean=layout.mean,
        latents_std=layout.std,
    )

"""The rungs: clips of one world, each twice as large as the last, on latents of one shape.

A rung adds a level to encoder and decoder, which halves space once more; all else is the same.
"""

from collections.abc import Mapping
from typing import Any

from ssvae.bench.scales import Scale, laptop

SIDES = (32, 64, 128)
"""Pixels a side; the latents are 48 x 3 x 8 x 8 on each, so space is compressed by 4, 8 and 16."""
DATA = "detailed-world"
VAE_STEPS = 2400
CEILING = 0.955


def rung(side: int, changes: Mapping[str, Any] | None = None) -> Scale:
    """All settings of a rung, with ``changes`` by their full names, such as
    "diffusion.time_mean".
    """
    if side not in SIDES:
        raise ValueError(f"rungs are of {', '.join(map(str, SIDES))} pixels a side, got {side}")
    added = SIDES.index(side)
    model = {
        "z_dim": 48,
        "channel_multipliers": (1,) + (2,) * (2 + added),
        "time_factors": (1,) * added + (2, 2),
        "space_factors": (2,) * added + (2, 1),
    }
    return laptop().changed(
        {
            "vae.data": DATA,
            "vae.clip.height": side,
            "vae.clip.width": side,
            "vae.steps": VAE_STEPS,
            "ceiling": CEILING,
            **{f"vae.model.{name}": value for name, value in model.items()},
            **(changes or {}),
        }
    )


def compression(side: int) -> int:
    """Pixels a latent in each direction of space."""
    return side // 8

"""Training recipes: functions that return typed settings, each saying where its numbers come from."""

import dataclasses
from collections.abc import Callable

from ssvae.models import PRESETS
from ssvae.training.vae import ClipConfig, LCRConfig, LMRConfig, VAERecipe


def tiny() -> VAERecipe:
    """1.3 M parameters on the procedural world, 32 x 32 x 9: minutes on two cores.

    A laptop's run is some 125 times shorter than the published one, so the learning rate and the
    weight of LCR (0.1 instead of 0.002) are larger and the batch is smaller. Masking is as
    published at 256 p.
    """
    return VAERecipe(
        steps=1200,
        model=PRESETS["tiny"],
        clip=ClipConfig(frames=9, height=32, width=32),
        lcr=LCRConfig(weight=0.1),
        batch_size=8,
        learning_rate=5e-4,
        final_learning_rate=5e-6,
        warmup_steps=50,
    )


def tiny_baseline() -> VAERecipe:
    """The tiny recipe without LCR and LMR, for comparison; all else is the same."""
    return dataclasses.replace(
        tiny(), lcr=LCRConfig(weight=0.0), lmr=LMRConfig(ratios=(0.0,), probabilities=(1.0,))
    )


RECIPES: dict[str, Callable[[], VAERecipe]] = {"tiny": tiny, "tiny-baseline": tiny_baseline}

"""Training recipes: functions that return typed settings, each saying where its numbers come
from.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import tyro

from ssvae.diffusion.recipe import DiffusionRecipe, TextConfig, TransformerConfig
from ssvae.models import PRESETS
from ssvae.regularizers import LCRConfig, LMRConfig
from ssvae.regularizers.registry import registered
from ssvae.vae.recipe import (
    AdaptRecipe,
    ClipConfig,
    DistilRecipe,
    GANConfig,
    ImagesConfig,
    PerceptualConfig,
    RegularizedRecipe,
    TrainingRecipe,
    VAERecipe,
    ValidationConfig,
)

R = TypeVar("R", bound=RegularizedRecipe)


def without_regularizers(recipe: R) -> R:
    """The recipe without any, for comparison; all else is the same."""
    return replace(recipe, **{name: kind() for name, kind in registered().items()})


def tiny() -> VAERecipe:
    """1.3 M parameters on the procedural world, 32 x 32 x 9: minutes on two cores.

    A laptop's run is some 250 times shorter than the published one, so learning rates and the
    weight of LCR (0.1 instead of 0.002) are larger, the batch is smaller, and the optimiser is
    Muon. Masking is as published at 256 p.
    """
    return VAERecipe(
        steps=600,
        model=PRESETS["tiny"],
        clip=ClipConfig(frames=9, height=32, width=32),
        lcr=LCRConfig(enabled=True, weight=0.1),
        lmr=LMRConfig(enabled=True),
        batch_size=4,
        optimizer="muon",
        learning_rate=1e-3,
        final_learning_rate=1e-5,
        warmup_steps=50,
    )


def tiny_baseline() -> VAERecipe:
    """The tiny recipe without LCR and LMR, for comparison; all else is the same."""
    return without_regularizers(tiny())


def film() -> VAERecipe:
    """2.8 M parameters on films and stills, 64 x 64 x 9: about an hour on one core.

    Time by 4, space by 8, 16 channels, without regularisers; L1 and KL alone, for the weights of
    LPIPS are not everywhere. Rates and optimiser are the tiny recipe's.
    """
    return replace(
        tiny_baseline(),
        steps=8000,
        model=PRESETS["film"],
        data=tyro.MISSING,
        clip=ClipConfig(frames=9, height=64, width=64),
        batch_size=2,
        ema_decay=0.999,
        warmup_steps=200,
        checkpoint_every=500,
    )


def small() -> VAERecipe:
    """54 M parameters, 128 x 128 x 17 at 8 fps, 48 channels: one GPU, some 3e17 operations.

    The published losses, images and masking at a smaller size: about an hour at 1e14 operations a
    second in bfloat16. The run is 15 times shorter, so rates are larger and the GAN starts earlier.
    The published bound of the GAN's weight is made for sums over larger clips; here it is a tenth
    of the balance (the whole of it doubled L1 within 140 steps of a trial).
    """
    return VAERecipe(
        steps=10_000,
        model=PRESETS["small"],
        data="world",
        clip=ClipConfig(frames=17, height=128, width=128, fps=8),
        images=ImagesConfig(share=1 / 8, batch_size=32),
        batch_size=16,
        perceptual=PerceptualConfig(weight=1.0),
        learned_variance=True,
        gan=GANConfig(start=5000, weight=0.1, max_weight=1e6, learning_rate=5e-5),
        lcr=LCRConfig(enabled=True, weight=0.01),
        lmr=LMRConfig(enabled=True),
        learning_rate=2e-4,
        warmup_steps=500,
        ema_decay=0.999,
        validation=ValidationConfig(every=1000),
        checkpoint_every=500,
    )


def small_baseline() -> VAERecipe:
    """The small recipe without LCR and LMR, for comparison; all else is the same."""
    return without_regularizers(small())


def ssvae_256p() -> VAERecipe:
    """The published first stage: 315 M parameters, 256 x 256 x 17 at 8 fps, 32 GPUs.

    Every number is the published one (arXiv 2512.05394 and its code) but three that it does not
    tell: gradients are clipped at 1, an EMA of the weights is kept, and every 5000 steps
    are validated. A GPU sees one clip or six images, one batch in eight of images.
    """
    return VAERecipe(
        steps=150_000,
        model=PRESETS["ssvae-c48-f16t4"],
        data=tyro.MISSING,
        clip=ClipConfig(frames=17, height=256, width=256, fps=8),
        images=ImagesConfig(share=1 / 8, batch_size=6),
        lcr=LCRConfig(enabled=True),
        lmr=LMRConfig(enabled=True),
        batch_size=1,
        perceptual=PerceptualConfig(weight=1.0),
        learned_variance=True,
        gan=GANConfig(start=25_000),
        decay_steps=600_000,
        ema_decay=0.999,
        validation=ValidationConfig(every=5000, clips=128),
        checkpoint_every=1000,
    )


def ssvae_256p_baseline() -> VAERecipe:
    """The published first stage without LCR and LMR, for comparison; all else is the same."""
    return without_regularizers(ssvae_256p())


def ssvae_512p_decoder() -> VAERecipe:
    """The published second stage: the decoder alone at 512 x 512 x 17, 8 GPUs; give --init.

    The encoder is frozen and LCR off, masking is stronger and in blocks of 2 x 2 x 2, the GAN is
    on from the start, images come two at a time; all published, the rest as in the first stage.
    """
    return replace(
        ssvae_256p(),
        steps=50_000,
        clip=ClipConfig(frames=17, height=512, width=512, fps=8),
        images=ImagesConfig(share=1 / 8, batch_size=2),
        lcr=LCRConfig(),
        lmr=LMRConfig(enabled=True, probabilities=(0.6, 0.1, 0.15, 0.15), block=(2, 2, 2)),
        gan=GANConfig(start=0),
        decay_steps=400_000,
        freeze_encoder=True,
        init=tyro.MISSING,
    )


def ssvae_512p_decoder_baseline() -> VAERecipe:
    """The published second stage without LMR, for comparison; all else is the same."""
    return without_regularizers(ssvae_512p_decoder())


def adapt() -> AdaptRecipe:
    """Go on with any VAE of diffusers, ours or your own, with LCR and LMR: --model MODEL.

    MODEL is a run, a folder or hub id of a class that is known (docs/own-vae.md), or
    file.py:function. The published weights of the regularisers, masking and losses at a gentle
    rate. Clips of 17 frames fit most classes; of images give --clip.frames 1.
    """
    return AdaptRecipe(
        steps=10_000,
        model=tyro.MISSING,
        data=tyro.MISSING,
        clip=ClipConfig(frames=17, height=256, width=256),
        lcr=LCRConfig(enabled=True),
        lmr=LMRConfig(enabled=True),
        batch_size=1,
        perceptual=PerceptualConfig(weight=1.0),
        learned_variance=True,
        learning_rate=1e-5,
        final_learning_rate=1e-6,
        warmup_steps=200,
        ema_decay=0.999,
        validation=ValidationConfig(every=500),
        checkpoint_every=500,
    )


def distil() -> DistilRecipe:
    """A small model for the latents of another, for previews: --teacher MODEL.

    Any VAE that adapt takes and that compresses by powers of two. The student's encoder learns the
    teacher's posterior, its decoder samples of it; rates and optimiser are the film recipe's.
    """
    return DistilRecipe(
        steps=8000,
        teacher=tyro.MISSING,
        data=tyro.MISSING,
        clip=ClipConfig(frames=9, height=64, width=64),
        batch_size=2,
        optimizer="muon",
        learning_rate=1e-3,
        final_learning_rate=1e-5,
        warmup_steps=200,
        ema_decay=0.999,
        checkpoint_every=500,
    )


def dit_tiny() -> DiffusionRecipe:
    """1.2 M parameters on the tiny VAE's latents: minutes on two cores.

    The recommended recipe (docs/diffusability.md): four blocks of width 128, one token per
    latent, Muon, noisier timesteps. Small batches learn more in a minute than large ones here.
    The rate is constant, so that a longer run is the same run, longer; --cooldown-steps lets it
    fall at the end.
    """
    return DiffusionRecipe(
        steps=2000,
        latents=tyro.MISSING,
        batch_size=16,
        warmup_steps=50,
        time_mean=1.0,
    )


def dit_tiny_conventional() -> DiffusionRecipe:
    """The conventional recipe: patches of 2 x 2 latents, AdamW, timesteps of mean 0.

    AdamW's rate is the best of four (docs/diffusability.md).
    """
    return replace(
        dit_tiny(),
        model=TransformerConfig(patch_size=(1, 2, 2)),
        optimizer="adamw",
        learning_rate=1e-3,
        time_mean=0.0,
    )


def dit_small() -> DiffusionRecipe:
    """34 M parameters on the tiny VAE's latents: minutes on one GPU.

    The shape of DiT-S (arXiv 2212.09748, table 1): twelve blocks of width 384.
    """
    return DiffusionRecipe(
        steps=10_000,
        latents=tyro.MISSING,
        model=TransformerConfig(layers=12, heads=6, head_dim=64, ffn_dim=1536),
        text=TextConfig(width=256, layers=4, heads=4),
        batch_size=256,
        learning_rate=4e-4,
        muon_learning_rate=2e-3,
        warmup_steps=500,
        ema_decay=0.999,
        checkpoint_every=1000,
    )


RECIPES: dict[str, Callable[[], TrainingRecipe]] = {
    "tiny": tiny,
    "tiny-baseline": tiny_baseline,
    "film": film,
    "small": small,
    "small-baseline": small_baseline,
    "ssvae-256p": ssvae_256p,
    "ssvae-256p-baseline": ssvae_256p_baseline,
    "ssvae-512p-decoder": ssvae_512p_decoder,
    "ssvae-512p-decoder-baseline": ssvae_512p_decoder_baseline,
    "adapt": adapt,
    "distil": distil,
}
DIFFUSION_RECIPES: dict[str, Callable[[], DiffusionRecipe]] = {
    "dit-tiny": dit_tiny,
    "dit-tiny-conventional": dit_tiny_conventional,
    "dit-small": dit_small,
}

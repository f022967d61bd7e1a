"""The VAEs that the study trains: the registry's variants, and other settings of them that were
tried.
"""

from collections.abc import Mapping
from typing import Any

from ssvae.bench.scales import BASELINE, BOTH, NULL, Scale, seed_of, variant_of
from ssvae.regularizers import registered
from ssvae.storage.settings import changed
from ssvae.vae import VAERecipe

OURS = ("lcr", "lmr")
OTHERS = tuple(variant_of(name) for name in registered() if name not in OURS)
"""Other papers' regularisers, each under its paper's settings where these are known."""
ZEROS: Mapping[str, Any] = {"padding": "zeros"}
TRIED: Mapping[str, tuple[str, Mapping[str, Any], str]] = {
    "scale-equivariance-weak": ("scale_equivariance", {"weight": 0.1}, "weight .1"),
    "scale-equivariance-strong": ("scale_equivariance", {"weight": 1.0}, "weight 1"),
    "equivariance-weak": ("equivariance", {"probability": 0.25}, "in a quarter of the steps"),
    "equivariance-scales": ("equivariance", {"turns": False}, "scales alone"),
    "latent-noise-weak": ("latent_noise", {"gamma": 0.3}, "gamma .3"),
    "latent-noise-mild": ("latent_noise", {"gamma": 1.0}, "gamma 1"),
    "input-masking-weak": ("input_masking", {"max_ratio": 0.35}, "to .35"),
    "input-masking-strong": ("input_masking", {"max_ratio": 0.9}, "to .9"),
    "future-dropping-gaussian": ("future_dropping", {"padding": "gaussian"}, "Gaussian padding"),
    "future-dropping-zeros": ("future_dropping", ZEROS, "padded with zeros"),
    "future-dropping-zeros-weak": (
        "future_dropping",
        {"probability": 0.25, **ZEROS},
        "zeros, in a quarter",
    ),
    "future-dropping-zeros-still": (
        "future_dropping",
        {"motion_weight": 0.0, **ZEROS},
        "zeros, no weight on motion",
    ),
    "channel-prefix-weak": ("channel_prefix", {"shares": (0.5, 0.75, 1.0)}, "from a half"),
    "channel-prefix-strong": (
        "channel_prefix",
        {"shares": (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)},
        "in octaves",
    ),
    "spectrum-matching-strong": ("spectrum_matching", {"weight": 0.1}, "weight .1"),
    "spectrum-matching-stronger": ("spectrum_matching", {"weight": 1.0}, "weight 1"),
}
"""Two more settings of each: the regulariser, what is changed of it, and that in words."""
VARIANTS = (BASELINE, *OURS, BOTH, NULL, *OTHERS, *TRIED)


def vae_of(scale: Scale, variant: str, seed: int) -> VAERecipe:
    """The VAE of a variant."""
    if variant not in TRIED:
        return scale.vae_of(variant, seed)
    name, changes, _ = TRIED[variant]
    vae = scale.variants(seed_of(variant, seed))[variant_of(name)]
    return changed(vae, {f"{name}.{setting}": value for setting, value in changes.items()})


def settings_of(variant: str) -> dict[str, Any]:
    """What a variant changes of the baseline, by full names."""
    if variant in TRIED:
        name, changes, _ = TRIED[variant]
        return {f"{name}.enabled": True, **{f"{name}.{k}": v for k, v in changes.items()}}
    names = OURS if variant == BOTH else [n for n in registered() if variant_of(n) == variant]
    return {f"{name}.enabled": True for name in names}


def regularizer_of(variant: str) -> str | None:
    """The regulariser that a variant has alone; None for the others."""
    if variant in TRIED:
        return TRIED[variant][0]
    return next((name for name in registered() if variant_of(name) == variant), None)


def title_of(variant: str) -> str:
    """What a table calls a variant."""
    if variant == BOTH:
        return "LCR, LMR"
    if variant == NULL:
        return "the baseline again"
    name = regularizer_of(variant)
    if name is None:
        return variant
    title = registered()[name].TITLE
    return f"{title}, {TRIED[variant][2]}" if variant in TRIED else title

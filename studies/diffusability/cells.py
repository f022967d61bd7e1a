"""The cells of the study: the benchmark's settings, most with one thing changed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ssvae.bench.records import Arm
from ssvae.bench.scales import Scale
from studies.diffusability.variants import VARIANTS, vae_of

DEFAULT, CONVENTIONAL, RECOMMENDED = "default", "conventional", "recommended"
RECOMMENDED_LONG = "recommended-long"
PATCH_2 = {"diffusion.model.patch_size": (1, 2, 2)}
ADAMW = {"diffusion.optimizer": "adamw", "diffusion.learning_rate": 1e-3}
"""At the best of four rates, .0005 to .004, tried for the conventional recipe on a seed that is not
reported."""
TIMES = {"diffusion.time_mean": 1.0}
TO_PLATEAU = (5 / 3, 8 / 3, 4)


RECOMMENDED_48 = "recommended-48"
NEXT: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "next-layer-sync": ("LayerSync", {"objective.layer_sync": 0.2}),
    "next-repa": ("REPA on the VAE's encoder", {"repa.teacher": "encoder"}),
    "next-contrastive": ("contrastive flow matching", {"objective.contrastive": 0.05}),
    "next-transport": ("noise by optimal transport", {"objective.pairing": "optimal-transport"}),
    "next-min-snr": ("Min-SNR weights", {"objective.time_weight": "min-snr"}),
}
"""What might be the recommended recipe's next step, at 48 channels: its name, and settings of the
diffusion recipe."""


@dataclass(frozen=True)
class Cell:
    """Settings that hold for all variants."""

    title: str
    """What differs from the default, for a figure."""
    changes: Mapping[str, Any]
    """Settings of the scale by their full names."""
    alone: bool = True
    """Whether it differs from the default in one respect, so that its baseline tells what that
    does."""
    further: tuple[float, ...] = ()
    """Evaluations beyond the scale's, as multiples of its last."""

    def of(self, scale: Scale) -> Scale:
        """The scale with the changes."""
        last = scale.evaluations[-1]
        lengths = scale.evaluations + tuple(round(last * factor) for factor in self.further)
        return scale.changed({"evaluations": lengths, **self.changes})


CELLS: dict[str, Cell] = {
    DEFAULT: Cell("one token per latent, Muon (default)", {}),
    CONVENTIONAL: Cell("patches of 2x2, AdamW (conventional)", PATCH_2 | ADAMW, False, TO_PLATEAU),
    "conventional-times": Cell(
        "conventional, but timesteps of mean +1", PATCH_2 | ADAMW | TIMES, False
    ),
    RECOMMENDED: Cell("noisier timesteps, mean +1 (recommended)", TIMES),
    RECOMMENDED_LONG: Cell("recommended, as long as the conventional", TIMES, False, TO_PLATEAU),
    "recommended-adamw": Cell("recommended, but AdamW", TIMES | ADAMW, False),
    "recommended-patch-2": Cell("recommended, but patches of 2x2", TIMES | PATCH_2, False),
    RECOMMENDED_48: Cell("recommended, 48 channels", TIMES | {"vae.model.z_dim": 48}, False),
    "recommended-whitened": Cell(
        "recommended, channels whitened", TIMES | {"diffusion.normalization": "whitened"}, False
    ),
    "patch-2": Cell("patches of 2x2", PATCH_2),
    "adamw": Cell("AdamW", ADAMW),
    "whitened": Cell("principal channels, whitened", {"diffusion.normalization": "whitened"}),
    "principal": Cell("principal channels, one scale", {"diffusion.normalization": "principal"}),
    "time-minus-1": Cell("cleaner timesteps, mean -1", {"diffusion.time_mean": -1.0}),
    "time-plus-half": Cell("noisier timesteps, mean +.5", {"diffusion.time_mean": 0.5}),
    "time-plus-2": Cell("noisier timesteps, mean +2", {"diffusion.time_mean": 2.0}),
    "x-prediction": Cell("x-prediction", {"diffusion.model.prediction": "sample"}),
    "threshold-60": Cell("threshold of LCR .60", {"vae.lcr.threshold": 0.6}),
    "threshold-90": Cell("threshold of LCR .90", {"vae.lcr.threshold": 0.9}),
    "channels-48": Cell("48 channels", {"vae.model.z_dim": 48}),
    "channels-48-patch-2": Cell(
        "48 channels, patches of 2x2", {"vae.model.z_dim": 48, **PATCH_2}, False
    ),
    # Four times the latents at the tokens of the default.
    "grid-16": Cell(
        "grids of 16x16, patches of 2x2", {"vae.model.space_factors": (1, 1), **PATCH_2}
    ),
    "pixels-64": Cell(
        "64x64 pixels on grids of 8x8, 48 channels",
        {
            "vae.clip.height": 64,
            "vae.clip.width": 64,
            "vae.model.space_factors": (2, 2),
            "vae.model.z_dim": 48,
        },
    ),
    **{
        name: Cell(
            f"recommended, 48 channels, {title}",
            TIMES | {"vae.model.z_dim": 48} | {f"diffusion.{k}": v for k, v in changes.items()},
            False,
        )
        for name, (title, changes) in NEXT.items()
    },
}
"""By name; the first is the scale as it is."""


def arm_of(cell: str, variant: str, scale: Scale) -> Arm:
    """The arm that is run for a variant of a cell: that of the first cell that would run the same.

    A cell that changes LCR alone has the default's baseline.
    """
    trained = variant in VARIANTS

    def run(scale: Scale) -> Scale:
        return replace(scale, vae=vae_of(scale, variant, 0)) if trained else scale

    return Arm(_first_alike(cell, scale, run), variant)


def latents_of(arm: Arm, seed: int, scale: Scale) -> str:
    """What the latents of an arm are called: those of VAEs that are trained alike are the same."""

    def prepared(changed: Scale) -> Scale:
        vae = vae_of(changed, arm.variant, seed)
        return replace(changed, vae=vae, diffusion=scale.diffusion, evaluations=scale.evaluations)

    first = _first_alike(arm.cell, scale, prepared)
    name = f"{arm.variant}-{seed}"
    return name if first == DEFAULT else f"{first}-{name}"


def _first_alike(cell: str, scale: Scale, part: Callable[[Scale], Scale]) -> str:
    """The first cell whose scale is that of this one, in the part that counts."""
    target = part(CELLS[cell].of(scale))
    return next(name for name, other in CELLS.items() if part(other.of(scale)) == target)


def changes_the_vae_alone(cell: str) -> bool:
    """Whether all cells of the kind share one diffusion recipe."""
    return all(name.startswith("vae.") for name in CELLS[cell].changes)

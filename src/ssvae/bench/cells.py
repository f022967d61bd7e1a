"""The cells of the map: a benchmark's settings, most with one thing changed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ssvae.bench.scales import NULL, RIVALS_AND_TUNED, Scale

DEFAULT, CUSTOM, RECOMMENDED = "default", "custom", "recommended"
RECOMMENDED_LONG = "recommended-long"
Arm = tuple[str, str]
"""A cell and a variant: curves are of arms."""
PATCH_2 = {"diffusion.model.patch_size": (1, 2, 2)}
ADAMW = {"diffusion.optimizer": "adamw", "diffusion.learning_rate": 1e-3}
"""At the best of four rates, .0005 to .004, tried for the custom on a seed that is not reported."""
TIMES = {"diffusion.time_mean": 1.0}
TO_PLATEAU = (5 / 3, 8 / 3, 4)


@dataclass(frozen=True)
class Cell:
    """A place on the map."""

    title: str
    """What differs from the default, for a figure."""
    changes: Mapping[str, Any]
    """Settings of the scale by their full names."""
    alone: bool = True
    """Whether it differs from the default in one respect, so that its baseline tells what that does."""
    further: tuple[float, ...] = ()
    """Evaluations beyond the scale's, as multiples of its last."""

    def of(self, scale: Scale) -> Scale:
        """The scale with the changes."""
        last = scale.evaluations[-1]
        lengths = scale.evaluations + tuple(round(last * factor) for factor in self.further)
        return scale.changed({"evaluations": lengths, **self.changes})


CELLS: dict[str, Cell] = {
    DEFAULT: Cell("a token a latent, Muon (default)", {}),
    CUSTOM: Cell("patches of 2x2, AdamW (the custom)", PATCH_2 | ADAMW, False, TO_PLATEAU),
    "custom-times": Cell("the custom, but times of mean +1", PATCH_2 | ADAMW | TIMES, False),
    RECOMMENDED: Cell("times nearer the noise, mean +1 (recommended)", TIMES),
    RECOMMENDED_LONG: Cell("recommended, as long as the custom", TIMES, False, TO_PLATEAU),
    "recommended-adamw": Cell("recommended, but AdamW", TIMES | ADAMW, False),
    "recommended-patch-2": Cell("recommended, but patches of 2x2", TIMES | PATCH_2, False),
    "recommended-48": Cell("recommended, 48 channels", TIMES | {"vae.model.z_dim": 48}, False),
    "recommended-whitened": Cell(
        "recommended, channels whitened", TIMES | {"diffusion.normalization": "whitened"}, False
    ),
    "patch-2": Cell("patches of 2x2", PATCH_2),
    "adamw": Cell("AdamW", ADAMW),
    "whitened": Cell("principal channels, whitened", {"diffusion.normalization": "whitened"}),
    "principal": Cell("principal channels, one scale", {"diffusion.normalization": "principal"}),
    "time-minus-1": Cell("times nearer the data, mean -1", {"diffusion.time_mean": -1.0}),
    "time-plus-half": Cell("times nearer the noise, mean +.5", {"diffusion.time_mean": 0.5}),
    "time-plus-2": Cell("times nearer the noise, mean +2", {"diffusion.time_mean": 2.0}),
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
}
"""By name; the first is the scale as it is."""


def arm_of(cell: str, variant: str, scale: Scale) -> Arm:
    """The arm that is run for a variant of a cell: that of the first cell that would run the same.

    A cell that changes LCR alone has the default's baseline.
    """
    trained = variant in (*scale.variants(0), NULL, *RIVALS_AND_TUNED)

    def run(changed: Scale) -> Scale:
        return replace(changed, vae=changed.vae_of(variant, 0)) if trained else changed

    return _first_alike(cell, scale, run), variant


def latents_of(arm: Arm, seed: int, scale: Scale) -> str:
    """What the latents of an arm are called: those of VAEs that are trained alike are the same."""
    cell, variant = arm

    def made(changed: Scale) -> Scale:
        vae = changed.vae_of(variant, seed)
        return replace(changed, vae=vae, diffusion=scale.diffusion, evaluations=scale.evaluations)

    first = _first_alike(cell, scale, made)
    return f"{variant}-{seed}" if first == DEFAULT else f"{first}-{variant}-{seed}"


def _first_alike(cell: str, scale: Scale, part: Callable[[Scale], Scale]) -> str:
    """The first cell whose scale is that of this one, in the part that counts."""
    wanted = part(CELLS[cell].of(scale))
    return next(name for name, other in CELLS.items() if part(other.of(scale)) == wanted)


def label_of(arm: Arm, seed: int) -> str:
    """What the curve of an arm is called; no name of a cell or a VAE holds a dot."""
    return ".".join((*arm, str(seed)))


def arm_and_seed(label: str) -> tuple[Arm, int] | None:
    """The arm and the seed that a label tells, None where it is no label of a cell's curve."""
    parts = label.split(".")
    if len(parts) != 3 or parts[0] not in CELLS or not parts[2].isdecimal():
        return None
    return (parts[0], parts[1]), int(parts[2])

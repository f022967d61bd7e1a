"""The arms of the ladder: a part of the plan, a rung, a variant, a setting and a seed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ssvae.bench.scales import BASELINE, NULL, STILLS_CEILING, Scale, seed_of
from ssvae.latents.maps import MapConfig
from ssvae.vae.recipe import VAERecipe
from studies.diffusability.ladder.rungs import VAE_STEPS, rung
from studies.diffusability.variants import vae_of

FIVE, THREE = tuple(range(11, 16)), tuple(range(11, 14))
HURT, LMR = "whitened-frequencies", "lmr"
MAPS = {HURT: MapConfig(power=0.0)}
"""Variants that are the baseline's latents under a map."""
PLAIN, PLATEAU, RECOMMENDED = "", "plateau", "recommended"
SHORTER_VAE, LONGER_VAE = "vae-600", "vae-9600"
ATTRIBUTES, PLAIN_DIT, RESCORED = "attributes", "plain-dit", "rescored"
TWO_SIZES = "two-sizes"
RIVALS_PART = 11
RIVALS = (
    *("future-dropping", "future-dropping-gaussian", "spectral-denoising", "latent-consistency"),
    *("scale-equivariance", "spectrum-matching", "equivariance-weak", "channel-prefix"),
    *("latent-noise-weak", "input-masking-weak", "equivariance", LMR),
)
"""Other papers' regularisers in the order of rivals.md: those whose best form was missing first."""
LARGER, LARGER_STEPS = 2, (100, 250, 600)
"""Part 2 goes on to clips this many times as large, and is scored after so many steps there."""
NOISY, LONGER_DECODER = "noisy-decoder", "longer-decoder"
DECODER_STEPS, DECODER_NOISE = 600, 0.005**0.5
"""Of the decoder's stage of part 5; the noise in units of the channels' deviations."""
RATES = {f"{PLAIN_DIT}-{rate}": rate for rate in (0.0005, 0.001, 0.002, 0.004)}
"""Settings in which the plain DiT's rate is chosen."""
TO_PLATEAU = (200, 450, 800, 1200, 2000, 3200, 4800)
RECIPE, LMR_LEARNED = "lmr-recipe", "lmr-learned"
STILLS = "stills"
SOON: Mapping[str, Any] = {"vae.steps": 600, "ceiling": 0.0, "clips": 512}
REGIMES: Mapping[str, Mapping[str, Any]] = {
    RECIPE: SOON,
    "lmr-kl": {**SOON, "vae.kl_weight": 5e-4 / 20},
    "lmr-decoder": {**SOON, "vae.model.decoder_blocks": 2},
    "lmr-longer": {**SOON, "vae.steps": 6000},
}
"""Part 8: VAEs with LMR and without, no decoder stage, nothing learned on them."""
MASKS: Mapping[str, Mapping[str, Any]] = {
    "lmr-half": {**SOON, "vae.lmr.ratios": (0.0, 0.125, 0.25, 0.375)},
    "lmr-often": {**SOON, "vae.lmr.probabilities": (0.4, 0.2, 0.2, 0.2)},
    "lmr-blocks": {**SOON, "vae.lmr.block": (2, 2, 2)},
}
"""The same, of masks alone: without LMR each is the recipe's."""
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    PLAIN: {},
    SHORTER_VAE: {"vae.steps": VAE_STEPS // 4},
    LONGER_VAE: {"vae.steps": VAE_STEPS * 4},
    PLATEAU: {"evaluations": TO_PLATEAU},
    RECOMMENDED: {"evaluations": TO_PLATEAU, "diffusion.time_mean": 1.0},
    ATTRIBUTES: {},
    PLAIN_DIT: {},
    TWO_SIZES: {"vae.clip.multiples": (1, LARGER)},
    RESCORED: {"evaluations": (1200,)},
    NOISY: {"evaluations": (1200,)},
    LONGER_DECODER: {"evaluations": (1200,)},
    LMR_LEARNED: {"vae.steps": 600, "ceiling": 0.0},
    STILLS: {"vae.data": "stills", "ceiling": STILLS_CEILING},
    **{name: {"evaluations": (600,)} for name in RATES},
    **REGIMES,
    **MASKS,
}
"""What a setting changes in a rung, by full names."""
VAES_ALONE = (*REGIMES, *MASKS)
"""Settings in which nothing is learned on the latents."""
OF_VAES = (SHORTER_VAE, LONGER_VAE, TWO_SIZES, LMR_LEARNED, STILLS, *VAES_ALONE)
"""Settings that change the VAE."""


@dataclass(frozen=True)
class Arm:
    """A VAE and a diffusion model on its latents."""

    part: int
    """Of the plan."""
    rung: int
    variant: str
    seed: int
    setting: str = PLAIN

    @property
    def scale(self) -> Scale:
        """All settings."""
        return rung(self.rung, SETTINGS[self.setting])

    @property
    def vae(self) -> VAERecipe:
        """How the VAE is trained."""
        return vae_of(self.scale, BASELINE if self.variant in MAPS else self.variant, self.seed)

    @property
    def diffusion_seed(self) -> int:
        """Under which the diffusion model is trained."""
        return seed_of(self.variant, self.seed)

    @property
    def latents(self) -> str:
        """The name of the VAE's latents; arms that train the same VAE share them."""
        setting = f"-{self.setting}" if self.setting in OF_VAES else ""
        variant = BASELINE if self.variant in MAPS else self.variant
        return f"{self.rung}{setting}-{variant}-{self.seed}"

    @property
    def label(self) -> str:
        """The name of the diffusion model's run; a longer run of the same goes on in its folder."""
        setting = f"-{self.setting}" if self.setting not in (PLAIN, PLATEAU) else ""
        return f"{self.rung}{setting}-{self.variant}-{self.seed}"

    @property
    def of_part_1(self) -> "Arm":
        """The arm of part 1 on the same latents."""
        return replace(self, part=1, setting=PLAIN)

    @property
    def after(self) -> list["Arm"]:
        """Arms that must be done before, where they run too."""
        if self.setting in (PLATEAU, RESCORED, NOISY, LONGER_DECODER):
            return [self.of_part_1]
        if self.setting == PLAIN_DIT:
            return [replace(self, seed=10, setting=name) for name in RATES]
        return []


def arms(
    part: int | None = None,
    side: int | None = None,
    seeds: tuple[int, ...] | None = None,
    variants: tuple[str, ...] | None = None,
) -> list[Arm]:
    """The arms of the plan in its order, or those that are chosen; other seeds may be asked for.

    Whole seeds come one after the other, so that a stop leaves whole pairs.
    """
    if part == RIVALS_PART:
        if side is None:
            raise ValueError(
                f"part {RIVALS_PART} takes the rung where LCR leads most: give --rung, and see "
                "rivals.md"
            )
        names = variants or RIVALS
        return [Arm(part, side, variant, seed) for seed in seeds or THREE for variant in names]
    found = []
    for number, (sides, names, planned, setting) in PARTS:
        for seed in seeds or planned:
            found += [
                Arm(number, each, variant, seed, setting)
                for each in sides
                for variant in names
                if part in (None, number)
                and side in (None, each)
                and (variants is None or variant in variants)
            ]
    return list(dict.fromkeys(found))


PARTS: tuple[tuple[int, tuple[tuple[int, ...], tuple[str, ...], tuple[int, ...], str]], ...] = (
    (1, ((32, 64, 128), (BASELINE, "lcr"), FIVE, PLAIN)),
    (9, ((64,), (NULL, HURT), FIVE, PLAIN)),
    (4, ((64,), (BASELINE, "lcr"), THREE, SHORTER_VAE)),
    (10, ((64,), (BASELINE, "lcr"), FIVE, RESCORED)),
    (10, ((64,), (BASELINE, "lcr"), FIVE, ATTRIBUTES)),
    *((10, ((64,), (BASELINE, "lcr"), (10,), name)) for name in RATES),
    (10, ((64,), (BASELINE, "lcr"), FIVE, PLAIN_DIT)),
    (2, ((64,), (BASELINE, "lcr"), FIVE, TWO_SIZES)),
    *((8, ((32,), (BASELINE, LMR, "lcr", "both"), (0, 1, 2), name)) for name in REGIMES),
    *((8, ((32,), (LMR, "both"), (0, 1, 2), name)) for name in MASKS),
    (8, ((32,), (BASELINE, LMR, "lcr", "both"), (0, 1, 2), LMR_LEARNED)),
    (3, ((32, 64, 128), ("both",), THREE, PLAIN)),
    (5, ((64,), (BASELINE, "lcr"), THREE, NOISY)),
    (5, ((64,), (BASELINE, "lcr"), THREE, LONGER_DECODER)),
    (6, ((64,), (BASELINE, "lcr"), THREE, PLATEAU)),
    (6, ((64,), (BASELINE, "lcr"), THREE, RECOMMENDED)),
    (7, ((64,), (BASELINE, "lcr"), THREE, STILLS)),
    (4, ((64,), (BASELINE, "lcr"), THREE, LONGER_VAE)),
)
"""Rungs, variants, seeds and setting of each part, in the order in which they run."""

"""The arms of the ladder: a part of the plan, a rung, a variant, a setting and a seed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ssvae.bench.scales import BASELINE, NULL, Scale, seed_of
from ssvae.latents.maps import MapConfig
from ssvae.vae.recipe import VAERecipe
from studies.diffusability.ladder.rungs import VAE_STEPS, rung
from studies.diffusability.variants import vae_of

FIVE, THREE = tuple(range(11, 16)), tuple(range(11, 14))
HURT = "whitened-frequencies"
MAPS = {HURT: MapConfig(power=0.0)}
"""Variants that are the baseline's latents under a map."""
PLAIN, PLATEAU, RECOMMENDED = "", "plateau", "recommended"
SHORTER_VAE, LONGER_VAE = "vae-600", "vae-9600"
TO_PLATEAU = (200, 450, 800, 1200, 2000, 3200, 4800)
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    PLAIN: {},
    SHORTER_VAE: {"vae.steps": VAE_STEPS // 4},
    LONGER_VAE: {"vae.steps": VAE_STEPS * 4},
    PLATEAU: {"evaluations": TO_PLATEAU},
    RECOMMENDED: {"evaluations": TO_PLATEAU, "diffusion.time_mean": 1.0},
}
"""What a setting changes in a rung, by full names."""
OF_VAES = (SHORTER_VAE, LONGER_VAE)
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


def arms(
    part: int | None = None,
    side: int | None = None,
    seeds: tuple[int, ...] | None = None,
    variants: tuple[str, ...] | None = None,
) -> list[Arm]:
    """The arms of the plan in its order, or those that are chosen; other seeds may be asked for.

    Whole seeds come one after the other, so that a stop leaves whole pairs.
    """
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
    (3, ((32, 64, 128), ("both",), THREE, PLAIN)),
    (6, ((64,), (BASELINE, "lcr"), THREE, PLATEAU)),
    (6, ((64,), (BASELINE, "lcr"), THREE, RECOMMENDED)),
    (4, ((64,), (BASELINE, "lcr"), THREE, LONGER_VAE)),
)
"""Rungs, variants, seeds and setting of each part, in the order in which they run."""

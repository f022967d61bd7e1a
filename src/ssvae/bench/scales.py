"""The sizes at which the benchmarks run."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ssvae.bench.scoring import Sampling
from ssvae.diffusion.recipe import DiffusionRecipe
from ssvae.recipes import dit_small, dit_tiny, tiny, without_regularizers
from ssvae.regularizers.registry import registered
from ssvae.storage.settings import changed
from ssvae.vae.recipe import VAERecipe

BASELINE, BOTH, NULL = "baseline", "both", "null"
"""What others are compared with; LCR and LMR; and a control, the baseline again under other
seeds."""
NULL_SEEDS = 1000
"""Seeds of the null are those of the baseline and this."""
STILLS_CEILING = 0.86
"""Stills' rewards of reconstructions end lower than the world's: of moves by a pixel or two a few
cannot be told."""


@dataclass(frozen=True)
class Scale:
    """All that a benchmark is made of; the same for every variant but for the regularisers.

    Each VAE is trained from scratch, the regularisers on from the start. Then its decoder alone
    goes on, the latents as they are, until true clips that it reconstructs score ``ceiling``: what
    a diffusion model on it can reach at best, which must be the same for all.
    """

    vae: VAERecipe
    """The VAE with both regularisers; variants leave out one or both."""
    decoder: VAERecipe
    """The decoder's stage, without LCR and LMR, at a constant rate; its steps are the rounds'."""
    decoder_round: int
    """Steps between two looks at the ceiling."""
    decoder_rounds: int
    """The most rounds."""
    ceiling: float
    """Reward of reconstructed true clips at which the decoder's stage ends."""
    clips: int
    """Clips whose latents the diffusion model learns."""
    diffusion: DiffusionRecipe
    """The diffusion model, at a constant rate; its steps are the evaluations'."""
    evaluations: tuple[int, ...]
    """Lengths of diffusion training that are scored."""
    cooldown: float
    """Share of each length in which the rate falls to zero."""
    evaluation: Sampling
    """How clips are generated to be scored."""

    @property
    def data(self) -> str:
        """The source of all clips; its captions are what a probe can name."""
        return self.vae.data

    @property
    def size(self) -> tuple[int, int, int]:
        """Frames, height and width of the clips."""
        return self.vae.clip.frames, self.vae.clip.height, self.vae.clip.width

    @property
    def learning_steps(self) -> int:
        """Steps of a diffusion model's training, with the branches in which the rate falls."""
        falls = [round(self.cooldown * steps) for steps in self.evaluations]
        return max(self.evaluations) - falls[-1] + sum(falls)

    def changed(self, changes: Mapping[str, Any]) -> "Scale":
        """With other values of settings, by their full names, such as "diffusion.time_mean".

        The decoder's stage is of the VAE's model, clips and data.
        """
        scale = changed(self, changes)
        vae = scale.vae
        decoder = dataclasses.replace(scale.decoder, model=vae.model, clip=vae.clip, data=vae.data)
        return dataclasses.replace(scale, decoder=decoder)

    def on(self, data: str) -> "Scale":
        """With clips of another source, and a ceiling that its reconstructions reach."""
        scale = self.changed({"vae.data": data})
        stills = data.partition(":")[0] == "stills"
        return scale.changed({"ceiling": STILLS_CEILING}) if stills else scale

    def variants(self, seed: int) -> dict[str, VAERecipe]:
        """The VAEs of a seed: without regularisers, with each alone, and with the scale's own."""
        plain = dataclasses.replace(without_regularizers(self.vae), seed=seed)
        alone = {
            name: dataclasses.replace(getattr(self.vae, name), enabled=True)
            for name in registered()
        }
        return {
            BASELINE: plain,
            **{
                variant_of(name): dataclasses.replace(plain, **{name: config})
                for name, config in alone.items()
            },
            BOTH: dataclasses.replace(self.vae, seed=seed),
        }

    def vae_of(self, variant: str, seed: int) -> VAERecipe:
        """The VAE of a variant, or of the null."""
        return self.variants(seed_of(variant, seed))[BASELINE if variant == NULL else variant]


def variant_of(regularizer: str) -> str:
    """What the variant with a regulariser alone is called."""
    return regularizer.replace("_", "-")


def seed_of(variant: str, seed: int) -> int:
    """The seed under which VAE and diffusion model of a variant are trained."""
    return seed + NULL_SEEDS * (variant == NULL)


def _decoder(vae: VAERecipe, share: float) -> VAERecipe:
    """The decoder's stage of a VAE, at this share of its rates; ``init`` is filled in with its
    run.
    """
    return dataclasses.replace(
        without_regularizers(vae),
        freeze_encoder=True,
        init="",
        learning_rate=share * vae.learning_rate,
        muon_learning_rate=share * vae.muon_learning_rate,
        final_learning_rate=share * vae.learning_rate,
        ema_decay=0.98,
    )


def laptop() -> Scale:
    """Clips 9 x 32 x 32, VAEs of 1.3 M and diffusion models of 1.2 M parameters: about an hour a
    seed on two cores.

    Regularisers and rates are the tiny recipe's, tried on seed 100, which is not to be reported;
    times are the conventional recipe's.
    """
    vae = tiny()
    return Scale(
        vae=vae,
        decoder=_decoder(vae, 0.5),
        decoder_round=100,
        decoder_rounds=15,
        ceiling=0.905,
        clips=4096,
        diffusion=dataclasses.replace(dit_tiny(), time_mean=0.0),
        evaluations=(200, 450, 800, 1200),
        cooldown=0.0,
        evaluation=Sampling(),
    )


def gpu() -> Scale:
    """The same clips, VAEs trained twenty times longer, diffusion models of 34 M parameters: hours
    on one GPU.
    """
    vae = dataclasses.replace(laptop().vae, steps=12_000, batch_size=32)
    return Scale(
        vae=vae,
        decoder=_decoder(vae, 0.2),
        decoder_round=1000,
        decoder_rounds=10,
        ceiling=0.95,
        clips=65_536,
        diffusion=dit_small(),
        evaluations=(500, 1000, 2000, 4000, 7000, 10_000),
        cooldown=0.2,
        evaluation=Sampling(samples=2048, steps=16),
    )


SCALES: dict[str, Callable[[], Scale]] = {"laptop": laptop, "gpu": gpu}

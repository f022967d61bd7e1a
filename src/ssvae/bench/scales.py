"""The sizes at which the benchmarks run."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from ssvae.bench.stages import Evaluation
from ssvae.recipes import dit_small, dit_tiny, tiny, tiny_baseline
from ssvae.training.diffusion import DiffusionRecipe
from ssvae.training.vae_recipe import LCRConfig, LMRConfig, VAERecipe

BASELINE = "baseline"


@dataclass(frozen=True)
class Scale:
    """All that the benchmark is made of; the same for every variant but for the regularisers.

    A VAE is trained in three stages, so that ceilings agree (the best that a diffusion model can
    reach on it): a start without regularisers that all variants share, then the variant's own, then
    the decoder alone, as in the paper's second stage.
    """

    start: VAERecipe
    """The stage that the variants share, without LCR and LMR."""
    vae: VAERecipe
    """The variants' own stage, with both regularisers; variants leave out one or both."""
    decoder: VAERecipe
    """The last stage, without LCR and LMR, the encoder frozen."""
    clips: int
    """Clips in the cache of latents."""
    diffusion: DiffusionRecipe
    evaluations: tuple[int, ...]
    """Steps of the diffusion model at which it is scored."""
    evaluation: Evaluation
    vae_for_each_seed: bool
    """Train every VAE anew for each seed, or one VAE a variant for all seeds."""

    @property
    def size(self) -> tuple[int, int, int]:
        """Frames, height and width of the clips."""
        return self.start.clip.frames, self.start.clip.height, self.start.clip.width

    def variants(self, seed: int, start: str) -> dict[str, VAERecipe]:
        """The four variants' own stages, the baseline first."""
        no_lcr, no_lmr = tiny_baseline().lcr, tiny_baseline().lmr
        lcr, lmr = self.vae.lcr, self.vae.lmr
        kinds: dict[str, tuple[LCRConfig, LMRConfig]] = {
            BASELINE: (no_lcr, no_lmr),
            "lcr": (lcr, no_lmr),
            "lmr": (no_lcr, lmr),
            "both": (lcr, lmr),
        }
        return {
            name: dataclasses.replace(self.vae, lcr=a, lmr=b, seed=seed, init=start)
            for name, (a, b) in kinds.items()
        }


def _decoder(recipe: VAERecipe, **changes) -> VAERecipe:
    """The decoder's stage; ``init`` is filled in with the variant's run."""
    return dataclasses.replace(recipe, freeze_encoder=True, init="", **changes)


def mini() -> Scale:
    """Clips 9 x 32 x 32, VAEs of 1.3 M and diffusion models of 1.4 M parameters: about an hour on
    two cores.
    """
    base = tiny_baseline()
    return Scale(
        start=dataclasses.replace(base, steps=2500),
        vae=dataclasses.replace(tiny(), steps=400, learning_rate=3e-4),
        decoder=_decoder(base, steps=400, learning_rate=3e-4),
        clips=8192,
        diffusion=dit_tiny(),
        evaluations=(250, 500, 1000, 1500, 2000),
        evaluation=Evaluation(),
        vae_for_each_seed=False,
    )


def small() -> Scale:
    """The same clips, VAEs trained ten times longer for each seed, diffusion models of 33 M
    parameters: hours on one GPU.
    """
    base = tiny_baseline()
    return Scale(
        start=dataclasses.replace(base, steps=10_000, batch_size=32),
        vae=dataclasses.replace(tiny(), steps=5_000, batch_size=32),
        decoder=_decoder(base, steps=5_000, batch_size=32),
        clips=65_536,
        diffusion=dit_small(),
        evaluations=(500, 1000, 2000, 3000, 4000, 6000, 8000, 10_000),
        evaluation=Evaluation(samples=2048, steps=30),
        vae_for_each_seed=True,
    )


SCALES: dict[str, Callable[[], Scale]] = {"mini": mini, "small": small}

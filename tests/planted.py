"""Learning curves whose right answers are known."""

import numpy as np

from ssvae.bench.effects import Pair, effects, quantities_of
from ssvae.bench.records import Arm, Record
from ssvae.data.world import VOCABULARY

STEPS = [100, 200, 300, 400]
QUANTITIES = quantities_of(VOCABULARY, {})


def record(slope, steps=STEPS, ceiling=0.9, speed=2.0, latents="") -> Record:
    """A reward that rises in a line from chance."""

    def row(step):
        each = dict.fromkeys(VOCABULARY.kinds, 0.5)
        scores = {q.name: q.start + slope * step for q in QUANTITIES}
        return {"step": step, **scores, "rewards": each, "frechet": 100.0}

    spectra = dict.fromkeys(("low_share", "high_share", "slope"), 0.5)
    spectra |= dict.fromkeys(("effective_rank", "local_correlation"), 0.5)
    measure = {
        "ceiling": {"reward": ceiling},
        "psnr": 24.0,
        "decoder_steps": 100,
        "analysis": {**spectra, "latent_shape": [16, 3, 8, 8]},
    }
    return Record(
        [row(step) for step in steps],
        latents or f"{slope}-{ceiling}",
        measure,
        steps_per_second=speed,
    )


def curves(slope: float, seeds: int = 5, spread: float = 0.02, seed: int = 0, **settings):
    """An arm of paired seeds, faster or slower by luck."""
    lucks = np.random.default_rng(seed).standard_normal(seeds)
    return {i: record(slope * (1 + spread * luck), **settings) for i, luck in enumerate(lucks)}


def compared(**arms):
    """The effects of named arms over the one called baseline, by name."""
    known = {Arm("", name): by_seed for name, by_seed in arms.items()}
    pairs = [Pair(name, Arm("", "baseline"), Arm("", name)) for name in arms if name != "baseline"]
    return {e["label"]: e for e in effects({"them": pairs}, known, QUANTITIES)["them"]}

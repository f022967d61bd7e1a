"""What the study compares with what."""

from collections.abc import Mapping

from ssvae.bench.effects import Pair
from ssvae.bench.records import Arm, Arms, Record, RunKey, by_arm
from ssvae.bench.scales import BASELINE, Scale
from studies.diffusability.cells import (
    CELLS,
    CONVENTIONAL,
    DEFAULT,
    NEXT,
    RECOMMENDED,
    RECOMMENDED_48,
    RECOMMENDED_LONG,
    arm_of,
)
from studies.diffusability.variants import title_of

CONVENTIONAL_ARM = Arm(CONVENTIONAL, BASELINE)
WHOLE = Arm(RECOMMENDED, BASELINE)
"""The recommended recipe."""
WHOLE_LONG = Arm(RECOMMENDED_LONG, BASELINE)
PARTS: Mapping[str, Arm] = {
    "noisier timesteps": Arm(DEFAULT, BASELINE),
    "Muon": Arm("recommended-adamw", BASELINE),
    "one token per latent": Arm("recommended-patch-2", BASELINE),
}
"""Its parts, and the arm that has all but that one."""
ALONE: Mapping[str, Arm] = {
    "noisier timesteps": Arm("conventional-times", BASELINE),
    "Muon": Arm("patch-2", BASELINE),
    "one token per latent": Arm("adamw", BASELINE),
    "LCR": Arm(CONVENTIONAL, "lcr"),
    "LMR": Arm(CONVENTIONAL, "lmr"),
}
"""The conventional recipe with one part more."""
LEFT_OUT: Mapping[str, Arm] = {
    "LCR": Arm(RECOMMENDED, "lcr"),
    "LMR": Arm(RECOMMENDED, "lmr"),
    "LCR and LMR": Arm(RECOMMENDED, "both"),
    "whitened channels": Arm("recommended-whitened", BASELINE),
}
"""What the recommended could have besides, and the arm that has it."""


def in_order(records: Mapping[RunKey, Record]) -> dict[Arm, dict[int, Record]]:
    """Records by arm and seed, in the order of the cells, the baselines first."""
    found, cells = by_arm(records), list(CELLS)

    def place(arm: Arm) -> tuple[int, bool, str]:
        return cells.index(arm.cell), arm.variant != BASELINE, arm.variant

    return {arm: found[arm] for arm in sorted(found, key=place)}


def families(arms: Arms, scale: Scale) -> dict[str, list[Pair]]:
    """What is compared, each once, in families whose claims are corrected together."""
    recipe = [
        Pair("recommended", CONVENTIONAL_ARM, WHOLE, to_the_end=True),
        Pair("recommended, run as long", CONVENTIONAL_ARM, WHOLE_LONG, to_the_end=True),
    ]
    for word, others in (("without", PARTS), ("with", LEFT_OUT)):
        recipe += [
            Pair(f"{word} {part}", CONVENTIONAL_ARM, arm, to_the_end=True)
            for part, arm in others.items()
        ]
    regularisers, settings, further = [], [], []
    for cell, variant in arms:
        title = CELLS[cell].title
        if cell in NEXT:
            added = NEXT[cell][0] if variant == BASELINE else f"{NEXT[cell][0]}, {variant}"
            further.append(Pair(added, Arm(RECOMMENDED_48, variant), Arm(cell, variant)))
        elif variant != BASELINE:
            regularisers.append(
                Pair(
                    f"{title_of(variant)}: {title}",
                    arm_of(cell, BASELINE, scale),
                    Arm(cell, variant),
                )
            )
        elif cell != DEFAULT and CELLS[cell].alone:
            settings.append(Pair(title, Arm(DEFAULT, BASELINE), Arm(cell, BASELINE)))
    compared = {
        "recipe": recipe,
        "alone": [Pair(part, CONVENTIONAL_ARM, arm) for part, arm in ALONE.items()],
        "parts": [Pair(part, arm, WHOLE) for part, arm in PARTS.items()],
        "left-out": [Pair(part, WHOLE, arm) for part, arm in LEFT_OUT.items()],
        "regularisers": regularisers,
        "settings": settings,
        "next": further,
    }
    compared_once: set[frozenset[Arm]] = set()
    kept: dict[str, list[Pair]] = {}
    for name, pairs in compared.items():
        for pair in pairs:
            arms_of = frozenset((pair.reference, pair.other))
            here = pair.reference in arms and pair.other in arms
            if here and arms_of not in compared_once and _common(pair, arms):
                compared_once.add(arms_of)
                kept.setdefault(name, []).append(pair)
    return kept


def _common(pair: Pair, arms: Arms) -> bool:
    """Whether there is a seed that both have."""
    return bool(set(arms[pair.reference]) & set(arms[pair.other]))

"""What the map compares with what."""

from collections.abc import Mapping
from dataclasses import dataclass

from ssvae.bench.cells import (
    CELLS,
    CUSTOM,
    DEFAULT,
    RECOMMENDED,
    RECOMMENDED_LONG,
    Arm,
    arm_and_seed,
    arm_of,
)
from ssvae.bench.records import Record
from ssvae.bench.scales import BASELINE, Scale

Learned = Mapping[Arm, Mapping[int, Record]]
"""What each arm gave, by seed."""
NAMES = {
    "lcr": "LCR",
    "lmr": "LMR",
    "both": "LCR, LMR",
    "null": "the baseline again",
    "se": "SE",
    "eq": "EQ-VAE",
    "noise": "latent noise",
    "input-masking": "input masking",
    "future": "dropped future",
    "prefix": "channel prefixes",
    "spectrum": "spectrum matching",
    "se-weak": "SE, weight .1",
    "se-strong": "SE, weight 1",
    "eq-weak": "EQ-VAE, in a quarter of the steps",
    "eq-scales": "EQ-VAE, scales alone",
    "noise-weak": "latent noise, gamma .3",
    "noise-mild": "latent noise, gamma 1",
    "input-masking-weak": "input masking to .35",
    "input-masking-strong": "input masking to .9",
    "future-weak": "dropped future, in a quarter",
    "future-still": "dropped future, no weight on motion",
    "prefix-weak": "channel prefixes from a half",
    "prefix-strong": "channel prefixes in octaves",
    "spectrum-strong": "spectrum matching, weight .1",
    "spectrum-stronger": "spectrum matching, weight 1",
}
CUSTOM_ARM: Arm = CUSTOM, BASELINE
WHOLE: Arm = RECOMMENDED, BASELINE
"""The recommended recipe."""
WHOLE_LONG: Arm = RECOMMENDED_LONG, BASELINE
PARTS: Mapping[str, Arm] = {
    "times nearer the noise": (DEFAULT, BASELINE),
    "Muon": ("recommended-adamw", BASELINE),
    "a token a latent": ("recommended-patch-2", BASELINE),
}
"""Its parts, and the arm that has all but that one."""
ALONE: Mapping[str, Arm] = {
    "times nearer the noise": ("custom-times", BASELINE),
    "Muon": ("patch-2", BASELINE),
    "a token a latent": ("adamw", BASELINE),
    "LCR": (CUSTOM, "lcr"),
    "LMR": (CUSTOM, "lmr"),
}
"""The custom with one part more."""
LEFT_OUT: Mapping[str, Arm] = {
    "LCR": (RECOMMENDED, "lcr"),
    "LMR": (RECOMMENDED, "lmr"),
    "LCR and LMR": (RECOMMENDED, "both"),
    "whitened channels": ("recommended-whitened", BASELINE),
}
"""What the recommended could have besides, and the arm that has it."""


@dataclass(frozen=True)
class Pair:
    """Two arms to compare."""

    label: str
    reference: Arm
    other: Arm
    to_the_end: bool = False
    """Whether the score to reach is of where the reference ends, however much sooner the other stops;
    else of the last step that both have."""


def learned(records: Mapping[str, Record]) -> dict[Arm, dict[int, Record]]:
    """The records of a map, by arm and seed, in the order of the cells; others are left out."""
    found: dict[Arm, dict[int, Record]] = {}
    for name, record in records.items():
        known = arm_and_seed(name.removeprefix("learn "))
        if known:
            arm, seed = known
            found.setdefault(arm, {})[seed] = record
    cells = list(CELLS)

    def place(arm: Arm) -> tuple[int, bool, str]:
        cell, variant = arm
        return cells.index(cell), variant != BASELINE, variant

    return {arm: dict(sorted(found[arm].items())) for arm in sorted(found, key=place)}


def families(arms: Learned, scale: Scale) -> dict[str, list[Pair]]:
    """What is compared, each once, in families whose claims are corrected together."""
    recipe = [
        Pair("recommended", CUSTOM_ARM, WHOLE, to_the_end=True),
        Pair("recommended, run as long", CUSTOM_ARM, WHOLE_LONG, to_the_end=True),
    ]
    for word, others in (("without", PARTS), ("with", LEFT_OUT)):
        recipe += [
            Pair(f"{word} {part}", CUSTOM_ARM, arm, to_the_end=True) for part, arm in others.items()
        ]
    own, settings = [], []
    for cell, variant in arms:
        title = CELLS[cell].title
        if variant != BASELINE:
            own.append(
                Pair(
                    f"{NAMES.get(variant, variant)}: {title}",
                    arm_of(cell, BASELINE, scale),
                    (cell, variant),
                )
            )
        elif cell != DEFAULT and CELLS[cell].alone:
            settings.append(Pair(title, (DEFAULT, BASELINE), (cell, BASELINE)))
    compared = {
        "recipe": recipe,
        "alone": [Pair(part, CUSTOM_ARM, arm) for part, arm in ALONE.items()],
        "parts": [Pair(part, arm, WHOLE) for part, arm in PARTS.items()],
        "left-out": [Pair(part, WHOLE, arm) for part, arm in LEFT_OUT.items()],
        "regularisers": own,
        "settings": settings,
    }
    told: set[frozenset[Arm]] = set()
    kept: dict[str, list[Pair]] = {}
    for name, pairs in compared.items():
        for pair in pairs:
            arms_of = frozenset((pair.reference, pair.other))
            here = pair.reference in arms and pair.other in arms
            if here and arms_of not in told and _common(pair, arms):
                told.add(arms_of)
                kept.setdefault(name, []).append(pair)
    return kept


def _common(pair: Pair, arms: Learned) -> bool:
    """Whether there is a seed that both have."""
    return bool(set(arms[pair.reference]) & set(arms[pair.other]))

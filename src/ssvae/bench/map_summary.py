"""From the curves of the map to effects with intervals: pure functions of what runs gave."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ssvae.bench.cells import CELLS, CUSTOM, DEFAULT, RECOMMENDED, Arm, arm_of
from ssvae.bench.records import Record
from ssvae.bench.scales import BASELINE
from ssvae.bench.summary import CLAIMED, SPECTRA, Claim, at_plateau, starts_of, verdict
from ssvae.data.vocabulary import Vocabulary
from ssvae.evaluation.convergence import holm, pooled, speedup

Learned = Mapping[Arm, Mapping[int, Record]]
"""What each arm gave, by seed."""
NAMES = {"lcr": "LCR", "lmr": "LMR", "both": "LCR, LMR"}
CUSTOM_ARM: Arm = CUSTOM, BASELINE
WHOLE: Arm = RECOMMENDED, BASELINE
"""The recommended recipe."""
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
}
"""The custom with one part more."""
LEFT_OUT: Mapping[str, Arm] = {
    "LCR": (RECOMMENDED, "lcr"),
    "LMR": (RECOMMENDED, "lmr"),
    "LCR and LMR": (RECOMMENDED, "both"),
    "whitened channels": ("recommended-whitened", BASELINE),
}
"""What it could have besides, and the arm that has it."""


@dataclass(frozen=True)
class Pair:
    """Two arms to compare."""

    label: str
    reference: Arm
    other: Arm


def learned(records: Mapping[str, Record]) -> dict[Arm, dict[int, Record]]:
    """The records of a map, by arm and seed, in the order of the cells; others are left out."""
    found: dict[Arm, dict[int, Record]] = {}
    for name, record in records.items():
        label = name.removeprefix("learn ")
        fitting = [cell for cell in CELLS if label.startswith(f"{cell}-")]
        if fitting:
            cell = max(fitting, key=len)
            variant, _, seed = label.removeprefix(f"{cell}-").rpartition("-")
            found.setdefault((cell, variant), {})[int(seed)] = record
    cells = list(CELLS)

    def place(arm: Arm) -> tuple[int, bool, str]:
        cell, variant = arm
        return cells.index(cell), variant != BASELINE, variant

    return {arm: dict(sorted(found[arm].items())) for arm in sorted(found, key=place)}


def families(arms: Learned) -> dict[str, list[Pair]]:
    """What is compared with what, in families whose claims are corrected, and scatter pooled, together."""
    own, settings = [], []
    for cell, variant in arms:
        title = CELLS[cell].title
        if variant != BASELINE:
            own.append(
                Pair(
                    f"{NAMES.get(variant, variant)}: {title}",
                    arm_of(cell, BASELINE),
                    (cell, variant),
                )
            )
        elif cell != DEFAULT and CELLS[cell].alone:
            settings.append(Pair(title, (DEFAULT, BASELINE), (cell, BASELINE)))
    recipe = [Pair("recommended", CUSTOM_ARM, WHOLE)]
    recipe += [Pair(f"without {part}", CUSTOM_ARM, arm) for part, arm in PARTS.items()]
    recipe += [Pair(f"with {part}", CUSTOM_ARM, arm) for part, arm in LEFT_OUT.items()]
    parts = [Pair(part, arm, WHOLE) for part, arm in PARTS.items()]
    alone = [Pair(part, CUSTOM_ARM, arm) for part, arm in ALONE.items()]
    left_out = [Pair(part, WHOLE, arm) for part, arm in LEFT_OUT.items()]
    compared = {
        "recipe": recipe,
        "alone": alone,
        "parts": parts,
        "left-out": left_out,
        "regularisers": own,
        "settings": settings,
    }
    return {
        name: [pair for pair in pairs if pair.reference in arms and pair.other in arms]
        for name, pairs in compared.items()
    }


class _Curves:
    """The curves of two arms over the seeds that both have."""

    def __init__(self, pair: Pair, arms: Learned):
        one, two = arms[pair.reference], arms[pair.other]
        self.pair, self.seeds = pair, [seed for seed in one if seed in two]
        self.records = [[arm[seed] for seed in self.seeds] for arm in (one, two)]

    def steps(self, which: int) -> list[int]:
        return [row["step"] for row in self.records[which][0].rows]

    def of(self, which: int, quantity: str) -> np.ndarray:
        """(seeds, steps) of the reference, 0, or the other, 1."""
        return np.array([[row[quantity] for row in r.rows] for r in self.records[which]])

    def faster(self, quantity: str, start: float):
        """The speed-up to a share of the way from chance to where the reference ends on average."""
        reference = self.of(0, quantity)
        target = start + CLAIMED * (float(reference[:, -1].mean()) - start)
        other = self.of(1, quantity)
        return speedup(self.steps(0), reference, other, target, start, self.steps(1))

    def gains(self, quantity: str) -> np.ndarray:
        """Where the other ends less where the reference does (seeds,)."""
        return self.of(1, quantity)[:, -1] - self.of(0, quantity)[:, -1]

    def time_of_a_step(self) -> float | None:
        """Of the other, in units of the reference's; None where speeds were not kept."""
        speeds = [[r.steps_per_second for r in records] for records in self.records]
        one, two = ([speed for speed in arm if speed] for arm in speeds)
        return float(np.median(one) / np.median(two)) if one and two else None

    def ceiling_gap(self) -> float:
        """By how much the other's ceiling is higher."""
        one, two = (
            np.mean([r.measure["ceiling"]["reward"] for r in records]) for records in self.records
        )
        return float(two - one)


def effects(pairs: Sequence[Pair], arms: Learned, vocabulary: Vocabulary) -> list[dict[str, Any]]:
    """Speed-up and gain of each pair, with intervals from the scatter of all of them."""
    all_curves = [c for c in (_Curves(pair, arms) for pair in pairs) if c.seeds]
    found: list[dict[str, Any]] = []
    for curves in all_curves:
        last = (float(curves.of(which, "reward")[:, -1].mean()) for which in (0, 1))
        found.append(
            {
                "label": curves.pair.label,
                "reference": "/".join(curves.pair.reference),
                "other": "/".join(curves.pair.other),
                "seeds": curves.seeds,
                "ends": list(last),
                "steps": [curves.steps(which)[-1] for which in (0, 1)],
                "ceiling_gap": curves.ceiling_gap(),
                "time_of_a_step": curves.time_of_a_step(),
                "speedup": {},
                "gain": {},
            }
        )
    claims: list[list[tuple[str, bool, float]]] = [[] for _ in found]
    for quantity, start in starts_of(vocabulary).items():
        faster = [curves.faster(quantity, start) for curves in all_curves]
        there = [i for i, fast in enumerate(faster) if fast is not None]
        means = pooled([faster[i].logs for i in there])  # type: ignore[union-attr]
        for i, (mean, p) in zip(there, means, strict=True):
            fast = faster[i]
            assert fast is not None
            found[i]["speedup"][quantity] = asdict(fast.ratio(mean))
            if quantity == "reward":
                claims[i].append(("speedup", fast.mean > 0, p if fast.holds() else 1.0))
        gains = pooled([curves.gains(quantity).tolist() for curves in all_curves])
        for i, (gain, p) in enumerate(gains):
            found[i]["gain"][quantity] = asdict(gain)
            if quantity == "reward":
                claims[i].append(("reward", (gain.value or 0) > 0, p))
    corrected = iter(holm([p for its in claims for *_, p in its]))
    for entry, its in zip(found, claims, strict=True):
        tested = [
            Claim(entry["label"], quantity, positive, p, next(corrected))
            for quantity, positive, p in its
        ]
        entry["claims"] = [asdict(claim) for claim in tested]
        entry["verdict"] = verdict(tested, len(entry["seeds"]), entry["ceiling_gap"])
    return found


def describe(arms: Learned, vocabulary: Vocabulary) -> list[dict[str, Any]]:
    """Each arm by itself: where it ends, what its VAE is like, how long it took."""
    found = []
    finals = ("reward", "coarse", "fine", "frechet")
    ends = {
        q: pooled([[r.rows[-1][q] for r in arm.values()] for arm in arms.values()]) for q in finals
    }
    for i, ((cell, variant), by_seed) in enumerate(arms.items()):
        its = list(by_seed.values())

        def mean(values: Sequence[float | None]) -> float | None:
            known = [value for value in values if value is not None]
            return float(np.mean(known)) if known else None

        found.append(
            {
                "cell": cell,
                "variant": variant,
                "seeds": list(by_seed),
                "steps": its[0].rows[-1]["step"],
                **{q: asdict(ends[q][i][0]) for q in finals},
                "attributes": {
                    kind: mean([r.rows[-1]["rewards"][kind] for r in its])
                    for kind in vocabulary.kinds
                },
                "at_plateau": at_plateau(
                    np.array([[row["reward"] for row in r.rows] for r in its])
                ),
                "ceiling": mean([r.measure["ceiling"]["reward"] for r in its]),
                "psnr": mean([r.measure["psnr"] for r in its]),
                "decoder_steps": mean([r.measure.get("decoder_steps") for r in its]),
                "spectra": {q: mean([r.measure["analysis"][q] for r in its]) for q in SPECTRA},
                "latent_shape": its[0].measure["analysis"]["protocol"]["latent_shape"],
                "steps_per_second": mean([r.steps_per_second for r in its]),
            }
        )
    return found

"""From the curves of the map to effects with intervals: pure functions of what runs gave."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from statistics import median
from typing import Any

import numpy as np

from ssvae.bench.comparisons import Learned, Pair
from ssvae.bench.records import Record
from ssvae.bench.summary import (
    CLAIMED,
    SEEDS_FOR_A_CLAIM,
    SPECTRA,
    Claim,
    at_plateau,
    starts_of,
    verdict,
)
from ssvae.data.vocabulary import Vocabulary
from ssvae.evaluation.convergence import (
    Speedup,
    detectable,
    holm,
    p_value,
    pooled,
    speedup,
    student,
)
from ssvae.evaluation.intervals import Interval


@dataclass(frozen=True)
class PairedCurves:
    """The curves of two arms over the seeds that both have."""

    pair: Pair
    seeds: Sequence[int]
    reference: Sequence[Record]
    other: Sequence[Record]

    @classmethod
    def of(cls, pair: Pair, arms: Learned) -> "PairedCurves":
        """Those of a pair."""
        one, two = arms[pair.reference], arms[pair.other]
        seeds = [seed for seed in one if seed in two]
        return cls(pair, seeds, [one[seed] for seed in seeds], [two[seed] for seed in seeds])

    @property
    def shared(self) -> int:
        """The last step at which both were scored."""
        steps = [{row["step"] for row in arm[0].rows} for arm in (self.reference, self.other)]
        return max(steps[0] & steps[1])

    def faster(self, quantity: str, start: float) -> Speedup | None:
        """The speed-up to a share of the way from chance to where the reference is on average."""
        last = self.reference[0].rows[-1]["step"] if self.pair.to_the_end else self.shared
        steps, reference = _curves(self.reference, quantity, last)
        its_steps, other = _curves(self.other, quantity, last)
        target = start + CLAIMED * (float(reference[:, -1].mean()) - start)
        return speedup(steps, reference, other, target, start, its_steps)

    def gains(self, quantity: str) -> np.ndarray:
        """The other less the reference at the last step that both have (seeds,)."""
        one, two = (_curves(arm, quantity, self.shared)[1] for arm in (self.reference, self.other))
        return two[:, -1] - one[:, -1]

    def ends(self) -> list[dict[str, float]]:
        """The last step and the mean reward there, of the reference and of the other."""
        return [
            {
                "step": arm[0].rows[-1]["step"],
                "reward": float(np.mean([record.rows[-1]["reward"] for record in arm])),
            }
            for arm in (self.reference, self.other)
        ]

    def time_of_a_step(self) -> float | None:
        """Of the other, in units of the reference's, over seeds that both ran on alike machines."""
        ratios = [
            one.steps_per_second / two.steps_per_second
            for one, two in zip(self.reference, self.other, strict=True)
            if one.steps_per_second and two.steps_per_second and one.made_with == two.made_with
        ]
        return median(ratios) if ratios else None

    @property
    def on_one_vae(self) -> bool:
        """Whether both learned the latents of the same VAEs."""
        return all(
            one.measure == two.measure for one, two in zip(self.reference, self.other, strict=True)
        )

    def ceiling_gap(self) -> float:
        """By how much the other's ceiling is higher."""
        one, two = (
            np.mean([record.measure["ceiling"]["reward"] for record in arm])
            for arm in (self.reference, self.other)
        )
        return float(two - one)


def _curves(records: Sequence[Record], quantity: str, last: int) -> tuple[list[int], np.ndarray]:
    """Steps up to the last, and a quantity there (seeds, steps)."""
    steps = [row["step"] for row in records[0].rows if row["step"] <= last]
    rows = [[row[quantity] for row in record.rows[: len(steps)]] for record in records]
    return steps, np.array(rows)


def intervals(
    groups: Sequence[Sequence[float]],
    kinds: Sequence[bool],
    scattered: Sequence[bool] | None = None,
) -> list[Interval]:
    """The mean of each group with Student's interval; of few seeds, with the scatter of all of its kind.

    ``scattered`` tells the groups whose scatter is that of what was measured, not of bounds.
    """
    found = []
    for i, group in enumerate(groups):
        alike = [j for j, kind in enumerate(kinds) if kind == kinds[i]]
        lent = pooled(
            [groups[j] for j in alike], None if scattered is None else [scattered[j] for j in alike]
        )
        own = len(group) >= SEEDS_FOR_A_CLAIM
        found.append(student(group) if own else lent[alike.index(i)])
    return found


def effects(
    families: Mapping[str, Sequence[Pair]], arms: Learned, vocabulary: Vocabulary
) -> dict[str, list[dict[str, Any]]]:
    """Speed-up and gain of each pair, with intervals, and what may be claimed of it.

    Few seeds borrow the scatter of all pairs that are on one VAE, or of all that are on two, which
    scatter more; claims are corrected for the number of their family's.
    """
    everything = [PairedCurves.of(pair, arms) for pairs in families.values() for pair in pairs]
    found: list[dict[str, Any]] = [
        {
            "label": curves.pair.label,
            "reference": "/".join(curves.pair.reference),
            "other": "/".join(curves.pair.other),
            "seeds": list(curves.seeds),
            "shared_step": curves.shared,
            "ends": curves.ends(),
            "ceiling_gap": curves.ceiling_gap(),
            "time_of_a_step": curves.time_of_a_step(),
            "speedup": {},
            "gain": {},
        }
        for curves in everything
    ]
    for quantity, start in starts_of(vocabulary).items():
        faster = [
            (i, fast) for i, c in enumerate(everything) if (fast := c.faster(quantity, start))
        ]
        means = intervals(
            [fast.logs for _, fast in faster],
            [everything[i].on_one_vae for i, _ in faster],
            [not any(fast.open) for _, fast in faster],
        )
        for (i, fast), mean in zip(faster, means, strict=True):
            found[i]["speedup"][quantity] = asdict(fast.ratio(mean))
        gains = intervals(
            [c.gains(quantity).tolist() for c in everything], [c.on_one_vae for c in everything]
        )
        for entry, gain in zip(found, gains, strict=True):
            entry["gain"][quantity] = asdict(gain)
    chance, of_family = starts_of(vocabulary)["reward"], iter(zip(everything, found, strict=True))
    told = {}
    for name, pairs in families.items():
        entries = list(islice(of_family, len(pairs)))
        tests = [_tests(curves, chance) for curves, _ in entries]
        corrected = iter(holm([p for its in tests for *_, p in its]))
        for (curves, entry), its in zip(entries, tests, strict=True):
            claims = [
                Claim(entry["label"], quantity, ahead, p, next(corrected))
                for quantity, ahead, p in its
            ]
            entry["claims"] = [asdict(claim) for claim in claims]
            step = curves.shared if curves.pair.to_the_end else None
            entry["verdict"] = verdict(claims, len(entry["seeds"]), entry["ceiling_gap"], step)
        told[name] = [entry for _, entry in entries]
    return told


def _tests(curves: PairedCurves, start: float) -> list[tuple[str, bool, float]]:
    """What is tested of a pair: the quantity, whether the other is ahead, and Student's p."""
    fast, gains = curves.faster("reward", start), curves.gains("reward")
    tests = [("reward", bool(gains.mean() > 0), p_value(gains))]
    if fast is not None:
        tests.insert(0, ("speedup", fast.mean > 0, p_value(fast.logs) if fast.holds() else 1.0))
    return tests


def sensitivity(arms: Learned, pairs: Sequence[Pair], seeds: int) -> float | None:
    """The smallest gain in reward that so many seeds find four times out of five, one test alone.

    From the scatter of the paired differences of all pairs that are given.
    """
    gains = [PairedCurves.of(pair, arms).gains("reward") for pair in pairs]
    freedom = sum(len(values) - 1 for values in gains)
    if not freedom:
        return None
    squares = sum(float(((values - values.mean()) ** 2).sum()) for values in gains)
    return detectable((squares / freedom) ** 0.5, seeds)


def _over(values: Sequence[float]) -> Interval:
    """A mean over seeds with Student's interval, which of two seeds would say nothing."""
    return student(values) if len(values) > 2 else Interval(float(np.mean(values)), None, None)


def describe(arms: Learned, vocabulary: Vocabulary) -> list[dict[str, Any]]:
    """Each arm by itself: where it ends, what its VAE is like, how long it took."""
    found = []
    finals = ("reward", "coarse", "fine", "frechet")
    for (cell, variant), by_seed in arms.items():
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
                **{q: asdict(_over([r.rows[-1][q] for r in its])) for q in finals},
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

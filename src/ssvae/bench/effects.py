"""From learning curves to effects with intervals: pure functions of what runs gave."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from ssvae.bench.claims import CLAIMED, GAIN, SEEDS_FOR_A_CLAIM, SPEEDUP, Claim, verdict
from ssvae.bench.convergence import (
    Speedup,
    detectable,
    holm,
    p_value,
    pooled,
    speedup,
    student,
)
from ssvae.bench.records import Arm, Arms, Record
from ssvae.data.vocabulary import Vocabulary
from ssvae.statistics.intervals import Interval

SHARES = (0.5, 0.75, CLAIMED)
"""Targets of the chief quantity's speed-up, as shares of the way from the start to the end."""
PLATEAU = 0.02
"""A curve is at its plateau where its last two evaluations differ by no more than this share."""
SPECTRA = ("low_share", "high_share", "slope", "effective_rank", "local_correlation")


class Quantity(NamedTuple):
    """A score that is followed over steps."""

    name: str
    """As rows have it."""
    start: float
    """Its value before training, at best."""
    sign: int = 1
    """-1 where less is better."""


def quantities_of(vocabulary: Vocabulary | None, arms: Arms) -> list[Quantity]:
    """What is compared, the chief first: rewards where captions have known words, else distances.

    A distance begins where the worst first evaluation is; a reward at that of clips which know
    nothing of their captions.
    """
    if vocabulary is not None:
        return [
            Quantity("reward", vocabulary.chance(list(vocabulary.kinds))),
            Quantity("coarse", vocabulary.chance(vocabulary.coarse)),
            Quantity("fine", vocabulary.chance(vocabulary.fine)),
        ]
    every = [record.rows[0] for by_seed in arms.values() for record in by_seed.values()]
    return [Quantity(name, max(row[name] for row in every), -1) for name in ("frechet", "kernel")]


class Pair(NamedTuple):
    """Two arms to compare."""

    label: str
    reference: Arm
    other: Arm
    to_the_end: bool = False
    """Whether the score to reach is of where the reference ends, however much sooner the other
    stops; else of the last step that both have."""


@dataclass(frozen=True)
class PairedCurves:
    """The curves of two arms over the seeds that both have."""

    pair: Pair
    seeds: Sequence[int]
    reference: Sequence[Record]
    other: Sequence[Record]

    @classmethod
    def of(cls, pair: Pair, arms: Arms) -> "PairedCurves":
        """Those of a pair."""
        one, two = arms[pair.reference], arms[pair.other]
        seeds = [seed for seed in one if seed in two]
        return cls(pair, seeds, [one[seed] for seed in seeds], [two[seed] for seed in seeds])

    @property
    def shared(self) -> int:
        """The last step at which both were scored."""
        steps = [{row["step"] for row in arm[0].rows} for arm in (self.reference, self.other)]
        return max(steps[0] & steps[1])

    def speedup(self, quantity: Quantity, share: float = CLAIMED) -> Speedup | None:
        """To a share of the way from the start to where the reference is on average.

        None where that is before training, or within the noise.
        """
        last = self.reference[0].rows[-1]["step"] if self.pair.to_the_end else self.shared
        steps, reference = _curves(self.reference, quantity, last)
        other_steps, other = _curves(self.other, quantity, last)
        start = quantity.sign * quantity.start
        if self._rise_is_noise(quantity, last):
            return None
        target = start + share * (float(reference[:, -1].mean()) - start)
        return speedup(steps, reference, other, target, start, other_steps)

    def _rise_is_noise(self, quantity: Quantity, last: int) -> bool:
        """Whether the reference is within two standard errors, over clips, of its start."""
        rows = [next(r for r in record.rows if r["step"] == last) for record in self.reference]
        rise = float(np.mean([row[quantity.name] for row in rows])) - quantity.start
        error = float(np.mean([row.get(f"{quantity.name}_error", 0.0) for row in rows]))
        return quantity.sign * rise < 2 * error / len(rows) ** 0.5

    def gains(self, quantity: Quantity) -> np.ndarray:
        """By how much the other is better at the last step that both have (seeds,)."""
        one, two = (_curves(arm, quantity, self.shared)[1] for arm in (self.reference, self.other))
        return two[:, -1] - one[:, -1]

    def ends(self, quantity: Quantity) -> list[dict[str, float]]:
        """The last step and the mean score there, of the reference and of the other."""
        return [
            {
                "step": arm[0].rows[-1]["step"],
                quantity.name: float(np.mean([r.rows[-1][quantity.name] for r in arm])),
            }
            for arm in (self.reference, self.other)
        ]

    @property
    def on_one_vae(self) -> bool:
        """Whether both learned the latents of the same VAEs."""
        return all(
            one.latents == two.latents for one, two in zip(self.reference, self.other, strict=True)
        )

    def ceiling_gap(self, quantity: Quantity) -> float:
        """By how much the other's ceiling is better."""
        one, two = (
            np.mean([record.measure["ceiling"][quantity.name] for record in arm])
            for arm in (self.reference, self.other)
        )
        return quantity.sign * float(two - one)


def _curves(
    records: Sequence[Record], quantity: Quantity, last: int
) -> tuple[list[int], np.ndarray]:
    """Steps up to the last, and a quantity there (seeds, steps), of which more is better."""
    steps = [row["step"] for row in records[0].rows if row["step"] <= last]
    rows = [[row[quantity.name] for row in record.rows[: len(steps)]] for record in records]
    return steps, quantity.sign * np.array(rows)


def effects(
    families: Mapping[str, Sequence[Pair]], arms: Arms, quantities: Sequence[Quantity]
) -> dict[str, list[dict[str, Any]]]:
    """Speed-up and gain of each pair, with intervals, and what may be claimed of it.

    Few seeds borrow the scatter of all pairs that are on one VAE, or of all that are on two, which
    scatter more; claims are corrected for the number of their family's.
    """
    curves = [PairedCurves.of(pair, arms) for pairs in families.values() for pair in pairs]
    chief = quantities[0]
    entries: list[dict[str, Any]] = [
        {
            "label": each.pair.label,
            "reference": each.pair.reference.title,
            "other": each.pair.other.title,
            "seeds": list(each.seeds),
            "shared_step": each.shared,
            "ends": each.ends(chief),
            "ceiling_gap": each.ceiling_gap(chief),
            "speedup": {},
            "speedups": {},
            "gain": {},
        }
        for each in curves
    ]
    for quantity in quantities:
        for share in SHARES if quantity == chief else (CLAIMED,):
            for entry, ratio in zip(entries, _speedups(curves, quantity, share), strict=True):
                if ratio is not None and share == CLAIMED:
                    entry["speedup"][quantity.name] = ratio
                if ratio is not None and quantity == chief:
                    entry["speedups"][f"{share:g}"] = ratio
        gains = _intervals(
            [each.gains(quantity).tolist() for each in curves], [e.on_one_vae for e in curves]
        )
        for entry, gain in zip(entries, gains, strict=True):
            entry["gain"][quantity.name] = asdict(gain)
    of_family = iter(zip(curves, entries, strict=True))
    return {
        name: _with_verdicts(list(islice(of_family, len(pairs))), chief)
        for name, pairs in families.items()
    }


def _speedups(
    curves: Sequence[PairedCurves], quantity: Quantity, share: float
) -> list[dict[str, Any] | None]:
    """The speed-up of each pair with its interval; None for a target that is met before
    training.
    """
    fast = [each.speedup(quantity, share) for each in curves]
    known = [(i, each) for i, each in enumerate(fast) if each is not None]
    means = _intervals(
        [each.logs for _, each in known],
        [curves[i].on_one_vae for i, _ in known],
        [not any(each.open) for _, each in known],
    )
    found: list[dict[str, Any] | None] = [None] * len(curves)
    for (i, each), mean in zip(known, means, strict=True):
        found[i] = asdict(each.ratio(mean))
    return found


def _intervals(
    groups: Sequence[Sequence[float]],
    kinds: Sequence[bool],
    scattered: Sequence[bool] | None = None,
) -> list[Interval]:
    """The mean of each group with Student's interval; of few seeds, with the scatter of its kind.

    ``scattered`` tells the groups whose scatter is that of what was measured, not of bounds.
    """
    found = []
    for i, group in enumerate(groups):
        alike = [j for j, kind in enumerate(kinds) if kind == kinds[i]]
        lent = pooled(
            [groups[j] for j in alike], None if scattered is None else [scattered[j] for j in alike]
        )
        enough = len(group) >= SEEDS_FOR_A_CLAIM
        found.append(student(group) if enough else lent[alike.index(i)])
    return found


def _with_verdicts(
    entries: Sequence[tuple[PairedCurves, dict[str, Any]]], chief: Quantity
) -> list[dict[str, Any]]:
    """The entries of a family with their claims, corrected together, and verdicts."""
    tests = [_tests(curves, chief) for curves, _ in entries]
    corrected = iter(holm([p for each in tests for *_, p in each]))
    for (curves, entry), each in zip(entries, tests, strict=True):
        claims = [Claim(entry["label"], *test, corrected=next(corrected)) for test in each]
        entry["claims"] = [asdict(claim) for claim in claims]
        step = curves.shared if curves.pair.to_the_end else None
        gap = entry["ceiling_gap"] if chief.sign > 0 else None
        entry["verdict"] = verdict(claims, len(entry["seeds"]), gap, step)
    return [entry for _, entry in entries]


def _tests(curves: PairedCurves, chief: Quantity) -> list[tuple[str, bool, float]]:
    """What is tested of a pair: the quantity, whether the other is ahead, and Student's p.

    Of a censored speed-up only the end that holds can be claimed: a bound that lies on the other
    side of 1 is no evidence, and its p is 1.
    """
    fast, gains = curves.speedup(chief), curves.gains(chief)
    tests = [(GAIN, bool(gains.mean() > 0), p_value(gains))]
    if fast is not None:
        tests.insert(0, (SPEEDUP, fast.mean > 0, p_value(fast.logs) if fast.holds() else 1.0))
    return tests


def sensitivity(arms: Arms, pairs: Sequence[Pair], seeds: int, quantity: Quantity) -> float | None:
    """The smallest gain that so many seeds find four times out of five, one test alone.

    From the scatter of the paired differences of all pairs that are given.
    """
    gains = [PairedCurves.of(pair, arms).gains(quantity) for pair in pairs]
    freedom = sum(len(values) - 1 for values in gains)
    if not freedom:
        return None
    squares = sum(float(((values - values.mean()) ** 2).sum()) for values in gains)
    return detectable((squares / freedom) ** 0.5, seeds)


def describe(
    arms: Arms, quantities: Sequence[Quantity], vocabulary: Vocabulary | None = None
) -> list[dict[str, Any]]:
    """Each arm by itself: where it ends, what its VAE is like, how long it took."""
    finals = list(dict.fromkeys([*(q.name for q in quantities), "frechet"]))
    chief = quantities[0].name
    found = []
    for arm, by_seed in arms.items():
        records = list(by_seed.values())
        last = [record.rows[-1] for record in records]
        found.append(
            {
                **arm._asdict(),
                "seeds": list(by_seed),
                "steps": last[0]["step"],
                **{name: asdict(_over([row[name] for row in last])) for name in finals},
                "attributes": {
                    kind: _mean([row["rewards"][kind] for row in last])
                    for kind in (vocabulary.kinds if vocabulary else ())
                },
                "at_plateau": at_plateau([[row[chief] for row in r.rows] for r in records]),
                "ceiling": _mean([r.measure["ceiling"][chief] for r in records]),
                "psnr": _mean([r.measure["psnr"] for r in records]),
                "decoder_steps": _mean([r.measure.get("decoder_steps") for r in records]),
                "round_trip": _mean([r.measure.get("round_trip") for r in records]),
                "spectra": {
                    name: _mean([r.measure["analysis"][name] for r in records]) for name in SPECTRA
                },
                "latent_shape": records[0].measure["analysis"]["latent_shape"],
                "steps_per_second": _mean([r.steps_per_second for r in records]),
            }
        )
    return found


def at_plateau(curves: Sequence[Sequence[float]]) -> bool:
    """Whether the last two evaluations (seeds, steps), means over seeds, agree nearly."""
    means = np.array(curves).mean(0)
    return bool(len(means) > 1 and abs(means[-1] / means[-2] - 1) <= PLATEAU)


def _over(values: Sequence[float]) -> Interval:
    """A mean over seeds with Student's interval, which of two seeds would say nothing."""
    return student(values) if len(values) > 2 else Interval(float(np.mean(values)), None, None)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None

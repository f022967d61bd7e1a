"""From learning curves to figures with intervals and verdicts: pure functions of what runs gave."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ssvae.data.vocabulary import Vocabulary
from ssvae.data.world import VOCABULARY as WORLD
from ssvae.evaluation.convergence import Speedup, detectable, holm, p_value, speedup, student
from ssvae.evaluation.intervals import Interval

Rows = Sequence[Mapping[str, Any]]
SHARES = (0.5, 0.75, 0.9)
"""Targets of the speed-up, as shares of the way from chance to where the baseline ends on average."""
CLAIMED = 0.9
"""The target whose speed-up a verdict is about."""
SEEDS_FOR_A_CLAIM = 5
LEVEL = 0.05
SAME_CEILING = 0.02
PLATEAU = 0.02
"""A curve is at its plateau where its last two evaluations differ by no more than this share."""
SPECTRA = ("low_share", "high_share", "slope", "effective_rank", "local_correlation")
WANTED = {
    "lcr": {"local_correlation": 1, "low_share": 1},
    "lmr": {"effective_rank": -1},
    "both": {"local_correlation": 1, "low_share": 1, "effective_rank": -1},
}
"""Where the paper says that each variant moves the spectra: up or down."""


def at_plateau(values: np.ndarray) -> bool:
    """Whether the last two evaluations (seeds, steps), means over seeds, agree within :data:`PLATEAU`."""
    means = values.mean(0)
    return bool(len(means) > 1 and abs(means[-1] / means[-2] - 1) <= PLATEAU)


def starts_of(vocabulary: Vocabulary) -> dict[str, float]:
    """The rewards of clips that know nothing of their captions, at best."""
    return {
        "reward": vocabulary.chance(list(vocabulary.kinds)),
        "coarse": vocabulary.chance(vocabulary.coarse),
        "fine": vocabulary.chance(vocabulary.fine),
    }


@dataclass(frozen=True)
class Curves:
    """Scores of every variant over steps: ``rows[variant][i]`` are those of seed ``seeds[i]``."""

    baseline: str
    seeds: Sequence[int]
    rows: Mapping[str, Sequence[Rows]]
    controls: Sequence[str] = field(default_factory=tuple)
    """Variants whose answer is known; they are no claims."""
    vocabulary: Vocabulary = WORLD
    """What captions could ask for."""

    @property
    def steps(self) -> list[int]:
        """Steps at which all were scored."""
        return [row["step"] for row in self.rows[self.baseline][0]]

    def of(self, variant: str, quantity: str) -> np.ndarray:
        """One quantity (seeds, steps)."""
        return np.array([[row[quantity] for row in rows] for rows in self.rows[variant]])

    def final(self, variant: str, quantity: str) -> Interval:
        """Where a variant ends, over seeds."""
        return student(self.of(variant, quantity)[:, -1])

    def gains(self, variant: str, quantity: str = "reward") -> np.ndarray:
        """A quantity less the baseline's (seeds, steps), seed by seed."""
        return self.of(variant, quantity) - self.of(self.baseline, quantity)

    def speedup(
        self, variant: str, quantity: str = "reward", share: float = CLAIMED
    ) -> Speedup | None:
        """The speed-up to a share of the way from chance to where the baseline ends on average."""
        baseline, start = self.of(self.baseline, quantity), starts_of(self.vocabulary)[quantity]
        target = start + share * (float(baseline[:, -1].mean()) - start)
        return speedup(self.steps, baseline, self.of(variant, quantity), target, start)

    def at_plateau(self, variant: str, quantity: str = "reward") -> bool:
        """Whether the last two evaluations, means over seeds, agree within :data:`PLATEAU`."""
        return at_plateau(self.of(variant, quantity))


@dataclass(frozen=True)
class Claim:
    """What a variant is tested for, and how it came out."""

    variant: str
    quantity: str
    """``speedup`` (to :data:`CLAIMED`) or ``reward``."""
    positive: bool
    """Whether the variant is ahead."""
    p: float
    """Student's, two-sided, of the paired differences."""
    corrected: float
    """After Holm, over the claims of the table."""


def claims(curves: Curves, variants: Sequence[str]) -> list[Claim]:
    """The claims about these variants: faster or slower, ending higher or lower, corrected together.

    Of a censored speed-up only the end that holds can be claimed: a bound that lies on the other
    side of 1 is no evidence, and its p is 1.
    """
    found = []
    for variant in variants:
        fast = curves.speedup(variant)
        if fast is not None:
            p = p_value(fast.logs) if fast.holds() else 1.0
            found.append((variant, "speedup", fast.mean > 0, p))
        gains = curves.gains(variant)[:, -1]
        found.append((variant, "reward", float(gains.mean()) > 0, p_value(gains)))
    corrected = holm([p for *_, p in found])
    return [Claim(*row, corrected=c) for row, c in zip(found, corrected, strict=True)]


WORDS = {
    ("speedup", True): "faster",
    ("speedup", False): "slower",
    ("reward", True): "ends higher",
    ("reward", False): "ends lower",
}


WORDS_AT = {("reward", True): "ahead at {step}", ("reward", False): "behind at {step}"}
"""Where one of the two went on after the last step that both have."""


def verdict(
    its: Sequence[Claim], seeds: int, ceiling_gap: float, went_on_after: int | None = None
) -> str:
    """What the claims about one variant allow to say: "not shown" unless they show it.

    ``went_on_after`` is the step of the rewards that are compared, where it is not both ends.
    """
    words = WORDS if went_on_after is None else WORDS | WORDS_AT
    if abs(ceiling_gap) > SAME_CEILING:
        return f"not comparable: ceilings differ by {abs(ceiling_gap):.3f}"
    if seeds < SEEDS_FOR_A_CLAIM:
        return f"not shown: a claim takes {SEEDS_FOR_A_CLAIM} seeds"
    shown = [words[c.quantity, c.positive] for c in its if c.corrected < LEVEL]
    return ", ".join(shown).format(step=went_on_after) or "not shown"


def over_seeds_or_clips(values: Sequence[float], errors: Sequence[float]) -> Interval:
    """A mean over VAEs with an interval over them; for one VAE, an interval over clips."""
    if len(values) > 1:
        return student(values)
    (value,), (error,) = values, errors
    return Interval(value, value - 1.96 * error, value + 1.96 * error)


def movements(
    measures: Mapping[str, Sequence[Mapping[str, Any]]], variant: str, baseline: str
) -> dict[str, dict[str, Any]]:
    """How far a variant moves the spectra that it is meant to move, and whether as the paper says.

    It does where the interval of the paired differences excludes 0 on that side; of one VAE, where
    the difference has that sign.
    """
    found = {}
    for quantity, sign in WANTED.get(variant, {}).items():
        pairs = zip(measures[variant], measures[baseline], strict=True)
        change = student([a["analysis"][quantity] - b["analysis"][quantity] for a, b in pairs])
        end = change.low if sign > 0 else change.high
        decisive = change.value if end is None else end
        found[quantity] = asdict(change) | {"as_the_paper_says": bool((decisive or 0) * sign > 0)}
    return found


def sensitivity(curves: Curves) -> dict[str, Any]:
    """The smallest effects that this run would have shown four times out of five, before Holm.

    From the scatter of paired differences, pooled over the variants that learn at all alike: all but
    the controls that are known to hurt.
    """
    seeds, rewards, logs = len(curves.seeds), [], []
    for variant in curves.rows:
        if variant == curves.baseline or (variant in curves.controls and variant != "null"):
            continue
        rewards.append(curves.gains(variant)[:, -1].var(ddof=1) if seeds > 1 else math.nan)
        fast = curves.speedup(variant)
        if fast is not None and not any(fast.censored) and seeds > 1:
            logs.append(np.var(fast.logs, ddof=1))
    reward = detectable(float(np.mean(rewards)) ** 0.5, seeds) if rewards else None
    log = detectable(float(np.mean(logs)) ** 0.5, seeds) if logs else None
    return {"speedup": None if log is None else math.exp(log), "reward": reward}


def _decoder_steps(measures: Sequence[Mapping[str, Any]]) -> float | None:
    """Mean over VAEs of the steps that the decoder alone took; None for maps, which train none."""
    steps = [m["decoder_steps"] for m in measures if "decoder_steps" in m]
    return float(np.mean(steps)) if steps else None


def summarise(
    curves: Curves, measures: Mapping[str, Sequence[Mapping[str, Any]]], vae_seeds: Sequence[int]
) -> dict[str, Any]:
    """Everything that is reported of each variant."""
    seeds, others = list(curves.seeds), [v for v in curves.rows if v != curves.baseline]
    candidates = [v for v in others if v not in curves.controls]
    tested = claims(curves, candidates) + claims(curves, [v for v in others if v not in candidates])

    def entry(interval: Interval, its_seeds: Sequence[int] = seeds) -> dict[str, Any]:
        return asdict(interval) | {"seeds": list(its_seeds)}

    def faster(variant: str, quantity: str, share: float) -> dict[str, Any]:
        fast = curves.speedup(variant, quantity, share)
        if fast is None:
            return entry(Interval(None, None, None)) | {"never_reached": [0, 0]}
        return entry(fast.interval) | {"never_reached": list(fast.censored)}

    def ceiling(name: str) -> float:
        return float(np.mean([m["ceiling"]["reward"] for m in measures[name]]))

    variants = {}
    for name in curves.rows:
        its = measures[name]
        ceilings = [m["ceiling"] for m in its]
        vae_level = {
            "ceiling": ([c["reward"] for c in ceilings], [c["reward_error"] for c in ceilings]),
            "psnr": ([m["psnr"] for m in its], [m["psnr_error"] for m in its]),
        }
        gap = ceiling(name) - ceiling(curves.baseline)
        own = [claim for claim in tested if claim.variant == name]
        finals = ("reward", "coarse", "fine", "frechet", "diversity")
        variants[name] = (
            {q: entry(curves.final(name, q)) for q in finals}
            | {q: entry(over_seeds_or_clips(*values), vae_seeds) for q, values in vae_level.items()}
            | {
                "control": name in curves.controls,
                "verdict": "the baseline"
                if name == curves.baseline
                else verdict(own, len(seeds), gap),
                "claims": [asdict(claim) for claim in own],
                "gain": entry(student(curves.gains(name)[:, -1])),
                "speedups": {
                    q: {f"{s:g}": faster(name, q, s) for s in SHARES}
                    for q in starts_of(curves.vocabulary)
                },
                "at_plateau": curves.at_plateau(name),
                "ceiling_gap": gap,
                "decoder_steps": _decoder_steps(its),
                "ceiling_of_attributes": {
                    kind: float(np.mean([c["rewards"][kind] for c in ceilings]))
                    for kind in curves.vocabulary.kinds
                },
                "attributes": {
                    kind: float(np.mean([rows[-1]["rewards"][kind] for rows in curves.rows[name]]))
                    for kind in curves.vocabulary.kinds
                },
                "psnr_under_noise": {
                    sigma: float(np.mean([m["analysis"]["robustness"][sigma] for m in its]))
                    for sigma in its[0]["analysis"]["robustness"]
                },
                "spectra": {q: float(np.mean([m["analysis"][q] for m in its])) for q in SPECTRA},
                "movements": movements(measures, name, curves.baseline),
            }
        )
    return {
        "baseline": curves.baseline,
        "steps": curves.steps,
        "seeds": seeds,
        "variants": variants,
        "sensitivity": sensitivity(curves),
    }

"""From learning curves to figures with intervals: pure functions of what the runs gave."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ssvae.evaluation.convergence import Interval, bootstrap, speedup
from ssvae.evaluation.probe import KINDS
from ssvae.evaluation.reward import COARSE, FINE

Rows = Sequence[Mapping[str, Any]]
SHARES = (0.5, 0.75, 0.9, 1.0)
"""Targets of the speed-up, as shares of the way from chance to where the baseline ends."""


def chance(kinds: Sequence[str]) -> float:
    """The reward of clips that know nothing of their captions, at best."""
    return sum(1 / KINDS[kind] for kind in kinds) / len(kinds)


STARTS = {"reward": chance(tuple(KINDS)), "coarse": chance(COARSE), "fine": chance(FINE)}


@dataclass(frozen=True)
class Curves:
    """Scores of every variant over steps: ``rows[variant][i]`` are those of seed ``seeds[i]``."""

    baseline: str
    seeds: Sequence[int]
    rows: Mapping[str, Sequence[Rows]]

    @property
    def steps(self) -> list[int]:
        """Steps at which all were scored."""
        return [row["step"] for row in self.rows[self.baseline][0]]

    def of(self, variant: str, quantity: str) -> np.ndarray:
        """One quantity (seeds, steps)."""
        return np.array([[row[quantity] for row in rows] for rows in self.rows[variant]])

    def final(self, variant: str, quantity: str) -> Interval:
        """Where a variant ends, over seeds."""
        runs = {"it": self.of(variant, quantity)}
        return bootstrap(runs, lambda means: float(means["it"][-1]))

    def over_steps(self, variant: str, quantity: str) -> list[Interval]:
        """A quantity at each evaluation, over seeds."""
        runs = {"it": self.of(variant, quantity)}
        return [
            bootstrap(runs, lambda means, i=i: float(means["it"][i]))
            for i in range(len(self.steps))
        ]

    def gain(self, variant: str, quantity: str = "reward") -> Interval:
        """Where a variant ends over where the baseline ends, less 1."""
        return self._against(variant, quantity, lambda b, v: float(v[-1] / b[-1] - 1))

    def speedup(self, variant: str, quantity: str = "reward", share: float = 1.0) -> Interval:
        """Steps that the baseline needs over those that the variant needs for the same score."""
        steps, start = self.steps, STARTS[quantity]
        return self._against(
            variant, quantity, lambda b, v: speedup(steps, b.tolist(), v.tolist(), share, start)
        )

    def _against(
        self,
        variant: str,
        quantity: str,
        statistic: Callable[[np.ndarray, np.ndarray], float | None],
    ) -> Interval:
        runs = {
            "baseline": self.of(self.baseline, quantity),
            "variant": self.of(variant, quantity),
        }
        return bootstrap(runs, lambda means: statistic(means["baseline"], means["variant"]))


def over_seeds_or_clips(values: Sequence[float], errors: Sequence[float]) -> Interval:
    """A mean over VAEs with an interval over them; for one VAE, an interval over clips."""
    if len(values) > 1:
        return bootstrap({"it": np.array(values)}, lambda means: float(means["it"]))
    (value,), (error,) = values, errors
    return Interval(value, value - 1.96 * error, value + 1.96 * error)


def verdict(speedup_at_end: Interval, gain: Interval) -> str:
    """What the intervals allow to say; nothing is called faster that ends worse."""
    if gain.high is None or gain.low is None:
        return "one seed: no interval"
    if gain.high < 0:
        return "ends worse"
    if speedup_at_end.low is not None and speedup_at_end.low > 1 and (gain.value or 0) >= 0:
        return "faster"
    return "ends better" if gain.low > 0 else "no difference shown"


def summarise(
    curves: Curves, measures: Mapping[str, Sequence[Mapping[str, Any]]], vae_seeds: Sequence[int]
) -> dict[str, Any]:
    """Everything that is reported of each variant."""
    seeds = list(curves.seeds)

    def entry(interval: Interval, its_seeds: list[int] = seeds) -> dict[str, Any]:
        return asdict(interval) | {"seeds": its_seeds}

    variants = {}
    for name in curves.rows:
        its = measures[name]
        at_end, gain = curves.speedup(name), curves.gain(name)
        ceilings = [m["ceiling"] for m in its]
        vae_level = {
            "ceiling": ([c["reward"] for c in ceilings], [c["reward_error"] for c in ceilings]),
            "psnr": ([m["psnr"] for m in its], [m["psnr_error"] for m in its]),
        }
        finals = ("reward", "coarse", "fine", "frechet", "diversity")
        variants[name] = (
            {"speedup": entry(at_end), "reward_gain": entry(gain)}
            | {q: entry(curves.final(name, q)) for q in finals}
            | {
                q: entry(over_seeds_or_clips(*values), list(vae_seeds))
                for q, values in vae_level.items()
            }
            | {
                "verdict": "the baseline" if name == curves.baseline else verdict(at_end, gain),
                "speedups": {
                    q: {f"{s:g}": entry(curves.speedup(name, q, s)) for s in SHARES} for q in STARTS
                },
                "ceiling_of_attributes": {
                    kind: float(np.mean([c["rewards"][kind] for c in ceilings])) for kind in KINDS
                },
                "psnr_under_noise": {
                    sigma: float(np.mean([m["analysis"]["robustness"][sigma] for m in its]))
                    for sigma in its[0]["analysis"]["robustness"]
                },
                "spectra": {
                    q: float(np.mean([m["analysis"][q] for m in its]))
                    for q in (
                        *("low_share", "high_share", "slope", "effective_rank"),
                        "local_correlation",
                    )
                },
            }
        )
    return {
        "baseline": curves.baseline,
        "steps": curves.steps,
        "seeds": seeds,
        "variants": variants,
    }

"""What the ladder's rows say: gains by rung, and the four claims of the plan."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ssvae.bench.claims import SAME_CEILING
from ssvae.bench.convergence import Speedup, holm, p_value, student
from ssvae.bench.effects import Pair, PairedCurves, Quantity
from ssvae.bench.records import Arm, Record
from ssvae.bench.scales import BASELINE, BOTH
from ssvae.data import vocabulary_of
from ssvae.statistics.intervals import Interval
from studies.diffusability.ladder.arms import (
    LMR,
    LMR_LEARNED,
    MASKS,
    PLAIN,
    RECIPE,
    SETTINGS,
    TWO_SIZES,
    VAES_ALONE,
)
from studies.diffusability.ladder.rows import DIFFUSION, VAE
from studies.diffusability.ladder.rungs import DATA, SIDES, compression

LCR = "lcr"
FRECHET = Quantity("frechet", 0.0, -1)

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Place:
    """Where two arms are compared: all that they share."""

    rung: int
    setting: str = PLAIN
    detail: str = ""
    """Such as a sampling, or a resolution, where a setting has several."""


@dataclass(frozen=True)
class Comparison:
    """A variant beside the baseline of the same place, over the seeds that both have."""

    place: Place
    variant: str
    seeds: Sequence[int]
    apart: Sequence[int]
    """Seeds whose ceilings differ by over .02: they count in no claim."""
    ends: tuple[float, float]
    """Mean reward after the last steps that both have, of the baseline and of the variant."""
    gains: Sequence[float]
    """In reward there, for each seed."""
    frechet: Sequence[float]
    """By how much the Fréchet distance is smaller there, for each seed."""
    speedup: Speedup | None
    """To 90 % of the way from chance to the baseline's end."""

    @property
    def gain(self) -> Interval:
        """The mean gain, with Student's interval from three seeds on."""
        return over_seeds(self.gains)


@dataclass(frozen=True)
class PrimaryClaim:
    """One of the plan's four."""

    text: str
    values: Sequence[float]
    """For each seed; none where it has not been run."""
    p: float
    corrected: float
    """After Holm, over the four."""


def over_seeds(values: Sequence[float]) -> Interval:
    """A mean with Student's interval, which of two seeds would say nothing."""
    return student(values) if len(values) > 2 else Interval(float(np.mean(values)), None, None)


def comparisons(rows: Sequence[Row]) -> list[Comparison]:
    """All variants beside their baselines, in the order of the rungs."""
    curves, found = _curves(rows), []
    for place, variant in sorted(curves, key=lambda key: (key[0].rung, key[0].setting, key[1])):
        baseline = curves.get((place, BASELINE))
        if variant == BASELINE or baseline is None:
            continue
        other = curves[place, variant]
        shared = sorted(baseline.keys() & other.keys())
        apart = [
            s for s in shared if abs(_ceiling(other[s]) - _ceiling(baseline[s])) > SAME_CEILING
        ]
        seeds = [seed for seed in shared if seed not in apart]
        if not seeds:
            continue
        names = Arm("", BASELINE), Arm("", variant)
        reward = Quantity("reward", _chance(place.setting))
        pair = PairedCurves(
            Pair(variant, *names), seeds, [baseline[s] for s in seeds], [other[s] for s in seeds]
        )
        ends = [
            float(np.mean([_at(record, pair.shared)["reward"] for record in records]))
            for records in (pair.reference, pair.other)
        ]
        found.append(
            Comparison(
                place=place,
                variant=variant,
                seeds=seeds,
                apart=apart,
                ends=(ends[0], ends[1]),
                gains=pair.gains(reward).tolist(),
                frechet=pair.gains(FRECHET).tolist(),
                speedup=pair.speedup(reward),
            )
        )
    return found


def claims(found: Sequence[Comparison], rows: Sequence[Row]) -> list[PrimaryClaim]:
    """The four claims of the plan, as far as they have been run."""
    at = {c.place.rung: c for c in found if c.variant == LCR and c.place == Place(c.place.rung)}
    of_seeds = {side: dict(zip(at[side].seeds, at[side].gains, strict=True)) for side in at}
    everywhere = set.intersection(*map(set, of_seeds.values())) if set(at) == set(SIDES) else set()
    logs = [math.log2(compression(side)) for side in SIDES]
    slopes = [
        float(np.polyfit(logs, [of_seeds[side][seed] for side in SIDES], 1)[0])
        for seed in sorted(everywhere)
    ]
    values = {
        "gain of LCR at rung 64": list(of_seeds.get(64, {}).values()),
        "gain of LCR at rung 128": list(of_seeds.get(128, {}).values()),
        "slope of the gain over log2 of the compression": slopes,
        "gain of LCR at the switch to larger clips": at_the_switch(rows),
    }
    # Over all four, as planned: one that has not been run counts with a p of 1.
    ps = [p_value(v) if v else 1.0 for v in values.values()]
    tested = zip(values.items(), ps, holm(ps), strict=True)
    return [PrimaryClaim(text, v, p, corrected) for (text, v), p, corrected in tested]


def at_the_switch(rows: Sequence[Row]) -> list[float]:
    """The gain in reward on larger clips before any step there, for each seed of part 2."""
    curves, found = _curves(rows), []
    place = Place(64, TWO_SIZES, "128x128")
    one, two = curves.get((place, BASELINE), {}), curves.get((place, LCR), {})
    for seed in sorted(one.keys() & two.keys()):
        if abs(_ceiling(two[seed]) - _ceiling(one[seed])) <= SAME_CEILING:
            found.append(two[seed].rows[0]["reward"] - one[seed].rows[0]["reward"])
    return found


@dataclass(frozen=True)
class Regime:
    """VAEs with LMR beside those without it, under one setting of part 8."""

    setting: str
    reference: str
    """The variant without LMR: the baseline, or LCR where LMR joins it."""
    seeds: Sequence[int]
    ranks: Sequence[tuple[float, float]]
    """Effective rank without and with LMR, for each seed."""
    firsts: Sequence[tuple[float, float]]
    """The first component's share of the variance."""
    noise: Sequence[tuple[float, float]]
    """PSNR in dB by which noise of deviation .3 lowers a reconstruction."""

    @property
    def concentrates(self) -> bool:
        """What the plan looks for: a lower rank and a higher first share in every seed."""
        falls = all(after < before for before, after in self.ranks)
        return falls and all(after > before for before, after in self.firsts)


def regimes(rows: Sequence[Row]) -> list[Regime]:
    """The settings of part 8, in the plan's order, as far as they have been run."""
    vaes = {
        (row["setting"], row["variant"], row["seed"]): row["analysis"]
        for row in rows
        if row["kind"] == VAE and row["setting"] in VAES_ALONE
    }
    found = []
    for setting in VAES_ALONE:
        for reference, variant in ((BASELINE, LMR), (LCR, BOTH)):
            beside = RECIPE if setting in MASKS else setting
            pairs = {
                seed: (vaes[beside, reference, seed], analysis)
                for (of, name, seed), analysis in sorted(vaes.items())
                if (of, name) == (setting, variant) and (beside, reference, seed) in vaes
            }
            if pairs:
                found.append(
                    Regime(
                        setting,
                        reference,
                        list(pairs),
                        [(a["effective_rank"], b["effective_rank"]) for a, b in pairs.values()],
                        [(a["explained"][0], b["explained"][0]) for a, b in pairs.values()],
                        [(_noise(a), _noise(b)) for a, b in pairs.values()],
                    )
                )
    return found


def _noise(analysis: Row) -> float:
    robustness = analysis["robustness"]
    return robustness["0.0"] - robustness["0.3"]


def _curves(rows: Sequence[Row]) -> dict[tuple[Place, str], dict[int, Record]]:
    """The curve of each place and variant, by seed."""
    grouped: dict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        if row["kind"] == DIFFUSION:
            place = Place(row["rung"], row["setting"], _detail(row))
            grouped[place, row["variant"], row["seed"]].append(row)
    found: dict[tuple[Place, str], dict[int, Record]] = defaultdict(dict)
    for (place, variant, seed), of_curve in grouped.items():
        # A row that came again, from a run that was made again, takes the place of the first.
        by_step = {row["step"]: row for row in of_curve}
        last = of_curve[-1]
        found[place, variant][seed] = Record(
            rows=[{"step": step, **by_step[step]["scores"]} for step in sorted(by_step)],
            latents=last["latents"],
            measure={"ceiling": {"reward": last["ceiling"]}},
        )
    return dict(found)


def _detail(row: Row) -> str:
    if "sampling_steps" in row:
        return f"{row['sampling_steps']} steps, guidance {row['guidance']:g}"
    if "latent_noise" in row:
        return f"noise of {row['latent_noise']:g}"
    return f"{row['resolution']}x{row['resolution']}" if "resolution" in row else ""


@dataclass(frozen=True)
class UnderNoise:
    """What noise on latents that were drawn does to the reward of a variant (part 8)."""

    variant: str
    seeds: Sequence[int]
    plain: Sequence[float]
    """The reward without noise, for each seed."""
    lost: Mapping[float, Sequence[float]]
    """What each deviation takes of it, for each seed."""


def under_noise(rows: Sequence[Row]) -> list[UnderNoise]:
    """The variants of part 8's learned VAEs, as far as they have been run."""
    learned = [r for r in rows if r["kind"] == DIFFUSION and r["setting"] == LMR_LEARNED]
    rewards: dict[tuple[str, int], dict[float, float]] = defaultdict(dict)
    for row in sorted(learned, key=lambda row: row["step"]):  # the last step counts
        noise = row.get("latent_noise", 0.0)
        rewards[row["variant"], row["seed"]][noise] = row["scores"]["reward"]
    found = []
    for variant in dict.fromkeys(variant for variant, _ in rewards):
        own = {seed: each for (name, seed), each in rewards.items() if name == variant}
        noises = sorted(set.intersection(*map(set, own.values())) - {0.0})
        found.append(
            UnderNoise(
                variant=variant,
                seeds=list(own),
                plain=[each[0.0] for each in own.values()],
                lost={n: [each[0.0] - each[n] for each in own.values()] for n in noises},
            )
        )
    return found


def _ceiling(record: Record) -> float:
    return record.measure["ceiling"]["reward"]


def _at(record: Record, step: int) -> Row:
    return next(row for row in record.rows if row["step"] == step)


def _chance(setting: str) -> float:
    """The reward of one who does not know the caption."""
    vocabulary = vocabulary_of(SETTINGS.get(setting, {}).get("vae.data", DATA))
    return vocabulary.chance(list(vocabulary.kinds))

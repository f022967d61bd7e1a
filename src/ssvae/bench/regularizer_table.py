"""The regularisers side by side: what each costs, does to the latents, and gives."""

from collections.abc import Mapping
from typing import Any

from ssvae.bench.comparisons import NAMES
from ssvae.bench.scales import BASELINE, RIVALS, RIVALS_AND_TUNED
from ssvae.report.tables import interval, markdown, number, percent

FEWEST = 3
"""Variants of a cell, the baseline among them, that make a table."""
SEEDS = 3
"""Seeds below which a rival's setting is one that was tried, and stands in a table of such."""


def tables(summary: Mapping[str, Any], costs: Mapping[str, float]) -> dict[str, str]:
    """Tables in Markdown for each cell that has several regularisers, by names that begin with the cell's.

    A cell's own has the baseline, LCR and LMR, and what rivals have enough seeds; settings of
    theirs that were tried with fewer have a table beside it. ``costs`` are times of a VAE's training
    step, in units of the baseline's, by variant, as ``benchmarks/regularizers.py`` measures them;
    there is no column where there are none.
    """
    cells: dict[str, list[Mapping[str, Any]]] = {}
    for arm in summary["arms"]:
        cells.setdefault(arm["cell"], []).append(arm)
    effects = {e["other"]: e for e in summary["effects"].get("regularisers", ())}
    made = {}
    for cell, arms in cells.items():
        if len(arms) < FEWEST:
            continue
        tried = [a for a in arms if is_rival(a["variant"]) and len(a["seeds"]) < SEEDS]
        shown = [a for a in arms if a not in tried]
        made[cell] = _table(shown, effects, costs)
        if tried:
            made[f"{cell}-tried"] = _table(tried, effects, costs)
    return made


def is_rival(variant: str) -> bool:
    """Whether a variant is a setting of another paper's regulariser."""
    return variant in RIVALS_AND_TUNED


def _table(
    arms: list[Mapping[str, Any]],
    effects: Mapping[str, Mapping[str, Any]],
    costs: Mapping[str, float],
) -> str:
    columns = ["regulariser", "variant", "seeds", *(["a step"] if costs else [])]
    columns += ["low frequencies", "effective rank", "local correlation", "PSNR", "ceiling"]
    columns += ["decoder steps", "speed-up", "gain in reward", "reward", "Fréchet", "verdict"]
    rows = []
    for arm in sorted(arms, key=_place):
        variant, spectra = arm["variant"], arm["spectra"]
        effect = effects.get(f"{arm['cell']}/{variant}")
        cost = costs.get(_kind(variant))
        compared = ["", "", ""]
        if effect is not None:
            compared = [
                interval(effect["speedup"]["reward"], 2) if effect["speedup"] else "–",
                interval(effect["gain"]["reward"], 3),
                effect["verdict"],
            ]
        faster, gain, verdict = compared
        rows.append(
            [
                "none" if variant == BASELINE else NAMES.get(variant, variant),
                f"`{variant}`",
                str(len(arm["seeds"])),
                *([number(cost, 2)] if costs else []),
                percent(spectra["low_share"]),
                number(spectra["effective_rank"], 1),
                number(spectra["local_correlation"], 2),
                number(arm["psnr"], 2),
                number(arm["ceiling"], 3),
                number(arm["decoder_steps"], 0),
                faster,
                gain,
                number(arm["reward"]["value"], 3),
                number(arm["frechet"]["value"], 0),
                verdict,
            ]
        )
    return markdown(columns, rows)


def _place(arm: Mapping[str, Any]) -> tuple[int, str, str]:
    """The baseline first, then LCR and LMR, then the rivals, each beside its other settings."""
    variant = arm["variant"]
    kind = _kind(variant)
    first = [BASELINE, "lcr", "lmr", "both", "null", *RIVALS]
    return first.index(kind) if kind in first else len(first), kind, variant


def _kind(variant: str) -> str:
    """The rival that a variant is a setting of; else the variant."""
    return next((name for name in RIVALS if variant.startswith(f"{name}-")), variant)

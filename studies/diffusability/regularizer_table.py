"""The regularisers side by side: what each costs, does to the latents, and gives."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ssvae.bench.scales import BASELINE, BOTH, NULL
from ssvae.report.tables import interval, markdown, number, percent
from studies.diffusability.variants import OTHERS, OURS, TRIED, regularizer_of, title_of

FEWEST = 3
"""Variants of a cell, the baseline among them, that make a table."""
SEEDS = 3
"""Seeds below which a setting of another paper's is one that was tried, with a table of its own."""
COSTS = Path(__file__).parent / "results" / "costs.json"
"""Times of a VAE's training step, in units of the baseline's, by variant; of
``benchmarks/regularizers.py``."""


def costs() -> dict[str, float]:
    """What each variant costs a step; empty where that was not measured."""
    return json.loads(COSTS.read_text()) if COSTS.exists() else {}


def tables(
    described: Sequence[Mapping[str, Any]], effects: Mapping[str, Sequence[Mapping[str, Any]]]
) -> dict[str, str]:
    """Tables for each cell that has several regularisers, by names that begin with the cell's.

    A cell's own has the baseline, LCR and LMR, and what others have enough seeds; settings of
    theirs that were tried with fewer have a table beside it.
    """
    cells: dict[str, list[Mapping[str, Any]]] = {}
    for arm in described:
        cells.setdefault(arm["cell"], []).append(arm)
    by_arm = {entry["other"]: entry for entry in effects.get("regularisers", ())}
    found = {}
    for cell, arms in cells.items():
        if len(arms) < FEWEST:
            continue
        tried = [a for a in arms if is_other(a["variant"]) and len(a["seeds"]) < SEEDS]
        shown = [a for a in arms if a not in tried]
        found[cell] = _table(shown, by_arm)
        if tried:
            found[f"{cell}-tried"] = _table(tried, by_arm)
    return found


def is_other(variant: str) -> bool:
    """Whether a variant is a setting of another paper's regulariser."""
    return variant in OTHERS or variant in TRIED


def _table(arms: Sequence[Mapping[str, Any]], effects: Mapping[str, Mapping[str, Any]]) -> str:
    measured = costs()
    columns = ["regulariser", "variant", "seeds", *(["a step"] if measured else [])]
    columns += ["low frequencies", "effective rank", "local correlation", "PSNR", "ceiling"]
    columns += ["decoder steps", "speed-up", "gain in reward", "reward", "Fréchet", "verdict"]
    rows = []
    for arm in sorted(arms, key=_place):
        variant, spectra = arm["variant"], arm["spectra"]
        effect, cost = effects.get(f"{arm['cell']}/{variant}"), measured.get(_kind(variant))
        faster, gain, verdict = ["", "", ""]
        if effect is not None:
            known = effect["speedup"].get("reward")
            faster = "–" if known is None else interval(known, 2)
            gain, verdict = interval(effect["gain"]["reward"], 3), effect["verdict"]
        rows.append(
            [
                "none" if variant == BASELINE else title_of(variant),
                f"`{variant}`",
                str(len(arm["seeds"])),
                *([number(cost, 2)] if measured else []),
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
    """The baseline first, then LCR and LMR, then the others, each beside its other settings."""
    variant = arm["variant"]
    kind = _kind(variant)
    first = [BASELINE, *OURS, BOTH, NULL, *OTHERS]
    return first.index(kind) if kind in first else len(first), kind, variant


def _kind(variant: str) -> str:
    """The variant with its paper's settings that this one is a setting of; else the variant."""
    name = regularizer_of(variant)
    return variant if name is None else name.replace("_", "-")

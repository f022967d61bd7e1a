"""What a benchmark leaves beside its rows: a page of tables, a figure, samples."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from safetensors.torch import load_file

from ssvae.bench.convergence import student
from ssvae.bench.effects import (
    SHARES,
    Pair,
    PairedCurves,
    Quantity,
    describe,
    effects,
    quantities_of,
    sensitivity,
)
from ssvae.bench.records import Arm, Arms, Record, RunKey, by_arm, portable
from ssvae.bench.scales import Scale
from ssvae.bench.stages import SAMPLES, SHOWN, Options
from ssvae.bench.tables import DIGITS, NOTES, arms_table, effects_table, smallest_effects
from ssvae.data import known_vocabulary, write_video
from ssvae.report.figures import Band, Spectra, diffusability_figure, save_figure, to_svg
from ssvae.report.html import grid
from ssvae.storage.files import write_text

TABLES, FIGURE = "tables.md", "figure"


@dataclass(frozen=True)
class Comparison:
    """What is compared with what."""

    baseline: Arm
    families: Mapping[str, Sequence[Pair]]
    """By title; claims of a family are corrected together."""

    @property
    def arms(self) -> list[Arm]:
        """All, the baseline first."""
        others = [pair.other for pairs in self.families.values() for pair in pairs]
        return list(dict.fromkeys([self.baseline, *others]))


def write_report(
    comparison: Comparison,
    records: Mapping[RunKey, Record],
    scale: Scale,
    options: Options,
) -> dict[str, Any]:
    """Write tables, figure and samples beside the rows; what the tables hold."""
    known = by_arm(records)
    seeds = options.seeds
    arms = {arm: {s: known[arm][s] for s in seeds} for arm in comparison.arms if arm in known}
    vocabulary = known_vocabulary(scale.data)
    quantities = quantities_of(vocabulary, arms)
    families = {title: pairs for title, pairs in comparison.families.items() if pairs}
    summary = {
        "arms": describe(arms, quantities, vocabulary),
        "effects": effects(families, arms, quantities),
        "sensitivity": {
            "here": {
                str(len(seeds)): sensitivity(
                    arms, next(iter(families.values())), len(seeds), quantities[0]
                )
            }
        },
        "protocol": protocol_of(scale, options),
    }
    out = options.out
    write_text(out / TABLES, portable(page(summary, quantities), options.work))
    figure = figure_of(comparison.baseline, arms, quantities[0])
    write_figure(figure, out / FIGURE)
    runs = options.work / "diffusion"
    write_samples(
        {seed: {arm.title: runs / RunKey(*arm, seed).label for arm in arms} for seed in seeds},
        scale,
        options,
    )
    return summary


def protocol_of(scale: Scale, options: Options) -> dict[str, Any]:
    """How scores were taken."""
    found = {"data": scale.data, "evaluation": asdict(scale.evaluation), "dtype": options.dtype}
    if known_vocabulary(scale.data) is None:
        found["features"] = options.scorer(scale).network
    return found


def page(summary: Mapping[str, Any], quantities: Sequence[Quantity]) -> str:
    """All tables of a summary, and what it takes to read them."""
    parts = [
        f"**{title}**\n\n{effects_table(entries, quantities, shares=SHARES)}"
        for title, entries in summary["effects"].items()
    ]
    parts.append(f"**Each by itself**\n\n{arms_table(summary['arms'], quantities)}")
    notes = [NOTES, smallest_effects(summary["sensitivity"], DIGITS[quantities[0].name])]
    notes.append(f"Protocol: {json.dumps(summary['protocol'])}")
    return "\n".join(parts) + "\n" + "\n\n".join(filter(None, notes)) + "\n"


def write_figure(figure: Figure, stem: Path) -> None:
    """As SVG and PNG."""
    write_text(stem.with_suffix(".svg"), to_svg(figure))
    save_figure(figure, stem.with_suffix(".png"))


def figure_of(baseline: Arm, arms: Arms, quantity: Quantity) -> Figure:
    """Frequency spectrum, channel spectrum, score over steps, and gain over the baseline."""
    spectra, scores, gains, ceilings = {}, {}, {}, {}
    one_cell = len({arm.cell for arm in arms}) == 1
    for arm, by_seed in arms.items():
        records, name = list(by_seed.values()), arm.variant if one_cell else arm.title
        curve, explained = (
            np.mean([r.measure["analysis"][each] for r in records], 0)
            for each in ("curve", "explained")
        )
        spectra[name] = Spectra(curve.tolist(), explained.tolist())
        steps = [row["step"] for row in records[0].rows]
        values = np.array([[row[quantity.name] for row in r.rows] for r in records])
        scores[name] = _band(steps, values)
        if arm != baseline:
            paired = PairedCurves.of(Pair("", baseline, arm), arms)
            of_baseline = [[row[quantity.name] for row in r.rows] for r in paired.reference]
            gain = quantity.sign * (values - np.array(of_baseline))
            gains[name] = _band(steps, gain)
        ceiling = [r.measure["ceiling"][quantity.name] for r in records]
        ceilings[name] = float(np.mean(ceiling))
    return diffusability_figure(spectra, scores, ceilings, gains, quantity.name, quantity.sign)


def _band(steps: Sequence[int], values: np.ndarray) -> Band:
    """Means over seeds of values (seeds, steps), with Student's intervals; none for one seed."""
    points = [student(column) for column in values.T]
    means = [point.value or 0.0 for point in points]
    lows = [m if p.low is None else p.low for m, p in zip(means, points, strict=True)]
    highs = [m if p.high is None else p.high for m, p in zip(means, points, strict=True)]
    return Band(steps, means, lows, highs)


def write_samples(runs: Mapping[int, Mapping[str, Path]], scale: Scale, options: Options) -> None:
    """The same captions and noise through every variant, by models of one seed: a video.

    ``runs`` are the folders of each seed's runs, by variant. Of the first seed all of whose runs
    are here; where there is none, what stands in the results is left.
    """
    here = [
        seed
        for seed, folders in runs.items()
        if all((folder / SAMPLES).exists() for folder in folders.values())
    ]
    if not here:
        return
    folders = runs[here[0]]
    clips = [load_file(folder / SAMPLES)["clips"][:SHOWN] for folder in folders.values()]
    named = [grid(of_variant, SHOWN, 3) for of_variant in clips]
    gap = torch.ones_like(named[0][:, :, :6])
    joined = torch.cat([part for clip in named for part in (gap, clip)][1:], 2)
    height, width = (n - n % 2 for n in joined.shape[2:])
    write_video(options.out / "samples.mp4", joined[..., :height, :width], 6)
    text = [
        f"Seed {here[0]}. Rows, top to bottom: " + ", ".join(folders) + ". Columns, left to right:",
        "",
    ]
    captions = options.scorer(scale).captions[:SHOWN]
    text += [f"{i + 1}. {caption}" for i, caption in enumerate(captions)]
    write_text(options.out / "samples.md", "\n".join(text) + "\n")

"""Figures, as matplotlib figures and as SVG text."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ssvae.analysis import Analysis
from ssvae.data.pixels import to_show
from ssvae.storage.files import check_file, replacing

# Okabe and Ito's colours, and a brown: told apart by the colour-blind, and in print.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8B5A2B")
INK, SOFT, GRID = "#1b1f24", "#57606a", "#e6e6e6"
STYLE: Any = {
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": GRID,
    "legend.frameon": False,
    "svg.hashsalt": "ssvae",
    "pdf.fonttype": 42,  # TrueType: some conferences refuse matplotlib's Type 3
}


@dataclass(frozen=True)
class Spectra:
    """What the first two panels show of one variant."""

    frequency: Sequence[float]
    """Share of the energy along the zigzag index."""
    explained: Sequence[float]
    """Share of the variance in the first 1, 2, ... principal channels."""

    @classmethod
    def of(cls, analysis: Analysis) -> "Spectra":
        """Those of an analysis."""
        return cls(analysis.frequency.curve.tolist(), analysis.channels.explained.tolist())


@dataclass(frozen=True)
class Band:
    """A quantity of one variant over steps, with an interval at each."""

    steps: Sequence[float]
    mean: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


def diffusability_figure(
    spectra: Mapping[str, Spectra],
    rewards: Mapping[str, Band],
    ceilings: Mapping[str, float],
    gains: Mapping[str, Band] | None = None,
    score: str = "reward",
    sign: int = 1,
) -> Figure:
    """The paper's three panels: both spectra, and what the diffusion model makes of them.

    ``gains``, by how much scores are better than the baseline's seed by seed, are a fourth. All
    mappings are by variant, the baseline first; ``sign`` is -1 where less of the score is better.
    """
    colours = dict(zip(rewards, _cycle(len(rewards)), strict=True))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11, 8) if gains else (14, 4.5), layout="constrained")
        panels = figure.subplots(2, 2).flat if gains else figure.subplots(1, 3).flat
        left, middle, right, *last = panels
        _spectra_panels(left, middle, spectra)
        _courses(right, rewards, colours)
        for name, ceiling in ceilings.items():
            right.axhline(ceiling, color=colours[name], lw=1, ls=":")
        highest = max(ceilings.values())
        right.set(
            title=f"{score.capitalize()} of generated clips",
            ylabel=f"{score}, with 95 % intervals",
        )
        if sign > 0:
            lowest = min(min(band.mean) for band in rewards.values())
            right.set(ylim=(lowest - 0.08, highest + 0.05))
        else:
            right.set(yscale="symlog" if min(ceilings.values()) <= 0 else "log")
        right.annotate(
            "ceilings: true clips, reconstructed",
            (0.02, highest),
            xycoords=("axes fraction", "data"),
            va="bottom",
            fontsize=8,
            color=SOFT,
        )
        if gains:
            (panel,) = last
            _courses(panel, gains, colours)
            panel.axhline(0, color=next(iter(colours.values())), lw=2)
            panel.set(title="Gain over the baseline, seed by seed", ylabel=f"gain in {score}, 95 %")
        handles, names = right.get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=len(names))
    return figure


def _courses(panel: Axes, bands: Mapping[str, Band], colours: Mapping[str, str]) -> None:
    """Curves with an interval at each point, side by side so that none hides another."""
    longest = max(max(band.steps) for band in bands.values())
    for k, (name, band) in enumerate(bands.items()):
        steps = np.asarray(band.steps) + (k - (len(bands) - 1) / 2) * 0.01 * longest
        mean, low, high = (np.asarray(x) for x in (band.mean, band.low, band.high))
        panel.errorbar(
            steps,
            mean,
            yerr=[mean - low, high - mean],
            fmt="o-",
            ms=4,
            lw=1.5,
            elinewidth=1,
            color=colours[name],
            label=name,
        )
    panel.set_xlabel("diffusion steps")


def _spectra_panels(frequency: Axes, channels: Axes, spectra: Mapping[str, Spectra]) -> None:
    for (name, spectrum), colour in zip(spectra.items(), _cycle(len(spectra)), strict=True):
        _frequency_curve(frequency, np.asarray(spectrum.frequency), name, colour)
        channels.plot([0.0, *spectrum.explained], "o-", ms=4, color=colour, label=name)
    frequency.set_yscale("log")
    frequency.set(title="Frequency spectrum", xlabel="zigzag index", ylabel="share of the energy")
    channels.axhline(0.9, color=SOFT, lw=1, ls=":")
    channels.annotate("90 %", (0, 0.905), color=SOFT, va="bottom", fontsize=9)
    channels.set(
        title="Channel spectrum",
        xlabel="principal channels",
        ylabel="explained variance",
        ylim=(0, 1.02),
    )


def _frequency_curve(axes: Axes, curve: np.ndarray, name: str, colour: str) -> None:
    """The curve over zigzag index: every cell, faint, and the mean over runs of cells."""
    axes.plot(curve, color=colour, lw=0.8, alpha=0.25)
    # The lowest cells one by one, then ever longer runs of them.
    starts = np.unique(np.geomspace(1, len(curve), 24).astype(int) - 1)
    runs = list(pairwise([*starts.tolist(), len(curve)]))
    middles = [(a + b - 1) / 2 for a, b in runs]
    axes.plot(middles, [curve[a:b].mean() for a, b in runs], color=colour, lw=2, label=name)


def contact_sheet(prompts: Sequence[str], clips: torch.Tensor, frames: int = 3) -> Figure:
    """Clips (prompts, n, C, T, H, W) in [-1, 1]: a row for each prompt, some frames of each
    clip.
    """
    P, n, _, T, H, W = clips.shape
    clips = to_show(clips)
    shown = np.unique(np.linspace(0, T - 1, min(frames, T)).round().astype(int))
    images = ((clips.clamp(-1, 1) + 1) / 2).permute(0, 1, 3, 4, 5, 2).float().numpy()
    # All in inches: clips side by side from the left, each clip's frames without a gap.
    pane = min(1.6, max(0.62, 6 / (n * len(shown))))
    high, gap, text = pane * H / W, 0.1, 0.3
    width, height = max(3.0, gap + n * (len(shown) * pane + gap)), P * (high + text + gap) + gap
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height))
        for p, prompt in enumerate(prompts):
            top = height - gap - p * (high + text + gap)
            figure.text(
                gap / width,
                (top - text + 0.08) / height,
                prompt,
                fontsize=9,
                va="bottom",
                color=INK,
            )
            for i in range(n):
                for j, t in enumerate(shown):
                    left = gap + i * (len(shown) * pane + gap) + j * pane
                    box = left / width, (top - text - high) / height, pane / width, high / height
                    axes = figure.add_axes(box)
                    axes.imshow(images[p, i, t], interpolation="nearest", aspect="auto")
                    axes.set_axis_off()
    return figure


def training_figure(runs: Mapping[str, Sequence[Mapping[str, float | None]]]) -> Figure:
    """Training curves: reconstruction error and local correlation over steps."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 3.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        for (name, rows), colour in zip(runs.items(), _cycle(len(runs)), strict=True):
            for axes, key in ((left, "l1"), (right, "local_correlation")):
                points = [(r["step"], r[key]) for r in rows if r.get(key) is not None]
                steps, values = np.array(points, dtype=float).T
                axes.plot(steps, values, color=colour, lw=0.6, alpha=0.25)
                axes.plot(steps, smooth(values), color=colour, lw=2, label=name)
        left.set(title="Reconstruction (L1)", xlabel="step", yscale="log")
        right.set(title="Local correlation of the latents", xlabel="step")
        left.legend()
    return figure


def smooth(values: np.ndarray) -> np.ndarray:
    """A centred running mean over a twentieth of the run, shorter at its ends."""
    half = max(1, len(values) // 40)
    total = np.concatenate([[0.0], np.cumsum(values)])
    low = np.maximum(np.arange(len(values)) - half, 0)
    high = np.minimum(np.arange(len(values)) + half + 1, len(values))
    return (total[high] - total[low]) / (high - low)


def _cycle(n: int) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(n)]


def to_svg(figure: Figure) -> str:
    """A figure as an SVG document."""
    with mpl.rc_context(STYLE):
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def for_page(svg: str) -> str:
    """An SVG document as an element of our pages, whose colours follow the page's, light or
    dark.
    """
    colours = {INK: "text", SOFT: "soft", GRID: "line"}
    colours |= {colour.lower(): f"c{i}" for i, colour in enumerate(COLOURS)}
    svg = svg[svg.index("<svg") :]
    for colour, name in colours.items():
        svg = svg.replace(f": {colour}", f": var(--{name}, {colour})")
    return svg.replace(": #ffffff", ": none")


def check_figure_path(path: str | Path) -> None:
    """A ValueError where a figure cannot be written to ``path``: ask before long work."""
    suffix = Path(path).suffix.lower().removeprefix(".")
    if suffix not in Figure().canvas.get_supported_filetypes():
        raise ValueError(f"a figure's name must end in .png, .svg or .pdf, got {path}")
    check_file(path)


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure to a file; the format follows from the extension."""
    check_figure_path(path)
    kind = Path(path).suffix.lower().removeprefix(".")
    with mpl.rc_context(STYLE), replacing(Path(path)) as partial:
        figure.savefig(partial, dpi=200, format=kind)

"""Figures, as matplotlib figures and as SVG text."""

import io
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ssvae.spectra import Analysis, FrequencyResult

# Okabe and Ito's colours: told apart by the colour-blind, and in print.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLE: Any = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "legend.frameon": False,
    "svg.hashsalt": "ssvae",
}


def spectra_figure(analyses: Mapping[str, Analysis]) -> Figure:
    """Frequency and channel spectra side by side, a curve for each named analysis."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 3.8), layout="constrained")
        frequency, channels = figure.subplots(1, 2)
        for (name, analysis), colour in zip(analyses.items(), _cycle(len(analyses)), strict=True):
            _frequency_curve(frequency, analysis.frequency, name, colour)
            explained = [0.0, *analysis.channels.explained.tolist()]
            channels.plot(explained, "o-", ms=4, color=colour, label=name)
        frequency.set_yscale("log")
        frequency.set(
            title="Frequency spectrum", xlabel="zigzag index", ylabel="share of the energy"
        )
        channels.axhline(0.9, color="#888888", lw=1, ls=":")
        channels.annotate("90 %", (0, 0.905), color="#666666", va="bottom", fontsize=9)
        channels.set(
            title="Channel spectrum",
            xlabel="principal channels",
            ylabel="explained variance",
            ylim=(0, 1.02),
        )
        frequency.legend()
        channels.legend(loc="lower right")
    return figure


def _frequency_curve(axes: Axes, result: FrequencyResult, name: str, colour: str) -> None:
    """The curve over zigzag index: every cell, faint, and the mean over runs of cells."""
    curve = result.curve.numpy()
    axes.plot(curve, color=colour, lw=0.8, alpha=0.25)
    # The lowest cells one by one, then ever longer runs of them.
    starts = np.unique(np.geomspace(1, len(curve), 24).astype(int) - 1)
    runs = list(pairwise([*starts.tolist(), len(curve)]))
    middles = [(a + b - 1) / 2 for a, b in runs]
    axes.plot(middles, [curve[a:b].mean() for a, b in runs], color=colour, lw=2, label=name)


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
                axes.plot(steps, _smooth(values), color=colour, lw=2, label=name)
        left.set(title="Reconstruction (L1)", xlabel="step", yscale="log")
        right.set(title="Local correlation of the latents", xlabel="step")
        left.legend()
    return figure


def _smooth(values: np.ndarray) -> np.ndarray:
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


def check_figure_path(path: str | Path) -> None:
    """A ValueError where a figure cannot be written to ``path``: ask before long work."""
    suffix = Path(path).suffix.lower().removeprefix(".")
    if suffix not in Figure().canvas.get_supported_filetypes():
        raise ValueError(f"a figure's name must end in .png, .svg or .pdf, got {path}")
    if not Path(path).parent.is_dir():
        raise ValueError(f"cannot write {path}: there is no folder {Path(path).parent}")


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure to a file; the format follows from the extension."""
    check_figure_path(path)
    with mpl.rc_context(STYLE):
        figure.savefig(path, dpi=200)

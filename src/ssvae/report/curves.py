"""Curves over frames and over steps."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ssvae.analysis.fidelity import Quality
from ssvae.report.figures import COLOURS, STYLE, smooth

MEASURES = {"frame_psnr": "PSNR, dB", "frame_ssim": "SSIM", "frame_lpips": "LPIPS"}


def frames_figure(qualities: Mapping[str, Quality]) -> list[Figure]:
    """PSNR, and SSIM and LPIPS where they were measured, of each frame of a clip: a figure each."""
    figures = []
    for field, title in MEASURES.items():
        curves = {name: getattr(quality, field) for name, quality in qualities.items()}
        if any(curve is None or curve.shape[1] < 2 for curve in curves.values()):
            continue
        with mpl.rc_context(STYLE):
            figure = Figure(figsize=(5.2, 2.6), layout="constrained")
            axes = figure.subplots()
            for i, (name, curve) in enumerate(curves.items()):
                frames = np.arange(1, curve.shape[1] + 1)
                axes.plot(
                    frames,
                    curve[0].numpy(),
                    "os"[i % 2] + "-",
                    ms=3,
                    color=COLOURS[i % 8],
                    label=name,
                )
            axes.set(xlabel="frame", title=title)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.legend()
        figures.append(figure)
    return figures


def metric_figure(
    runs: Mapping[str, tuple[Sequence[float], Sequence[float]]], metric: str, logarithmic: bool
) -> Figure:
    """A metric of some runs over their steps: each point, faint, and a running mean."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8, 4), layout="constrained")
        axes = figure.subplots()
        for i, (name, (steps, values)) in enumerate(runs.items()):
            colour, y = COLOURS[i % 8], np.asarray(values, dtype=float)
            many = len(y) > 60
            if many:
                axes.plot(steps, y, color=colour, lw=0.6, alpha=0.25)
            axes.plot(
                steps,
                smooth(y) if many else y,
                "-" if many else "o-",
                ms=4,
                color=colour,
                lw=2,
                label=name,
            )
        axes.set(xlabel="step", title=metric.replace("_", " "))
        if logarithmic:
            axes.set_yscale("log")
        axes.legend()
    return figure

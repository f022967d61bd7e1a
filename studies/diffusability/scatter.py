"""Scatter plots: what was measured over figures that may tell it."""

from collections.abc import Mapping, Sequence
from functools import partial

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ssvae.report.figures import COLOURS, STYLE

MARKS = "os^DvP"
dot = partial(Line2D, [], [], linestyle="", marker="o")
"""An entry of the legend."""


def scatter_figure(
    panels: Mapping[str, Sequence[float]],
    titles: Sequence[str],
    measured: Sequence[float],
    kinds: Sequence[str],
    sizes: Sequence[str],
    ylabel: str,
) -> Figure:
    """``measured`` over each of the named ``panels``: a colour for each kind, a mark for each
    size.
    """
    colours = dict(zip(dict.fromkeys(kinds), COLOURS, strict=False))
    marks = dict(zip(dict.fromkeys(sizes), MARKS, strict=False))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.2 * len(panels), 4.2), layout="constrained")
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axis, title, (name, values) in zip(axes, titles, panels.items(), strict=True):
            for x, y, kind, size in zip(values, measured, kinds, sizes, strict=True):
                axis.plot(x, y, marks[size], color=colours[kind], alpha=0.8, mew=0)
            axis.set_xlabel(name)
            axis.set_title(title, fontsize=10)
        axes[0].set_ylabel(ylabel)
        key = [dot(color=colour, label=kind) for kind, colour in colours.items()]
        key += [dot(marker=mark, color="0.5", label=size) for size, mark in marks.items()]
        figure.legend(handles=key, loc="outside lower center", ncols=4, fontsize=9)
    return figure

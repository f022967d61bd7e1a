"""Scatter plots: what was measured over figures that may tell it, a colour and mark for each
family.
"""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
from matplotlib.figure import Figure

from ssvae.report.figures import COLOURS, STYLE

MARKS = "os^DvP"


def scatter_figure(
    panels: Mapping[str, Sequence[float]],
    titles: Sequence[str],
    measured: Sequence[float],
    families: Sequence[str],
    ylabel: str,
) -> Figure:
    """``measured`` over each of the named ``panels``; points of one family are one entry of the
    legend.
    """
    kinds = list(dict.fromkeys(families))
    with mpl.rc_context(STYLE):
        height = max(3.8, 0.19 * len(kinds) + 0.3)  # the legend's
        figure = Figure(figsize=(3.4 * len(panels) + 3, height), layout="constrained")
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axis, title, (name, values) in zip(axes, titles, panels.items(), strict=True):
            for i, kind in enumerate(kinds):
                rows = [j for j, family in enumerate(families) if family == kind]
                axis.scatter(
                    [values[j] for j in rows],
                    [measured[j] for j in rows],
                    color=COLOURS[i % len(COLOURS)],
                    marker=MARKS[i // len(COLOURS) % len(MARKS)],
                    label=kind,
                    s=30,
                    alpha=0.85,
                    linewidths=0,
                )
            axis.set_axisbelow(True)
            axis.set_xlabel(name)
            axis.set_title(title, fontsize=10)
        axes[0].set_ylabel(ylabel)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right center", fontsize=8.5)
    return figure

"""How clips drift over round trips: three curves for each VAE."""

from collections.abc import Mapping

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ssvae.analysis import Drift
from ssvae.report.figures import COLOURS, STYLE

PANES = (
    ("psnr", "PSNR, dB"),
    ("colour", "colour moved, levels of 255"),
    ("contrast", "contrast over the original's"),
)


def drift_figure(found: Mapping[str, Drift]) -> Figure:
    """PSNR, colour and contrast over rounds."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 3.2), layout="constrained")
        for axes, (name, label) in zip(figure.subplots(1, len(PANES)), PANES, strict=True):
            for i, (model, drift) in enumerate(found.items()):
                values = getattr(drift, name)
                axes.plot(
                    range(1, len(values) + 1), values, marker="o", ms=3.5, lw=1.8,
                    color=COLOURS[i % len(COLOURS)], label=model.replace("$", r"\$"),
                )  # fmt: skip
            axes.set(xlabel="times encoded and decoded", ylabel=label)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            if name == PANES[0][0] and len(found) > 1:
                axes.legend(fontsize=8.5, frameon=False)
    return figure

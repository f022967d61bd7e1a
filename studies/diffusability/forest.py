"""A forest plot: effects as points with intervals, a row each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from ssvae.report.figures import COLOURS, INK, SOFT, STYLE

TICKS = [2.0**power for power in range(-5, 9)]


@dataclass(frozen=True)
class Effect:
    """A row: a speed-up, a gain, and where the two that are compared end."""

    label: str
    speedup: Mapping[str, Any]
    """value, low and high; None where not known."""
    gain: Mapping[str, Any]
    ends: tuple[float, float]
    """Rewards of the reference and of the other."""
    note: str
    """Beside the label, such as the number of seeds."""
    ghost: bool = False
    """Drawn faint: not to be compared as it stands."""


def forest_figure(groups: Mapping[str, Sequence[Effect]], target: str) -> Figure:
    """Speed-up to ``target`` (on a logarithmic axis), gain and rewards of effects in named
    groups.
    """
    groups = {name: effects for name, effects in groups.items() if effects}
    rows = sum(len(effects) + 1.4 for effects in groups.values())
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11.5, 1.1 + 0.27 * rows), layout="constrained")
        faster, gain, ends = figure.subplots(1, 3, width_ratios=(3, 3, 2), sharey=True)
        y, places, labels = 0.0, [], []
        for colour, (name, effects) in zip(COLOURS, groups.items(), strict=False):
            faster.annotate(
                name,
                (0, y),
                xycoords=("axes fraction", "data"),
                xytext=(-8, 0),
                textcoords="offset points",
                ha="right",
                va="center",
                weight="bold",
                color=colour,
                annotation_clip=False,
            )
            for effect in effects:
                y += 1
                places.append(y)
                labels.append(f"{effect.label}  ({effect.note})")
                look: Any = {"color": colour, "alpha": 0.35 if effect.ghost else 1.0}
                _point(faster, effect.speedup, y, look)
                _point(gain, effect.gain, y, look)
                ends.plot(effect.ends, (y, y), color=SOFT, lw=1)
                ends.plot(effect.ends[0], y, "o", ms=5, mfc="white", mec=SOFT)
                ends.plot(effect.ends[1], y, "o", ms=5, **look)
            y += 1.4
        faster.set_yticks(places, labels)
        faster.set_ylim(y - 0.7, -0.7)
        faster.set_xscale("log")
        faster.xaxis.set_major_locator(FixedLocator(TICKS))
        faster.xaxis.set_minor_locator(NullLocator())
        faster.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        for panel, line in ((faster, 1), (gain, 0)):
            panel.axvline(line, color=INK, lw=1)
        for panel in (faster, gain, ends):
            panel.tick_params(axis="y", length=0)
            panel.grid(visible=False, axis="y")
        faster.set(title=f"Speed-up in steps\n{target}", xlabel="95 % intervals")
        gain.set(title="Gain in reward\n(after equal steps)", xlabel="95 % intervals")
        ends.set(title="Last reward\n(open: the other's)")
    return figure


def _point(panel: Axes, effect: Mapping[str, Any], y: float, look: Mapping[str, Any]) -> None:
    """A value with its interval; of one that is only bounded, an arrow from the end that holds."""
    value, low, high = effect["value"], effect["low"], effect["high"]
    if value is not None:
        panel.plot(value, y, "o", ms=5, **look)
        if low is not None and high is not None:
            panel.plot((low, high), (y, y), lw=1.8, solid_capstyle="butt", **look)
    elif low is not None:
        panel.plot(low, y, ">", ms=6, **look)
    elif high is not None:
        panel.plot(high, y, "<", ms=6, **look)

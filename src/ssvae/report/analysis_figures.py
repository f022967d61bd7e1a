"""The figures of an analysis: one idea each, several models in the same axes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ssvae.analysis import Analysis
from ssvae.analysis.findings import relative_errors
from ssvae.report.figures import COLOURS, SOFT, STYLE

SIZE = (5.2, 3.6)  # inches: readable in a column of a page and on a phone
MARKERS = "osD^vPX*"
LINES = ("-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1)), (0, (3, 1, 1, 1)), "-", "--")
PAPER = {"baseline": (0.255, 0.78), "Wan 2.2": (0.335, 0.81), "SSVAE": (0.385, 0.865)}
Analyses = Mapping[str, Analysis]


@dataclass(frozen=True)
class Plate:
    """A figure and what it says."""

    name: str
    """Of its file."""
    title: str
    caption: str
    draw: Callable[[Axes, Analyses], None]

    def figure(self, analyses: Analyses) -> Figure:
        """The figure of these models."""
        with mpl.rc_context(STYLE):
            figure = Figure(figsize=SIZE, layout="constrained")
            axes = figure.subplots()
            self.draw(axes, analyses)
            axes.set_title(self.title, loc="left", fontsize=11, fontweight="bold")
            if len(axes.get_legend_handles_labels()[0]) > 1:
                axes.legend(
                    fontsize=8.5,
                    frameon=True,
                    framealpha=0.7,
                    edgecolor="none",
                    facecolor="#ffffff",
                )
        return figure


NARROW = 5.0
"""Inches under which panels stand below each other, in smaller letters: a paper's column."""


def spectra_figure(analyses: Analyses, width: float = 10.0) -> Figure:
    """The spectra over frequency and over channels, for a paper; ``width`` in inches."""
    narrow = width < NARROW
    small = {"font.size": 8, "axes.titlesize": 8, "legend.fontsize": 7}
    with mpl.rc_context(STYLE | (small if width < 2 * NARROW else {})):
        figure = Figure(
            figsize=(width, 1.5 * width if narrow else 0.38 * width), layout="constrained"
        )
        left, right = figure.subplots(2, 1) if narrow else figure.subplots(1, 2)
        _energy(left, analyses)
        _explained(right, analyses)
        left.legend()
        right.legend(loc="lower right")
    return figure


def _looks(i: int, marker: bool = True) -> dict:
    """Colour, line and marker of a model: any one of them tells it from the others."""
    look = dict(color=COLOURS[i % 8], linestyle=LINES[i % 8], lw=1.8)
    return look | (dict(marker=MARKERS[i % 8], ms=4.5) if marker else {})


def _each(analyses: Analyses):
    return ((i, _label(name), analysis) for i, (name, analysis) in enumerate(analyses.items()))


def _label(name: str) -> str:
    """A name as a legend shows it: no mathematics in it, and none that is left out."""
    return (" " if name.startswith("_") else "") + name.replace("$", r"\$")


def _density(axes: Axes, i: int, name: str, f: np.ndarray, share: np.ndarray) -> None:
    """Energy over frequency in even bins, where white noise is 1."""
    edges = np.linspace(0, 1, 25)
    place = np.clip(np.digitize(f, edges) - 1, 0, 23)
    cells = np.bincount(place, minlength=24)
    energy = np.bincount(place, weights=share, minlength=24)
    # The mean of one clip's channels is rounding alone, for they are standardised.
    shown = energy * len(share) > 1e-9 * cells
    middles = np.bincount(place, weights=f, minlength=24)[shown] / cells[shown]
    density = (energy[shown] / cells[shown]) * len(share)
    axes.plot(middles, density, label=name, **_looks(i))


def _noise_line(axes: Axes) -> None:
    axes.axhline(1, color=SOFT, lw=1, ls=":")
    axes.annotate("white noise", (0.99, 1), (0, 3), color=SOFT, fontsize=8, ha="right",
                  xycoords=("axes fraction", "data"), textcoords="offset points")  # fmt: skip
    axes.set(yscale="log", xlim=(-0.02, 1))


def _space_time(axes: Axes, analyses: Analyses) -> None:
    _energy(axes, analyses)
    axes.axvline(1 / 9, color=SOFT, lw=1, ls=":")


def _energy(axes: Axes, analyses: Analyses) -> None:
    for i, name, a in _each(analyses):
        _density(axes, i, name, a.frequency.frequencies.numpy(), a.frequency.curve.numpy())
    _noise_line(axes)
    axes.set(xlabel="f = (i/T + j/H + k/W) / 3", ylabel="energy density")


def _time(axes: Axes, analyses: Analyses) -> None:
    for i, name, a in _each(analyses):
        curve = a.frequency.time_curve.numpy()
        axes.plot(np.arange(len(curve)) / len(curve), curve * len(curve), label=name, **_looks(i))
    _noise_line(axes)
    axes.set(xlabel="frequency in time, i/T", ylabel="energy density")


def _space(axes: Axes, analyses: Analyses) -> None:
    for i, name, a in _each(analyses):
        f = a.frequency
        _density(axes, i, name, f.space_frequencies.numpy(), f.space_curve.numpy())
    _noise_line(axes)
    axes.set(xlabel="frequency in space, (j/H + k/W) / 2", ylabel="energy density")


def _channels(axes: Axes, analyses: Analyses) -> None:
    _explained(axes, analyses)
    for (name, shares), marker in zip(PAPER.items(), "1+x", strict=True):
        axes.plot((1, 10), shares, marker, color=SOFT, ms=6, mew=1.3)
        axes.annotate(name, (10, shares[1]), (5, 0), color=SOFT, fontsize=6.5, va="center",
                      textcoords="offset points")  # fmt: skip


def _explained(axes: Axes, analyses: Analyses) -> None:
    for i, name, a in _each(analyses):
        explained = a.channels.explained.numpy()
        marker = _looks(i, marker=len(explained) <= 20)
        axes.plot(np.arange(1, len(explained) + 1), explained, label=name, **marker)
    widest = max(len(a.channels.explained) for a in analyses.values())
    axes.axhline(0.9, color=SOFT, lw=1, ls=":")
    axes.set(
        xlabel="principal channels",
        ylabel="explained variance",
        ylim=(0, 1.02),
        xlim=(0, max(13, widest) * 1.02),
    )


def _deviations(axes: Axes, analyses: Analyses) -> None:
    for i, name, a in _each(analyses):
        std = a.channels.std.sort(descending=True).values.clamp(min=1e-6).numpy()
        axes.plot(np.arange(1, len(std) + 1), std, label=name, **_looks(i))
    axes.set(xlabel="channels, by deviation", ylabel="standard deviation", yscale="log")


def _robustness(axes: Axes, analyses: Analyses) -> None:
    for i, name, a in _each(analyses):
        if not a.robustness:
            continue
        typical = float(a.channels.std.square().mean().sqrt())
        sigmas = np.array(list(a.robustness)) / typical
        axes.plot(sigmas, list(a.robustness.values()), label=name, **_looks(i))
    axes.set_xscale("symlog", linthresh=0.05)
    axes.set(xlabel="noise, in deviations of the latents", ylabel="PSNR, dB", xlim=(0, None))
    axes.xaxis.set_major_formatter("{x:g}")


def _by_frame(measure: str, label: str) -> Callable[[Axes, Analyses], None]:
    def draw(axes: Axes, analyses: Analyses) -> None:
        for i, name, a in _each(analyses):
            values = getattr(a.fidelity, measure, None)  # none of latents alone
            if values is not None:
                frames = np.arange(1, len(values) + 1)
                axes.plot(frames, values.numpy(), label=name, **_looks(i))
        axes.set(xlabel="frame", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))

    return draw


def _steps(axes: Axes, analyses: Analyses) -> None:
    borders = set()
    for i, name, a in _each(analyses):
        if a.fidelity is None or "time" not in a.fidelity.steps:
            continue
        values = relative_errors(a.fidelity.steps["time"]).numpy()
        axes.plot(np.arange(len(values)) + 1.5, values, label=name, **_looks(i))
        period = round(a.compression["time"])
        if period > 1:
            borders |= set(range(1, len(values) + 1, period))
    for border in sorted(borders):
        axes.axvline(border + 0.5, color=SOFT, lw=0.8, ls=":")
    axes.set(xlabel="from frame to frame", ylabel="error of the step", ylim=(0, None))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _drift(axes: Axes, analyses: Analyses) -> None:
    for i, name, a in _each(analyses):
        if a.drift is not None:
            rounds = np.arange(1, len(a.drift.psnr) + 1)
            axes.plot(rounds, a.drift.psnr, label=name, **_looks(i))
    axes.set(xlabel="times encoded and decoded", ylabel="PSNR, dB")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


PLATES = (
    Plate(
        "frequency",
        "Space-time frequencies",
        "Where the latents' energy lies: 3-D DCT of standardised channels, mean over cells of like "
        "frequency. A steep fall is what SSVAE calls easy to diffuse; left of the dotted upright "
        "(f = 1/9) lies what is called the low share. f counts in shares of each VAE's own grid, "
        "which is what its diffusion model sees. The paper's own frequency figure uses another "
        "index and is not comparable.",
        _space_time,
    ),
    Plate(
        "frequency-time",
        "Time alone",
        "The same energy by frequency in time, summed over space. 0 is what stays the same over "
        "the clip.",
        _time,
    ),
    Plate(
        "frequency-space",
        "Space alone",
        "The same energy by frequency in space, summed over time.",
        _space,
    ),
    Plate(
        "channels",
        "Channel modes",
        "How many principal channels hold how much of the variance; a curve that rises early has "
        "few modes. Grey marks: the shares of the first and the first ten of 48 channels that the "
        "paper publishes, on its own data.",
        _channels,
    ),
    Plate(
        "deviations",
        "Channel by channel",
        "Standard deviation of each channel, largest first. What lies far below carries nothing, "
        "what lies far above drowns the rest unless channels are standardised.",
        _deviations,
    ),
    Plate(
        "robustness",
        "Noise on the latents",
        "PSNR of what the decoder makes of latents with noise on them, such as a diffusion model "
        "leaves. The noise is in units of each VAE's own latents.",
        _robustness,
    ),
    Plate(
        "psnr",
        "PSNR, frame by frame",
        "Mean over clips at each position in time, over [0, 1]. A dip at the first frame or at "
        "every so many frames is a weakness of the VAE, for the clips know nothing of positions.",
        _by_frame("frame_psnr", "PSNR, dB"),
    ),
    Plate(
        "ssim",
        "SSIM, frame by frame",
        "The same with SSIM (11 x 11 Gaussian window).",
        _by_frame("frame_ssim", "SSIM"),
    ),
    Plate(
        "lpips",
        "LPIPS, frame by frame",
        "The same with LPIPS (VGG16); lower is better.",
        _by_frame("frame_lpips", "LPIPS"),
    ),
    Plate(
        "steps",
        "Steps between frames",
        "How wrong the change from each frame to the next is, relative to the change there and on "
        "average. Dotted uprights: where one latent frame ends and the next begins. A seam stands "
        "out there.",
        _steps,
    ),
    Plate(
        "drift",
        "Again and again",
        "PSNR of clips that are encoded and decoded once, twice and so on, each time from what the "
        "last made: how far films drift that are edited, or made longer piece by piece.",
        _drift,
    ),
)


def plates(analyses: Analyses) -> list[Plate]:
    """The figures for which these models have figures."""
    measured = [a.fidelity for a in analyses.values() if a.fidelity is not None]
    absent = {
        "ssim": all(m.frame_ssim is None for m in measured),
        "lpips": all(m.frame_lpips is None for m in measured),
        "steps": all("time" not in m.steps for m in measured),
        "psnr": all(len(m.frame_psnr) == 1 for m in measured),
        "robustness": not measured,
        "drift": all(a.drift is None for a in analyses.values()),
        "frequency-time": all(a.protocol.latent_shape[1] == 1 for a in analyses.values()),
    }
    absent["ssim"] |= absent["psnr"]
    absent["lpips"] |= absent["psnr"]
    return [plate for plate in PLATES if not absent.get(plate.name)]

"""The figures of an analysis as rows of text, the same in the terminal and in reports."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ssvae.spectra import Analysis


@dataclass(frozen=True)
class Row:
    """One quantity over several models."""

    name: str
    values: tuple[str, ...]
    note: str
    """What it is, and which way is better."""


def number(value: float | None, digits: int = 3) -> str:
    """A number as text; a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"


def percent(share: float) -> str:
    """A share in per cent, to two significant digits at least; the space does not break."""
    return f"{100 * share:{'#.2g' if abs(share) < 0.1 else '.1f'}}\u00a0%"


def interval(
    entry: Mapping[str, Any], digits: int = 2, show: Callable[[float], str] | None = None
) -> str:
    """A value with its interval, such as "1.20 (1.05 to 1.31)"; a dash where there is none."""
    text = show or (lambda value: number(value, digits))
    if entry["value"] is None:
        return "–"
    if entry["low"] is None and entry["high"] is None:
        return text(entry["value"])
    ends = [text(end) if end is not None else "–" for end in (entry["low"], entry["high"])]
    return f"{text(entry['value'])} ({ends[0]} to {ends[1]})"


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, numbers to the right."""
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def analysis_rows(analyses: Sequence[Analysis]) -> list[Row]:
    """The figures of one or more analyses, side by side."""

    def row(name: str, note: str, values: list[str]) -> Row:
        return Row(name, tuple(values), note)

    sigma = next(s for s in analyses[0].robustness if 0 < s < 0.1)
    return [
        row(
            "local correlation",
            "of neighbouring latents; LCR raises it",
            [number(a.local_correlation) for a in analyses],
        ),
        row(
            "low-frequency share",
            "energy at f < 1/9; the paper wants it high",
            [percent(a.frequency.low_share) for a in analyses],
        ),
        row(
            "high-frequency share",
            "energy in the top third of f; the paper wants it low",
            [percent(a.frequency.high_share) for a in analyses],
        ),
        row(
            "spectral slope",
            "of log power on log f",
            [number(a.frequency.slope, 2) for a in analyses],
        ),
        row(
            "effective rank",
            "of the channel spectrum; the paper wants few modes",
            [number(a.channels.effective_rank, 2) for a in analyses],
        ),
        row(
            "modes for 90 %",
            "channel modes that hold 90 % of the variance",
            [str(a.channels.modes(0.9)) for a in analyses],
        ),
        row(
            "PSNR under noise",
            f"dB, decoding z + {sigma:.3f} n",
            [number(a.robustness[sigma], 2) for a in analyses],
        ),
    ]

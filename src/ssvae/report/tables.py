"""The figures of an analysis as rows of text, the same in the terminal and in reports."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ssvae.analysis import Analysis, Cost, Drift, FidelityResult
from ssvae.analysis.findings import border_ratios, leading_share
from ssvae.analysis.interpolation import Distances, Interpolations
from ssvae.analysis.result import Model
from ssvae.analysis.semantics import NEIGHBOURS

MOST_DECIMALS = 6


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


def decimals(figures: Iterable[Mapping[str, Any]], otherwise: int = 3) -> int:
    """Decimals that show two digits of the narrowest interval's half; without intervals those of
    ``otherwise``, or three digits of the smallest value where that takes more.
    """
    figures = list(figures)
    ends = [(f["low"], f["high"]) for f in figures]
    halves = [(b - a) / 2 for a, b in ends if a is not None and b is not None and b > a]
    if halves:
        return max(0, 1 - math.floor(math.log10(min(halves))))
    sizes = [abs(f["value"]) for f in figures if f["value"]]
    return max(otherwise, 2 - math.floor(math.log10(min(sizes)))) if sizes else otherwise


def exact(value: float, places: int) -> str:
    """A number to so many decimals; of many as a power of ten."""
    if places <= MOST_DECIMALS or not value:
        return f"{value:.{min(places, MOST_DECIMALS)}f}"
    return f"{value:.{max(1, places + math.floor(math.log10(abs(value))))}e}"


def measured(entry: Mapping[str, Any]) -> str:
    """A value with its interval, to the digits that the interval leaves it."""
    places = decimals([entry], 4)
    return interval(entry, show=lambda value: exact(value, places))


def percent(share: float) -> str:
    """A share in per cent, to two significant digits at least; the space does not break."""
    return f"{100 * share:{'#.2g' if abs(share) < 0.1 else '.1f'}}\u00a0%"


def interval(
    entry: Mapping[str, Any], digits: int = 2, show: Callable[[float], str] | None = None
) -> str:
    """A value with its interval, such as "1.20 (1.05 to 1.31)"; a dash where there is none.

    Of a value that is only bounded, the end that holds: "at most 0.83".
    """
    text = show or (lambda value: number(value, digits))
    if entry["value"] is None:
        bounds = [("at least", entry["low"]), ("at most", entry["high"])]
        return " ".join(f"{word} {text(end)}" for word, end in bounds if end is not None) or "–"
    if entry["low"] is None and entry["high"] is None:
        return text(entry["value"])
    ends = [text(end) if end is not None else "–" for end in (entry["low"], entry["high"])]
    return f"{text(entry['value'])} ({ends[0]} to {ends[1]})"


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, numbers to the right."""
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _row(name: str, note: str, values: Iterable[str]) -> Row:
    return Row(name, tuple(values), note)


def analysis_rows(analyses: Sequence[Analysis]) -> list[Row]:
    """The latents of one or more analyses, side by side."""
    return [
        _row(
            "local correlation",
            "of neighbouring latents; LCR raises it",
            [number(a.local_correlation) for a in analyses],
        ),
        _row(
            "low-frequency share",
            "energy at f < 1/9; the paper wants it high",
            [percent(a.frequency.low_share) for a in analyses],
        ),
        _row(
            "high-frequency share",
            "energy in the top third of f; the paper wants it low",
            [percent(a.frequency.high_share) for a in analyses],
        ),
        _row(
            "spectral slope",
            "of log power on log f",
            [number(a.frequency.slope, 2) for a in analyses],
        ),
        _row(
            "effective rank",
            "of the channel spectrum; the paper wants few modes",
            [number(a.channels.effective_rank, 2) for a in analyses],
        ),
        _row(
            "modes for 90 %",
            "channel modes that hold 90 % of the variance",
            [str(a.channels.modes(0.9)) for a in analyses],
        ),
        *_under_noise(analyses),
    ]


def _under_noise(analyses: Sequence[Analysis]) -> list[Row]:
    sigma = next((s for a in analyses for s in a.robustness if 0 < s < 0.1), None)
    if sigma is None:
        return []
    return [
        _row(
            "PSNR under noise",
            f"dB, decoding z + {sigma:.3f} n",
            [number(a.robustness.get(sigma), 2) for a in analyses],
        )
    ]


def _parts_of_correlation(analyses: Sequence[Analysis]) -> list[Row]:
    return [
        _row(
            "of the first frame, of the rest",
            "the two that the local correlation is the mean of",
            [
                f"{number(a.local_correlation_first_frame)}, {number(a.local_correlation_rest)}"
                for a in analyses
            ],
        )
    ]


def _more_of_latents(analyses: Sequence[Analysis]) -> list[Row]:
    return [
        _row(
            "first mode, first 10/48",
            "share of the variance in the first principal channel, and in the first 10/48 of them",
            [
                f"{percent(float(a.channels.explained[0]))}, {percent(leading_share(a))}"
                for a in analyses
            ],
        ),
        _row(
            "SEC at 0.25, 0.5",
            "energy above a share of the band, after arXiv 2606.03578; low is smooth",
            [f"{number(a.frequency.sec(0.25))}, {number(a.frequency.sec(0.5))}" for a in analyses],
        ),
        _row(
            "VIV",
            "of the channels, after arXiv 2606.03578; 1.57 for independent channels",
            [number(a.channels.viv) for a in analyses],
        ),
        _row(
            "mean, deviation",
            "of the latents: the largest mean of a channel, and the root mean square deviation",
            [
                f"{float(a.channels.mean.abs().max()):.2g}, "
                f"{float(a.channels.std.square().mean().sqrt()):.2g}"
                for a in analyses
            ],
        ),
    ]


def _reconstruction(analyses: Sequence[Analysis]) -> list[Row]:
    found = [a.fidelity for a in analyses]
    if not any(found):
        return []

    def row(name: str, note: str, show: Callable[[FidelityResult], str]) -> Row:
        return _row(name, note, ["–" if f is None else show(f) for f in found])

    def frames(f: FidelityResult) -> str:
        psnr = f.frame_psnr
        first, worst, which = float(psnr[0]), float(psnr.min()), int(psnr.argmin()) + 1
        return f"{number(first, 2)}, {number(worst, 2)} ({which})"

    rows = [
        row("PSNR", "dB over [0, 1], the mean over clips", lambda f: number(f.psnr, 2)),
        row("SSIM", "higher is better", lambda f: number(f.ssim)),
        row("PSNR of the first frame, the worst frame", "dB, and the worst frame's number", frames),
        _row(
            "steps between latents",
            "their error over that of steps within: frames, rows, columns; a seam from 1.3 on",
            [
                ", ".join(number(r, 2) for r in border_ratios(a).values()) or number(None)
                for a in analyses
            ],
        ),
    ]
    if any(f is not None and f.lpips is not None for f in found):
        rows.insert(2, row("LPIPS", "VGG16; lower is better", lambda f: number(f.lpips)))
    return rows


def _between(analyses: Sequence[Analysis]) -> dict[str, list[Row]]:
    """What neighbours have in common, and what is decoded between them."""
    rows = []
    known = [a.semantics for a in analyses]
    if any(known):
        first = next(s for s in known if s)
        chance = number(sum(first.chance.values()) / len(first.chance), 2)
        rows.append(
            _row(
                "neighbours alike (LNC)",
                f"share of {NEIGHBOURS} nearest clips with the same attributes; by chance {chance}",
                [number(None if s is None else s.mean) for s in known],
            )
        )
    between = [a.interpolations for a in analyses]
    if any(between):
        network = next(b.network for b in between if b).split(",")[0]

        def distances(
            name: str, note: str, of: Callable[[Interpolations], Distances | None]
        ) -> None:
            found = [None if b is None else of(b) for b in between]
            for which, word in (("frechet", "Fréchet"), ("kernel", "kernel")):
                values = [None if d is None else asdict(getattr(d, which)) for d in found]
                shown = ["–" if v is None else interval(v, show="{:.3g}".format) for v in values]
                rows.append(_row(f"{name}, {word}", f"distance: {note}; {network}", shown))

        distances("tFVD", "each inner frame of latents from its neighbours", lambda b: b.in_time)
        distances("iFID", "latents half way to the nearest clip's", lambda b: b.of_neighbours)
    return {"Between latents": rows} if rows else {}


def _size_and_cost(analyses: Sequence[Analysis]) -> list[Row]:
    def millions(count: int) -> str:
        return f"{count / 1e6:{'.1f' if count >= 1e7 else '.2f' if count >= 1e6 else '.2g'}}"

    def parameters(model: Model) -> str:
        parts = model.encoder_parameters, model.decoder_parameters
        whole = millions(model.parameters)
        if None in parts:  # its parts are called otherwise
            return whole if model.parameters else "–"
        return ", ".join((whole, *(millions(part) for part in parts if part is not None)))

    rows = [
        _row("class", "of the model", [a.model.name.removeprefix("Autoencoder") for a in analyses]),
        _row(
            "parameters",
            "millions: all, encoder, decoder",
            [parameters(a.model) for a in analyses],
        ),
        _row(
            "compression",
            "time x height x width, channels",
            [
                ("{time:g}x{height:g}x{width:g}, ".format(**a.compression) if a.compression else "")
                + f"{a.protocol.latent_shape[0]} ch"
                for a in analyses
            ],
        ),
        _row(
            "values in for a value out",
            "numbers of the clip over numbers of its latents",
            [number(a.compression.get("values"), 1) for a in analyses],
        ),
    ]
    costs = [a.cost for a in analyses]
    if any(costs):

        def cost(name: str, note: str, show: Callable[[Cost], str]) -> Row:
            return _row(name, note, ["–" if c is None else show(c) for c in costs])

        rows += [
            cost("encodes", "frames a second", lambda c: number(c.frames / c.encode_seconds, 1)),
            cost("decodes", "frames a second", lambda c: number(c.frames / c.decode_seconds, 1)),
            cost(
                "memory, encoding and decoding",
                "MB beyond weights and input",
                lambda c: f"{number(c.encode_megabytes, 0)}, {number(c.decode_megabytes, 0)}",
            ),
        ]
    return rows


def _drift(analyses: Sequence[Analysis]) -> list[Row]:
    drifts = [a.drift for a in analyses]
    if not any(drifts):
        return []
    rounds = next(len(d.psnr) for d in drifts if d)

    def last(name: str, note: str, show: Callable[[Drift], str]) -> Row:
        return _row(name, note, ["–" if d is None else show(d) for d in drifts])

    return [
        last(
            f"PSNR after {rounds} times",
            "dB, encoded and decoded again and again; in brackets what it lost since the first",
            lambda d: f"{d.psnr[-1]:.2f} ({d.psnr[-1] - d.psnr[0]:+.2f})",
        ),
        last(
            f"colour and contrast after {rounds} times",
            "levels of 255 that the mean colour moved; deviation over the original's",
            lambda d: f"{d.colour[-1]:.1f}, {d.contrast[-1]:.3f}",
        ),
    ]


def _artefacts(analyses: Sequence[Analysis]) -> dict[str, list[Row]]:
    """What became of synthetic films; what is called out is marked."""
    found = [a.artefacts for a in analyses]
    measures = {(m.film, m.name): m for each in found if each for m in each.measures}
    if not measures:
        return {}
    rows = []
    for (film, name), measure in measures.items():
        values = []
        for each in found:
            own = [m for m in (each.measures if each else ()) if (m.film, m.name) == (film, name)]
            values.append(f"{own[0].value:.3g}{' !' * own[0].called_out}" if own else "–")
        note = f"{measure.unit + '; ' if measure.unit else ''}called out (!) {measure.rule}"
        rows.append(_row(f"{film}: {name}", note, values))
    return {"Artefacts on synthetic films": rows}


def analysis_tables(analyses: Sequence[Analysis]) -> dict[str, list[Row]]:
    """All figures of one or more analyses, side by side, in groups."""
    first, *others = analysis_rows(analyses)
    noise = _under_noise(analyses)
    spectra = [row for row in others if row not in noise]
    reconstruction = [*_reconstruction(analyses), *_drift(analyses), *noise]
    return {
        "Latents": [first, *_parts_of_correlation(analyses), *spectra, *_more_of_latents(analyses)],
        **_between(analyses),
        **({"Reconstruction": reconstruction} if reconstruction else {}),
        **_artefacts(analyses),
        "Size and cost": _size_and_cost(analyses),
    }

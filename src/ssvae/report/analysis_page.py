"""The page that ``ssvae analyze`` writes: everything of one or more VAEs, in one HTML file."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType

import torch

from ssvae.analysis import Analysis, advise, findings, unexamined
from ssvae.analysis.result import latents_seen
from ssvae.report import html
from ssvae.report.analysis_figures import plates
from ssvae.report.artefact_figure import artefact_figure
from ssvae.report.figures import save_figure, to_svg
from ssvae.report.tables import analysis_tables

CHECKERBOARD_SIDE = 160  # pixels that a shown clip has at least, enlarged


@dataclass(frozen=True)
class Shown:
    """A clip (3, T, H, W) and what each VAE made of it."""

    name: str
    clip: torch.Tensor
    reconstructions: dict[str, torch.Tensor]


def write_report(
    analyses: Mapping[str, Analysis],
    out: str | Path,
    shown: Sequence[Shown] = (),
    source: str = "",
    unread: Mapping[str, str] = MappingProxyType({}),
    failed: Mapping[str, str] = MappingProxyType({}),
) -> Path:
    """Write one page of analyses, and its figures as SVG into a folder beside it; the page's path.

    Args:
        analyses: by the models' names.
        out: the page, .html.
        shown: clips to show beside their reconstructions.
        source: where the clips come from and how, in words that follow "17 frames of 256x256".
        unread: files that could not be read, and why.
        failed: models that could not be analysed, and why.

    Raises:
        ValueError: for no analyses, or another ending.
    """
    out = Path(out)
    if not analyses or out.suffix != ".html":
        raise ValueError(f"a report takes analyses and a file .html, got {len(analyses)} and {out}")
    folder = out.with_name(f"{out.stem}-figures")
    folder.mkdir(exist_ok=True)
    drawn = []
    for plate in plates(analyses):
        svg = to_svg(plate.figure(analyses))
        (folder / f"{plate.name}.svg").write_text(svg)
        drawn.append({"svg": svg, "caption": plate.caption})
    first = next(iter(analyses.values()))
    return html.render(
        out,
        "analysis.html.j2",
        heading=_heading(analyses),
        lead=_lead(analyses),
        protocol=_protocol(analyses, source, unread),
        failed=failed,
        models=[
            {
                "name": name,
                "findings": findings(a),
                "unexamined": unexamined(a),
                "advice": advise(a),
            }
            for name, a in analyses.items()
        ],
        plates=drawn,
        tables=analysis_tables(list(analyses.values())),
        synthetic_films=_example_films(folder, analyses),
        strips=[_strip(each, first.protocol.fps or 8) for each in shown],
        details=_details(first),
    )


def _protocol(analyses: Mapping[str, Analysis], source: str, unread: Mapping[str, str]) -> str:
    """Which clips all saw, and which could not be read; of latents alone, how many there are."""
    alone = latents_seen(analyses)
    alone = f"{alone[:1].upper()}{alone[1:]}." if alone else ""
    first = next((a for a in analyses.values() if a.protocol.frames is not None), None)
    if first is None:
        return f"{alone} {source}".strip()
    p = first.protocol
    seen = p.clips + len(first.broken)
    protocol = (
        f"All saw the same {seen} clips of {p.frames} frames of {p.height}x{p.width}{p.kind}"
        f"{f' {source}' if source else ''}. Latents are posterior means."
    )
    if unread:
        named = "; ".join(f"{name} ({reason})" for name, reason in sorted(unread.items()))
        protocol += f" Left out, for they could not be read: {named}."
    return f"{protocol} {alone}".strip()


def _example_films(folder: Path, analyses: Mapping[str, Analysis]) -> str:
    """The picture of the synthetic films, as a URI; empty where there are none."""
    found = {
        name: a.artefacts for name, a in analyses.items() if a.artefacts and a.artefacts.thumbnails
    }
    if not found:
        return ""
    save_figure(artefact_figure(found), folder / "synthetic-films.png")
    return html.data_uri((folder / "synthetic-films.png").read_bytes(), "image/png")


def _heading(analyses: Mapping[str, Analysis]) -> str:
    latents = [a.fidelity is None for a in analyses.values()]
    one, several = "A video VAE", "video VAEs"
    if all(latents):
        one, several = "Latents", "sets of latents"
    elif any(latents):
        several = "VAEs and sets of latents"
    return f"{one}, analysed" if len(latents) == 1 else f"{len(latents)} {several}, side by side"


def _lead(analyses: Mapping[str, Analysis]) -> str:
    """What a reader in a hurry takes away."""

    def ranked(what: str, of: Mapping[str, float], show: str, best_first: bool = True) -> str:
        order = sorted(of, key=lambda name: of[name], reverse=best_first)
        if len(order) == 1:
            return f"{what}: {show.format(of[order[0]])}."
        return f"{what}: " + ", ".join(f"{name} {show.format(of[name])}" for name in order) + "."

    psnr = {n: a.fidelity.psnr for n, a in analyses.items() if a.fidelity is not None}
    return " ".join(
        [
            ranked(
                "Energy at low frequencies",
                {n: 100 * a.frequency.low_share for n, a in analyses.items()},
                "{:.0f}\u00a0%",
            ),
            ranked(
                "Effective channels",
                {n: a.channels.effective_rank for n, a in analyses.items()},
                "{:.1f}",
                best_first=False,
            ),
            *([ranked("PSNR", psnr, "{:.2f}\u00a0dB")] if psnr else []),
        ]
    )


def _strip(shown: Shown, fps: float) -> dict:
    def pane(name: str, clip: torch.Tensor) -> dict:
        scale = -(-CHECKERBOARD_SIDE // min(clip.shape[2:]))
        enlarged = html.grid([html.even(clip)], 1, scale)
        return {
            "name": name,
            "source": html.video_uri(enlarged, fps),
            "poster": html.picture_uri(enlarged[:, enlarged.shape[1] // 2]),
            "width": enlarged.shape[3],
            "height": enlarged.shape[2],
        }

    clips = {"original": shown.clip} | shown.reconstructions
    errors = [
        pane(f"{name}, error x 4", (reconstructions.clamp(-1, 1) - shown.clip) * 4)
        for name, reconstructions in shown.reconstructions.items()
    ]
    panes = [pane(name, clip) for name, clip in clips.items()]
    return {"title": shown.name, "panes": panes, "errors": errors}


def _details(first: Analysis) -> str:
    return (
        f"ssvae {version('ssvae')}, torch {torch.__version__}, Python {platform.python_version()}. "
        "Frequencies: orthonormal 3-D DCT-II over (T, H, W) of channels standardised over all "
        "clips, power averaged over clips and channels that are not dead; low share: f < 1/9, high "
        "share: f above two thirds of the largest. Channels: eigenvalues of the covariance over "
        "all positions, channels not standardised; effective rank: exp of the entropy. Local "
        "correlation: mean correlation of channel vectors within windows of 2x2x2 latents (2x2 in "
        "the first frame where it stands alone, and where no two stand behind it), over at most "
        "512 clips drawn by checksum. Robustness: decodings of z + sigma n, noise seeded by each "
        "clip's checksum. PSNR over [0, 1] from a clip's mean squared error, at most 100 dB, then "
        "the mean over clips; SSIM with an 11x11 Gaussian window, sigma 1.5; both are the mean "
        "over clips at each frame in the figures. Dead: variance under 1e-6. Exploding: deviation "
        "over ten times the median. Of 8 clips or more: seam: error of steps across borders of "
        "latents at least 1.3 times that of steps within; jump: over three times the median "
        "step's. Weak frame: over 1 dB under the median frame."
        + (
            f" Time and memory: {first.cost.device}, one clip at a time, median after a first "
            "call; memory is the most that a call takes beyond weights and input."
            if first.cost
            else ""
        )
    )

"""An analysis in words, by stated rules: what is broken, and which bias is missing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from ssvae.analysis.evidence import evidence
from ssvae.analysis.fidelity import FidelityResult, Steps
from ssvae.analysis.result import Analysis

SEAM = 1.3  # error of steps across latents' borders over that of steps within
JUMP = 3.0  # error of one step over the median step's
WEAK_FRAME = 1.0  # dB that a frame may lie under the median of all
ENOUGH = 8  # clips: fewer say of their content what they seem to say of positions
NEGLIGIBLE = (
    0.05  # of the mean step's error: where most steps are that right, there is no usual one
)
EDGE = 4  # rows or columns at a side
SMALLEST_GRID = 4  # latents a side that have a spectrum
LISTED = 8  # names or numbers in a sentence

# The share of variance in the first ten of 48 principal channels, as the paper publishes it.
TEN_OF_48 = {"48-channel baseline": 0.78, "Wan 2.2": 0.81, "SSVAE": 0.865}
LCR_THRESHOLD = 0.75  # local correlation above which the published LCR asks for no more


def findings(analysis: Analysis) -> list[str]:
    """What is wrong with a VAE, a sentence each; none where nothing was found."""
    said = [*_broken(analysis), *_small_grid(analysis), *_channels(analysis)]
    if analysis.fidelity is not None:
        said += _weak_frames(analysis, analysis.fidelity) + _seams(analysis, analysis.fidelity)
    return said + _artefacts(analysis)


def _artefacts(analysis: Analysis) -> list[str]:
    return [
        f"{m.film[0].upper()}{m.film[1:]}, {f'{m.name} {m.value:.3g} {m.unit}'.strip()}: "
        f"{m.meaning}."
        for m in (analysis.artefacts.measures if analysis.artefacts else ())
        if m.called_out
    ]


def _broken(analysis: Analysis) -> list[str]:
    if not analysis.broken:
        return []
    kinds = " and ".join(sorted(set(analysis.broken.values())))
    return [
        f"NaN or infinity in {kinds} of {_some(len(analysis.broken), 'clip')} "
        f"({_listed(list(analysis.broken))}), which all figures leave out. Broken weights do this, "
        "or a number format that overflows; try float32."
    ]


def _small_grid(analysis: Analysis) -> list[str]:
    *_, height, width = analysis.protocol.latent_shape
    if min(height, width) >= SMALLEST_GRID:
        return []
    return [
        f"The spectra are of a grid of {height}x{width} latents: with fewer than {SMALLEST_GRID} a "
        "side their shares and slopes say little. Use larger clips."
    ]


def _channels(analysis: Analysis) -> list[str]:
    said, std = [], analysis.channels.std
    if dead := analysis.dead_channels:
        said.append(
            f"{_some(len(dead), 'channel')} of {len(std)} dead, with a variance under 1e-6 "
            f"({_listed(dead)}): the decoder learned to do without. A diffusion model that "
            "standardises its channels learns to make noise there; leave them out or train with "
            "less KL."
        )
    if exploding := analysis.exploding_channels:
        largest = float(std.max() / std[std.square() >= 1e-6].median())
        said.append(
            f"{_some(len(exploding), 'channel')} of {len(std)} exploding, with a deviation over "
            f"ten times the median channel's, up to {largest:.0f} times ({_listed(exploding)}). "
            "Without standardising, these channels alone would be learned; a little more KL holds "
            "them."
        )
    return said


def _weak_frames(analysis: Analysis, fidelity: FidelityResult) -> list[str]:
    frames = fidelity.frame_psnr
    if not _frames_compare(fidelity):
        return []
    usual = frames.median()
    said = []
    if frames[0] < usual - WEAK_FRAME:
        said.append(
            f"The first frame is reconstructed {float(usual - frames[0]):.1f} dB worse than the "
            "median frame"
            + (
                ": the encoder's padding in time is its weakness, or too few images in training."
                if analysis.compression["time"] > 1
                else "."
            )
        )
    later = [t for t in range(1, len(frames)) if frames[t] < usual - WEAK_FRAME]
    if later:
        worst = min(later, key=lambda t: float(frames[t]))
        said.append(
            f"{_ranges([t + 1 for t in later])} of {len(frames)}: reconstructed worse than the "
            f"median frame, by up to {float(usual - frames[worst]):.1f} dB (frame {worst + 1})."
        )
    return said


def _axes(analysis: Analysis, steps: Mapping[str, Steps]) -> list[tuple[str, str, int]]:
    """Each axis that has steps, what one of its places is called, and places a latent."""
    if not steps:
        return []
    compression = analysis.compression
    axes = (
        ("time", "frame", compression["time"]),
        ("rows", "row", compression["height"]),
        ("columns", "column", compression["width"]),
    )
    return [(axis, what, round(period)) for axis, what, period in axes if axis in steps]


def _seams(analysis: Analysis, fidelity: FidelityResult) -> list[str]:
    if fidelity.clips < ENOUGH:
        return []
    said = []
    ratios = border_ratios(analysis)
    for axis, what, period in _axes(analysis, fidelity.steps):
        relative = relative_errors(fidelity.steps[axis])
        borders = _borders(axis, len(relative), period)
        grid = ratios[axis]
        if grid is not None and grid >= SEAM:
            said.append(
                f"Seams between {what}s every {period} {what}s, where one latent ends and the next "
                f"begins: the error of the step is {grid:.1f} times that of steps within."
            )
            continue
        usual = relative.median()
        if len(relative) < 4 or usual <= NEGLIGIBLE * relative.mean():
            continue
        if single := (relative > JUMP * usual).nonzero().flatten().tolist():
            at_edges = axis != "time" and all(
                min(i, len(relative) - 1 - i) < EDGE and i not in borders for i in single
            )
            places = _listed([f"{i + 1}|{i + 2}" for i in single])
            said.append(
                f"A jump between {what}s {places}: the error of the step is up to "
                f"{float(relative.max() / usual):.1f} times the median step's. "
                + (
                    "It lies at the edge, where the network sees its padding."
                    if at_edges
                    else "Pieces that are coded apart, tiles or chunks, meet like this."
                )
            )
    return said


def unexamined(analysis: Analysis) -> list[str]:
    """What :func:`findings` could not look for, and why."""
    fidelity = analysis.fidelity
    if fidelity is None:
        return ["all that needs the VAE and its clips (these are latents alone)"]
    if fidelity.clips < ENOUGH:
        few = f"{fidelity.clips} clips are fewer than {ENOUGH}"
        return [f"weak frames and seams ({few})", *_unmeasured(analysis)]
    said = [] if _frames_compare(fidelity) else ["weak frames (fewer than 3 frames)"]
    for axis, what, period in _axes(analysis, fidelity.steps):
        if period > 1 and len(_borders(axis, len(fidelity.steps[axis].error), period)) < 2:
            needed = 3 * period + 1 if axis == "time" else 3 * period
            said.append(f"seams between latents in {what}s (they take at least {needed} {what}s)")
    return said + _unmeasured(analysis)


def _unmeasured(analysis: Analysis) -> list[str]:
    return [] if analysis.artefacts is None else list(analysis.artefacts.unmeasured)


def _frames_compare(fidelity: FidelityResult) -> bool:
    return len(fidelity.frame_psnr) >= 3 and fidelity.clips >= ENOUGH


def border_ratios(analysis: Analysis) -> dict[str, float | None]:
    """Along "time", "rows" and "columns" how far the steps between latents stand out; none of
    latents alone.
    """
    ratios: dict[str, float | None] = {}
    steps = {} if analysis.fidelity is None else analysis.fidelity.steps
    for axis, _, period in _axes(analysis, steps):
        relative = relative_errors(steps[axis])
        ratios[axis] = border_ratio(relative, _borders(axis, len(relative), period))
    return ratios


def relative_errors(steps: Steps) -> torch.Tensor:
    """Errors of steps (n - 1,), each over the activity of the clips there and on average."""
    activity = steps.activity + steps.activity.mean()
    return steps.error / activity.clamp(min=1e-12)


def border_ratio(relative: torch.Tensor, borders: Sequence[int]) -> float | None:
    """Median error at the borders over that elsewhere; None without two of either."""
    at = torch.zeros(len(relative), dtype=torch.bool)
    at[list(borders)] = True
    if at.sum() < 2 or (~at).sum() < 2:
        return None
    return float(relative[at].median() / relative[~at].median().clamp(min=1e-12))


def _borders(axis: str, count: int, period: int) -> list[int]:
    """Steps that cross from one latent to the next.

    In time the first frame stands alone, so that groups end on frames 1, 1 + n, 1 + 2n; the step
    from the first frame is left apart.
    """
    if period < 2:
        return []
    offset = 0 if axis == "time" else -1
    return [i for i in range(count) if i > 0 and (i - offset) % period == 0]


@dataclass(frozen=True)
class Advice:
    """What one of the two biases asks for."""

    bias: str
    verdict: str
    """"there", "partly there" or "missing"."""
    found: str
    """The figure, and the rule it was held against."""
    remedy: str
    """What brings the bias about, and what it costs; empty where the bias is there."""


def leading_share(analysis: Analysis) -> float:
    """Share of the variance in the first 10/48 of the principal channels, linear between them."""
    explained = torch.cat([torch.zeros(1, dtype=torch.float64), analysis.channels.explained])
    place = (len(explained) - 1) * 10 / 48
    low = int(place)
    part = place - low
    return float(
        explained[low] + part * (explained[min(low + 1, len(explained) - 1)] - explained[low])
    )


def advise(analysis: Analysis) -> list[Advice]:
    """The two biases that SSVAE (arXiv 2512.05394) finds easy to diffuse, and what to do."""
    f = analysis.frequency
    low, noise = 100 * f.low_share, 100 * f.low_share_of_noise
    correlation = analysis.local_correlation
    smooth = correlation >= LCR_THRESHOLD
    frequency = Advice(
        "Energy at low space-time frequencies",
        "there" if smooth else "missing",
        f"Local correlation is {correlation:.3f}; rule: at least {LCR_THRESHOLD}, where the "
        f"published LCR asks for no more. {low:.0f} % of the energy lies at low frequencies (white "
        f"noise would have {noise:.0f} %).",
        ""
        if smooth
        else f"Local correlation regularisation (LCR) raises it. {evidence('LCR')} Cost: about 2 % "
        "of a training step with ssvae.regularizers.balance; the decoder may need some steps more "
        "for the same reconstruction, and fine detail bears less noise.",
    )
    share, count = leading_share(analysis), len(analysis.channels.eigenvalues)
    baseline, best = TEN_OF_48["48-channel baseline"], TEN_OF_48["SSVAE"]
    verdict = "there" if share >= best else "partly there" if share >= baseline else "missing"
    channels = Advice(
        "Variance in few channel modes",
        verdict,
        f"The first 10/48 of the principal channels hold {100 * share:.1f} % of the variance; "
        f"rule: there from {100 * best:.1f} % (the paper's SSVAE), missing under "
        f"{100 * baseline:.0f} % (its baseline), both of 48 "
        f"channels{'' if count == 48 else f', so for {count} a guide alone'}.",
        ""
        if verdict == "there"
        else "Latent masked reconstruction (LMR) gathers it in the paper; in short runs of small "
        f"models it may not, so measure. {evidence('LMR')} Cost: no time (masked latents decode as "
        "others do); some reconstruction, for a share of the steps decodes masked latents.",
    )
    return [frequency, channels]


def _some(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")


def _ranges(numbers: Sequence[int]) -> str:
    """Rising numbers as "Frames 3, 5 to 7"."""
    runs: list[list[int]] = []
    for n in numbers:
        if runs and n == runs[-1][-1] + 1:
            runs[-1].append(n)
        else:
            runs.append([n])
    texts = [str(r[0]) if len(r) == 1 else f"{r[0]} to {r[-1]}" for r in runs]
    return ("Frame " if len(numbers) == 1 else "Frames ") + _listed(texts)


def _listed(items: Sequence[object]) -> str:
    text = ", ".join(map(str, items[:LISTED]))
    return text + (f" and {len(items) - LISTED} more" if len(items) > LISTED else "")

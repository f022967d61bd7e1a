"""What a VAE does to synthetic films whose right answer is known: grids, bands, flicker, ghosts,
bleeding.

Values are in levels of 255 unless they say otherwise. T frames, H rows, W columns.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ssvae.analysis.fidelity import ssim
from ssvae.analysis.subject import Subject
from ssvae.analysis.synthetic_films import (
    FLAT,
    GRADIENT,
    cut_at,
    dot_places,
    edge_places,
    synthetic_films,
)
from ssvae.data.pixels import as_seen, of_colours

SMALLEST_SSIM = 11  # pixels of its window
HALF_A_LEVEL = 1 / 255
LEVELS = 127.5  # of 255, for each unit of [-1, 1]


@dataclass(frozen=True)
class Artefact:
    """One measure on one film, and the rule by which it is called out."""

    film: str
    name: str
    value: float
    unit: str
    limit: float
    bad_above: bool
    """Whether it is called out above the limit, else below."""
    meaning: str
    """What it is, and what is seen where it is called out."""

    @property
    def called_out(self) -> bool:
        """Whether the rule finds fault."""
        return self.value > self.limit if self.bad_above else self.value < self.limit

    @property
    def rule(self) -> str:
        """The rule in words."""
        return f"{'over' if self.bad_above else 'under'} {self.limit:g} {self.unit}".rstrip()


@dataclass(frozen=True)
class Thumbnail:
    """A frame of a film and its reconstruction, (3, H, W) each, in [-1, 1]."""

    film: str
    original: torch.Tensor
    reconstruction: torch.Tensor


@dataclass(frozen=True)
class Artefacts:
    """All measures, and a frame of each film."""

    measures: tuple[Artefact, ...]
    thumbnails: tuple[Thumbnail, ...]
    unmeasured: tuple[str, ...]
    """What the size of the films does not allow to measure, and why."""

    def summary(self) -> list[dict[str, Any]]:
        """Every measure as plain numbers, for JSON."""
        return [
            {
                "film": each.film,
                "name": each.name,
                "value": each.value,
                "unit": each.unit,
                "called out": each.rule,
                "is called out": each.called_out,
            }
            for each in self.measures
        ]


@torch.no_grad()
def find_artefacts(vae: Subject, frames: int, height: int, width: int) -> Artefacts:
    """Pass synthetic films of this size, one by one, through a VAE, and measure what became of
    them.

    Reconstructions are from posterior means, cut to [-1, 1]. The size must suit the VAE. Where one
    is not finite, nothing is measured, and that is said.
    """
    films, reconstructions, period = {}, {}, 1
    for name, film in synthetic_films(frames, height, width).items():
        taken = of_colours(film[None], vae.channels)
        latents = vae.encode(vae.placed(taken))
        period = height // latents.shape[-2]
        films[name], reconstructions[name] = (
            as_seen(clips)[0].float().cpu() for clips in (taken, vae.decode(latents))
        )
    broken = [name for name, clip in reconstructions.items() if not torch.isfinite(clip).all()]
    reconstructions = {name: clip.clamp(-1, 1) for name, clip in reconstructions.items()}
    if broken:
        named = ", ".join(broken)
        return Artefacts((), (), (f"artefacts (NaN or infinity in what is made of: {named})",))
    return judged(films, reconstructions, period)


def judged(
    films: dict[str, torch.Tensor], reconstructions: dict[str, torch.Tensor], period: int
) -> Artefacts:
    """The measures of films and what was made of them; ``period`` is pixels a latent."""
    measures: list[Artefact] = []
    unmeasured: list[str] = []
    for measure in MEASURES:
        found = measure(films, reconstructions, period)
        (unmeasured if isinstance(found, str) else measures).append(found)  # type: ignore[arg-type]
    middles = {name: film.shape[1] // 2 for name, film in films.items()}
    thumbnails = [
        Thumbnail(name, films[name][:, t].clone(), reconstructions[name][:, t].clone())
        for name, t in middles.items()
    ]
    return Artefacts(tuple(measures), tuple(thumbnails), tuple(unmeasured))


Films = dict[str, torch.Tensor]
Measure = Callable[[Films, Films, int], Artefact | str]


def _colour_shift(films: Films, reconstructions: Films, period: int) -> Artefact:
    shifts = {
        name: float(_residue(films, reconstructions, f"flat: {name}").mean((1, 2, 3)).abs().max())
        for name in FLAT
    }
    worst = max(shifts, key=lambda name: shifts[name])
    return Artefact(
        "flat fields", "colour shift", shifts[worst], "levels", 2.0, True,
        f"the mean of a flat field's worst channel moves (most on {worst}): flat areas change "
        "colour",
    )  # fmt: skip


def _grid(films: Films, reconstructions: Films, period: int) -> Artefact | str:
    if period < 2:
        return "a grid in flat fields (a latent is a pixel)"
    values = []
    for name in FLAT:
        residue = _interior(_residue(films, reconstructions, f"flat: {name}").mean(1), period)
        _, H, W = residue.shape
        folded = residue.view(3, H // period, period, W // period, period).mean((1, 3))
        pattern = folded - folded.mean((1, 2), keepdim=True)
        values.append(float(pattern.square().mean().sqrt()))
    return Artefact(
        "flat fields", "grid", max(values), "levels", 0.5, True,
        f"what repeats every {period} pixels, the latents' period, in a flat field's error: a grid "
        "in skies and walls",
    )  # fmt: skip


def _banding(films: Films, reconstructions: Films, period: int) -> Artefact:
    profile = LEVELS * _inner_columns(reconstructions["gradient"], period).mean((0, 1, 2))
    W = films["gradient"].shape[-1]
    slope = LEVELS * (GRADIENT[1] - GRADIENT[0]) / (W - 1)
    return Artefact(
        "gradient", "banding", float((profile.diff() / slope - 1).square().mean().sqrt()),
        "of the slope", 0.5, True,
        "how far the steps from column to column are from even: slow gradients break into bands",
    )  # fmt: skip


def _flicker(films: Films, reconstructions: Films, period: int) -> Artefact:
    clip = LEVELS * reconstructions["still texture"]
    change = clip - clip.mean(1, keepdim=True)
    return Artefact(
        "still texture", "flicker", float(change.square().mean().sqrt()), "levels", 1.0, True,
        "what changes over time where nothing moves: foliage and cloth shimmer",
    )  # fmt: skip


def _ghosts(films: Films, reconstructions: Films, period: int) -> Artefact | str:
    residue = _residue(films, reconstructions, "moving edge")
    T, W = residue.shape[1], residue.shape[3]
    distance = torch.arange(W)[None] - edge_places(T, W)[:, None]
    error = residue.square().mean((0, 2))
    away = distance.abs()
    inside = (torch.arange(W) >= 4) & (torch.arange(W) < W - 4)
    far = (away >= 4 * period) & inside
    near = (away >= period) & (away < 3 * period) & inside
    if not far.any() or not near.any():
        return f"ghosts of a moving edge (they take a width of {6 * period + 7} pixels)"
    beyond = float(error[far].mean().sqrt())
    sides = {
        side: float(error[near & where].mean().sqrt()) - beyond
        for side, where in (("behind", distance < 0), ("before", distance > 0))
    }
    worst = max(sides, key=lambda side: sides[side])
    return Artefact(
        "moving edge", "ghosts", sides[worst], "levels", 3.0, True,
        f"the error one to three latents {worst} a moving edge, beyond that far from it: ghosts "
        "and ringing",
    )  # fmt: skip


def _bleeding(films: Films, reconstructions: Films, period: int) -> Artefact | str:
    clip, film = reconstructions["cut"], films["cut"]
    T = film.shape[1]
    if T < 3:
        return "bleeding at a cut (fewer than 3 frames)"
    scenes = torch.stack([film[:, 0].flatten(), film[:, -1].flatten()], 1)
    scenes = scenes - scenes.mean(0)
    frames = clip.transpose(0, 1).flatten(1).T
    # Both scenes at once, so that a blurred scene is not taken for some of the other.
    parts = torch.linalg.lstsq(scenes, frames - frames.mean(0)).solution
    own = (torch.arange(T) >= cut_at(T)).long()
    wrong = parts.gather(0, 1 - own[None])[0] / parts.sum(0).clamp(min=1e-6)
    return Artefact(
        "cut", "bleeding", float((wrong > 0.05).sum()), "frames", 0.0, True,
        "frames that hold over 5 % of the scene on the other side of a cut: cuts dissolve",
    )  # fmt: skip


def _kept_pixel(films: Films, reconstructions: Films, period: int) -> Artefact:
    clip = reconstructions["one bright pixel"]
    _, T, H, W = clip.shape
    kept = [float(clip[:, t, y, x].mean()) for t, (y, x) in enumerate(dot_places(T, H, W))]
    return Artefact(
        "one bright pixel", "kept brightness", sum(kept) / T, "of 1", 0.25, False,
        "how bright a single moving pixel stays: stars and sparks vanish",
    )  # fmt: skip


def _spread_pixel(films: Films, reconstructions: Films, period: int) -> Artefact | str:
    clip = reconstructions["one bright pixel"].mean(0)
    T, H, W = clip.shape
    rows, columns = torch.arange(H)[:, None], torch.arange(W)[None]
    light, count = torch.zeros(4 * period + 1), torch.zeros(4 * period + 1)
    for t, (y, x) in enumerate(dot_places(T, H, W)):
        ring = torch.maximum((rows - y).abs(), (columns - x).abs())
        near = ring <= 4 * period
        light += torch.bincount(ring[near], clip[t][near], minlength=4 * period + 1)
        count += torch.bincount(ring[near], minlength=4 * period + 1)
    light /= count.clamp(min=1)
    light -= light[-1].clone()  # what a whole field is too bright by
    if light.max() <= HALF_A_LEVEL:
        return "the spread of one bright pixel (nothing of it is left)"
    radius = int((light > light.max() / 2).nonzero().max())
    return Artefact(
        "one bright pixel", "spread", radius / period, "latents", 1.0, True,
        "how far from it its light falls to half of the brightest: points smear",
    )  # fmt: skip


def _text(films: Films, reconstructions: Films, period: int) -> Artefact | str:
    if min(films["text"].shape[-2:]) < SMALLEST_SSIM:
        return f"text (it takes sides of {SMALLEST_SSIM} pixels)"
    value = float(ssim(reconstructions["text"][None], films["text"][None])[0])
    return Artefact(
        "text", "SSIM", value, "", 0.8, False,
        "how alike still letters are: small print is not readable",
    )  # fmt: skip


def _black(films: Films, reconstructions: Films, period: int) -> Artefact:
    lifted = (LEVELS * (reconstructions["black"] + 1)).mean((0, 2, 3)).max()
    return Artefact(
        "black", "lift", float(lifted), "levels", 2.0, True,
        "the mean of the brightest of black frames: fades do not end in black",
    )  # fmt: skip


def _noise(films: Films, reconstructions: Films, period: int) -> Artefact:
    noise = films["noise"]
    gain = (reconstructions["noise"] * noise).sum() / noise.square().sum()
    return Artefact(
        "noise", "kept", float(gain), "of 1", 1.1, True,
        "the share of white noise that comes through: over 1.1 grain grows",
    )  # fmt: skip


MEASURES: tuple[Measure, ...] = (
    *(_colour_shift, _grid, _banding, _flicker, _ghosts, _bleeding),
    *(_kept_pixel, _spread_pixel, _text, _black, _noise),
)


def _residue(films: Films, reconstructions: Films, name: str) -> torch.Tensor:
    """What a reconstruction has too much, (3, T, H, W) in levels."""
    return LEVELS * (reconstructions[name] - films[name])


def _interior(x: torch.Tensor, period: int) -> torch.Tensor:
    """Whole periods of (..., H, W), without what lies two of them from the border where there is
    more.
    """
    sides = []
    for length in x.shape[-2:]:
        margin = 2 * period if length >= 6 * period else 0
        sides.append(slice(margin, length - margin - (length - 2 * margin) % period))
    return x[..., sides[0], sides[1]]


def _inner_columns(x: torch.Tensor, period: int) -> torch.Tensor:
    """(..., W) without two latents at both sides."""
    margin = 2 * period if x.shape[-1] >= 6 * period else 1
    return x[..., margin:-margin]

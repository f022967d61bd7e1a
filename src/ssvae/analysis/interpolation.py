"""What the decoder makes of latents between latents: nearer to what a diffusion model draws than
reconstructions are.

Shape legend: N clips, C channels, T frames, H height, W width of the latents.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from ssvae.statistics.intervals import Interval, frechet_interval, kernel_interval

FEWEST_FRAMES = 3
Decode = Callable[[torch.Tensor], torch.Tensor]


class Features(Protocol):
    """A network: clips (B, 3, T, H, W) in [-1, 1] to features (B, D); ``evaluation`` has some."""

    @property
    def described(self) -> str:
        """What it is, how clips are fed, and its checksum."""
        ...

    def __call__(self, clips: torch.Tensor) -> torch.Tensor:
        """Features (B, D)."""
        ...


def between_in_time(latents_NCTHW: torch.Tensor, lone_first_frame: bool) -> torch.Tensor:
    """Latents with each inner frame replaced by the mean of its two neighbours, all at once
    (after V-RAE, arXiv 2608.13556, whose latents stand for four frames each).

    Where the first frame stands for one frame of video it is no neighbour, as long as another
    frame is left to replace.

    Raises:
        ValueError: for fewer than three frames.
    """
    frames = latents_NCTHW.shape[2]
    if frames < FEWEST_FRAMES:
        raise ValueError(
            f"a frame between two takes latents of at least {FEWEST_FRAMES} frames, got {frames}: "
            "use longer clips"
        )
    first = 2 if lone_first_frame and frames > FEWEST_FRAMES else 1
    inner = (latents_NCTHW[:, :, first - 1 : -2] + latents_NCTHW[:, :, first + 1 :]) / 2
    return torch.cat([latents_NCTHW[:, :, :first], inner, latents_NCTHW[:, :, -1:]], 2)


def half_way_to_nearest(latents_NCTHW: torch.Tensor) -> torch.Tensor:
    """Each clip's latents half way to those of the clip nearest by cosine, on the arc between them
    (iFID, arXiv 2603.05630).

    Raises:
        ValueError: for fewer than two clips.
    """
    if len(latents_NCTHW) < 2:
        raise ValueError(f"a nearest neighbour takes at least two clips, got {len(latents_NCTHW)}")
    rows = latents_NCTHW.flatten(1).double()
    unit = rows / rows.norm(dim=1, keepdim=True)
    cosine = (unit @ unit.T).fill_diagonal_(-torch.inf)
    angle_cosine, nearest = cosine.max(1)
    # sin(a/2) / sin(a) = 1 / (2 cos(a/2)), and cos(a/2)² = (1 + cos a) / 2.
    weight = 1 / (2 * ((1 + angle_cosine.clamp(min=-1 + 1e-6)) / 2).sqrt())
    return ((rows + rows[nearest]) * weight[:, None]).view_as(latents_NCTHW).to(latents_NCTHW)


@dataclass(frozen=True)
class Distances:
    """From true clips, in a network's features."""

    frechet: Interval
    kernel: Interval

    @classmethod
    def between(cls, decoded_ND: torch.Tensor, true_ND: torch.Tensor) -> "Distances":
        """Of clips and what was decoded for each."""
        return cls(
            frechet_interval(true_ND, decoded_ND, paired=True),
            kernel_interval(true_ND, decoded_ND, paired=True),
        )


@dataclass(frozen=True)
class Interpolations:
    """How far what is decoded between latents lies from true clips, in a network's features."""

    network: str
    """Whose features they are."""
    in_time: Distances | None
    """Each inner frame of latents between its neighbours (tFVD); None where there are too few."""
    of_neighbours: Distances
    """Half way to the nearest other clip (iFID)."""


class Interpolation:
    """Accumulate features of clips, and of what is decoded between their frames of latents."""

    def __init__(self) -> None:
        self.network = ""
        self._rows: dict[int, tuple[torch.Tensor, torch.Tensor | None]] = {}

    def update(
        self,
        features: Features,
        decode: Decode,
        latents: torch.Tensor,
        clips: torch.Tensor,
        keys: Sequence[int],
        lone_first_frame: bool,
    ) -> "Interpolation":
        """Add clips (B, 3, T, H, W) and their latents, a key each."""
        self.network = features.described
        true, between = features(clips), None
        if latents.shape[2] >= FEWEST_FRAMES:
            between = features(decode(between_in_time(latents, lone_first_frame)))
        for i, key in enumerate(keys):
            self._rows[key] = true[i], None if between is None else between[i]
        return self

    def merge(self, other: "Interpolation") -> "Interpolation":
        """Add all that another of the same network has seen."""
        self._rows |= other._rows
        self.network = self.network or other.network
        return self

    def result(
        self, features: Features, decode: Decode, latents: torch.Tensor, keys: Sequence[int]
    ) -> Interpolations:
        """Over all clips, and for neighbours over those of these latents and keys.

        Raises:
            ValueError: for fewer than two clips.
        """
        ordered = [self._rows[key] for key in sorted(self._rows)]
        between = [row for _, row in ordered if row is not None]
        in_time = None
        if between:
            true = torch.stack([row for row, _ in ordered])
            in_time = Distances.between(torch.stack(between), true)
        halves = half_way_to_nearest(latents).split(4)
        decoded = torch.cat([features(decode(half)) for half in halves])
        true = torch.stack([self._rows[key][0] for key in keys])
        return Interpolations(self.network, in_time, Distances.between(decoded, true))

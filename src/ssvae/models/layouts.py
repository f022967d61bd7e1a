"""The shape of a VAE's latents: channels, pixels and frames a latent, and which clips fit."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from math import lcm

FARTHEST = 1024
"""Frames beyond the asked for, among which a length that suits several VAEs is looked for."""


@dataclass(frozen=True)
class Lengths:
    """The numbers of frames that a VAE takes: ``period`` n + ``rest``, for n of ``least`` on."""

    period: int
    rest: int
    latents: int = 1
    """Latent frames of a period."""
    rest_latents: int = 1
    """Latent frames of the rest."""
    least: int = 0

    def __str__(self) -> str:
        rule = f"{self.period}n" if self.period > 1 else "n"
        rule += f" + {self.rest}" if self.rest else ""
        return f"{rule} (n from {self.least})" if self.least > 1 - bool(self.rest) else rule

    def fits(self, frames: int) -> bool:
        """Whether clips of this many frames fit."""
        n, left = divmod(frames - self.rest, self.period)
        return left == 0 and n >= self.least

    def latent_frames(self, frames: int) -> int:
        """Latent frames of a clip that fits."""
        return (frames - self.rest) // self.period * self.latents + self.rest_latents

    @property
    def lone_first_frame(self) -> bool:
        """Whether the first latent frame stands for one frame of video, the others for several."""
        return bool(self.rest) and self.period > 1


def causal(factor: int) -> Lengths:
    """Of a VAE whose first latent frame is the first frame's alone: ``factor`` n + 1 frames."""
    return Lengths(factor, 1)


def uniform(factor: int) -> Lengths:
    """Of a VAE whose latent frames are of ``factor`` frames each, the first as all others."""
    return Lengths(factor, 0, rest_latents=0, least=1)


@dataclass(frozen=True)
class Layout:
    """What differs between VAEs, read from a model's config or measured."""

    channels: int
    """Latent channels."""
    time_factor: int
    """Frames a latent frame, but for the first."""
    space_factor: int
    """Pixels for a latent, in height and in width."""
    mean: tuple[float, ...]
    """Mean of each latent channel that the config names; zeros where it names none."""
    std: tuple[float, ...]
    """Standard deviation of each latent channel, or 1 / scaling_factor for all."""
    lengths: Lengths | None = None
    """Of clips; ``time_factor`` n + 1 where None."""
    of_images: bool = False
    """Whether it encodes images, and so each frame of a clip for itself."""
    has_variance: bool = True
    """Whether the posterior has one, beside its mean."""
    in_channels: int = 3
    """Of clips that it encodes: see :mod:`ssvae.data.pixels`."""
    out_channels: int = 3
    """Of clips that it decodes."""

    @property
    def clip_lengths(self) -> Lengths:
        """The numbers of frames that it takes."""
        return self.lengths or (uniform(1) if self.of_images else causal(self.time_factor))

    def fits(self, frames: int, height: int, width: int) -> bool:
        """Whether clips of this size fit."""
        sides = min(height, width) > 0 and not (
            height % self.space_factor or width % self.space_factor
        )
        return sides and self.clip_lengths.fits(frames)

    def __str__(self) -> str:
        return f"{self.clip_lengths} frames with sides that are multiples of {self.space_factor}"


def common_side(layouts: Iterable[Layout]) -> int:
    """Pixels that the sides of clips must be multiples of to suit all of these."""
    return lcm(*(layout.space_factor for layout in layouts))


def common_length(layouts: Iterable[Layout], frames: int) -> int:
    """The largest number of frames up to this one that suits all of these, or else the next.

    A ValueError where none does.
    """
    rules = [layout.clip_lengths for layout in layouts]
    for n in chain(range(frames, 0, -1), range(frames + 1, frames + FARTHEST)):
        if all(rule.fits(n) for rule in rules):
            return n
    named = " and ".join(dict.fromkeys(map(str, rules)))
    raise ValueError(
        f"no clip has a number of frames that suits all of these models, which take {named}: take "
        "those of one kind at a time"
    )


def common_channels(layouts: Iterable[Layout]) -> int:
    """Channels of the clips that all of these take and make; a ValueError where they differ."""
    (first, *others) = {n for layout in layouts for n in (layout.in_channels, layout.out_channels)}
    if others:
        counts = " and ".join(map(str, sorted([first, *others])))
        raise ValueError(
            f"what goes in and comes out has {counts} channels, which cannot be compared: "
            "in_channels and out_channels must be equal, and those of all models"
        )
    return first

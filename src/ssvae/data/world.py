"""The procedural world: one captioned shape that moves over waves.

A clip is a pure function of (seed, index). All that a caption says, and every parameter of the
scene, is drawn in integer arithmetic, so it is the same on every device; pixels agree to 1e-5.
A scene is continuous in space and time and a clip samples it, so that frames, height and width
may be anything. Lengths are in units of the shorter side, times in units of the clip.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ssvae.data.batch import Batch, in_turn
from ssvae.data.pixels import check_channels, of_colours
from ssvae.data.vocabulary import Vocabulary
from ssvae.storage.seeds import uniform
from ssvae.transfer import constant, moved

SHAPES = ("disc", "square", "triangle", "cross")
COLOURS = {
    "red": (0.90, 0.12, 0.12),
    "green": (0.15, 0.75, 0.20),
    "blue": (0.15, 0.25, 0.95),
    "yellow": (0.95, 0.88, 0.12),
    "purple": (0.65, 0.15, 0.85),
    "white": (0.97, 0.97, 0.97),
}
DIRECTIONS = (
    "right",
    "down and right",
    "down",
    "down and left",
    "left",
    "up and left",
    "up",
    "up and right",
)
TEXTURES = {  # cycles over the shorter side
    "broad": (0.4, 0.8),
    "coarse": (1.2, 2.0),
    "medium": (2.7, 3.8),
    "fine": (5.0, 7.0),
}
WAVES = 6
DETAIL_WAVES = 16  # in each octave
DETAIL_LOWEST = 8.0  # cycles over the shorter side, above all textures
DETAIL_OCTAVES = 5
DETAIL_HIGHEST = 0.8  # of a clip's Nyquist frequency
DETAIL = 0.045  # deviation of the lowest octave in "detailed-world"
DETAIL_FALL = 0.7  # of the deviation, from an octave to the next: as steep as film
DETAIL_DRIFT = 0.05  # of the shorter side over the clip, at most, down and across
VOCABULARY = Vocabulary(
    source="the procedural world",
    kinds=dict(shape=SHAPES, colour=tuple(COLOURS), direction=DIRECTIONS, texture=tuple(TEXTURES)),
    sentence="a {colour} {shape} moving {direction} over {texture} waves",
    coarse=("colour", "direction"),
    fine=("shape", "texture"),
)


@dataclass(frozen=True)
class Attributes:
    """What the captions name: numbers of the vocabulary's values, each (B,)."""

    shape: torch.Tensor
    colour: torch.Tensor
    direction: torch.Tensor
    texture: torch.Tensor

    def captions(self) -> list[str]:
        """Such as "a red disc moving left over coarse waves"."""
        return VOCABULARY.write(vars(self))


class World:
    """A source of procedural clips; see :mod:`ssvae.data.world`.

    Args:
        frames: of a clip, at least 1.
        height: of a clip, at least 8.
        width: the same.
        seed: another seed, another world.
        device: where clips are rendered and returned.
        channels: 3, 1 for grey, or 4 for the shape alone, with alpha: see :mod:`ssvae.data.pixels`.
        detail: deviation, in [0, 1] as pixels, of fine waves behind the shape between 8 and 16
            cycles a side. Each octave above has .7 of it, as far as the clip's pixels can show, so
            that a larger clip holds more. Captions do not name it. 0 has none.
    """

    read_ahead = False  # rendering takes some 3 % of a training step

    def __init__(
        self,
        frames: int = 9,
        height: int = 32,
        width: int = 32,
        seed: int = 0,
        device: torch.device | str = "cpu",
        channels: int = 3,
        detail: float = 0.0,
    ):
        check_channels(channels)
        if not 0 <= detail <= 1:
            raise ValueError(f"detail must be in [0, 1], got {detail}")
        if frames < 1 or min(height, width) < 8:
            raise ValueError(
                "a clip of the world needs at least 1 frame and sides of at least 8 pixels, "
                f"got {frames} frames of {height}x{width}"
            )
        self.frames, self.height, self.width = frames, height, width
        self.seed, self.device, self.channels = seed, torch.device(device), channels
        self.detail = detail

    def attributes(self, indices: Sequence[int]) -> Attributes:
        """What the captions of these clips name."""
        u = uniform(self.seed, indices, 4)
        kinds = len(SHAPES), len(COLOURS), len(DIRECTIONS), len(TEXTURES)
        drawn = [torch.from_numpy((u[:, i] * n).astype(np.int64)) for i, n in enumerate(kinds)]
        return Attributes(*drawn)

    def indices(self, number: int, size: int, process: int, processes: int) -> Sequence[int]:
        """Processes take turns."""
        return in_turn(number, size, process, processes)

    def batch(self, indices: Sequence[int]) -> Batch:
        """Render the clips of these indices."""
        attributes = self.attributes(indices)
        # The first four draws are the attributes; the scene takes those behind them.
        u = uniform(self.seed, indices, 4 + 12 + 4 * WAVES)[:, 4:]
        draws = moved(torch.from_numpy(u).float(), self.device)
        subject, waves = draws[:, :12], draws[:, 12:].unflatten(1, (4, WAVES))
        on_device = Attributes(
            *(moved(getattr(attributes, f), self.device) for f in vars(attributes))
        )
        painted, cover = self._subject(on_device, subject[:, 6:])
        if self.channels == 4:
            video = torch.cat([cover * painted, cover], 1)
        else:
            background = self._background(on_device, subject[:, :6], waves)
            if self.detail:
                background = (background + self._fine_detail(indices)[:, None]).clamp(0, 1)
            video = of_colours(background + cover * (painted - background), self.channels)
        names = [f"clip {i} of world {self.seed}" for i in indices]
        return Batch(video * 2 - 1, attributes.captions(), names)

    def _axes(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Times in [-1/2, 1/2] and pixel centres y and x, the frame's centre at 0."""
        side = min(self.height, self.width)
        last = max(self.frames - 1, 1)
        t = (torch.arange(self.frames, device=self.device) - (self.frames - 1) / 2) / last
        y = (torch.arange(self.height, device=self.device) + 0.5 - self.height / 2) / side
        x = (torch.arange(self.width, device=self.device) + 0.5 - self.width / 2) / side
        return t, y, x

    def _background(
        self, attributes: Attributes, colour: torch.Tensor, waves: torch.Tensor
    ) -> torch.Tensor:
        """Moving sine waves around a random colour: (B, 3, T, H, W) in [0, 1]."""
        t, y, x = self._axes()
        bands = constant(list(TEXTURES.values()), self.device)[attributes.texture]
        low, high = bands[:, :1], bands[:, 1:]
        frequency = 2 * math.pi * (low + (high - low) * waves[:, 0])
        angle, phase = 2 * math.pi * waves[:, 1], 2 * math.pi * waves[:, 2]
        drifted = 2 * math.pi * (waves[:, 3] * 2 - 1)  # up to a cycle over the clip, either way
        height = _sum_of_waves(frequency, angle, phase, drifted, (t, y, x)) / math.sqrt(WAVES)
        base, depth = 0.3 + 0.4 * colour[:, :3], 0.05 + 0.08 * colour[:, 3:]
        video = base[..., None, None, None] + depth[..., None, None, None] * height[:, None]
        return video.clamp(0, 1)

    def _fine_detail(self, indices: Sequence[int]) -> torch.Tensor:
        """Waves above the textures that drift together: (B, T, H, W), of mean 0.

        A scene is the same at every size: a clip leaves out what its pixels cannot show.
        """
        per_octave = 3 * DETAIL_WAVES
        first = 4 + 12 + 4 * WAVES  # draws that the rest of the scene takes
        u = uniform(self.seed, indices, first + 2 + DETAIL_OCTAVES * per_octave)[:, first:]
        draws = moved(torch.from_numpy(u).float(), self.device)
        drift = DETAIL_DRIFT * (draws[:, :2, None] * 2 - 1)  # (B, 2, 1)
        octave = torch.arange(DETAIL_OCTAVES, device=self.device).repeat_interleave(DETAIL_WAVES)
        position, angle, phase = draws[:, 2:].unflatten(1, (3, -1)).unbind(1)  # (B, waves) each
        cycles = DETAIL_LOWEST * 2 ** (octave + position)
        frequency, angle = 2 * math.pi * cycles, 2 * math.pi * angle
        drifted = frequency * (angle.sin() * drift[:, 0] + angle.cos() * drift[:, 1])
        shown = cycles <= DETAIL_HIGHEST * min(self.height, self.width) / 2
        amplitude = self.detail * math.sqrt(2 / DETAIL_WAVES) * DETAIL_FALL**octave * shown
        waves = frequency, angle, 2 * math.pi * phase, drifted
        return _sum_of_waves(*waves, self._axes(), amplitude)

    def _subject(
        self, attributes: Attributes, u: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The shape's colours (B, 3, T, H, W), with a faint stripe and a slow spin, and how far it
        covers what is behind it (B, 1, T, H, W), with soft edges.
        """
        t, y, x = self._axes()
        u = u[..., None]  # against time
        heading = attributes.direction[:, None] * (math.pi / 4)
        travel = (0.25 + 0.25 * u[:, 0]) * t  # 1 to 2 pixels a frame at 9 frames of 32 pixels
        centre_x = 0.2 * (u[:, 1] - 0.5) + travel * heading.cos()
        centre_y = 0.2 * (u[:, 2] - 0.5) + travel * heading.sin()
        radius = (0.24 + 0.05 * u[:, 3])[..., None, None]
        spin = 0.6 * (u[:, 4] - 0.5) + 0.6 * (u[:, 5] - 0.5) * t  # (B, T), a tilt
        dx = (x - centre_x[..., None])[:, :, None, :]
        dy = (y - centre_y[..., None])[:, :, :, None]
        cos, sin = spin.cos()[..., None, None], spin.sin()[..., None, None]
        px, py = cos * dx + sin * dy, cos * dy - sin * dx  # (B, T, H, W), turned with the shape

        ax, ay = px.abs(), py.abs()
        arm = 0.36 * radius
        distance = torch.stack(
            [
                (px.square() + py.square()).sqrt() - 0.9 * radius,
                torch.maximum(ax, ay) - 0.8 * radius,
                torch.maximum(0.866 * ax + 0.5 * py, -py) - 0.6 * radius,
                torch.minimum(
                    torch.maximum(ax - radius, ay - arm), torch.maximum(ax - arm, ay - radius)
                ),
            ],
            1,
        )
        kind = attributes.shape.view(-1, 1, 1, 1, 1).expand(-1, 1, *distance.shape[2:])
        cover = (0.5 - distance.gather(1, kind) * 32).clamp(0, 1)  # an edge of 1/32 of the side
        stripe = 1 - 0.1 * (2 * math.pi * px / radius).sin().square()
        colours = constant(list(COLOURS.values()), self.device)[attributes.colour]
        painted = colours[:, :, None, None, None] * stripe[:, None]
        return painted, cover


def _sum_of_waves(
    frequency: torch.Tensor,
    angle: torch.Tensor,
    phase: torch.Tensor,
    drifted: torch.Tensor,
    axes: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    amplitude: torch.Tensor | None = None,
) -> torch.Tensor:
    """The sum of sines (B, T, H, W), each (B, waves) in radians over the side and over the clip."""
    t, y, x = axes
    # sin(a + b) = sin a cos b + cos a sin b parts rows from columns: one small matrix product.
    a = (frequency * angle.cos())[..., None] * x + phase[..., None]  # (B, waves, W)
    a = a[:, :, None] + drifted[..., None, None] * t[:, None]  # (B, waves, T, W)
    b = (frequency * angle.sin())[..., None] * y  # (B, waves, H)
    columns = torch.cat([a.sin(), a.cos()], 1).transpose(1, 2)  # (B, T, 2 waves, W)
    rows = torch.cat([b.cos(), b.sin()], 1).transpose(1, 2)[:, None]  # (B, 1, H, 2 waves)
    if amplitude is not None:
        rows = rows * torch.cat([amplitude, amplitude], 1)[:, None, None]
    return rows @ columns

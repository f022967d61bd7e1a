"""Synthetic films whose right answer is known: each shows one kind of mistake that a VAE can make.

All are (3, T, H, W) in [-1, 1] and the same in every run.
"""

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

FLAT = {
    "grey": (0.0, 0.0, 0.0),
    "skin": (0.7, 0.3, 0.1),
    "night blue": (-0.8, -0.7, -0.3),
    "leaf green": (-0.4, 0.3, -0.5),
}
GRADIENT = (-0.5, 0.5)  # from the left to the right side
EDGE = (0.6, -0.6)  # what lies behind and before the moving edge


def synthetic_films(frames: int, height: int, width: int) -> dict[str, torch.Tensor]:
    """All films by their names."""
    still = (1, frames, 1, 1)
    films = {
        f"flat: {name}": torch.tensor(colour).view(3, 1, 1, 1).expand(3, frames, height, width)
        for name, colour in FLAT.items()
    }
    films["gradient"] = torch.linspace(*GRADIENT, width).expand(3, frames, height, width)
    one, other = texture(height, width, 0), texture(height, width, 1)
    films["still texture"] = one[:, None].repeat(still)
    places = edge_places(frames, width)
    behind = torch.arange(width)[None] < places[:, None]
    films["moving edge"] = torch.where(behind, *EDGE)[:, None].expand(3, frames, height, width)
    cut = cut_at(frames)
    films["cut"] = torch.stack([one] * cut + [other] * (frames - cut), 1)
    dot = torch.zeros(3, frames, height, width)
    for t, (row, column) in enumerate(dot_places(frames, height, width)):
        dot[:, t, row, column] = 1.0
    films["one bright pixel"] = dot
    films["text"] = _text(height, width)[:, None].repeat(still)
    films["black"] = -torch.ones(3, frames, height, width)
    generator = torch.Generator().manual_seed(2)
    noise = torch.rand(3, frames, height, width, generator=generator) * 2 - 1
    films["noise"] = noise
    return {name: film.contiguous() for name, film in films.items()}


def edge_places(frames: int, width: int) -> torch.Tensor:
    """The first column before the moving edge, in each frame: from a third to two thirds."""
    return torch.linspace(width / 3, 2 * width / 3, frames).round()


def cut_at(frames: int) -> int:
    """The first frame behind the cut."""
    return frames // 2


def dot_places(frames: int, height: int, width: int) -> list[tuple[int, int]]:
    """Row and column of the bright pixel: a column further each frame, to and fro about the
    middle.
    """
    reach = max(1, min(frames, width // 2) // 2)
    swing = [*range(-reach, reach), *range(reach, -reach, -1)]
    return [(height // 2, width // 2 + swing[t % len(swing)]) for t in range(frames)]


def texture(height: int, width: int, seed: int) -> torch.Tensor:
    """A picture (3, H, W) with the falling spectrum of natural ones, its channels alike but not
    equal.
    """
    generator = torch.Generator().manual_seed(seed)
    white = torch.randn(4, height, width, generator=generator)
    rows, columns = torch.fft.fftfreq(height), torch.fft.rfftfreq(width)
    frequency = (rows[:, None].square() + columns.square()).sqrt()
    shaped = torch.fft.irfft2(torch.fft.rfft2(white) / (frequency + 0.02), s=(height, width))
    shaped = shaped / shaped.std((1, 2), keepdim=True)
    return (0.3 * (0.9 * shaped[:1] + 0.45 * shaped[1:])).clamp(-1, 1)


def _text(height: int, width: int) -> torch.Tensor:
    image = Image.new("RGB", (width, height), "white")
    draw, size = ImageDraw.Draw(image), max(8, min(height, width) // 12)
    font = ImageFont.load_default(size)
    words = ("Quick brown foxes", "0123456789 ; : ? !", "WAVES & edges", "il1I| oO0 rnm")
    for i in range(-(-height // (size + 4))):
        draw.text((4, 2 + i * (size + 4)), words[i % len(words)], "black", font)
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float() / 127.5 - 1

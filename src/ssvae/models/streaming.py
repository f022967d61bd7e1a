"""Clips piece by piece and tile by tile: how a coder meets what is too long or too large for it.

Shape legend: B batch, C channels, T frames, H height, W width of what goes in, clips or latents.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, pairwise

import torch

from ssvae.models.blocks import Cache, join

Coder = Callable[[torch.Tensor, Cache], tuple[torch.Tensor, Cache]]
Run = Callable[[Hashable, torch.Tensor], torch.Tensor]


def peek(
    chunks: Iterable[torch.Tensor], check: Callable[[torch.Tensor], None]
) -> tuple[torch.Tensor, Iterator[torch.Tensor]]:
    """The first chunk, and all of them, each checked and of the size of the first."""
    iterator = iter(chunks)
    first = next(iterator, None)
    if first is None:
        raise ValueError("a stream must hold at least one chunk, got none")

    def checked() -> Iterator[torch.Tensor]:
        for chunk in chain([first], iterator):
            check(chunk)
            if chunk.shape[:2] + chunk.shape[3:] != first.shape[:2] + first.shape[3:]:
                raise ValueError(
                    "all chunks of a stream must have the size of the first but for their length, "
                    f"{tuple(first.shape)}, got {tuple(chunk.shape)}"
                )
            if chunk.dtype != first.dtype:
                raise ValueError(
                    "all chunks of a stream must have the number format of the first, "
                    f"{first.dtype}, got {chunk.dtype}: convert them before"
                )
            yield chunk

    check(first)
    return first, checked()


def recut(chunks: Iterable[torch.Tensor], unit: int, most: int) -> Iterator[torch.Tensor]:
    """Chunks (B, C, T, H, W) cut anywhere to pieces: one frame, then multiples of ``unit`` frames.

    Pieces hold at most ``most`` frames, a multiple of ``unit``, and come as soon as there is one;
    fewer frames than a unit are left for the end.
    """
    begun, pending = False, None
    for chunk in chunks:
        frames = chunk if pending is None else torch.cat([pending, chunk], 2)
        while frames.shape[2] >= (unit if begun else 1):
            length = min(frames.shape[2] // unit * unit, most) if begun else 1
            yield frames[:, :, :length]
            begun, frames = True, frames[:, :, length:]
        pending = frames if frames.shape[2] else None
    if pending is not None:
        yield pending


class Stream:
    """A coder on its way through a clip, from piece to piece; its caches, one for each part.

    Args:
        coder: maps a piece and a cache to an output and the next cache.
        parts: what each piece is divided into.
    """

    def __init__(self, coder: Coder, parts: "Parts"):
        self._coder, self._parts = coder, parts
        self._caches: dict[Hashable, Cache] = {}

    def __call__(self, piece: torch.Tensor) -> torch.Tensor:
        """The next piece of the clip to the next piece of the output."""
        return self._parts.each(piece, self._step)

    def _step(self, part: Hashable, piece: torch.Tensor) -> torch.Tensor:
        y, self._caches[part] = self._coder(piece, self._caches.pop(part, ()))
        return y


def in_pieces(
    coder: Coder, x_BCTHW: torch.Tensor, unit: int, most: int, frames_out: int
) -> torch.Tensor:
    """The output of a whole clip, computed piece by piece; it has ``frames_out`` frames."""

    def outputs() -> Iterator[torch.Tensor]:
        cache: Cache = ()
        for piece in recut([x_BCTHW], unit, most):
            y, cache = coder(piece, cache)
            yield y

    return join(outputs(), 2, lambda _: frames_out)


@dataclass(frozen=True)
class Tiling:
    """Overlapping tiles of a frame: sides and steps, (height, width) in latents."""

    tile: tuple[int, int]
    stride: tuple[int, int]


@dataclass(frozen=True)
class Parts:
    """What a piece is divided into: samples where ``slicing``, and tiles; outputs are joined.

    Args:
        slicing: take sample by sample.
        tiling: tiles of frames, or None.
        scale_in: positions of the input for each of a latent's, on a side.
        scale_out: positions of the output, likewise.
    """

    slicing: bool
    tiling: Tiling | None
    scale_in: int
    scale_out: int

    def each(self, x: torch.Tensor, run: Run) -> torch.Tensor:
        """``run(part, x of this part)`` for each part, joined; tiles are blended."""
        samples = x.split(1) if self.slicing else (x,)
        outputs = [self._tiles(i, sample, run) for i, sample in enumerate(samples)]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

    def _tiles(self, sample: int, x: torch.Tensor, run: Run) -> torch.Tensor:
        height, width = (n // self.scale_in for n in x.shape[3:])
        if self.tiling is None:
            return run(sample, x)
        rows, columns = (
            spans(length, *size)
            for length, *size in zip(
                (height, width), self.tiling.tile, self.tiling.stride, strict=True
            )
        )
        if len(rows) == len(columns) == 1:
            return run(sample, x)
        out = None
        down, across = (blend_weights(s, self.scale_out, x) for s in (rows, columns))
        for row, a in zip(rows, down, strict=True):
            for column, b in zip(columns, across, strict=True):
                y = run(
                    (sample, row, column),
                    x[..., _at(row, self.scale_in), _at(column, self.scale_in)],
                )
                if out is None:
                    out = y.new_zeros(*y.shape[:3], height * self.scale_out, width * self.scale_out)
                where = _at(row, self.scale_out), _at(column, self.scale_out)
                out[:, :, :, where[0], where[1]] += y * (a[:, None] * b).to(y.dtype)
        assert out is not None
        return out


Span = tuple[int, int]


def _at(span: Span, scale: int) -> slice:
    return slice(span[0] * scale, span[1] * scale)


def spans(length: int, tile: int, stride: int) -> list[Span]:
    """Cover an axis with tiles of one size, evenly, no farther apart than the stride."""
    if length <= tile:
        return [(0, length)]
    steps = -(-(length - tile) // stride)
    starts = [round(Fraction(i * (length - tile), steps)) for i in range(steps + 1)]
    return [(start, start + tile) for start in starts]


def blend_weights(axis: list[Span], scale: int, like: torch.Tensor) -> list[torch.Tensor]:
    """The weight of each tile along an axis, ``scale`` positions a latent; they sum to one.

    Where two tiles overlap they change over as half a cosine, so that what a tile's edge does not
    know of its surroundings hardly counts.
    """
    total = torch.zeros(axis[-1][1] * scale, device=like.device)
    weights = [torch.ones((stop - start) * scale, device=like.device) for start, stop in axis]
    for (left, right), (a, b) in zip(pairwise(axis), pairwise(weights), strict=True):
        shared = (left[1] - right[0]) * scale
        phase = (torch.arange(shared, device=like.device) + 0.5) / shared
        rise = (1 - (torch.pi * phase).cos()) / 2
        b[:shared] *= rise
        a[-shared:] *= rise.flip(0)
    for span, weight in zip(axis, weights, strict=True):
        total[_at(span, scale)] += weight
    return [w / total[_at(span, scale)] for span, w in zip(axis, weights, strict=True)]

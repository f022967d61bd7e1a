"""Fidelity: how near reconstructions come to their clips, frame by frame, and where they break.

Shape legend: B clips, T frames, H height, W width of the clips.
"""

from dataclasses import dataclass

import torch

from ssvae.data.pixels import as_seen
from ssvae.losses.perceptual import LPIPS, of_frames

SMALLEST = {"ssim": 11, "lpips": 16}  # sides that the measures need, in pixels
CEILING = 1e-10  # the least squared error that counts: a PSNR of 100 dB
AXES = {"time": 2, "rows": 3, "columns": 4}


def _unit(clips: torch.Tensor) -> torch.Tensor:
    """What is seen of clips (B, C, T, H, W) as :func:`as_seen` gives it, in [0, 1]: (k B, 3, T, H,
    W).
    """
    return (as_seen(clips.float().clamp(-1, 1)).clamp(-1, 1) + 1) / 2


def _by_clip(seen: torch.Tensor, clips: torch.Tensor) -> torch.Tensor:
    """Values of all that is seen (k B, ...) as a mean for each clip: (B, ...)."""
    return seen.unflatten(0, (len(clips), -1)).mean(1)


def in_double(x: torch.Tensor) -> torch.Tensor:
    """In float64, on the CPU where the device has none (Apple's)."""
    return (x.cpu() if x.device.type == "mps" else x).double()


def _decibels(squares: torch.Tensor) -> torch.Tensor:
    return -10 * squares.clamp(min=CEILING).log10()


def _squared_error(reconstruction: torch.Tensor, clips: torch.Tensor) -> torch.Tensor:
    """Mean squared error of each frame over [0, 1], in float64: (B, T)."""
    squares = in_double((_unit(reconstruction) - _unit(clips)).square())
    return _by_clip(squares.mean((1, 3, 4)), clips)


def psnr(reconstruction: torch.Tensor, clips: torch.Tensor) -> torch.Tensor:
    """PSNR in dB of each clip, (B, 3, T, H, W) in [-1, 1] clamped and seen as [0, 1]: (B,).

    At most 100 dB, which equal clips have. Of clips with alpha it is that of what is seen before
    black and before white, and so are all measures here.
    """
    return _decibels(_squared_error(reconstruction, clips).mean(1)).float()


def ssim_of_frames(reconstruction: torch.Tensor, clips: torch.Tensor) -> torch.Tensor:
    """SSIM of every frame of clips (B, 3, T, H, W) clamped to [-1, 1]: (B, T).

    The usual 11 x 11 Gaussian window (sigma 1.5), so sides of at least 11 pixels.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure  # takes seconds

    if min(clips.shape[-2:]) < SMALLEST["ssim"]:
        raise ValueError(f"SSIM needs sides of at least 11 pixels, got {tuple(clips.shape[-2:])}")
    a, b = (_unit(x).transpose(1, 2).flatten(0, 1) for x in (reconstruction, clips))
    frames = structural_similarity_index_measure(a, b, data_range=1.0, reduction="none")
    assert isinstance(frames, torch.Tensor)
    return _by_clip(frames.view(len(a) // clips.shape[2], -1), clips)


def ssim(reconstruction: torch.Tensor, clips: torch.Tensor) -> torch.Tensor:
    """SSIM of each clip, the mean over its frames: (B,). See :func:`ssim_of_frames`."""
    return ssim_of_frames(reconstruction, clips).mean(1)


@dataclass(frozen=True)
class Quality:
    """Fidelity of some clips, each row a clip's."""

    psnr: torch.Tensor
    """dB, (B,)."""
    frame_psnr: torch.Tensor
    """dB, (B, T)."""
    frame_ssim: torch.Tensor | None
    """(B, T); None where frames are too small for it."""
    frame_lpips: torch.Tensor | None
    """(B, T); None without the network, or where frames are too small for it."""


def quality(
    reconstruction: torch.Tensor, clips: torch.Tensor, lpips: LPIPS | None = None
) -> Quality:
    """Measure reconstructions of clips, both (B, 3, T, H, W) in [-1, 1] and clamped to it."""
    side = min(clips.shape[-2:])
    squares = _squared_error(reconstruction, clips)
    decoded, true = (x.float().clamp(-1, 1) for x in (reconstruction, clips))
    return Quality(
        _decibels(squares.mean(1)),
        _decibels(squares),
        in_double(ssim_of_frames(decoded, true)) if side >= SMALLEST["ssim"] else None,
        in_double(of_frames(lpips, decoded, true))
        if lpips is not None and side >= SMALLEST["lpips"]
        else None,
    )


@dataclass(frozen=True)
class Steps:
    """Steps from one frame, row or column to the next: how large, and how wrong.

    A seam is a step that the clips do not make: its error stands out among those beside it.
    """

    error: torch.Tensor
    """Mean of |step of the reconstruction - step of the clip|, float64 (n - 1,)."""
    activity: torch.Tensor
    """Mean of |step of the clip|, float64 (n - 1,)."""


@dataclass(frozen=True)
class FidelityResult:
    """Means over ``clips`` clips."""

    clips: int
    psnr: float
    """dB over [0, 1], the mean over clips."""
    frame_psnr: torch.Tensor
    """dB at each position in time (T,), the mean over clips."""
    frame_ssim: torch.Tensor | None
    """SSIM at each position in time (T,)."""
    frame_lpips: torch.Tensor | None
    """LPIPS at each position in time (T,)."""
    steps: dict[str, Steps]
    """Along "time", "rows" and "columns"; none along an axis of length 1."""

    @property
    def ssim(self) -> float | None:
        """Mean over frames and clips."""
        return None if self.frame_ssim is None else float(self.frame_ssim.mean())

    @property
    def lpips(self) -> float | None:
        """Mean over frames and clips."""
        return None if self.frame_lpips is None else float(self.frame_lpips.mean())


class Fidelity:
    """Accumulate the fidelity of reconstructions, of clips of one size."""

    def __init__(self) -> None:
        self.clips = 0
        self._sums: dict[str, torch.Tensor] = {}

    def update(
        self, reconstruction: torch.Tensor, clips: torch.Tensor, lpips: LPIPS | None = None
    ) -> "Fidelity":
        """Add reconstructions and their clips, (B, 3, T, H, W) in [-1, 1]."""
        return self.add(quality(reconstruction, clips, lpips), reconstruction, clips)

    def add(
        self, measured: Quality, reconstruction: torch.Tensor, clips: torch.Tensor
    ) -> "Fidelity":
        """The same of clips whose quality is known."""
        sums = {name: v.sum(0) for name, v in vars(measured).items() if v is not None}
        decoded, true = _unit(reconstruction), _unit(clips)
        for axis, dim in AXES.items():
            if true.shape[dim] > 1:
                others = [d for d in range(5) if d not in (0, dim)]
                a, b = (x.diff(dim=dim) for x in (decoded, true))
                for what, size in (("error", (a - b).abs()), ("activity", b.abs())):
                    sums[f"{axis} {what}"] = _by_clip(in_double(size).mean(others), clips).sum(0)
        self._add({name: v.cpu() for name, v in sums.items()}, len(clips))
        return self

    def merge(self, other: "Fidelity") -> "Fidelity":
        """Add all that another accumulator has seen."""
        if other.clips:
            self._add(other._sums, other.clips)
        return self

    def result(self) -> FidelityResult:
        """The fidelity of all clips seen so far."""
        if not self.clips:
            raise ValueError("fidelity needs clips: call update before result")
        means = {name: total / self.clips for name, total in self._sums.items()}
        return FidelityResult(
            self.clips,
            float(means["psnr"]),
            means["frame_psnr"],
            means.get("frame_ssim"),
            means.get("frame_lpips"),
            {
                axis: Steps(means[f"{axis} error"], means[f"{axis} activity"])
                for axis in AXES
                if f"{axis} error" in means
            },
        )

    def _add(self, sums: dict[str, torch.Tensor], clips: int) -> None:
        if not self.clips:
            self._sums = {name: torch.zeros_like(total) for name, total in sums.items()}
        shapes = [{n: tuple(v.shape) for n, v in s.items()} for s in (self._sums, sums)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                "all clips of one fidelity must be of one size, and all or none be measured by "
                "LPIPS"
            )
        for name, total in sums.items():
            self._sums[name] = self._sums[name] + total
        self.clips += clips

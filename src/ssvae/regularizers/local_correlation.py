"""Local correlation regularisation (LCR): neighbouring latents should point the same way.

The penalty lowers high space-time frequencies in the latents (arXiv 2512.05394, LCR).
Shape legend: B batch, C channels, T frames, H height, W width of the latents.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from ssvae.regularizers.balance import Reduce
from ssvae.regularizers.checks import check_numbers, check_positive
from ssvae.regularizers.registry import Hooks, LatentSpec, RegularizerConfig, Scalars, Watch

__all__ = ["LCRConfig", "LocalCorrelation", "LocalCorrelationResult", "local_correlation"]

EPSILON = 1e-8  # beside vector lengths, as published: a constant vector gives 0, not NaN
JUDGED = 500  # steps after which a run is judged, or twice its warm-up if that is longer
FEW = 50  # steps, of which nothing is said
PARTS = 5  # of these steps, whose first and last are compared
MOVED = 0.01  # of a correlation


@dataclass(frozen=True)
class LocalCorrelationResult:
    """Mean correlation inside windows, each a scalar tensor in [-1, 1]."""

    first_frame: torch.Tensor | None
    """In the lone first frame; None where ``lone_first_frame`` is off."""
    rest: torch.Tensor | None
    """In all other frames; None for images."""
    average: torch.Tensor
    """The mean of the two, or the one that there is."""


def _window_sums(x_BCTHW: torch.Tensor, window: tuple[int, int, int]) -> torch.Tensor:
    """Sums inside windows; remainders at the edges are left out."""
    B, C, T, H, W = x_BCTHW.shape
    t, h, w = window
    x = x_BCTHW[:, :, : T - T % t, : H - H % h, : W - W % w]
    return x.reshape(B, C, T // t, t, H // h, h, W // w, w).sum((3, 5, 7))


def _windowed(
    u_BCTHW: torch.Tensor, lengths_B1THW: torch.Tensor, window: tuple[int, int, int]
) -> torch.Tensor:
    """Mean over windows and pairs i < j of u_i . u_j, where |u_i| are the lengths."""
    N = math.prod(window)
    total = _window_sums(u_BCTHW, window).square().sum(1, keepdim=True)
    each = _window_sums(lengths_B1THW.square(), window)
    return ((total - each) / (N * (N - 1))).mean()


def local_correlation(
    mean: torch.Tensor,
    window: tuple[int, int, int] = (2, 2, 2),
    lone_first_frame: bool = True,
    reduce: Reduce | None = None,
) -> LocalCorrelationResult:
    """Mean pairwise correlation of channel vectors inside local windows.

    Each channel is standardised over the batch and all positions (statistics detached); each
    position's vector is centred over its channels and scaled to unit length. In a window of N
    positions the mean of u_i . u_j over i < j is (|sum u_i|^2 - sum |u_i|^2) / (N (N - 1)).

    Args:
        mean: posterior mean (B, C, T, H, W), or (B, C, H, W) for images; C at least 2.
        window: positions in time, height and width. Where a side is no multiple of the window,
            the remainder is left out.
        lone_first_frame: window the first frame in space alone, as fits a causal VAE whose first
            latent frame stands for one frame of video. Off: all frames alike.
        reduce: the mean over processes, where several share a batch: statistics and correlations
            are then those of the whole batch, and the mean of all processes' gradients is its.

    Raises:
        ValueError: for another shape, numbers that are not floating-point, fewer than two channels,
            a
            window of fewer than two positions, or a side shorter than the window.
    """
    x, window, lone = _checked(mean, window, lone_first_frame)
    return _correlated(*_unit_vectors(x, reduce), window, lone, reduce)


def correlation_of_each(
    mean: torch.Tensor, window: tuple[int, int, int] = (2, 2, 2), lone_first_frame: bool = True
) -> torch.Tensor:
    """What each clip gives to :func:`local_correlation` of all of them (B,): their mean is its
    ``average``. Channels are standardised over the batch.
    """
    x, window, lone = _checked(mean, window, lone_first_frame)
    clips = zip(*(part.split(1) for part in _unit_vectors(x, None)), strict=True)
    return torch.stack([_correlated(u, lengths, window, lone).average for u, lengths in clips])


def _correlated(
    u_BCTHW: torch.Tensor,
    lengths_B1THW: torch.Tensor,
    window: tuple[int, int, int],
    lone: bool,
    reduce: Reduce | None = None,
) -> LocalCorrelationResult:
    def correlation(frames: slice, window: tuple[int, int, int]) -> torch.Tensor:
        own = _windowed(u_BCTHW[:, :, frames], lengths_B1THW[:, :, frames], window)
        # The value is that of all, the gradient that of our share.
        return own if reduce is None else own + (reduce(own.detach()) - own.detach())

    if not lone:
        rest = correlation(slice(None), window)
        return LocalCorrelationResult(None, rest, rest)
    first = correlation(slice(1), (1, *window[1:]))
    if u_BCTHW.shape[2] == 1:
        return LocalCorrelationResult(first, None, first)
    rest = correlation(slice(1, None), window)
    return LocalCorrelationResult(first, rest, (first + rest) / 2)


def _unit_vectors(
    x_BCTHW: torch.Tensor, reduce: Reduce | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Standardised channel vectors of unit length, and their lengths (B, 1, T, H, W), 1 or 0."""
    x = x_BCTHW.float() if x_BCTHW.dtype in (torch.float16, torch.bfloat16) else x_BCTHW
    with torch.no_grad():
        variance, average = torch.var_mean(x, (0, 2, 3, 4), correction=0, keepdim=True)
        if reduce is not None:  # of the whole: the mean variance, and that of the means
            own, average = average, reduce(average)
            variance = reduce(variance + (own - average).square())
        # A channel that is constant but for rounding stays at 0.
        constant = variance <= 1e-12 * (variance + average.square())
        scale = variance.rsqrt().masked_fill(constant, 0)
    v = (x - average) * scale
    v = v - v.mean(1, keepdim=True)
    lengths = torch.linalg.vector_norm(v, dim=1, keepdim=True)
    return v / (lengths + EPSILON), lengths / (lengths + EPSILON)


def _checked(
    mean: torch.Tensor, window: Sequence[int], lone: bool
) -> tuple[torch.Tensor, tuple[int, int, int], bool]:
    """Latents as video (B, C, T, H, W), the window, and whether the first frame is alone; a
    ValueError for latents that have no local correlation.
    """
    x_BCTHW = mean
    if mean.ndim == 4:
        x_BCTHW, lone = mean.unsqueeze(2), True
    window = _check_window(window)
    if x_BCTHW.ndim != 5 or x_BCTHW.shape[1] < 2:
        raise ValueError(
            "latents must be (batch, channels, frames, height, width) or (batch, channels, "
            f"height, width) with at least 2 channels, got {tuple(mean.shape)}"
        )
    check_numbers(mean)
    if not _holds_window(x_BCTHW, window, lone):
        T, H, W = x_BCTHW.shape[2:]
        raise ValueError(
            f"latents must be at least as large as the window {window}, got {T - lone} frames"
            f"{' behind the first' if lone else ''} of {H}x{W}: use a smaller window or larger "
            "clips"
        )
    if lone and window[1] * window[2] < 2:
        raise ValueError(
            f"a window must hold at least 2 positions of the lone first frame, got {window}: use a "
            "window wider than 1 in space, or lone_first_frame=False"
        )
    return x_BCTHW, window, lone


def _holds_window(x_BCTHW: torch.Tensor, window: tuple[int, int, int], lone: bool) -> bool:
    """Whether no side, nor what follows a lone first frame, is shorter than the window."""
    (T, H, W), (t, h, w) = x_BCTHW.shape[2:], window
    return h <= H and w <= W and not 0 < T - lone < t


def _check_window(window: Sequence[int]) -> tuple[int, int, int]:
    if (
        not isinstance(window, Sequence)
        or len(window) != 3
        or min(window) < 1
        or tuple(window) == (1, 1, 1)
    ):
        raise ValueError(
            "a window must be (time, height, width) with at least 2 positions, "
            f"such as (2, 2, 2), got {window}"
        )
    return window[0], window[1], window[2]


class LocalCorrelation(nn.Module):
    """The LCR penalty, relu(threshold - R), with R the average local correlation."""

    def __init__(
        self,
        window: tuple[int, int, int] = (2, 2, 2),
        threshold: float = 0.75,
        lone_first_frame: bool = True,
    ):
        super().__init__()
        if not -1 <= threshold <= 1:
            raise ValueError(f"threshold is a correlation and must be in [-1, 1], got {threshold}")
        self.window = _check_window(window)
        self.threshold = threshold
        self.lone_first_frame = lone_first_frame

    def forward(self, mean: torch.Tensor, reduce: Reduce | None = None) -> torch.Tensor:
        """Posterior mean, as :func:`local_correlation` takes it, to a scalar penalty.

        ``reduce`` is the mean over processes, where several share a batch.
        """
        return self.penalty(self.correlation(mean, reduce))

    def correlation(self, mean: torch.Tensor, reduce: Reduce | None = None) -> torch.Tensor:
        """The average local correlation R, a scalar."""
        return local_correlation(mean, self.window, self.lone_first_frame, reduce).average

    def penalty(self, correlation: torch.Tensor) -> torch.Tensor:
        """What an average local correlation costs."""
        return torch.relu(self.threshold - correlation)

    def extra_repr(self) -> str:
        """The settings, for printing."""
        return f"window={self.window}, threshold={self.threshold}"


@dataclass(frozen=True, kw_only=True)
class LCRConfig(RegularizerConfig):
    """Local correlation regularisation (arXiv 2512.05394)."""

    NAME, TITLE, PAPER = "lcr", "LCR", "2512.05394"
    SUMMARY = (
        "a penalty where neighbouring latents point elsewhere, weighed against the "
        "reconstruction's gradient (`balance`)"
    )
    SHAPES_LATENTS = True

    weight: float = 0.002
    """Weight beside the gradient balance."""
    threshold: float = 0.75
    """Local correlation above which nothing is asked for."""
    window: tuple[int, int, int] = (2, 2, 2)
    """Window in latent frames, rows and columns."""

    def hooks(self, latents: LatentSpec) -> Hooks:
        """The penalty, and the correlation for the log."""
        check_positive("weight", self.weight)
        module = LocalCorrelation(self.window, self.threshold, latents.lone_first_frame)

        def penalty(mean: torch.Tensor, reduce: Reduce | None) -> tuple[torch.Tensor, Scalars]:
            correlation = module.correlation(mean, reduce)
            scalars = {"local_correlation": correlation.detach()}
            return module.penalty(correlation), scalars

        def monitor(mean: torch.Tensor, reduce: Reduce | None) -> Scalars:
            video, lone = mean, module.lone_first_frame
            if mean.ndim == 4:
                video, lone = mean.unsqueeze(2), True
            if not _holds_window(video, module.window, lone):
                return {}
            return {"local_correlation": module.correlation(mean, reduce)}

        return Hooks(module, penalty=penalty, balanced_weight=self.weight, monitor=monitor)

    def check(self, mean: torch.Tensor, latents: LatentSpec) -> None:
        """A ValueError for latents smaller than a window."""
        local_correlation(mean, self.window, latents.lone_first_frame)

    def watch(self, steps: int, warmup_steps: int) -> Watch:
        """Whether the correlation rises, for weights that fit another length of training."""
        return CorrelationWatch(steps, warmup_steps, self.threshold, self.weight)


class CorrelationWatch(Watch):
    """Warns once where a run's local correlation has not risen.

    Args:
        steps: of the run.
        warmup: steps of them in which the rate rises.
        threshold: of LCR; a correlation near it need not rise.
        weight: of LCR, for the message.
    """

    def __init__(self, steps: int, warmup: int, threshold: float, weight: float):
        self.threshold, self.weight = threshold, weight
        self.last = min(max(JUDGED, 2 * warmup), steps) if steps >= FEW else 0
        self._heard: list[torch.Tensor] = []

    def hear(self, step: int, scalars: Mapping[str, torch.Tensor]) -> str | None:
        """Take the correlation of a step; what to warn of after the last one that is judged.

        A run that goes on from a later step is not judged.
        """
        if step != len(self._heard) + 1 or step > self.last:
            return None
        self._heard.append(scalars["local_correlation"].detach())
        if step < self.last:
            return None
        size = max(1, self.last // PARTS)
        begin, now = (
            float(torch.stack(part).mean()) for part in (self._heard[:size], self._heard[-size:])
        )
        self._heard.clear()
        self.last = 0
        if now >= self.threshold - MOVED or now >= begin + MOVED:
            return None
        return (
            f"LCR has not moved the local correlation in {step} steps ({begin:.3f} at first, "
            f"{now:.3f} now) with weight {self.weight:g}: about .002 fits 100,000 steps and more, "
            ".01 ten thousand, .1 a thousand (--lcr.weight)"
        )

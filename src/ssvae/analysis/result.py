"""What an analysis finds of a VAE, or of latents alone."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from ssvae.analysis.artefacts import Artefacts
from ssvae.analysis.cost import Cost
from ssvae.analysis.drift import Drift
from ssvae.analysis.fidelity import FidelityResult
from ssvae.analysis.interpolation import Interpolations
from ssvae.analysis.semantics import Semantics
from ssvae.spectra.channels import ChannelResult
from ssvae.spectra.frequency import FrequencyResult
from ssvae.statistics.intervals import Interval

DEAD = 1e-6  # variance of a channel that carries nothing


@dataclass(frozen=True)
class Protocol:
    """What was measured: two analyses compare only where this agrees, but for the latents."""

    clips: int
    frames: int | None
    """None, as are height and width, where latents alone were analysed."""
    height: int | None
    width: int | None
    fps: float | None
    latent_shape: tuple[int, ...]
    """Channels, frames, height, width."""
    channels: int = 3
    """Of the clips."""

    @property
    def kind(self) -> str:
        """What the clips hold besides colours, in words that follow their size."""
        return {1: " in grey", 4: " with alpha, seen before black and before white"}.get(
            self.channels, ""
        )


@dataclass(frozen=True)
class Model:
    """What was analysed."""

    name: str
    """Its class."""
    parameters: int
    encoder_parameters: int | None
    """None where its parts are called otherwise than ``encoder`` and ``decoder``."""
    decoder_parameters: int | None
    lone_first_frame: bool
    """Whether the first latent frame stands for one frame of video."""


@dataclass(frozen=True)
class Analysis:
    """The spectra and statistics of a VAE's latents (posterior means), and its reconstructions."""

    model: Model
    protocol: Protocol
    frequency: FrequencyResult
    channels: ChannelResult
    local_correlation: float
    """Average of the two below."""
    local_correlation_first_frame: float | None
    local_correlation_rest: float | None
    robustness: dict[float, float]
    """PSNR in dB for each standard deviation of noise on the latents; none of latents alone."""
    fidelity: FidelityResult | None
    """Reconstructions from posterior means; None of latents alone."""
    broken: dict[str, str]
    """Clips that gave NaN or infinity and are left out of all figures, with what did."""
    cost: Cost | None = None
    artefacts: Artefacts | None = None
    """What became of synthetic films."""
    drift: Drift | None = None
    """What became of clips that went through again and again."""
    semantics: Semantics | None = None
    """What neighbours have in common, where captions tell."""
    interpolations: Interpolations | None = None
    """What is decoded between latents, in the features of a network."""
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    """Of some figures, over films, by their names in a summary; where they were asked for."""

    @property
    def dead_channels(self) -> list[int]:
        """Channels of a variance under 1e-6."""
        return (self.channels.std.square() < DEAD).nonzero().flatten().tolist()

    @property
    def exploding_channels(self) -> list[int]:
        """Channels whose deviation is over ten times the median of all that are not dead."""
        std = self.channels.std
        typical = std[std.square() >= DEAD].median()
        return (std > 10 * typical).nonzero().flatten().tolist()

    @property
    def compression(self) -> dict[str, float]:
        """Frames and pixels a latent, the first frame apart, and numbers in over numbers out.

        Empty where latents alone were analysed.
        """
        p = self.protocol
        if p.frames is None or p.height is None or p.width is None:
            return {}
        C, t, h, w = p.latent_shape
        lone = self.model.lone_first_frame and t > 1
        return {
            "time": (p.frames - lone) / (t - lone),
            "height": p.height / h,
            "width": p.width / w,
            "values": p.channels * p.frames * p.height * p.width / (C * t * h * w),
        }

    def summary(self) -> dict[str, Any]:
        """Every figure as plain numbers and lists, for JSON; None where there is no number."""
        f, c, q = self.frequency, self.channels, self.fidelity
        return _plain(
            {
                "model": asdict(self.model),
                "protocol": asdict(self.protocol),
                "compression": self.compression,
                "low_share": f.low_share,
                "high_share": f.high_share,
                "slope": f.slope,
                "sec": {"0.25": f.sec(0.25), "0.5": f.sec(0.5)},
                "dead_channels": self.dead_channels,
                "exploding_channels": self.exploding_channels,
                "frequencies": f.frequencies,
                "curve": f.curve,
                "time_curve": f.time_curve,
                "space_frequencies": f.space_frequencies,
                "space_curve": f.space_curve,
                "power": f.power,
                "effective_rank": c.effective_rank,
                "modes_90": c.modes(0.9),
                "viv": c.viv,
                "eigenvalues": c.eigenvalues,
                "explained": c.explained,
                "local_correlation": self.local_correlation,
                "local_correlation_first_frame": self.local_correlation_first_frame,
                "local_correlation_rest": self.local_correlation_rest,
                "robustness": {str(sigma): value for sigma, value in self.robustness.items()},
                "reconstruction": None
                if q is None
                else {
                    "psnr": q.psnr,
                    "ssim": q.ssim,
                    "lpips": q.lpips,
                    "frame_psnr": q.frame_psnr,
                    "frame_ssim": q.frame_ssim,
                    "frame_lpips": q.frame_lpips,
                },
                "latents_mean": c.mean,
                "latents_std": c.std,
                "broken": self.broken,
                "cost": None if self.cost is None else asdict(self.cost),
                "artefacts": None if self.artefacts is None else self.artefacts.summary(),
                "drift": None if self.drift is None else asdict(self.drift),
                "semantics": None if self.semantics is None else asdict(self.semantics),
                "interpolations": None
                if self.interpolations is None
                else asdict(self.interpolations),
                "intervals": {name: asdict(each) for name, each in self.intervals.items()},
            }
        )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, torch.Tensor):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def check_latents(shape: tuple[int, ...], name: str) -> None:
    """A ValueError for latents of a shape that has no spectra to speak of."""
    if len(shape) != 5 or min(shape[-2:]) < 2:
        raise ValueError(
            "an analysis needs latents (batch, channels, frames, height, width) of at least 2x2 "
            f"positions, got {shape} of {name}: use larger clips"
        )
    if shape[1] < 2:
        raise ValueError(f"an analysis needs latents of at least 2 channels, {name} has 1")


def latents_seen(analyses: Mapping[str, Analysis]) -> str:
    """Of which latents analyses are that saw no clips, such as "latents of 20 clips, 4 channels of
    3x8x8", each by its name where they differ; empty where all saw clips.
    """
    sizes = {
        name: f"latents of {p.clips} clips, {p.latent_shape[0]} channels of "
        + "x".join(map(str, p.latent_shape[1:]))
        for name, p in ((name, analysis.protocol) for name, analysis in analyses.items())
        if p.frames is None
    }
    if len(set(sizes.values())) == 1 and len(sizes) == len(analyses):
        return next(iter(sizes.values()))
    return "; ".join(f"{name}: {size}" for name, size in sizes.items())

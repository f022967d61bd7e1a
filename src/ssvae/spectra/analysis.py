"""All of the spectral analysis of one VAE over one set of clips."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import torch

from ssvae.data.batch import check_finite, in_batches
from ssvae.regularizers import local_correlation
from ssvae.spectra.channels import ChannelResult, ChannelSpectrum
from ssvae.spectra.frequency import FrequencyResult, FrequencySpectrum
from ssvae.spectra.robustness import Robustness

CORRELATED_CLIPS = (
    512  # local correlation standardises over all its clips at once, so it keeps them
)


@dataclass(frozen=True)
class Protocol:
    """What was measured: two analyses compare only where this agrees."""

    clips: int
    frames: int
    height: int
    width: int
    fps: float | None
    latent_shape: tuple[int, ...]
    """Channels, frames, height, width."""


@dataclass(frozen=True)
class Analysis:
    """The spectra and statistics of a VAE's latents (posterior means), and its robustness."""

    protocol: Protocol
    frequency: FrequencyResult
    channels: ChannelResult
    local_correlation: float
    """Average of the two below."""
    local_correlation_first_frame: float | None
    local_correlation_rest: float | None
    robustness: dict[float, float]
    """PSNR in dB for each standard deviation of noise on the latents."""

    def summary(self) -> dict[str, Any]:
        """Every figure as plain numbers and lists, for JSON."""
        f, c = self.frequency, self.channels
        return {
            "protocol": asdict(self.protocol),
            "low_share": f.low_share,
            "high_share": f.high_share,
            "slope": f.slope,
            "sec": {"0.25": f.sec(0.25), "0.5": f.sec(0.5)},
            "dead_channels": f.dead_channels,
            "frequencies": f.frequencies.tolist(),
            "curve": f.curve.tolist(),
            "power": f.power.tolist(),
            "effective_rank": c.effective_rank,
            "modes_90": c.modes(0.9),
            "viv": c.viv,
            "eigenvalues": c.eigenvalues.tolist(),
            "explained": c.explained.tolist(),
            "local_correlation": self.local_correlation,
            "local_correlation_first_frame": self.local_correlation_first_frame,
            "local_correlation_rest": self.local_correlation_rest,
            "robustness": {str(sigma): value for sigma, value in self.robustness.items()},
            "latents_mean": c.mean.tolist(),
            "latents_std": c.std.tolist(),
        }


@torch.no_grad()
def analyze(
    vae: Any, clips: torch.Tensor | Iterable[torch.Tensor], fps: float | None = None
) -> Analysis:
    """Analyse a VAE's latents over clips.

    Args:
        vae: a model with ``encode(x).latent_dist`` and ``decode(z).sample``, ours or diffusers'.
        clips: batches (B, 3, T, H, W) in [-1, 1], all of one size, read once; or one such tensor.
        fps: frame rate of the clips, noted in the protocol.

    The latents are posterior means. Local correlation is taken over the first 512 clips.

    Raises:
        ValueError: for no clips, clips or latents that are not finite, or clips of several sizes.
    """
    parameter = next(vae.parameters())
    frequency, channels, robustness = FrequencySpectrum(), ChannelSpectrum(), Robustness()
    kept: list[torch.Tensor] = []
    count, size = 0, None
    for batch in in_batches(clips):
        if batch.ndim != 5 or (size is not None and batch.shape[1:] != size):
            raise ValueError(
                f"clips must be (batch, 3, frames, height, width) of one size, got "
                f"{tuple(batch.shape)}" + (f" after clips of {tuple(size)}" if size else "")
            )
        size = batch.shape[1:]
        check_finite(batch, f"the batch after clip {count}")
        batch = batch.to(parameter.device, parameter.dtype)
        mean = vae.encode(batch).latent_dist.mean
        if not torch.isfinite(mean).all():
            raise ValueError(
                f"the VAE's latents of the clips from {count} on hold NaN or infinity: "
                "its weights are broken, or the dtype overflows; try float32"
            )
        frequency.update(mean)
        channels.update(mean)
        robustness.update(vae, mean, batch)
        if count < CORRELATED_CLIPS:
            kept.append(mean[: CORRELATED_CLIPS - count].float().cpu())
        count += len(batch)
    if size is None:
        raise ValueError("an analysis needs at least one batch of clips, got none")

    means = torch.cat(kept)
    correlation = local_correlation(means, _window(means))
    return Analysis(
        Protocol(count, size[1], size[2], size[3], fps, tuple(means.shape[1:])),
        frequency.result(),
        channels.result(),
        float(correlation.average),
        None if correlation.first_frame is None else float(correlation.first_frame),
        None if correlation.rest is None else float(correlation.rest),
        robustness.result(),
    )


def _window(means: torch.Tensor) -> tuple[int, int, int]:
    """2x2x2, but one frame deep where only one stands behind the first."""
    return (1 if means.shape[2] == 2 else 2, 2, 2)

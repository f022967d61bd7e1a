"""Spectral analysis of a video VAE's latents."""

from ssvae.spectra.analysis import Analysis, Protocol, analyze
from ssvae.spectra.channels import ChannelResult, ChannelSpectrum
from ssvae.spectra.frequency import FrequencyResult, FrequencySpectrum
from ssvae.spectra.robustness import Robustness, psnr

__all__ = [
    "Analysis",
    "ChannelResult",
    "ChannelSpectrum",
    "FrequencyResult",
    "FrequencySpectrum",
    "Protocol",
    "Robustness",
    "analyze",
    "psnr",
]

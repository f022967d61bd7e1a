"""The spectra of latents over space-time frequencies and over channels, and their local
correlation.
"""

from ssvae.spectra.channels import ChannelResult, ChannelSpectrum
from ssvae.spectra.correlation import CorrelationSample
from ssvae.spectra.frequency import FrequencyResult, FrequencySpectrum
from ssvae.spectra.joint import JointResult, JointSpectrum

__all__ = [
    "ChannelResult",
    "ChannelSpectrum",
    "CorrelationSample",
    "FrequencyResult",
    "FrequencySpectrum",
    "JointResult",
    "JointSpectrum",
]

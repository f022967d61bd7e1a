"""Spectral analysis of a video VAE's latents, and of what it makes of them."""

from ssvae.spectra.analysis import Analysis, Analyzer, Protocol, analyze
from ssvae.spectra.artefacts import Artefact, Artefacts, find_artefacts
from ssvae.spectra.channels import ChannelResult, ChannelSpectrum
from ssvae.spectra.correlation import CorrelationSample
from ssvae.spectra.cost import Cost, measure_cost
from ssvae.spectra.drift import Drift, measure_drift
from ssvae.spectra.fidelity import Fidelity, FidelityResult, psnr, ssim
from ssvae.spectra.findings import Advice, advise, findings, unexamined
from ssvae.spectra.frequency import FrequencyResult, FrequencySpectrum
from ssvae.spectra.joint import JointResult, JointSpectrum
from ssvae.spectra.robustness import Robustness
from ssvae.spectra.subject import Subject

__all__ = [
    "Advice",
    "Analysis",
    "Analyzer",
    "Artefact",
    "Artefacts",
    "ChannelResult",
    "ChannelSpectrum",
    "CorrelationSample",
    "Cost",
    "Drift",
    "Fidelity",
    "FidelityResult",
    "FrequencyResult",
    "FrequencySpectrum",
    "JointResult",
    "JointSpectrum",
    "Protocol",
    "Robustness",
    "Subject",
    "advise",
    "analyze",
    "find_artefacts",
    "findings",
    "measure_cost",
    "measure_drift",
    "psnr",
    "ssim",
    "unexamined",
]

"""What one page tells of a VAE: spectra, fidelity, artefacts, drift, cost, and findings from
them.
"""

from ssvae.analysis.analyzer import Analyzer, analyze
from ssvae.analysis.artefacts import Artefact, Artefacts, find_artefacts
from ssvae.analysis.cost import Cost, measure_cost
from ssvae.analysis.drift import Drift, measure_drift
from ssvae.analysis.fidelity import Fidelity, FidelityResult, psnr, ssim
from ssvae.analysis.findings import Advice, advise, findings, unexamined
from ssvae.analysis.learnability import learnability
from ssvae.analysis.of_latents import analyze_latents
from ssvae.analysis.result import Analysis, Protocol
from ssvae.analysis.robustness import Robustness
from ssvae.analysis.subject import Subject

__all__ = [
    "Advice",
    "Analysis",
    "Analyzer",
    "Artefact",
    "Artefacts",
    "Cost",
    "Drift",
    "Fidelity",
    "FidelityResult",
    "Protocol",
    "Robustness",
    "Subject",
    "advise",
    "analyze",
    "analyze_latents",
    "find_artefacts",
    "findings",
    "learnability",
    "measure_cost",
    "measure_drift",
    "psnr",
    "ssim",
    "unexamined",
]

"""LCR, LMR and their rivals, and the balance: plain modules over tensors for anybody's training loop."""

from ssvae.regularizers.balance import Balanced, balance, balance_with_terms
from ssvae.regularizers.channel_prefix import ChannelPrefix
from ssvae.regularizers.equivariance import Equivariance, ScaleEquivariance
from ssvae.regularizers.future_dropping import FutureDropping, motion_loss
from ssvae.regularizers.input_masking import InputMasking
from ssvae.regularizers.latent_masking import LatentMasking
from ssvae.regularizers.latent_noise import LatentNoise
from ssvae.regularizers.local_correlation import (
    LocalCorrelation,
    LocalCorrelationResult,
    local_correlation,
)
from ssvae.regularizers.spectrum_matching import SpectrumMatching

__all__ = [
    "Balanced",
    "ChannelPrefix",
    "Equivariance",
    "FutureDropping",
    "InputMasking",
    "LatentMasking",
    "LatentNoise",
    "LocalCorrelation",
    "LocalCorrelationResult",
    "ScaleEquivariance",
    "SpectrumMatching",
    "balance",
    "balance_with_terms",
    "local_correlation",
    "motion_loss",
]

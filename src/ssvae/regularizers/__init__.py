"""The two regularisers and the balance, plain modules over tensors for anybody's training loop."""

from ssvae.regularizers.balance import Balanced, balance, balance_with_terms
from ssvae.regularizers.latent_masking import LatentMasking
from ssvae.regularizers.local_correlation import (
    LocalCorrelation,
    LocalCorrelationResult,
    local_correlation,
)

__all__ = [
    "Balanced",
    "LatentMasking",
    "LocalCorrelation",
    "LocalCorrelationResult",
    "balance",
    "balance_with_terms",
    "local_correlation",
]

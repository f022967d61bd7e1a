"""The two regularisers and the balance, plain modules over tensors for anybody's training loop."""

from ssvae.regularizers.balance import balance
from ssvae.regularizers.latent_masking import LatentMasking
from ssvae.regularizers.local_correlation import (
    LocalCorrelation,
    LocalCorrelationResult,
    local_correlation,
)

__all__ = [
    "LatentMasking",
    "LocalCorrelation",
    "LocalCorrelationResult",
    "balance",
    "local_correlation",
]

"""LCR, LMR and the regularisers of other papers: plain modules over tensors for any training loop.

Each file holds one, with its settings, its paper and its place in a training step.
"""

# fragment regularizers.exports
from ssvae.regularizers.balance import Balance, balance
from ssvae.regularizers.channel_prefix import ChannelPrefix, ChannelPrefixConfig
from ssvae.regularizers.decoder_noise import DecoderNoise, DecoderNoiseConfig
from ssvae.regularizers.draws import Draws
from ssvae.regularizers.equivariance import (
    Equivariance,
    EquivarianceConfig,
    ScaleEquivariance,
    ScaleEquivarianceConfig,
)
from ssvae.regularizers.future_dropping import FutureDropping, FutureDroppingConfig, motion_loss
from ssvae.regularizers.input_masking import InputMasking, InputMaskingConfig
from ssvae.regularizers.latent_consistency import LatentConsistency, LatentConsistencyConfig
from ssvae.regularizers.latent_masking import LatentMasking, LMRConfig
from ssvae.regularizers.latent_noise import LatentNoise, LatentNoiseConfig
from ssvae.regularizers.local_correlation import (
    LCRConfig,
    LocalCorrelation,
    LocalCorrelationResult,
    local_correlation,
)
from ssvae.regularizers.registry import (
    Decoded,
    Hooks,
    LatentSpec,
    RegularizerConfig,
    Term,
    Watch,
    registered,
)
from ssvae.regularizers.spectral_denoising import SpectralDenoising, SpectralDenoisingConfig
from ssvae.regularizers.spectrum_matching import SpectrumMatching, SpectrumMatchingConfig

__all__ = [
    "Balance",
    "ChannelPrefix",
    "ChannelPrefixConfig",
    "Decoded",
    "DecoderNoise",
    "DecoderNoiseConfig",
    "Draws",
    "Equivariance",
    "EquivarianceConfig",
    "FutureDropping",
    "FutureDroppingConfig",
    "Hooks",
    "InputMasking",
    "InputMaskingConfig",
    "LCRConfig",
    "LMRConfig",
    "LatentConsistency",
    "LatentConsistencyConfig",
    "LatentMasking",
    "LatentNoise",
    "LatentNoiseConfig",
    "LatentSpec",
    "LocalCorrelation",
    "LocalCorrelationResult",
    "RegularizerConfig",
    "ScaleEquivariance",
    "ScaleEquivarianceConfig",
    "SpectralDenoising",
    "SpectralDenoisingConfig",
    "SpectrumMatching",
    "SpectrumMatchingConfig",
    "Term",
    "Watch",
    "balance",
    "local_correlation",
    "motion_loss",
    "registered",
]
# end

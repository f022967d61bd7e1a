"""The settings of all regularisers: data, which knows nothing of what it sets up.

LCR and LMR are on by default; the rivals are off. Each says what its paper gives.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class LCRConfig:
    """Local correlation regularisation."""

    weight: float = 0.002
    """Weight beside the gradient balance; 0 turns LCR off."""
    threshold: float = 0.75
    """Local correlation above which nothing is asked for."""
    window: tuple[int, int, int] = (2, 2, 2)
    """Window in latent frames, rows and columns."""


@dataclass(frozen=True)
class LMRConfig:
    """Latent masked reconstruction."""

    ratios: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75)
    """Shares of latent blocks to mask; (0,) turns LMR off."""
    probabilities: tuple[float, ...] = (0.7, 0.1, 0.1, 0.1)
    """How often each ratio is drawn."""
    block: tuple[int, int, int] = (1, 1, 1)
    """Block in latent frames, rows and columns."""


@dataclass(frozen=True)
class ScaleEquivarianceConfig:
    """Scale equivariance (SE, arXiv 2502.14831): smaller latents decode to smaller clips, besides."""

    weight: float = 0.0
    """Weight of the smaller pair's loss beside the whole one's, such as .25; 0 turns it off."""
    factors: tuple[float, ...] = (2.0, 4.0)
    """By how much sides shrink."""


@dataclass(frozen=True)
class EquivarianceConfig:
    """Equivariance under scaling and turning, instead (EQ-VAE, arXiv 2502.09509)."""

    probability: float = 0.0
    """Share of steps that train on a changed pair, a half in the paper; 0 turns it off."""
    scales: tuple[float, float] = (0.25, 1.0)
    """Range of the scales."""
    turns: bool = True
    """Turn by a quarter, a half or three quarters besides."""


@dataclass(frozen=True)
class LatentNoiseConfig:
    """Latents mixed with noise (l-DeTok, arXiv 2507.15856)."""

    gamma: float = 0.0
    """Deviation of the noise in units of the latents, 3 in the paper; 0 turns it off."""


@dataclass(frozen=True)
class InputMaskingConfig:
    """Clips with patches greyed out (l-DeTok, arXiv 2507.15856)."""

    max_ratio: float = 0.0
    """Largest share of patches that are not seen, .7 in the paper; 0 turns it off."""


@dataclass(frozen=True)
class FutureDroppingConfig:
    """Latents without their future (PV-VAE, arXiv 2605.02134)."""

    probability: float = 0.0
    """Share of clips that are cut short; 0 turns it off."""
    motion_weight: float = 0.0
    """Weight of the error of differences between frames, beside L1; 0 goes without."""


@dataclass(frozen=True)
class ChannelPrefixConfig:
    """Front channels alone (DC-AE 1.5, arXiv 2508.00413)."""

    shares: tuple[float, ...] = (1.0,)
    """Shares of the channels, one drawn a step, such as eighths; (1,) turns it off."""


@dataclass(frozen=True)
class SpectrumMatchingConfig:
    """The latents' spectrum that of the clip, flattened (arXiv 2603.14645)."""

    weight: float = 0.0
    """Weight of the divergence, .01 in the published code; 0 turns it off."""
    delta: float = 1.0
    """How much flatter than the clip's."""
    rings: int = 16
    """Rings of frequency."""

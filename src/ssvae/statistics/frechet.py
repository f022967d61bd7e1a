"""The Fréchet distance between two Gaussians, in float64 and safe where covariances are
singular.
"""

import torch

from ssvae.spectra.channels import ChannelResult


def feature_statistics(features: torch.Tensor) -> ChannelResult:
    """Mean and covariance of features (N, D), N of at least 2."""
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(f"features must be (at least 2, width), got {tuple(features.shape)}")
    rows = features.double()
    centred = rows - rows.mean(0)
    return ChannelResult(rows.mean(0), centred.T @ centred / len(rows), len(rows))


def frechet_distance(a: ChannelResult, b: ChannelResult) -> float:
    """|m_a - m_b|^2 + tr(A + B - 2 (A B)^(1/2)) between Gaussians of these statistics.

    The trace of the root is that of (A^(1/2) B A^(1/2))^(1/2), whose eigenvalues are real and not
    negative; so the distance is symmetric and never complex.
    """
    if a.mean.shape != b.mean.shape:
        raise ValueError(f"features must have one width, got {len(a.mean)} and {len(b.mean)}")
    values, vectors = torch.linalg.eigh(a.covariance)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ b.covariance @ root).clamp(min=0).sqrt().sum()
    distance = (a.mean - b.mean).square().sum()
    distance = distance + a.covariance.trace() + b.covariance.trace() - 2 * cross
    return max(0.0, float(distance))

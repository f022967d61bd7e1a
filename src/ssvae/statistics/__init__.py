"""Distances between sets of features, and figures with their intervals."""

from ssvae.statistics.frechet import feature_statistics, frechet_distance
from ssvae.statistics.intervals import Interval, frechet_interval, kernel_interval, mean_interval
from ssvae.statistics.kernel import kernel_distance

__all__ = [
    "Interval",
    "feature_statistics",
    "frechet_distance",
    "frechet_interval",
    "kernel_distance",
    "kernel_interval",
    "mean_interval",
]

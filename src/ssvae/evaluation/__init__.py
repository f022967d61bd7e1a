"""Scores of reconstructions."""

from ssvae.evaluation.reconstruction import (
    ReconstructionScores,
    reconstruct,
    reconstruct_video,
    score_reconstruction,
    ssim,
)

__all__ = [
    "ReconstructionScores",
    "reconstruct",
    "reconstruct_video",
    "score_reconstruction",
    "ssim",
]

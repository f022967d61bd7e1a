"""Scores: of reconstructions, of generated clips, and of how fast a model converges."""

from ssvae.evaluation.convergence import Interval, bootstrap, speedup, steps_to_target
from ssvae.evaluation.frechet import feature_statistics, frechet_distance
from ssvae.evaluation.probe import Probe, load_probe, probe_accuracy, train_probe
from ssvae.evaluation.reconstruction import (
    ReconstructionScores,
    reconstruct,
    score_reconstruction,
)
from ssvae.evaluation.reward import Scores, score_clips, true_clips

__all__ = [
    "Interval",
    "Probe",
    "ReconstructionScores",
    "Scores",
    "bootstrap",
    "feature_statistics",
    "frechet_distance",
    "load_probe",
    "probe_accuracy",
    "reconstruct",
    "score_clips",
    "score_reconstruction",
    "speedup",
    "steps_to_target",
    "train_probe",
    "true_clips",
]

"""Scores of reconstructions and of generated clips."""

from ssvae.evaluation.features import FeatureNetwork, load_network
from ssvae.evaluation.judge import Film, Judge, evaluate_with_judge
from ssvae.evaluation.measure import (
    FilePairs,
    Measured,
    evaluate_generation,
    evaluate_reconstruction,
    measure_clips,
    measure_pairs,
    pairs_of_model,
)
from ssvae.evaluation.probe import Probe, load_probe, probe_accuracy, train_probe
from ssvae.evaluation.result import (
    Evaluation,
    EvaluationProtocol,
    check_comparable,
    differences,
    load_evaluation,
)
from ssvae.evaluation.reward import Scores, score_clips, true_clips
from ssvae.statistics.frechet import feature_statistics, frechet_distance
from ssvae.statistics.intervals import Interval, frechet_interval, mean_interval
from ssvae.statistics.kernel import kernel_distance

__all__ = [
    "Evaluation",
    "EvaluationProtocol",
    "FeatureNetwork",
    "FilePairs",
    "Film",
    "Interval",
    "Judge",
    "Measured",
    "Probe",
    "Scores",
    "check_comparable",
    "differences",
    "evaluate_generation",
    "evaluate_reconstruction",
    "evaluate_with_judge",
    "feature_statistics",
    "frechet_distance",
    "frechet_interval",
    "kernel_distance",
    "load_evaluation",
    "load_network",
    "load_probe",
    "mean_interval",
    "measure_clips",
    "measure_pairs",
    "pairs_of_model",
    "probe_accuracy",
    "score_clips",
    "train_probe",
    "true_clips",
]

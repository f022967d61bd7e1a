"""Figures that are claimed to tell how a diffusion model learns a VAE's latents.

Each has its source; what it predicts is for a study to measure. Of the analysis page's figures
none is here.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from ssvae.analysis.drift import ROUNDS
from ssvae.analysis.fidelity import psnr
from ssvae.analysis.interpolation import (
    FEWEST_FRAMES,
    Decode,
    Features,
    between_in_time,
    half_way_to_nearest,
)
from ssvae.analysis.learnability import learnability, past_r2
from ssvae.analysis.semantics import (
    Labels,
    linear_probing,
    neighbour_consistency,
    of_subject,
    whole,
)
from ssvae.analysis.sensitivity import sensitivity
from ssvae.analysis.structure import (
    local_over_distant,
    on_latent_grid,
    standardised,
    subject_structure,
    viv_within,
)
from ssvae.statistics.frechet import feature_statistics, frechet_distance
from ssvae.statistics.kernel import kernel_distance

DRIFTING = 32
"""Clips that go through again and again."""


@dataclass(frozen=True)
class Evidence:
    """What is known of a VAE before anything is learned on it.

    Shapes: N many clips' latents, M clips that are there as pixels too.
    """

    latents: torch.Tensor
    """(N, C, t, h, w)."""
    captions: Sequence[str]
    """N of them."""
    encode: Decode
    """Clips to posterior means."""
    decode: Decode
    lone_first_frame: bool
    clips: torch.Tensor
    """(M, 3, T, H, W) in [-1, 1]."""
    clip_latents: torch.Tensor
    """(M, C, t, h, w)."""
    labels: Labels | None = None
    """What the M clips show, by attribute."""
    cover: torch.Tensor | None = None
    """How far their subject covers each pixel (M, 1, T, H, W), in [0, 1]."""
    features: Features | None = None


@dataclass(frozen=True)
class Predictor:
    """Some figures that are found together."""

    source: str
    """Where it is claimed to predict, or what argues for it."""
    figures: tuple[str, ...]
    """Their names."""
    measure: Callable[[Evidence], Mapping[str, float]]
    """The figures; none where the evidence lacks what they need."""


@dataclass(frozen=True)
class Figure:
    """One figure of a VAE."""

    value: float
    seconds: float
    """What finding it, and those found with it, took."""


@torch.no_grad()
def measure_predictors(evidence: Evidence) -> dict[str, Figure]:
    """Every figure of :data:`PREDICTORS` that the evidence allows, by name."""
    found = {}
    for predictor in PREDICTORS:
        begun = time.perf_counter()
        figures = predictor.measure(evidence)
        seconds = time.perf_counter() - begun
        found |= {name: Figure(value, seconds) for name, value in figures.items()}
    return found


def _joint(e: Evidence) -> Mapping[str, float]:
    return learnability(e.latents, e.decode)


def _within(e: Evidence) -> Mapping[str, float]:
    repeat = len(set(e.captions)) < len(e.captions)
    return viv_within(e.latents, e.captions) if repeat else {}


def _past(e: Evidence) -> Mapping[str, float]:
    return {"past_r2": past_r2(e.latents)} if e.latents.shape[2] > 1 else {}


def _structure(e: Evidence) -> Mapping[str, float]:
    found = {"lds": local_over_distant(e.clip_latents)}
    masks = _masks(e)
    return found if masks is None else found | {"srss": subject_structure(e.clip_latents, masks)}


def _semantics(e: Evidence) -> Mapping[str, float]:
    """Means over attributes, of whole latents and of the subject's."""
    if e.labels is None:
        return {}
    z, masks = standardised(e.clip_latents), _masks(e)
    seen = {"": whole(z)} | ({} if masks is None else {"_of_subject": of_subject(z, masks)})
    found = {}
    for where, features in seen.items():
        found[f"lnc{where}"] = _mean(neighbour_consistency(features, e.labels))
        found[f"linear_probing{where}"] = _mean(linear_probing(features, e.labels))
    return found


def _interpolations(e: Evidence) -> Mapping[str, float]:
    """Distances in features to the clips, of reconstructions too."""
    if e.features is None:
        return {}
    between = {"reconstructed": e.clip_latents, "ifid": half_way_to_nearest(e.clip_latents)}
    if e.clip_latents.shape[2] >= FEWEST_FRAMES:
        between["tfvd"] = between_in_time(e.clip_latents, e.lone_first_frame)
    true, found = _features(e.features, e.clips), {}
    for name, latents in between.items():
        parts = [e.features(e.decode(part)) for part in latents.split(16)]
        decoded = torch.cat(parts)
        found[f"{name}_frechet"] = frechet_distance(
            feature_statistics(decoded), feature_statistics(true)
        )
        found[f"{name}_kernel"] = kernel_distance(decoded, true, paired=True)
    return found


def _sensitivity(e: Evidence) -> Mapping[str, float]:
    return sensitivity(e.clip_latents, e.clips, e.decode)


def _round_trips(e: Evidence) -> Mapping[str, float]:
    """What going through again and again costs beyond the first time, in dB."""
    original = seen = e.clips[:DRIFTING]
    quality = []
    for _ in range(ROUNDS):
        seen = e.decode(e.encode(seen)).to(original).clamp(-1, 1)
        quality.append(float(psnr(seen, original).mean()))
    return {"lost_to_round_trips": quality[0] - quality[-1]}


def _features(features: Features, clips: torch.Tensor) -> torch.Tensor:
    return torch.cat([features(part) for part in clips.split(16)])


def _masks(e: Evidence) -> torch.Tensor | None:
    if e.cover is None:
        return None
    t, h, w = e.clip_latents.shape[2:]
    return on_latent_grid(e.cover, (t, h, w), e.lone_first_frame)


def _mean(by_attribute: Mapping[str, float]) -> float:
    return sum(by_attribute.values()) / len(by_attribute)


PREDICTORS = (
    Predictor(
        "arXiv 2606.03578 (VIV of Gaussian latents); ours",
        (
            *("joint_viv", "joint_loss", "joint_viv_sum", "joint_effective_share", "joint_modes"),
            *("joint_concentration", "neighbours_r2", "decoded_strongest"),
        ),
        _joint,
    ),
    Predictor("arXiv 2606.03578 (VIV given the condition)", ("viv_within", "viv_rho"), _within),
    Predictor("arXiv 2605.02134 (PV-VAE's argument)", ("past_r2",), _past),
    Predictor("arXiv 2606.03578 (LDS, SRSS)", ("lds", "srss"), _structure),
    Predictor(
        "arXiv 2606.03578 (LNC, linear probing)",
        ("lnc", "linear_probing", "lnc_of_subject", "linear_probing_of_subject"),
        _semantics,
    ),
    Predictor(
        "arXiv 2603.05630 (iFID), 2608.13556 (tFVD)",
        (
            *("reconstructed_frechet", "reconstructed_kernel", "ifid_frechet", "ifid_kernel"),
            *("tfvd_frechet", "tfvd_kernel"),
        ),
        _interpolations,
    ),
    Predictor(
        "arXiv 2604.16479 (LC-VAE), FreqWarm",
        ("lost_to_noise_in_deviations", "lost_to_low_pass", "lost_to_dropped_channels"),
        _sensitivity,
    ),
    Predictor("arXiv 2504.10567 (H3AE's argument)", ("lost_to_round_trips",), _round_trips),
)
"""In the order in which they are told."""

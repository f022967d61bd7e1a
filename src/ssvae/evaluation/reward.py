"""How well clips show what their captions ask for, and how near they are to true clips."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ssvae.data import open_source
from ssvae.evaluation.probe import HELD_OUT_SEED, SIZE, Probe, averaged_down, load_beside
from ssvae.spectra.channels import ChannelResult
from ssvae.statistics.frechet import feature_statistics, frechet_distance
from ssvae.statistics.kernel import kernel_distance


@dataclass(frozen=True)
class Scores:
    """Scores of a set of clips; means over clips."""

    reward: float
    """Probability that the probe gives to what the caption asks for, the mean of its attributes."""
    reward_error: float
    """Standard error of the reward over clips."""
    coarse: float
    """The same of the vocabulary's coarse attributes: of the world, colour and direction."""
    fine: float
    """The same of its fine attributes: of the world, shape and texture."""
    rewards: dict[str, float]
    """The same of each attribute."""
    accuracy: dict[str, float]
    """Share of clips in which the probe's first choice is what the caption asks for."""
    frechet: float
    """Fréchet distance on the probe's features to true clips."""
    diversity: float
    """Mean distance between the features of two clips, over that of true clips."""
    clips: int
    kernel: float | None = None
    """Kernel distance on the probe's features to true clips; None where these are not kept."""


@dataclass(frozen=True)
class TrueClips:
    """What the features of true clips are like."""

    statistics: ChannelResult
    spread: float
    """Mean distance between the features of two clips."""
    features: torch.Tensor | None = None
    """The features themselves (N, 64); None where they are not kept."""


def true_clips_tensors(true: TrueClips, size: tuple[int, int, int]) -> dict[str, torch.Tensor]:
    """As tensors to be kept beside a probe, with frames, height and width of the clips."""
    s = true.statistics
    return dict(
        size=torch.tensor(size),
        mean=s.mean,
        covariance=s.covariance,
        positions=torch.tensor(s.positions),
        spread=torch.tensor(true.spread, dtype=torch.float64),
    )


def kept_true_clips(
    path: str | Path | None, size: tuple[int, int, int], data: str = "world"
) -> TrueClips | None:
    """What is kept beside a probe (this package's for ``data`` where None), if it is of this
    size.
    """
    kept = load_beside(path, data)
    if not kept or tuple(kept["size"].tolist()) != size:
        return None
    statistics = ChannelResult(kept["mean"], kept["covariance"], int(kept["positions"]))
    return TrueClips(statistics, float(kept["spread"]))


@torch.no_grad()
def features_of(probe: Probe, clips: torch.Tensor, batch_size: int = 128) -> torch.Tensor:
    """Features (N, 64) of clips (N, 3, T, H, W) in [-1, 1].

    Those that are twice as large as probes are trained on, or three times, are averaged down to
    that.
    """
    device = next(probe.parameters()).device
    parts = (averaged_down(part.to(device)) for part in clips.split(batch_size))
    return torch.cat([probe.features(part).cpu() for part in parts])


def _spread(features: torch.Tensor) -> float:
    return float(torch.pdist(features.double()).mean())


def true_clips(
    probe: Probe,
    size: tuple[int, int, int] = SIZE,
    clips: int = 2048,
    seed: int = HELD_OUT_SEED,
    data: str = "world",
) -> TrueClips:
    """Features of clips of a source that no model has seen."""
    source = open_source(data, *size, seed=seed)
    parts = [
        features_of(probe, source.batch(range(i, min(i + 128, clips))).on())
        for i in range(0, clips, 128)
    ]
    features = torch.cat(parts)
    return TrueClips(feature_statistics(features), _spread(features), features)


@torch.no_grad()
def rewards_of(
    probe: Probe, features: torch.Tensor, captions: Sequence[str]
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """For each attribute and clip: the probability of what is asked for, and whether it wins."""
    asked = probe.vocabulary.read(captions)
    logits = probe.logits(features.to(next(probe.parameters()).device))
    rewards, hits = {}, {}
    for kind, value in asked.items():
        probabilities = logits[kind].float().softmax(1).cpu()
        rewards[kind] = probabilities.gather(1, value[:, None])[:, 0]
        hits[kind] = (probabilities.argmax(1) == value).float()
    return rewards, hits


def score_clips(
    probe: Probe, clips: torch.Tensor, captions: Sequence[str], true: TrueClips
) -> Scores:
    """Score clips (N, 3, T, H, W) in [-1, 1] against their captions, which the probe's vocabulary
    reads.
    """
    if len(clips) != len(captions):
        raise ValueError(f"each clip needs a caption, got {len(clips)} and {len(captions)}")
    features = features_of(probe, clips)
    rewards, hits = rewards_of(probe, features, captions)

    def mean(kinds: Sequence[str]) -> torch.Tensor:
        return torch.stack([rewards[kind] for kind in kinds]).mean(0)

    overall = mean(list(rewards))
    return Scores(
        float(overall.mean()),
        float(overall.std() / len(clips) ** 0.5),
        float(mean(probe.vocabulary.coarse).mean()),
        float(mean(probe.vocabulary.fine).mean()),
        {kind: float(r.mean()) for kind, r in rewards.items()},
        {kind: float(h.mean()) for kind, h in hits.items()},
        frechet_distance(feature_statistics(features), true.statistics),
        _spread(features) / true.spread,
        len(clips),
        None if true.features is None else kernel_distance(features, true.features),
    )

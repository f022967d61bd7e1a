"""Do latents that lie near each other mean the same? (arXiv 2606.03578)"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ssvae.analysis.structure import standardised
from ssvae.data.vocabulary import Vocabulary

NEIGHBOURS = 10
RIDGE = 1e-2
"""Of linear probing, beside the mean square of the features."""

Labels = Mapping[str, torch.Tensor]
"""Numbers (N,) of what clips show, by attribute."""


@dataclass(frozen=True)
class Semantics:
    """What latents that lie near each other have in common, by attribute."""

    neighbours: Mapping[str, float]
    """See :func:`neighbour_consistency`."""
    chance: Mapping[str, float]
    """What latents that mean nothing would have: the share of pairs of clips that agree."""

    @property
    def mean(self) -> float:
        """Of the neighbours' shares, over attributes."""
        return sum(self.neighbours.values()) / len(self.neighbours)


def labels_of(captions: Sequence[str], vocabulary: Vocabulary | None = None) -> Labels | None:
    """What captions say: the attributes of a vocabulary, or, where captions repeat, which caption
    it is; None where they do not.
    """
    if vocabulary is not None:
        return vocabulary.read(captions)
    counts = Counter(captions)
    if len(counts) < 2 or counts.most_common(1)[0][1] < 2:
        return None
    numbers = {caption: i for i, caption in enumerate(counts)}
    return {"caption": torch.tensor([numbers[caption] for caption in captions])}


def semantics_of(latents_NCTHW: torch.Tensor, labels: Labels) -> Semantics | None:
    """LNC of whole latents, channels standardised; None for too few clips."""
    count = len(latents_NCTHW)
    if count <= NEIGHBOURS:
        return None
    chance = {
        name: float((value[:, None] == value).double().sum() - count) / (count * (count - 1))
        for name, value in labels.items()
    }
    return Semantics(neighbour_consistency(whole(standardised(latents_NCTHW)), labels), chance)


def whole(latents_NCTHW: torch.Tensor) -> torch.Tensor:
    """Each clip's latents as one vector (N, C T H W)."""
    return latents_NCTHW.flatten(1)


def of_subject(latents_NCTHW: torch.Tensor, masks_NTHW: torch.Tensor) -> torch.Tensor:
    """Each latent frame's mean over the subject, as one vector (N, C T); 0 where it is not seen."""
    weights = masks_NTHW[:, None].to(latents_NCTHW)
    sums = (latents_NCTHW * weights).sum((3, 4))
    return (sums / weights.sum((3, 4)).clamp(min=1)).flatten(1)


def neighbour_consistency(
    features_ND: torch.Tensor, labels: Labels, neighbours: int = NEIGHBOURS
) -> dict[str, float]:
    """For each attribute the share of a clip's nearest neighbours, by cosine, with its own value:
    the mean over clips (LNC).

    Raises:
        ValueError: where there are not more clips than neighbours.
    """
    count = len(features_ND)
    if count <= neighbours:
        raise ValueError(f"{neighbours} neighbours take more clips than that, got {count}")
    rows = F.normalize(features_ND.double() - features_ND.double().mean(0), dim=1)
    cosine = rows @ rows.T
    cosine.fill_diagonal_(-torch.inf)
    nearest = cosine.topk(neighbours, 1).indices
    return {
        name: float((value[nearest] == value[:, None]).double().mean())
        for name, value in labels.items()
    }


def linear_probing(features_ND: torch.Tensor, labels: Labels) -> dict[str, float]:
    """For each attribute the share of clips that a linear classifier names, fitted on the first
    half (ridge regression on one-hot targets) and tested on the other.

    Raises:
        ValueError: for fewer than two clips.
    """
    if len(features_ND) < 2:
        raise ValueError(f"linear probing takes at least two clips, got {len(features_ND)}")
    half = len(features_ND) // 2
    x = features_ND.double() - features_ND[:half].double().mean(0)
    train, test = x[:half], x[half:]
    gram = train @ train.T  # as wide as there are clips, which are fewer than values
    gram += RIDGE * gram.diagonal().mean() * torch.eye(half, dtype=gram.dtype)
    seen = test @ train.T
    found = {}
    for name, value in labels.items():
        targets = F.one_hot(value).double()
        mean = targets[:half].mean(0)
        scores = seen @ torch.linalg.solve(gram, targets[:half] - mean) + mean
        found[name] = float((scores.argmax(1) == value[half:]).double().mean())
    return found

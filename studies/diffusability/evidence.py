"""The figures that are claimed to predict, of a VAE of the studies."""

from typing import Any

import torch

from ssvae.analysis.predictors import PREDICTORS, Evidence, measure_predictors
from ssvae.analysis.semantics import labels_of
from ssvae.bench.scoring import CAPTIONS_SEED
from ssvae.data import known_vocabulary, open_source
from ssvae.data.sources import WORLDS
from ssvae.evaluation.probe import Probe
from ssvae.evaluation.reward import features_of
from ssvae.latents.cache import LatentCache
from ssvae.models.backbones import Backbone

CLIPS = 256
"""That are there as pixels too: the true clips of the first captions."""


class ProbeFeatures:
    """The features of a probe."""

    def __init__(self, probe: Probe):
        self.probe = probe

    @property
    def described(self) -> str:
        """Whose they are."""
        return f"probe of {self.probe.vocabulary.source}"

    def __call__(self, clips: torch.Tensor) -> torch.Tensor:
        """Clips (B, 3, T, H, W) to features (B, 64)."""
        return features_of(self.probe, clips.clamp(-1, 1))


def predictors_of(
    cache: LatentCache, backbone: Backbone, probe: Probe, clips: int = CLIPS
) -> dict[str, Any]:
    """Each figure's value, None where these clips do not allow it, and the seconds that it and
    those found with it took.
    """
    found = measure_predictors(evidence_of(cache, backbone, probe, clips))
    names = [name for predictor in PREDICTORS for name in predictor.figures]
    return {
        "figures": {name: found[name].value if name in found else None for name in names},
        "seconds": {name: round(figure.seconds, 2) for name, figure in found.items()},
    }


@torch.no_grad()
def evidence_of(cache: LatentCache, backbone: Backbone, probe: Probe, clips: int) -> Evidence:
    """A VAE's cached latents, and true clips of the same source with what they show."""
    data, size = cache.config.data, cache.config.size
    source = open_source(data, *size, seed=CAPTIONS_SEED)
    parts = [source.batch(range(i, i + 32)) for i in range(0, clips, 32)]
    captions = [caption for part in parts for caption in part.captions]
    cover = None
    if data in WORLDS:
        shapes = open_source(data, *size, seed=CAPTIONS_SEED, channels=4)
        alphas = [shapes.batch(range(i, i + 32)).on()[:, 3:] for i in range(0, clips, 32)]
        cover = (torch.cat(alphas) + 1) / 2
    return Evidence(
        latents=torch.cat(list(cache.batches())),
        captions=cache.captions,
        encode=lambda clips: backbone.encode(clips).mean.float().cpu(),
        decode=lambda z: backbone.decode(z).float().cpu(),
        lone_first_frame=backbone.lone_first_frame,
        clips=torch.cat([part.on() for part in parts]),
        clip_latents=torch.cat([backbone.encode(part.on()).mean.float().cpu() for part in parts]),
        labels=labels_of(captions, known_vocabulary(data)),
        cover=cover,
        features=ProbeFeatures(probe),
    )

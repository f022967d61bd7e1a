"""How generated clips are scored: the same probe, captions and true clips for every model."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from ssvae.analysis import Analyzer, Robustness, Subject, psnr
from ssvae.analysis.robustness import SIGMAS, keys_of
from ssvae.data import Batch, known_vocabulary, open_source, vocabulary_of
from ssvae.diffusion.pipeline import assemble, generate
from ssvae.evaluation.features import FeatureNetwork, load_network
from ssvae.evaluation.probe import load_probe
from ssvae.evaluation.reward import kept_true_clips, score_clips, true_clips
from ssvae.latents.mapped import MappedAutoencoder
from ssvae.latents.maps import LatentMap
from ssvae.models.backbones import Backbone
from ssvae.statistics.frechet import feature_statistics, frechet_distance
from ssvae.statistics.kernel import kernel_distance

CAPTIONS_SEED = 8_000_001  # the source whose captions are asked for; nothing is trained on it


@dataclass(frozen=True)
class Sampling:
    """How clips are generated to be scored."""

    samples: int = 256
    """Clips generated each time, one for each of as many captions."""
    steps: int = 6
    """Steps of the sampler."""
    guidance: float = 2.0
    """Classifier-free guidance; 1 is none."""
    seed: int = 0
    """Seed of the noise."""


class Scorer(ABC):
    """The captions, the true clips behind them, and scores: the same for every model."""

    network: str = ""
    """Whose features distances are of, where rewards are not scored."""

    def __init__(self, sampling: Sampling, size: tuple[int, int, int], data: str):
        self.sampling, self.size, self.data = sampling, size, data
        self.captions = [caption for batch in self._batches() for caption in batch.captions]

    @abstractmethod
    def score(self, clips: torch.Tensor) -> dict[str, Any]:
        """Scores of a clip for each caption."""

    def ceiling(self, backbone: Backbone) -> dict[str, Any]:
        """Scores of reconstructions of true clips: no diffusion model on this VAE can pass them."""
        return self.score(torch.cat(_reconstructed(backbone, self._videos())))

    def measure(self, backbone: Backbone, latent_map: LatentMap | None = None) -> dict[str, Any]:
        """What a VAE can do: its ceiling, PSNR, and the analysis of its latents.

        Noise for the robustness is added where the diffusion model leaves it, to mapped latents.
        """
        subject, after_map = Subject.of(backbone), Robustness()
        analyzer = Analyzer(sigmas=SIGMAS if latent_map is None else ())
        mapped = None
        if latent_map is not None:
            mapped = Subject.of(MappedAutoencoder.of(backbone, latent_map))
        reconstructions, decibels = [], []
        for video in self._videos():
            reconstructions.append(analyzer.update(subject, video).float().cpu())
            decibels.append(psnr(reconstructions[-1], video))
            if mapped is not None:
                clips = mapped.placed(video)
                after_map.update(mapped.decode, mapped.encode(clips), clips, keys_of(video))
        analysis = analyzer.result().summary()
        if mapped is not None:
            robustness = after_map.result()
            analysis["robustness"] = {str(sigma): value for sigma, value in robustness.items()}
        of_all = torch.cat(decibels)
        return {
            "ceiling": self.score(torch.cat(reconstructions)),
            "psnr": float(of_all.mean()),
            "psnr_error": float(of_all.std() / len(of_all) ** 0.5),
            "analysis": analysis,
        }

    def sample(self, checkpoint: Path, backbone: Backbone) -> torch.Tensor:
        """A clip for each caption by the model of a checkpoint (its EMA)."""
        pipeline = assemble(checkpoint, backbone, backbone.device)
        s = self.sampling
        return generate(
            pipeline, self.captions, self.size, s.steps, s.guidance, s.seed, batch_size=64
        )

    def _batches(self) -> list[Batch]:
        """The true clips of the captions."""
        n, source = self.sampling.samples, open_source(self.data, *self.size, seed=CAPTIONS_SEED)
        return [source.batch(range(i, min(i + 32, n))) for i in range(0, n, 32)]

    def _videos(self) -> list[torch.Tensor]:
        return [batch.on() for batch in self._batches()]


class ProbeScorer(Scorer):
    """Rewards: the probability that a probe gives to what the captions ask for."""

    def __init__(
        self,
        sampling: Sampling,
        size: tuple[int, int, int],
        probe: Path | None,
        device: torch.device | str,
        data: str = "world",
    ):
        self.probe = load_probe(probe, device, data)
        known, asked = self.probe.vocabulary, vocabulary_of(data)
        if not known.says_the_same(asked):
            raise ValueError(
                f"the probe names what captions of {known.source} say, and those of {data} say "
                f"something else: ssvae train-probe --data {data} trains another"
            )
        self.true = kept_true_clips(probe, size, data) or true_clips(self.probe, size, data=data)
        super().__init__(sampling, size, data)

    def score(self, clips: torch.Tensor) -> dict[str, Any]:
        """Rewards, and the distance on the probe's features."""
        return asdict(score_clips(self.probe, clips, self.captions, self.true))


class FeatureScorer(Scorer):
    """Fréchet distance and KVD on a network's features, for captions that may say anything."""

    def __init__(
        self,
        sampling: Sampling,
        size: tuple[int, int, int],
        features: FeatureNetwork,
        data: str,
    ):
        super().__init__(sampling, size, data)
        self.features, self.network = features, features.described
        self.true = torch.cat([features(video) for video in self._videos()])

    def score(self, clips: torch.Tensor) -> dict[str, Any]:
        """Both distances to the true clips of the captions."""
        found = torch.cat([self.features(part) for part in clips.split(32)])
        return {
            "frechet": frechet_distance(feature_statistics(found), feature_statistics(self.true)),
            "kernel": kernel_distance(found, self.true, paired=True),  # of the same captions
            "clips": len(clips),
        }


def _reconstructed(backbone: Backbone, videos: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    return [backbone.decode(backbone.encode(v).mean).float().cpu() for v in videos]


@lru_cache(1)
def scorer_of(
    sampling: Sampling,
    size: tuple[int, int, int],
    probe: Path | None,
    network: str | None,
    device: torch.device | str,
    data: str,
) -> Scorer:
    """The scorer of a process, made once: of rewards where captions have known words."""
    if known_vocabulary(data) is not None:
        return ProbeScorer(sampling, size, probe, device, data)
    if network is None:
        open_source(data, *size)  # which says where there is none
        raise ValueError(
            f"captions of {data} may say anything, so that distances on the features of a network "
            "are scored: give --network, such as i3d:FILE.pt or videomae:NAME"
        )
    return FeatureScorer(sampling, size, load_network(network, device), data)

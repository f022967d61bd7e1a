"""Clips with the posteriors that a cache holds of them: for who trains on both."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch

from ssvae.data.batch import Batch, Source, in_turn
from ssvae.latents.cache import LatentCache, content_of
from ssvae.models.backbones import Backbone
from ssvae.models.fingerprint import check_same_latents

APART = 0.05
"""How far means may be from those that are encoded again, in deviations of all: bfloat16 is near
.01."""


class CachedClips:
    """A source of a cache's clips, in an order of its own in each epoch, each with its posterior.

    Args:
        cache: written with ``posterior="moments"``.
        source: where its clips came from, opened by the cache's settings.
        seed: of the order.
    """

    def __init__(self, cache: LatentCache, source: Source, seed: int = 0):
        self.cache, self.source, self.seed = cache, source, seed
        self.read_ahead = source.read_ahead
        self._order = lru_cache(maxsize=4)(self._draw_order)

    def indices(self, number: int, size: int, process: int, processes: int) -> Sequence[int]:
        """Processes take turns."""
        return in_turn(number, size, process, processes)

    def batch(self, indices: Sequence[int]) -> Batch:
        """The clips that these indices draw."""
        return self._of([self._place(index) for index in indices])

    @torch.no_grad()
    def check(self, backbone: Backbone) -> None:
        """A ValueError where some clips, encoded anew, have other means than the cache says."""
        remedy = f"write one of this {backbone.name} (ssvae cache-latents --posterior moments)"
        held = self.cache.config.encoder
        check_same_latents(f"the cache in {self.cache.path}", held, backbone.vae, remedy)
        batch = self._of([0, len(self.cache) - 1])
        assert batch.moments is not None
        anew = backbone.encode(batch.on(backbone.device)).parameters.float().cpu()
        if anew.shape == batch.moments.shape:
            means = [x[:, : backbone.layout.channels] for x in (anew, batch.moments)]
            if (means[0] - means[1]).square().mean().sqrt() <= APART * means[0].std():
                return
        raise ValueError(
            f"the cache in {self.cache.path} does not hold this {backbone.name}'s latents of the "
            f"clips that {self.cache.config.data} gives now: write it again (ssvae cache-latents "
            "--posterior moments)"
        )

    def _place(self, index: int) -> int:
        epoch, position = divmod(index, len(self.cache))
        return int(self._order(epoch)[position])

    def _draw_order(self, epoch: int) -> np.ndarray:
        return np.random.default_rng((self.seed, epoch)).permutation(len(self.cache))

    def _of(self, places: Sequence[int]) -> Batch:
        batch = clips_of(self.cache, self.source, places)
        return replace(batch, moments=self.cache.moments(places))


def clips_of(cache: LatentCache, source: Source, places: Sequence[int]) -> Batch:
    """The clips behind some of a cache's latents, from where they came.

    A ValueError where the source has others now: it reads another file for one that is broken.
    """
    clips = cache.clips(places)
    batch = source.batch(clips)
    for clip, video, held in zip(clips, batch.video, cache.contents(places), strict=True):
        if content_of(video) != held != -1:
            raise ValueError(
                f"clip {clip} of {cache.config.data} is not the one whose latents the cache in "
                f"{cache.path} holds: mend the files that the log names, or write the cache again"
            )
    return batch

"""Latents of clips of several sizes: a folder with a cache for each, read as one.

The folder holds ``buckets.json``, which names the caches, and beside each cache the list of films
that it was made of. Batches are of one size.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import accumulate, chain
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from ssvae.data.buckets import Size, bucket_name, sort_into_buckets, write_list
from ssvae.latents.cache import BUCKETS, CacheConfig, LatentCache
from ssvae.latents.encoding import write_cache
from ssvae.latents.maps import LatentMap, MapConfig, fit_map
from ssvae.models.backbones import Backbone
from ssvae.models.fingerprint import same_encoder
from ssvae.spectra.channels import ChannelResult, ChannelSpectrum
from ssvae.storage.digests import checksum
from ssvae.storage.files import read_json, write_json
from ssvae.storage.processes import from_main


class LatentBuckets:
    """The caches of a folder that ``ssvae cache-latents --buckets`` wrote, as one; a cache of one
    size is one bucket.

    ``caches`` are in the order in which buckets were named; clips are counted through them.

    Raises:
        ValueError: where there is no whole cache, or the caches are of several VAEs.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        try:
            names = read_json(self.path / BUCKETS)["buckets"]
        except FileNotFoundError:
            self.caches = [LatentCache(path)]
            self.path = self.caches[0].path
        else:
            self.caches = [LatentCache(self.path / name) for name in names]
        encoders = [cache.config.encoder for cache in self.caches]
        if not all(same_encoder(encoders[0], other) for other in encoders):
            raise ValueError(f"the caches in {path} are of several VAEs: write them anew")
        self.counts = [len(cache) for cache in self.caches]
        self._ends = list(accumulate(self.counts))

    def __len__(self) -> int:
        return self._ends[-1]

    @property
    def shapes(self) -> list[tuple[int, int, int, int]]:
        """Of the latents of each bucket (C, t, h, w)."""
        return [cache.shape for cache in self.caches]

    @property
    def config(self) -> CacheConfig:
        """Of the first bucket."""
        return self.caches[0].config

    @property
    def vae(self) -> str:
        """Where the VAE is."""
        return self.caches[0].vae

    @property
    def checksum(self) -> str:
        """Tells the latents from any others."""
        all_of_them = [cache.checksum for cache in self.caches]
        return all_of_them[0] if len(all_of_them) == 1 else checksum(all_of_them)

    def each_caption(self) -> Iterator[str]:
        """The captions of all clips, in order."""
        return chain.from_iterable(cache.each_caption() for cache in self.caches)

    def captions_of(self, indices: Sequence[int]) -> list[str]:
        """The captions of these clips, all of one bucket."""
        cache, own = self._own(indices)
        return cache.captions_of(own)

    @property
    def statistics(self) -> ChannelResult:
        """Mean and covariance of the channels over all buckets."""
        total = ChannelSpectrum()
        for cache in self.caches:
            total.merge(ChannelSpectrum.of(cache.statistics))
        return total.result()

    def latents(self, indices: Sequence[int]) -> torch.Tensor:
        """The latents of these clips, all of one bucket (B, C, t, h, w), in float32."""
        cache, own = self._own(indices)
        return cache.latents(own)

    def _own(self, indices: Sequence[int]) -> tuple[LatentCache, list[int]]:
        """The bucket of these clips, and how it counts them."""
        which = bisect_right(self._ends, indices[0])
        before = self._ends[which] - self.counts[which]
        return self.caches[which], [index - before for index in indices]

    def fit(self, config: MapConfig = MapConfig()) -> LatentMap:
        """One map for the latents of all buckets; see :meth:`LatentCache.fit`.

        A ValueError for a map of one size where there are several.
        """
        if len(self.caches) == 1:
            return self.caches[0].fit(config)
        if config.power != 1 or config.scramble is not None:
            raise ValueError(
                f"the latents in {self.path} are of several sizes: a map with power or scramble "
                "is for one, so fit it to one of the caches in it"
            )
        fitted = fit_map(self.statistics, self.shapes[0][1:], config)
        fitted.encoder = self.config.encoder
        return fitted


def write_buckets(
    backbone: Backbone,
    out: str | Path,
    config: CacheConfig,
    sizes: Sequence[Size],
    accelerator: Accelerator,
    on_clips: Callable[[int], Any] = lambda done: None,
    workers: int | None = None,
) -> LatentBuckets:
    """Films of several shapes as latents: each bucket as many of ``config.clips`` as its share of
    the films, one at least; see :func:`ssvae.latents.encoding.write_cache`.

    A ValueError where the VAE takes no clips of one of the sizes, or ``out`` is a cache of one
    size.
    """
    out = Path(out)
    if (out / "config.json").exists():
        raise ValueError(f"{out} is a cache of one size: choose an empty folder for buckets")
    for size in sizes:
        backbone.latent_shape(*size)
    films = from_main(accelerator, lambda: _write_lists(out, config, sizes))
    total, films_before, clips_before, done = sum(films.values()), 0, 0, 0
    for (frames, height, width), count in films.items():
        name = bucket_name((frames, height, width))
        films_before += count
        share = config.clips * films_before // total - clips_before
        clips_before += share
        own = replace(
            config,
            data=str((out / f"{name}.jsonl").resolve()),
            clips=max(1, share),
            frames=frames,
            height=height,
            width=width,
        )
        advance = partial(_advance, on_clips, done)
        write_cache(backbone, out / name, own, accelerator, advance, workers)
        done += own.clips // accelerator.num_processes
    if accelerator.is_main_process:
        write_json(out / BUCKETS, {"buckets": [bucket_name(size) for size in films]})
    accelerator.wait_for_everyone()
    return LatentBuckets(out)


def _write_lists(out: Path, config: CacheConfig, sizes: Sequence[Size]) -> dict[Size, int]:
    """A list of the films of each bucket that has any, and how many they are."""
    films = sort_into_buckets(config.data, sizes, config.fps)
    out.mkdir(parents=True, exist_ok=True)
    for size, items in films.items():
        write_list(out / f"{bucket_name(size)}.jsonl", items)
    return {size: len(items) for size, items in films.items()}


def _advance(on_clips: Callable[[int], Any], before: int, done: int) -> None:
    """Tell of the clips of a bucket, and of those before it."""
    on_clips(before + done)

"""A cache of latents: clips and captions encoded once, then read at random by memory map.

The folder holds ``index.json`` and shards of safetensors. A shard has ``latents`` (n, C, t, h, w)
as the VAE gave them, ``captions`` (UTF-8 bytes, one behind the other), ``ends`` (n,), where each
caption ends, and ``clips`` (n,), the clips' indices in the source. The index names the shards and
holds all that was set, and the channels' statistics, by which :meth:`LatentCache.fit` standardises.
"""

import json
import logging
import os
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ssvae.data.batch import Source
from ssvae.data.files import write_text
from ssvae.data.seeds import generator_of
from ssvae.diffusion.shaping import LatentMap, MapConfig, fit_map
from ssvae.models import DiagonalGaussian
from ssvae.models.backbones import Backbone
from ssvae.spectra.channels import ChannelResult, ChannelSpectrum

logger = logging.getLogger(__name__)

FORMAT = 1
POSTERIORS = ("mean", "sample")
BATCH = 16  # clips encoded at once


@dataclass(frozen=True)
class CacheConfig:
    """All that defines a cache; a cache goes on only under the same."""

    vae: str
    """The VAE's folder or hub id."""
    data: str = "world"
    """Where clips come from: "world" (procedural), or a folder of videos."""
    clips: int = 4096
    """Number of clips."""
    frames: int = 9
    """Frames a clip."""
    height: int = 32
    """Height in pixels."""
    width: int = 32
    """Width in pixels."""
    fps: float | None = None
    """Frames a second that videos are resampled to; None keeps each video's own."""
    seed: int = 0
    """Seed of the draw of clips, and of the posterior's samples."""
    posterior: str = "mean"
    """Keep the posterior's mean, or a sample of it."""
    shard_clips: int = 1024
    """Clips a shard."""

    def of_size(self, size: tuple[int, int, int]) -> "CacheConfig":
        """The same for clips of this many frames, rows and columns."""
        frames, height, width = size
        return replace(self, frames=frames, height=height, width=width)

    def problems(self) -> list[str]:
        """All that is wrong with it; empty where nothing is."""
        wrong = [
            f"{name} must be at least 1, got {getattr(self, name)}"
            for name in ("clips", "frames", "height", "width", "shard_clips")
            if getattr(self, name) < 1
        ]
        if self.posterior not in POSTERIORS:
            wrong.append(f"posterior must be mean or sample, got {self.posterior!r}")
        if self.fps is not None and self.fps <= 0:
            wrong.append(f"fps must be positive, got {self.fps}")
        return wrong


def _shard_name(number: int) -> str:
    return f"latents-{number:05d}.safetensors"


def _statistics_name(number: int) -> str:
    return f"latents-{number:05d}.json"


def cache_latents(
    backbone: Backbone,
    source: Source,
    out: str | Path,
    config: CacheConfig,
    process: int = 0,
    processes: int = 1,
    on_clips: Callable[[int], Any] | None = None,
) -> None:
    """Encode a source's clips into shards, those of this process; :func:`finish_cache` comes last.

    Shards that are there already are kept, so that the same call goes on where one was stopped.
    A clip whose pixels or latents are not finite is left out, and named. ``on_clips`` hears the
    number of clips that are done.
    """
    if problems := config.problems():
        raise ValueError("; ".join(problems))
    shape = backbone.latent_shape(config.frames, config.height, config.width)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    _check_config(out, config)
    done = 0
    for number, start in enumerate(range(0, config.clips, config.shard_clips)):
        if number % processes != process:
            continue
        stop = min(start + config.shard_clips, config.clips)
        if not (out / _statistics_name(number)).exists():
            report = _counting_from(done, on_clips)
            _write_shard(backbone, source, out, config, number, range(start, stop), shape, report)
        done += stop - start
        if on_clips is not None:
            on_clips(done)


def _counting_from(done: int, on_clips: Callable[[int], Any] | None) -> Callable[[int], Any]:
    return lambda more: None if on_clips is None else on_clips(done + more)


def _write_shard(
    backbone: Backbone,
    source: Source,
    out: Path,
    config: CacheConfig,
    number: int,
    clips: range,
    shape: tuple[int, ...],
    on_clips: Callable[[int], Any],
) -> None:
    latents, captions, kept, failed, spectrum = [], [], [], [], ChannelSpectrum()
    for start in clips[::BATCH]:
        indices = range(start, min(start + BATCH, clips.stop))
        batch = source.batch(indices)
        # One seed a clip: a sample does not depend on how clips fall into batches.
        z = _encode(backbone, batch.video, config, indices)
        good = torch.isfinite(z.flatten(1)).all(1)
        good &= torch.isfinite(batch.video.flatten(1)).all(1).cpu()
        for i, fine in zip(indices, good.tolist(), strict=True):
            if fine:
                kept.append(i)
                captions.append(batch.captions[i - start].encode())
            else:
                failed.append(i)
                logger.warning(
                    "left out clip %d of %s (%r): its pixels or latents are not finite",
                    i,
                    config.data,
                    batch.captions[i - start],
                )
        latents.append(z[good])
        if good.any():
            spectrum.update(z[good])
        on_clips(indices.stop - clips.start)
    stacked = torch.cat(latents) if latents else torch.zeros(0, *shape)
    ends = torch.tensor([len(c) for c in captions], dtype=torch.int64).cumsum(0)
    tensors = {
        "latents": stacked.contiguous(),
        "captions": torch.frombuffer(bytearray(b"".join(captions) or b" "), dtype=torch.uint8),
        "ends": ends,
        "clips": torch.tensor(kept, dtype=torch.int64),
    }
    partial = out / f".partial-{number}"
    save_file(tensors, partial)
    os.replace(partial, out / _shard_name(number))
    summary: dict[str, Any] = {"clips": len(kept), "failed": failed}
    if kept:
        result = spectrum.result()
        summary |= {"mean": result.mean.tolist(), "covariance": result.covariance.tolist()}
    # Written last: it says that the shard is whole.
    _write_json(out / _statistics_name(number), summary)


def _encode(
    backbone: Backbone, video: torch.Tensor, config: CacheConfig, indices: range
) -> torch.Tensor:
    posterior = backbone.encode(video)
    if config.posterior == "mean" or not isinstance(posterior, DiagonalGaussian):
        return posterior.mean.float().cpu()
    noise = torch.stack(
        [
            torch.randn(
                posterior.mean.shape[1:],
                generator=generator_of(config.seed, i),
            )
            for i in indices
        ]
    )
    std = (0.5 * posterior.logvar).exp()
    return posterior.mean.float().cpu() + std.float().cpu() * noise


def finish_cache(out: str | Path, config: CacheConfig) -> "LatentCache":
    """Write the index, once every process has written its shards; the cache, to read."""
    out, shards, failed, total = Path(out), [], [], ChannelSpectrum()
    shape: list[int] = []
    for number in range(len(range(0, config.clips, config.shard_clips))):
        path = out / _statistics_name(number)
        if not path.exists():
            raise ValueError(f"shard {number} of {out} is missing: run the same command again")
        part = json.loads(path.read_text())
        failed += part["failed"]
        if not part["clips"]:
            continue
        shards.append({"file": _shard_name(number), "clips": part["clips"]})
        try:
            with safe_open(out / _shard_name(number), "pt") as shard:
                shape = shard.get_slice("latents").get_shape()[1:]
        except (SafetensorError, OSError) as error:
            raise _does_not_open(out / _shard_name(number), error) from error
        positions = part["clips"] * shape[1] * shape[2] * shape[3]
        mean, covariance = (
            torch.tensor(part[k], dtype=torch.float64) for k in ("mean", "covariance")
        )
        total.merge(ChannelSpectrum.of(ChannelResult(mean, covariance, positions)))
    if not shards:
        raise ValueError(f"no clip of {config.data} could be encoded: there is nothing to cache")
    result = total.result()
    index = {
        "format": FORMAT,
        "config": asdict(config),
        "latent_shape": shape,
        "shards": shards,
        "failed": failed,
        "mean": result.mean.tolist(),
        "covariance": result.covariance.tolist(),
    }
    _write_json(out / "index.json", index)
    return LatentCache(out)


def _write_json(path: Path, content: Any) -> None:
    write_text(path, json.dumps(content) + "\n")


def _check_config(out: Path, config: CacheConfig) -> None:
    """A cache goes on under the settings it began with."""
    path, now = out / "config.json", json.loads(json.dumps(asdict(config)))
    if not path.exists():
        # Another process of this run may have written the config just now.
        ours = "config.json", "latents-"
        foreign = [p for p in out.iterdir() if not p.name.startswith((".", *ours))]
        if foreign:
            raise ValueError(f"{out} holds other files and is no cache: choose an empty folder")
        _write_json(path, now)
        return
    before = json.loads(path.read_text())
    changed = [k for k in sorted(before | now) if before.get(k) != now.get(k)]
    if changed:
        listed = ", ".join(f"{k} was {before.get(k)} and is {now.get(k)}" for k in changed)
        raise ValueError(
            f"the cache in {out} began with other settings ({listed}): keep them, or choose "
            "another folder"
        )


class LatentCache:
    """The latents of a cache, as the VAE gave them, at random by memory map.

    ``shape`` is (C, t, h, w); ``statistics`` the mean and covariance of the channels;
    ``failed`` the clips that were left out.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        try:
            index = json.loads((self.path / "index.json").read_text())
        except FileNotFoundError as error:
            raise ValueError(
                f"no finished cache of latents in {path}: ssvae cache-latents writes one, and "
                "the same command again goes on where it stopped"
            ) from error
        if index.get("format") != FORMAT:
            raise ValueError(
                f"the cache in {path} has format {index.get('format')}, expected {FORMAT}: write "
                "it anew"
            )
        self.config = CacheConfig(**index["config"])
        C, T, H, W = index["latent_shape"]
        self.shape: tuple[int, int, int, int] = C, T, H, W
        mean, covariance = (
            torch.tensor(index[k], dtype=torch.float64) for k in ("mean", "covariance")
        )
        self._files = [self.path / shard["file"] for shard in index["shards"]]
        counts = [shard["clips"] for shard in index["shards"]]
        self._ends = torch.tensor(counts).cumsum(0).tolist()
        self.statistics = ChannelResult(mean, covariance, self._ends[-1] * T * H * W)
        self.failed: list[int] = index["failed"]
        self._open: dict[int, Any] = {}
        self._tensors: dict[int, torch.Tensor] = {}
        self._captions: list[str] | None = None

    def __len__(self) -> int:
        return self._ends[-1]

    def latents(self, indices: Sequence[int]) -> torch.Tensor:
        """The latents of these clips (B, C, t, h, w), in float32."""
        rows = []
        for index in indices:
            which = bisect_right(self._ends, index)
            offset = index - (self._ends[which - 1] if which else 0)
            rows.append(self._mapped(which)[offset])
        return torch.stack(rows).float()

    def batches(self, size: int = 256) -> Iterator[torch.Tensor]:
        """All latents in order, in batches."""
        for start in range(0, len(self), size):
            yield self.latents(range(start, min(start + size, len(self))))

    @property
    def captions(self) -> list[str]:
        """The captions of all clips, in order."""
        if self._captions is None:
            self._captions = []
            for which in range(len(self._files)):
                shard = self._shard(which)
                text = shard.get_tensor("captions").numpy().tobytes()
                ends = shard.get_tensor("ends").tolist()
                starts = [0, *ends[:-1]]
                pairs = zip(starts, ends, strict=True)
                self._captions += [text[a:b].decode() for a, b in pairs]
        return self._captions

    def fit(self, config: MapConfig = MapConfig()) -> LatentMap:
        """A map for these latents; by default each channel standardised."""
        return fit_map(self.statistics, self.shape[1:], config, self.batches())

    def _mapped(self, which: int) -> torch.Tensor:
        """The latents of a shard, read from the file where they are touched."""
        if which not in self._tensors:
            self._tensors[which] = self._shard(which).get_tensor("latents")
        return self._tensors[which]

    def _shard(self, which: int) -> Any:
        if which not in self._open:
            try:
                self._open[which] = safe_open(self._files[which], "pt").__enter__()
            except (SafetensorError, OSError) as error:
                raise _does_not_open(self._files[which], error) from error
        return self._open[which]


def _does_not_open(shard: Path, error: Exception) -> ValueError:
    return ValueError(
        f"{shard} does not open ({error}): remove it, {shard.with_suffix('.json').name} and "
        "index.json, and write the cache again"
    )

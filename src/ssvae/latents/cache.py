"""A cache of latents: clips and captions encoded once, then read at random by memory map.

The folder holds ``index.json`` and shards of safetensors. A shard has ``latents`` (n, C, t, h, w)
as the VAE gave them, perhaps ``log_variances`` beside them, ``captions`` (UTF-8 bytes, one behind
the other), ``ends`` (n,), where each caption ends, ``clips`` (n,), the clips' indices in the
source, and ``contents`` (n,), checksums of their pixels where these are bytes. The index names the
shards and holds all that was set, and the channels' statistics, by which :meth:`LatentCache.fit`
standardises. In ``vae`` lies a copy of the VAE, for runs are pruned and models replaced.
"""

import zlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict

import torch
from huggingface_hub import snapshot_download
from safetensors import SafetensorError, safe_open
from torch.utils.data import Dataset, Subset

from ssvae.latents.maps import LatentMap, MapConfig, fit_map
from ssvae.spectra.channels import ChannelResult
from ssvae.storage.digests import checksum, digest
from ssvae.storage.files import read_json
from ssvae.storage.hub import HUB_ID, hub_options
from ssvae.storage.problems import Problems

FORMAT = 1
LOG_VARIANCES = "log_variances"
CHECKSUM = "checksum"
"""In the index: of all else in it."""
BUCKETS = "buckets.json"
"""In a folder of several caches: see ssvae.latents.buckets."""
VAE = "vae"
"""The folder of the VAE in a cache."""
MOMENTS = "moments"
POSTERIORS = ("mean", "sample", MOMENTS)
OPEN = 4096
"""Shards that are kept open: Linux allows a process 65,530 memory maps."""
STORAGE = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class CacheConfig:
    """All that defines a cache; a cache goes on only under the same."""

    vae: str
    """The VAE's folder or hub id."""
    data: str = "world"
    """Where clips come from: see ssvae.data.open_source."""
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
    """Keep the posterior's mean, a sample of it, or its moments: the mean and the log variances."""
    shard_clips: int = 256
    """Clips a shard."""
    dtype: str = "float32"
    """Number format that the VAE encoded in."""
    storage: str = "float32"
    """Number format that latents are kept in; bfloat16 takes half the room."""
    encoder: str = ""
    """The fingerprint of the VAE's latents; filled in where the cache is written."""
    items: str = ""
    """How many files the clips are drawn from, and a checksum of their names, sizes and captions;
    filled in where the cache is written."""
    first_frame_alone: bool | None = None
    """Whether the VAE encodes a first frame by itself; filled in where the cache is written."""

    @property
    def size(self) -> tuple[int, int, int]:
        """Frames, height and width of the clips."""
        return self.frames, self.height, self.width

    @property
    def shards(self) -> int:
        """Number of shards."""
        return -(-self.clips // self.shard_clips)

    def clips_of(self, shard: int) -> range:
        """The clips of a shard, by their indices in the source."""
        return range(self.clips)[shard * self.shard_clips :][: self.shard_clips]

    def __post_init__(self) -> None:
        problems = Problems()
        problems.at_least_1(self, "clips", "frames", "height", "width", "shard_clips")
        problems.one_of(self, "posterior", POSTERIORS)
        problems.one_of(self, "storage", tuple(STORAGE))
        problems.require(self.fps is None or self.fps > 0, f"fps must be positive, got {self.fps}")
        problems.check("a cache cannot be so")


def content_of(clip: torch.Tensor) -> int:
    """What tells a clip's pixels from others, where they are bytes; -1 of floats, which round
    elsewhere.
    """
    return zlib.crc32(clip.contiguous().numpy().data) if clip.dtype == torch.uint8 else -1


def shard_name(number: int) -> str:
    """File of a shard."""
    return f"latents-{number:05d}.safetensors"


def statistics_name(number: int) -> str:
    """File that says that a shard is whole, with the statistics of its channels."""
    return f"latents-{number:05d}.json"


class LatentItem(TypedDict):
    """A clip as a diffusion model learns it."""

    latents: torch.Tensor
    """Standardised, or under another map (C, t, h, w)."""
    caption: str


class LatentCache(Dataset[LatentItem]):
    """The latents of a cache, at random by memory map: a data set of standardised latents and
    captions, for any training loop, and the latents as the VAE gave them.

    ``shape`` is (C, t, h, w); ``statistics`` the mean and covariance of the channels;
    ``failed`` the clips that were left out; ``vae`` where the VAE is, in the cache itself unless it
    came with the package; ``checksum`` tells the cache from any other.

    Args:
        path: the cache's folder, or the hub id of a data set that is one (owner/name,
            owner/name@revision).
        latent_map: what the data set's latents are under; each channel standardised where None.

    Raises:
        ValueError: where there is no whole cache, or its index is damaged.
    """

    def __init__(self, path: str | Path, latent_map: LatentMap | None = None):
        self.path, self._given_map = _folder_of(path), latent_map
        try:
            index = read_json(self.path / "index.json")
        except FileNotFoundError as error:
            if (self.path / BUCKETS).exists():
                raise ValueError(
                    f"{path} holds a cache for each size of clips: give one of them, a folder in it"
                ) from error
            raise ValueError(
                f"no finished cache of latents in {path}: ssvae cache-latents writes one, and "
                "the same command again goes on where it stopped"
            ) from error
        if index.get("format") != FORMAT:
            raise ValueError(
                f"the cache in {path} has format {index.get('format')}, expected {FORMAT}: write "
                "it anew"
            )
        try:
            recorded = index.pop(CHECKSUM, None)
            self.checksum = checksum(index)
            if recorded not in (None, self.checksum):
                raise ValueError("it is not as it was written")
            self.config = CacheConfig(**index["config"])
            kept = self.path / VAE
            self.vae = str(kept.resolve()) if kept.is_dir() else self.config.vae
            C, T, H, W = index["latent_shape"]
            self.shape: tuple[int, int, int, int] = C, T, H, W
            mean, covariance = (
                torch.tensor(index[k], dtype=torch.float64) for k in ("mean", "covariance")
            )
            self._files = [self.path / shard["file"] for shard in index["shards"]]
            # Older caches have no checksums.
            self._sha256 = [shard.get("sha256") for shard in index["shards"]]
            counts = [shard["clips"] for shard in index["shards"]]
            self._ends = torch.tensor(counts).cumsum(0)
            self.statistics = ChannelResult(mean, covariance, len(self) * T * H * W)
            self.failed: list[int] = index["failed"]
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ValueError(
                f"{self.path / 'index.json'} is damaged ({type(error).__name__}: {error}): remove "
                "it, and the same ssvae cache-latents writes it again"
            ) from error
        self._open = OrderedDict[int, _Shard]()

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> LatentItem:
        return self.__getitems__([range(len(self))[index]])[0]  # an IndexError beyond the end

    def __getitems__(self, indices: Sequence[int]) -> list[LatentItem]:
        """A batch at once, as torch's data loader asks for it."""
        mapped, captions = self.map(self.latents(indices)), self.captions_of(indices)
        return [{"latents": z, "caption": text} for z, text in zip(mapped, captions, strict=True)]

    def part(self, process: int, processes: int) -> "Subset[LatentItem]":
        """The clips of one process of several: as many as every other, and next to each other, so
        that each reads files of its own.
        """
        each = len(self) // processes
        return Subset(self, range(process * each, (process + 1) * each))

    @cached_property
    def map(self) -> LatentMap:
        """What the data set's latents are under."""
        return self.fit() if self._given_map is None else self._given_map

    @torch.no_grad()
    def denormalise(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents of the data set, or of a model that learned it (B, C, t, h, w), as the VAE
        decodes them.
        """
        undo = self.map
        if latents.device != undo.mean.device:
            undo = deepcopy(undo).to(latents.device)
        return undo.inverse(latents)

    def __getstate__(self) -> dict[str, Any]:
        # Files are opened anew in a data loader's workers.
        return self.__dict__ | {"_open": OrderedDict()}

    def latents(self, indices: Sequence[int]) -> torch.Tensor:
        """The latents of these clips (B, C, t, h, w), in float32."""
        return self._gathered("latents", indices).float()

    def moments(self, indices: Sequence[int]) -> torch.Tensor:
        """The posteriors' parameters (B, 2 C, t, h, w), in float32; (B, C, t, h, w) of a VAE of no
        variance.

        A ValueError where the cache keeps no moments.
        """
        self.check_moments()
        mean = self.latents(indices)
        if LOG_VARIANCES not in self._shard(0).names:
            return mean
        return torch.cat([mean, self._gathered(LOG_VARIANCES, indices).float()], 1)

    def check_moments(self) -> None:
        """A ValueError where the cache keeps no moments."""
        if self.config.posterior != MOMENTS:
            raise ValueError(
                f"the cache in {self.path} keeps the posterior's {self.config.posterior} alone: "
                f"write one with ssvae cache-latents --posterior {MOMENTS}"
            )

    def clips(self, indices: Sequence[int]) -> list[int]:
        """The clips' indices in the source."""
        return self._gathered("clips", indices).tolist()

    def contents(self, indices: Sequence[int]) -> list[int]:
        """Checksums of the clips' pixels: see :func:`content_of`."""
        return self._gathered("contents", indices).tolist()

    def _gathered(self, name: str, indices: Sequence[int]) -> torch.Tensor:
        """Rows of a tensor that lies in all shards."""
        places = torch.as_tensor(indices)
        shards = torch.bucketize(places, self._ends, right=True)
        first = self._shard(int(shards[0])).tensor(name)
        found = torch.empty(len(places), *first.shape[1:], dtype=first.dtype)
        for shard in shards.unique().tolist():
            there = shards == shard
            begin = self._ends[shard - 1] if shard else 0
            found[there] = self._shard(shard).tensor(name)[places[there] - begin]
        return found

    def batches(self, size: int = 256) -> Iterator[torch.Tensor]:
        """All latents in order, in batches."""
        for start in range(0, len(self), size):
            yield self.latents(range(start, min(start + size, len(self))))

    @property
    def captions(self) -> list[str]:
        """The captions of all clips, in order: of ten million a gigabyte."""
        return list(self.each_caption())

    def each_caption(self) -> Iterator[str]:
        """The captions of all clips, one after the other."""
        for which in range(len(self._files)):
            shard = self._shard(which)
            yield from map(shard.caption, range(shard.clips))

    def captions_of(self, indices: Sequence[int]) -> list[str]:
        """The captions of these clips."""
        places = torch.as_tensor(indices)
        found = []
        for place, which in zip(
            indices, torch.bucketize(places, self._ends, right=True).tolist(), strict=True
        ):
            begin = int(self._ends[which - 1]) if which else 0
            found.append(self._shard(which).caption(int(place) - begin))
        return found

    def fit(self, config: MapConfig = MapConfig()) -> LatentMap:
        """A map for these latents; by default each channel standardised."""
        fitted = fit_map(self.statistics, self.shape[1:], config, self.batches())
        fitted.encoder = self.config.encoder
        return fitted

    def _shard(self, which: int) -> "_Shard":
        if which in self._open:
            self._open.move_to_end(which)
            return self._open[which]
        path = self._files[which]
        try:
            if self._sha256[which] not in (None, digest(path)):
                raise OSError("it is not as it was written")
            self._open[which] = _Shard(path)
        except (SafetensorError, OSError) as error:
            raise does_not_open(path, error) from error
        while len(self._open) > OPEN:
            self._open.popitem(last=False)
        return self._open[which]


class _Shard:
    """A shard's tensors, read from the file where they are touched."""

    def __init__(self, path: Path):
        self._file = safe_open(path, "pt").__enter__()
        self.names = set(self._file.keys())
        self._tensors: dict[str, torch.Tensor] = {}

    @property
    def clips(self) -> int:
        """How many it holds."""
        return len(self.tensor("ends"))

    def tensor(self, name: str) -> torch.Tensor:
        """A row a clip, but for the captions' bytes."""
        if name not in self._tensors:
            self._tensors[name] = self._file.get_tensor(name)
        return self._tensors[name]

    def caption(self, row: int) -> str:
        """Of a clip."""
        ends, text = self.tensor("ends"), self.tensor("captions")
        begin = int(ends[row - 1]) if row else 0
        return text[begin : int(ends[row])].numpy().tobytes().decode()


def does_not_open(shard: Path, error: Exception) -> ValueError:
    """What to say of a shard that is broken."""
    return ValueError(
        f"{shard} does not open ({error}): remove it, {shard.with_suffix('.json').name} and "
        "index.json, and write the cache again"
    )


def _folder_of(path: str | Path) -> Path:
    """Where a cache lies: here, or on the hub, from where it is fetched."""
    if Path(str(path).split("/")[0]).exists() or not HUB_ID.fullmatch(str(path)):
        return Path(path)
    name, options = hub_options(str(path), "index.json", "dataset")
    try:
        return Path(snapshot_download(name, repo_type="dataset", **options))
    except Exception as error:
        reason = str(error).split("\n")[0]
        raise ValueError(f"the hub does not give the cache {path}: {reason}") from error

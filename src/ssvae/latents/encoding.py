"""Clips through a VAE's encoder, once: batches of latents, and caches of them."""

import logging
import math
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from diffusers.models.modeling_utils import ModelMixin
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ssvae.data.batch import Batch, Source
from ssvae.data.loader import in_order
from ssvae.data.sources import items_of, open_source
from ssvae.latents.cache import (
    CHECKSUM,
    FORMAT,
    LOG_VARIANCES,
    MOMENTS,
    STORAGE,
    VAE,
    CacheConfig,
    LatentCache,
    content_of,
    does_not_open,
    shard_name,
    statistics_name,
)
from ssvae.models import DiagonalGaussian
from ssvae.models.backbones import Backbone, Posterior
from ssvae.models.classes import CLASSES
from ssvae.models.finding import open_vae
from ssvae.models.fingerprint import latents_fingerprint, same_encoder
from ssvae.models.shipped import OWNER
from ssvae.spectra.channels import ChannelResult, ChannelSpectrum
from ssvae.storage.digests import checksum, digest, seal
from ssvae.storage.files import read_json, replacing, write_json
from ssvae.storage.locks import written_together
from ssvae.storage.seeds import generator_of
from ssvae.storage.settings import as_json, check_same_settings

logger = logging.getLogger(__name__)

MOST_CLIPS, MOST_VALUES = 16, 2**22  # encoded at once: clips, and pixels of all their frames


def encode_clips(
    backbone: Backbone,
    source: Source,
    clips: range,
    size: tuple[int, int, int],
    workers: int | None = None,
) -> Iterator[tuple[range, Batch, Posterior]]:
    """The clips of a source in batches, each with its indices and its posterior.

    Files are read while the encoder works, by ``workers`` threads. ``size`` is frames, height and
    width of the clips, which decides how many are encoded at once.
    """
    at_once = max(1, min(MOST_CLIPS, MOST_VALUES // math.prod(size)))
    device = backbone.device
    for indices, batch in in_order(source, clips, at_once, workers, device.type == "cuda"):
        yield indices, batch, backbone.encode(batch.on(device))


def write_cache(
    backbone: Backbone,
    out: str | Path,
    config: CacheConfig,
    accelerator: Accelerator,
    on_clips: Callable[[int], Any] = lambda done: None,
    workers: int | None = None,
) -> LatentCache:
    """The cache in ``out``, written by all processes together, or by what goes on with it.

    ``on_clips`` hears how many of its clips a process has done; ``workers`` threads read files on
    each, one for each core that it has where None.
    """
    out = Path(out)
    source = open_source(
        config.data,
        *config.size,
        config.fps,
        config.seed,
        accelerator.device,
        channels=backbone.layout.in_channels,
    )
    config = replace(
        config,
        encoder=latents_fingerprint(backbone.vae),
        items=items_of(source),
        first_frame_alone=backbone.layout.clip_lengths.fits(1),
    )
    if (out / "index.json").exists():
        # How a finished cache is cut into files changes nothing.
        _check_same(out, LatentCache(out).config, config, {"shard_clips"})
    else:
        with written_together(out, "a cache", accelerator):
            if accelerator.is_main_process:
                _check_folder(out, config)
                _keep_vae(backbone, out, config)
            write_shards(
                backbone=backbone,
                source=source,
                out=out,
                config=config,
                process=accelerator.process_index,
                processes=accelerator.num_processes,
                on_clips=on_clips,
                workers=workers,
            )
            accelerator.wait_for_everyone()
            if accelerator.is_main_process:
                write_index(out, config)
            accelerator.wait_for_everyone()
    return LatentCache(out)


def write_shards(
    backbone: Backbone,
    source: Source,
    out: Path,
    config: CacheConfig,
    process: int = 0,
    processes: int = 1,
    on_clips: Callable[[int], Any] = lambda done: None,
    workers: int | None = None,
) -> None:
    """Encode a source's clips into shards, those of this process; :func:`write_index` comes last.

    Shards that are there already are kept, so that the same call goes on where one was stopped.
    A clip whose pixels or latents are not finite is left out, and named.
    """
    backbone.latent_shape(*config.size)  # a wrong size should not wait for the first clip
    out.mkdir(parents=True, exist_ok=True)
    _check_folder(out, config)
    done = 0
    for number in range(process, config.shards, processes):
        clips = config.clips_of(number)
        if not (out / statistics_name(number)).exists():
            begin = done
            _write_shard(
                backbone=backbone,
                source=source,
                out=out,
                config=config,
                number=number,
                on_clips=lambda more, begin=begin: on_clips(begin + more),
                workers=workers,
            )
        done += len(clips)
        on_clips(done)


def _write_shard(
    backbone: Backbone,
    source: Source,
    out: Path,
    config: CacheConfig,
    number: int,
    on_clips: Callable[[int], Any],
    workers: int | None,
) -> None:
    clips, spectrum = config.clips_of(number), ChannelSpectrum()
    latents, log_variances, contents, captions, kept, failed = [], [], [], [], [], []
    for indices, batch, posterior in encode_clips(backbone, source, clips, config.size, workers):
        z = _latents(posterior, config, indices)
        good = torch.isfinite(z.flatten(1)).all(1)
        good &= torch.isfinite(batch.video.flatten(1)).all(1).cpu()
        for i, caption, fine in zip(indices, batch.captions, good.tolist(), strict=True):
            if fine:
                kept.append(i)
                captions.append(caption.encode())
                contents.append(content_of(batch.video[i - indices.start]))
            else:
                failed.append(i)
                reason = "left out clip %d of %s (%r): its pixels or latents are not finite"
                logger.warning(reason, i, config.data, caption)
        latents.append(z[good])
        if config.posterior == MOMENTS and isinstance(posterior, DiagonalGaussian):
            log_variances.append(posterior.logvar.float().cpu()[good])
        if good.any():
            spectrum.update(z[good])
        on_clips(indices.stop - clips.start)
    ends = torch.tensor([len(c) for c in captions], dtype=torch.int64).cumsum(0)
    tensors = {
        "latents": torch.cat(latents).to(STORAGE[config.storage]).contiguous(),
        "captions": torch.frombuffer(bytearray(b"".join(captions) or b" "), dtype=torch.uint8),
        "ends": ends,
        "clips": torch.tensor(kept, dtype=torch.int64),
        "contents": torch.tensor(contents, dtype=torch.int64),
    }
    if log_variances:
        tensors[LOG_VARIANCES] = torch.cat(log_variances).to(STORAGE[config.storage]).contiguous()
    with replacing(out / shard_name(number)) as partial:
        save_file(tensors, partial)
    sha256 = digest(out / shard_name(number))
    summary: dict[str, Any] = {"clips": len(kept), "failed": failed, "sha256": sha256}
    if kept:
        result = spectrum.result()
        summary |= {"mean": result.mean.tolist(), "covariance": result.covariance.tolist()}
    # Written last: it says that the shard is whole.
    write_json(out / statistics_name(number), summary)


def _latents(posterior: Posterior, config: CacheConfig, indices: range) -> torch.Tensor:
    """What is kept of a posterior (B, C, t, h, w), float32 on the CPU."""
    mean = posterior.mean.float().cpu()
    if config.posterior != "sample" or not isinstance(posterior, DiagonalGaussian):
        return mean
    # One seed a clip: a sample does not depend on how clips fall into batches.
    noise = torch.stack(
        [torch.randn(mean.shape[1:], generator=generator_of(config.seed, i)) for i in indices]
    )
    return mean + (0.5 * posterior.logvar).exp().float().cpu() * noise


def write_index(out: str | Path, config: CacheConfig) -> LatentCache:
    """Write the index, once every process has written its shards; the cache, to read."""
    out, shards, failed, total = Path(out), [], [], ChannelSpectrum()
    shape: list[int] = []
    for number in range(config.shards):
        path = out / statistics_name(number)
        if not path.exists():
            raise ValueError(f"shard {number} of {out} is missing: run the same command again")
        part = read_json(path)
        failed += part["failed"]
        if not part["clips"]:
            continue
        named = {"file": shard_name(number), "clips": part["clips"], "sha256": part.get("sha256")}
        shards.append(named)
        try:
            with safe_open(out / shard_name(number), "pt") as shard:
                shape = shard.get_slice("latents").get_shape()[1:]
        except (SafetensorError, OSError) as error:
            raise does_not_open(out / shard_name(number), error) from error
        positions = part["clips"] * math.prod(shape[1:])
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
    write_json(out / "index.json", index | {CHECKSUM: checksum(index)})
    return LatentCache(out)


def _check_folder(out: Path, config: CacheConfig) -> None:
    """A cache goes on under the settings it began with, and beside nothing else."""
    # Another process of this run may have written the config just now.
    own = ".", "config.json", "latents-", VAE
    foreign = [path for path in out.iterdir() if not path.name.startswith(own)]
    if foreign and not (out / "config.json").exists():
        raise ValueError(f"{out} holds other files and is no cache: choose an empty folder")
    path = out / "config.json"
    if not path.exists():
        write_json(path, asdict(config))
        return
    try:
        before = CacheConfig(**read_json(path))
    except TypeError as error:  # a model's, or a run's
        raise ValueError(f"{out} is no cache of latents: choose an empty folder") from error
    _check_same(out, before, config)


def _check_same(
    out: Path, before: CacheConfig, now: CacheConfig, free: Collection[str] = ()
) -> None:
    """A ValueError where a cache began with another VAE, other clips or other settings.

    What who writes shards alone did not write down is not compared.
    """
    if not same_encoder(before.encoder, now.encoder):
        kept = f", such as {out / VAE}" if (out / VAE).is_dir() else ""
        raise ValueError(
            f"the cache in {out} is of another VAE's latents ({before.encoder}; {now.vae} has "
            f"{now.encoder}): give the VAE that it began with{kept}, or another --out"
        )
    if before.items and now.items and before.items != now.items:
        raise ValueError(
            f"the files or captions of {now.data} have changed since the cache in {out} began "
            f"({before.items} then, {now.items} now): put them back, or give another --out"
        )
    # The same VAE may lie elsewhere meanwhile.
    known = {
        "encoder",
        "items",
        "first_frame_alone",
        *(("vae",) if before.encoder and now.encoder else ()),
    }
    settings = as_json(asdict(before)), as_json(asdict(now))
    check_same_settings(f"the cache in {out}", *settings, {*known, *free})


def _keep_vae(backbone: Backbone, out: Path, config: CacheConfig) -> None:
    """Copy the VAE into its cache, in float32, unless it comes with the package or is no model to
    save.
    """
    loads = isinstance(backbone.vae, ModelMixin) and backbone.name in CLASSES
    if config.vae.startswith(OWNER) or not loads or (out / VAE).is_dir():
        return
    if backbone.dtype != torch.float32:
        backbone = open_vae(config.vae)
    with replacing(out / VAE) as partial:
        backbone.vae.save_pretrained(partial)
        seal(partial)

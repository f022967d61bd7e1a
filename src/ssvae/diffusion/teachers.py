"""Networks whose features a diffusion model's tokens are aligned with (REPA, arXiv 2410.06940), and
what they make of a cache's clips, computed once.

Shape legend: B clips, D width of the features; T, H, W frames, rows, columns of clips; t, h, w of
their latents.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch import nn

from ssvae.data.batch import check_finite
from ssvae.data.sources import open_source
from ssvae.diffusion.text import encoder_fingerprint
from ssvae.latents.cache import LatentCache
from ssvae.latents.cached_clips import clips_of
from ssvae.models.backbones import load_backbone
from ssvae.models.fingerprint import latents_fingerprint
from ssvae.models.names import FACTORY
from ssvae.storage.digests import checksum
from ssvae.storage.files import replacing
from ssvae.storage.functions import code_of, load_function
from ssvae.storage.hub import hub_options
from ssvae.storage.locks import written_together

logger = logging.getLogger(__name__)

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LEAST = 1e-4
"""Deviation of a feature that says nothing."""
SHARD, BATCH = 1024, 16  # clips in a file, and looked at at once
KINDS = "encoder, dino:NAME_OR_FOLDER, vjepa:NAME_OR_FOLDER, or module:function"


@dataclass(frozen=True)
class Teacher:
    """Clips (B, 3, T, H, W) in [-1, 1] to features (B, D, t', h', w') on a grid of its own."""

    spec: str
    fingerprint: str
    """Of its weights."""
    run: Callable[[torch.Tensor], torch.Tensor]


def load_teacher(spec: str, vae: str, shape: Sequence[int], device: torch.device) -> Teacher:
    """The teacher that ``spec`` names, for latents of this shape (C, t, h, w).

    ``encoder``: what the last layer of the VAE's own encoder is given. ``dino:NAME``: patches of a
    DINOv2 or DINOv3 of transformers, frame by frame; ``vjepa:NAME``: those of a V-JEPA 2. Both see
    clips resized so that a patch is a latent. ``module:function`` or ``file.py:function``: what the
    function returns is called with clips (B, 3, T, H, W) in [-1, 1] and gives features (B, D, t',
    h', w'). A ValueError for any other.
    """
    kind, _, name = spec.partition(":")
    if spec == "encoder":
        return _encoder(vae, device)
    if kind in ("dino", "vjepa") and name:
        model = _pretrained(name, device)
        run = _dino if kind == "dino" else _vjepa
        grid = shape[2], shape[3]
        return Teacher(spec, encoder_fingerprint(name), lambda clips: run(model, clips, grid))
    if kind not in ("dino", "vjepa") and (match := FACTORY.fullmatch(spec)):
        function = load_function(match["source"], match["name"])
        network = function()
        if isinstance(network, nn.Module):
            network = network.to(device).eval()
        return Teacher(spec, code_of(function), lambda clips: network(clips).float())
    raise ValueError(f"a teacher is {KINDS}, got {spec!r}")


def _weights_of(spec: str, cache: LatentCache) -> str:
    """What tells a teacher's features from those of another of its name."""
    kind, _, name = spec.partition(":")
    if not name:
        return cache.config.encoder
    if kind in ("dino", "vjepa"):
        return encoder_fingerprint(name)
    return load_teacher(spec, cache.vae, cache.shape, torch.device("cpu")).fingerprint


def _encoder(vae: str, device: torch.device) -> Teacher:
    backbone = load_backbone(vae, device)
    seen: list[torch.Tensor] = []

    def listen(module: nn.Module, inputs: Any, options: dict[str, Any]) -> None:
        norm = options.get("norm")  # which our own layer applies on the way in
        seen.append(inputs[0] if norm is None else norm(inputs[0]))

    backbone.encoders_last_layer.register_forward_pre_hook(listen, with_kwargs=True)

    def run(clips: torch.Tensor) -> torch.Tensor:
        seen.clear()
        backbone.encode(clips)
        return torch.cat(seen, 2).float()  # an encoder may go frame by frame

    return Teacher("encoder", latents_fingerprint(backbone.vae), run)


def _pretrained(name: str, device: torch.device) -> Any:
    from transformers import AutoModel  # takes seconds to import

    try:
        where, options = hub_options(name)
        model = AutoModel.from_pretrained(where, use_safetensors=True, **options)
        return model.to(device).eval()
    except Exception as error:
        first = str(error).strip().split("\n")[0]
        raise ValueError(f"{name} does not load as a model of transformers: {first}") from error


def _dino(model: Any, clips: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """Patches of each frame (B, D, T, h, w)."""
    patch = _side(model.config.patch_size)
    frames = _seen(clips, patch, grid).transpose(1, 2).flatten(0, 1)
    hidden = model(pixel_values=frames).last_hidden_state
    patches = hidden[:, -grid[0] * grid[1] :]  # behind the class and register tokens
    found = patches.transpose(1, 2).unflatten(2, grid)
    return found.unflatten(0, (len(clips), -1)).transpose(1, 2)


def _vjepa(model: Any, clips: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """Patches of pairs of frames, or as many as the model takes together (B, D, T', h, w)."""
    together, frames = model.config.tubelet_size, clips.shape[2]
    missing = -frames % together
    clips = torch.cat([clips, clips[:, :, -1:].expand(-1, -1, missing, -1, -1)], 2)
    seen = _seen(clips, _side(model.config.patch_size), grid).transpose(1, 2)
    hidden = model(pixel_values_videos=seen, skip_predictor=True).last_hidden_state
    return hidden.transpose(1, 2).unflatten(2, (-1, *grid))


def _side(patch_size: Any) -> int:
    return int(patch_size if isinstance(patch_size, int) else patch_size[-1])


def _seen(clips: torch.Tensor, patch: int, grid: tuple[int, int]) -> torch.Tensor:
    """Clips (B, 3, T, h patch, w patch), normalised as for ImageNet."""
    mean, std = (torch.tensor(x, device=clips.device).view(3, 1, 1, 1) for x in IMAGENET)
    frames, size = clips.transpose(1, 2).flatten(0, 1), (grid[0] * patch, grid[1] * patch)
    resized = F.interpolate(frames, size, mode="bilinear", antialias=True)
    whole = resized.unflatten(0, (len(clips), -1)).transpose(1, 2)
    return ((whole.clamp(-1, 1) + 1) / 2 - mean) / std


def on_grid(features: torch.Tensor, shape: Sequence[int], lone_first_frame: bool) -> torch.Tensor:
    """Means of features (B, D, t', h', w') over what each latent of (t, h, w) stands for."""
    t, h, w = shape
    if not lone_first_frame or t == 1 or features.shape[2] in (1, t):
        return F.adaptive_avg_pool3d(features, (t, h, w))
    first = F.adaptive_avg_pool3d(features[:, :, :1], (1, h, w))
    return torch.cat([first, F.adaptive_avg_pool3d(features[:, :, 1:], (t - 1, h, w))], 2)


class TeacherFeatures:
    """A teacher's features of all clips of a cache, on the latents' grid, in files beside it.

    The clips are read again, by the cache's own settings.
    """

    def __init__(self, cache: LatentCache, spec: str):
        self.cache, self.spec = cache, spec
        facts = [spec, _weights_of(spec, cache), cache.checksum]
        self._folder = cache.path / f"teacher-{checksum(facts)[:16]}"
        count = -(-len(cache) // SHARD)
        self._paths = [self._folder / f"{i:05d}.safetensors" for i in range(count)]
        self._tensors: dict[int, torch.Tensor] = {}

    def write(self, accelerator: Accelerator) -> None:
        """Look at what is not there yet, the processes together; half precision in the files."""
        if all(path.exists() for path in self._paths):
            return
        with written_together(self._folder, "a teacher's features", accelerator):
            every = range(accelerator.process_index, len(self._paths), accelerator.num_processes)
            own = [i for i in every if not self._paths[i].exists()]
            if own:
                self._write(own, accelerator.device)
            accelerator.wait_for_everyone()

    @torch.no_grad()
    def _write(self, shards: Sequence[int], device: torch.device) -> None:
        logger.info("features of %d clips by %s", len(self.cache), self.spec)
        config, shape = self.cache.config, self.cache.shape
        teacher = load_teacher(self.spec, self.cache.vae, shape, device)
        lone = load_backbone(self.cache.vae, "meta").lone_first_frame
        source = open_source(config.data, *config.size, config.fps, config.seed)
        self._folder.mkdir(parents=True, exist_ok=True)
        for number in shards:
            rows = range(number * SHARD, min((number + 1) * SHARD, len(self.cache)))
            parts = []
            for start in range(rows.start, rows.stop, BATCH):
                some = range(start, min(start + BATCH, rows.stop))
                found = teacher.run(clips_of(self.cache, source, some).on(device))
                check_finite(found, f"features by {self.spec}")
                parts.append(on_grid(found, shape[1:], lone).to("cpu", torch.float16))
            with replacing(self._paths[number]) as partial:
                save_file({"features": torch.cat(parts)}, partial)

    @property
    def width(self) -> int:
        """Of the features."""
        return self._shard(0).shape[1]

    def features(self, indices: Sequence[int]) -> torch.Tensor:
        """Of these clips of the cache (B, D, t, h, w), each standardised: what all tokens have in
        common would make up most of a cosine.
        """
        places = [divmod(index, SHARD) for index in indices]
        rows = torch.stack([self._shard(number)[row] for number, row in places]).float()
        mean, std = self._moments
        return (rows - mean) / std

    @cached_property
    def _moments(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and deviation of each feature (D, 1, 1, 1), over the first file's clips."""
        seen = self._shard(0).float()
        std, mean = torch.std_mean(seen, (0, 2, 3, 4))
        return mean.view(-1, 1, 1, 1), std.clamp(min=LEAST).view(-1, 1, 1, 1)

    def _shard(self, number: int) -> torch.Tensor:
        if number not in self._tensors:
            self._tensors[number] = load_file(self._paths[number])["features"]  # a memory map
        return self._tensors[number]

"""Networks whose features a Fréchet distance compares, each with what tells it from others."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ssvae.data.pixels import to_show
from ssvae.data.sources import WORLDS
from ssvae.evaluation.probe import SIZE, load_probe
from ssvae.storage.hub import hub_options

I3D_FRAMES = 9  # its strides in time leave nothing of fewer
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class FeatureNetwork:
    """Clips (B, C, T, H, W) in [-1, 1] to features (B, D), transparent ones over chequers."""

    name: str
    feeding: str
    """How clips are made to fit."""
    checksum: str
    """SHA-256 of its weights."""
    run: Callable[[torch.Tensor], torch.Tensor]
    device: torch.device

    @torch.no_grad()
    def __call__(self, clips: torch.Tensor) -> torch.Tensor:
        """Features on the CPU, float32; a ValueError where they are not finite."""
        seen = to_show(clips.to(self.device, torch.float32).clamp(-1, 1))
        features = self.run(seen).float().cpu()
        if features.ndim != 2 or len(features) != len(clips):
            raise ValueError(
                f"{self.name} must give a vector for each clip, got {tuple(features.shape)} for "
                f"{len(clips)} clips"
            )
        if not torch.isfinite(features).all():
            raise ValueError(
                f"features of {self.name} hold NaN or infinity: are its weights whole?"
            )
        return features

    @property
    def described(self) -> str:
        """For a protocol."""
        return f"{self.name}, {self.feeding}, sha256 {self.checksum}"


def load_network(spec: str, device: torch.device | str = "cpu") -> FeatureNetwork:
    """The network that ``spec`` names.

    ``probe`` (of the procedural world, in this package) or ``probe:FILE``; ``i3d:FILE``, the
    TorchScript file of I3D that FVD is usually taken with; ``videomae:NAME``, a VideoMAE of
    transformers, a folder or a hub id.
    """
    kind, _, where = spec.partition(":")
    device = torch.device(device)
    if kind == "probe":
        return _probe(where or None, device)
    if kind == "i3d" and where:
        return _i3d(Path(where), device)
    if kind == "videomae" and where:
        return _videomae(where, device)
    raise ValueError(
        f"a feature network is probe, i3d:FILE.pt or videomae:NAME_OR_FOLDER, got {spec!r}"
    )


def fitting_network(data: str, frames: int) -> str | None:
    """The network of this package whose features fit clips of a source; None where none does."""
    return "probe" if data in WORLDS and frames >= SIZE[0] else None


def _evenly(clips: torch.Tensor, frames: int, name: str) -> torch.Tensor:
    """So many frames of each clip, the first and the last among them."""
    T = clips.shape[2]
    if frames > T:
        raise ValueError(
            f"{name} looks at {frames} frames, but clips have {T}: ask for more (--frames {frames})"
        )
    return clips[:, :, torch.linspace(0, T - 1, frames).round().long()]


def _resized(clips: torch.Tensor, side: int, antialias: bool) -> torch.Tensor:
    if clips.shape[-2:] == (side, side):
        return clips
    frames = clips.transpose(1, 2).flatten(0, 1)
    small = F.interpolate(frames, (side, side), mode="bilinear", antialias=antialias)
    return small.unflatten(0, (len(clips), -1)).transpose(1, 2)


def _probe(path: str | None, device: torch.device) -> FeatureNetwork:
    probe = load_probe(path, device)
    return FeatureNetwork(
        f"probe of {probe.vocabulary.source}",
        "9 frames at equal distances, 32x32 (antialiased bilinear)",
        checksum(probe),
        lambda clips: probe.features(_resized(_evenly(clips, 9, "the probe"), 32, True)),
        device,
    )


def _i3d(path: Path, device: torch.device) -> FeatureNetwork:
    if not path.is_file():
        raise ValueError(f"no I3D at {path}: give the usual TorchScript file, i3d_torchscript.pt")
    try:
        network: Any = torch.jit.load(str(path), map_location=device).eval()
    except RuntimeError as error:
        first = str(error).strip().split("\n")[0]
        raise ValueError(f"{path} does not load as TorchScript: {first}") from error

    def run(clips: torch.Tensor) -> torch.Tensor:
        if clips.shape[2] < I3D_FRAMES:
            raise ValueError(
                f"I3D needs clips of at least {I3D_FRAMES} frames, got {clips.shape[2]}"
            )
        try:
            # The file's own ways to scale and resize are left off: ours are stated.
            return network(
                _resized(clips, 224, False), rescale=False, resize=False, return_features=True
            ).flatten(1)
        except RuntimeError as error:
            last = str(error).strip().split("\n")[-1]
            raise ValueError(
                f"{path} does not run as the usual I3D, f(clips, rescale, resize, "
                f"return_features): {last}"
            ) from error

    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return FeatureNetwork("I3D", "all frames, 224x224 (bilinear), in [-1, 1]", digest, run, device)


def _videomae(name: str, device: torch.device) -> FeatureNetwork:
    from transformers import VideoMAEModel  # takes seconds to import
    from transformers.image_processing_base import ImageProcessingMixin

    try:
        where, options = hub_options(name)
        model: Any = VideoMAEModel.from_pretrained(where, use_safetensors=True, **options)
    except Exception as error:
        first = str(error).strip().split("\n")[0]
        raise ValueError(f"{name} does not load as a VideoMAE of transformers: {first}") from error
    try:
        processing, _ = ImageProcessingMixin.get_image_processor_dict(name)
    except OSError:  # without a file that says otherwise
        processing = {}
    mean, std = (
        torch.tensor(processing.get(key, usual), device=device).view(1, 3, 1, 1, 1)
        for key, usual in zip(("image_mean", "image_std"), IMAGENET, strict=True)
    )
    model = model.to(device).eval()
    frames, side = model.config.num_frames, model.config.image_size

    def run(clips: torch.Tensor) -> torch.Tensor:
        clips = _resized(_evenly(clips, frames, "this VideoMAE"), side, True)
        pixels = ((clips + 1) / 2 - mean) / std
        return model(pixels.transpose(1, 2)).last_hidden_state.mean(1)

    size = f"{side}x{side} (antialiased bilinear)"
    feeding = f"{frames} frames at equal distances, {size}, mean over tokens"
    return FeatureNetwork(f"VideoMAE {Path(name).name}", feeding, checksum(model), run, device)


def checksum(module: nn.Module) -> str:
    """SHA-256 of a module's weights, by name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(
            tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
        )
    return digest.hexdigest()

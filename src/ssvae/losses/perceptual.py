"""LPIPS (arXiv 1801.03924): how far two images are apart in the features of a VGG16.

The network is ours; its weights are fetched, or read from files, and never part of the package.
"""

import hashlib
import logging
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import torch
from torch import nn

from ssvae.data.pixels import as_seen
from ssvae.losses.distance import unit_distance
from ssvae.models.activation import activated
from ssvae.storage.weights import load_tensors

logger = logging.getLogger(__name__)

VGG_URL = "https://download.pytorch.org/models/vgg16-397923af.pth"
VGG_SHA256 = "397923af"  # the first digits, as in the name
LINEAR_MEMBER = "lpips/weights/v0.1/vgg.pth"
LINEAR_SHA256 = "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868"

STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of LPIPS, over [-1, 1]
WITHOUT = "or train without it: --perceptual.weight 0"


class VGG16(nn.Module):
    """The convolutions of VGG16 (arXiv 1409.1556), giving the output of each of its five stages.

    Its parameters are named as in torchvision's checkpoint, whose ``features.`` they are.
    """

    def __init__(self):
        super().__init__()
        layers: list[nn.Module] = []
        self.ends = []
        channels = 3
        for i, stage in enumerate(STAGES):
            layers += [nn.MaxPool2d(2)] if i else []
            for width in stage:
                # A ReLU, which runs with its convolution, has a number too.
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            self.ends.append(len(layers))
        self.features = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Images (N, 3, H, W), sides of at least 16, to five maps of 64 to 512 channels."""
        maps, start = [], 0
        for end in self.ends:
            for layer in list(self.features)[start:end]:
                if isinstance(layer, nn.Conv2d):
                    x = activated(layer, x, slope=0.0)
                elif isinstance(layer, nn.MaxPool2d):
                    x = layer(x)
            maps.append(x)
            start = end
        return maps


class LPIPS(nn.Module):
    """The distance: (N, 3, H, W) in [-1, 1], twice, to (N,).

    Features are scaled to unit length over channels; their squared differences, weighted by
    channel, are averaged over positions and summed over stages. Lengths and differences are taken
    in float32 at least, whatever the network runs in. Weights are frozen.
    """

    shift: torch.Tensor
    scale: torch.Tensor

    def __init__(self):
        super().__init__()
        self.vgg = VGG16()
        self.linear = nn.ParameterList(torch.ones(stage[-1]) for stage in STAGES)
        self.register_buffer("shift", torch.tensor(SHIFT).view(3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(SCALE).view(3, 1, 1), persistent=False)
        self.requires_grad_(False)

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """One value for each pair; gradients reach ``a`` alone where ``b`` needs none."""
        if min(a.shape[-2:]) < 16:
            raise ValueError(f"LPIPS needs sides of at least 16 pixels, got {tuple(a.shape)}")
        maps_a, maps_b = self._maps(a), self._maps(b)
        parts = zip(maps_a, maps_b, self.linear, strict=True)
        return torch.stack([unit_distance(*part) for part in parts]).sum(0)

    def _maps(self, images: torch.Tensor) -> list[torch.Tensor]:
        return self.vgg((images - self.shift) / self.scale)


def of_frames(lpips: LPIPS, reconstruction: torch.Tensor, clips: torch.Tensor) -> torch.Tensor:
    """LPIPS of every frame of clips (B, C, T, H, W): (B, T); the mean over what :func:`as_seen`
    gives.
    """
    B, _, T = clips.shape[:3]
    a, b = (as_seen(x).transpose(1, 2).flatten(0, 1) for x in (reconstruction, clips))
    return lpips(a, b).view(B, -1, T).mean(1)


def load_lpips(vgg: str | None = None, linear: str | None = None) -> LPIPS:
    """LPIPS with its trained weights.

    Args:
        vgg: a file of VGG16's weights as torchvision names them; None fetches the public one once
            into torch's cache, and checks it.
        linear: a file of the channels' weights, as the package ``lpips`` holds them; None takes
            that of the installed package.

    Raises:
        ValueError: where weights are absent or others, saying how to get them.
    """
    model = LPIPS()
    trunk = _vgg_weights(vgg)
    features = {k: v for k, v in trunk.items() if k.startswith("features.")}
    _fill(model.vgg, features, vgg or VGG_URL, "features.0.weight ... as torchvision's VGG16")
    weights = _linear_weights(linear)
    named = {str(i): weights.get(f"lin{i}.model.1.weight") for i in range(len(STAGES))}
    found = {k: v.flatten() for k, v in named.items() if v is not None}
    _fill(model.linear, found, linear or LINEAR_MEMBER, "lin0.model.1.weight ... as of lpips")
    return model


def find_lpips(
    vgg: str | None = None, linear: str | None = None, device: torch.device | str = "cpu"
) -> LPIPS | None:
    """As :func:`load_lpips`, but None where files are neither named nor here already."""
    cached = Path(torch.hub.get_dir()) / "checkpoints" / VGG_URL.split("/")[-1]
    if vgg is None and not cached.is_file():
        return None
    try:
        return load_lpips(vgg, linear).to(device)
    except ValueError:
        if vgg is not None or linear is not None:
            raise
        return None


def _fill(
    module: nn.Module, weights: Mapping[str, torch.Tensor], where: str, expected: str
) -> None:
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(
            f"{where} holds other weights ({expected} are expected): {error}"
        ) from error


def _vgg_weights(path: str | None) -> dict[str, torch.Tensor]:
    if path is not None:
        return _read(path)
    try:
        return torch.hub.load_state_dict_from_url(
            VGG_URL, map_location="cpu", check_hash=True, weights_only=True, progress=False
        )
    except Exception as error:
        raise ValueError(
            f"LPIPS needs VGG16's weights, and {VGG_URL} does not load ({error}): fetch it "
            f"elsewhere and give --perceptual.vgg FILE (its SHA-256 begins with {VGG_SHA256}), "
            f"{WITHOUT}"
        ) from error


def _linear_weights(path: str | None) -> dict[str, torch.Tensor]:
    if path is not None:
        return _read(path)
    try:
        members = [f for f in files("lpips") or [] if str(f) == LINEAR_MEMBER]
    except PackageNotFoundError:
        members = []
    # Without importing it: it needs torchvision, which does not load beside every build of torch.
    found = [Path(str(member.locate())) for member in members]
    if not found or not found[0].is_file():
        raise ValueError(
            "LPIPS needs the channels' weights, which the package lpips holds: pip install "
            f"--no-deps lpips, or give --perceptual.linear FILE, {WITHOUT}"
        )
    if hashlib.sha256(found[0].read_bytes()).hexdigest() != LINEAR_SHA256:
        raise ValueError(f"{found[0]} is not the file of lpips 0.1: install lpips 0.1.4")
    return _read(str(found[0]))


def _read(path: str) -> dict[str, torch.Tensor]:
    weights = load_tensors(path)
    if not isinstance(weights, dict):
        raise ValueError(f"{path} holds a {type(weights).__name__}, expected weights by name")
    return weights

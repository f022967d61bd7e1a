"""The probe: a small classifier of the procedural world, trained once on true clips.

It names what a caption says (shape, colour, direction, texture) and so scores generated clips
without a downloaded network; its hidden layer gives the features for a Fréchet distance. It takes
no part in training a VAE or a diffusion model.
"""

from collections.abc import Callable, Mapping
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from ssvae.data.world import COLOURS, DIRECTIONS, SHAPES, TEXTURES, World

KINDS = {
    "shape": len(SHAPES),
    "colour": len(COLOURS),
    "direction": len(DIRECTIONS),
    "texture": len(TEXTURES),
}
FEATURES = 64
SHIPPED = "probe.safetensors"
BESIDE = "beside."
TRAINING_SEED, HELD_OUT_SEED = 7_000_001, 7_000_002  # worlds that nothing else is drawn from


class Probe(nn.Module):
    """Clips (B, 3, T, H, W) of the procedural world to logits of each attribute.

    Shipped weights are for clips of 9 frames of 32 x 32.
    """

    def __init__(self, width: int = 32):
        super().__init__()
        layers: list[nn.Module] = []
        w = width
        for a, b, kernel, stride in (
            (3, w, (3, 5, 5), (1, 2, 2)),
            (w, 2 * w, (3, 3, 3), (2, 2, 2)),
            (2 * w, 4 * w, (3, 3, 3), (2, 2, 2)),
            (4 * w, 4 * w, (3, 3, 3), (1, 1, 1)),
        ):
            padding = kernel[0] // 2, kernel[1] // 2, kernel[2] // 2
            layers += [nn.Conv3d(a, b, kernel, stride, padding), nn.GroupNorm(8, b), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.hidden = nn.Sequential(nn.LayerNorm(8 * w), nn.Linear(8 * w, FEATURES), nn.SiLU())
        self.head = nn.Linear(FEATURES, sum(KINDS.values()))

    def features(self, clips_BCTHW: torch.Tensor) -> torch.Tensor:
        """The hidden layer (B, 64)."""
        x = self.layers(clips_BCTHW).flatten(2)
        return self.hidden(torch.cat([x.mean(2), x.amax(2)], 1))

    def logits(self, features: torch.Tensor) -> dict[str, torch.Tensor]:
        """Features (B, 64) to the logits of each attribute (B, kinds)."""
        parts = self.head(features).split(list(KINDS.values()), 1)
        return dict(zip(KINDS, parts, strict=True))

    def forward(self, clips_BCTHW: torch.Tensor) -> dict[str, torch.Tensor]:
        """The logits of each attribute (B, kinds)."""
        return self.logits(self.features(clips_BCTHW))


def train_probe(
    steps: int = 900,
    batch_size: int = 48,
    seed: int = 0,
    device: torch.device | str = "cpu",
    on_step: Callable[[int, float], Any] | None = None,
) -> Probe:
    """Train a probe on true clips of 9 frames of 32 x 32; a minute or two on two cores."""
    torch.manual_seed(seed)
    probe = Probe().to(device)
    optimizer = torch.optim.AdamW(probe.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    world = World(seed=TRAINING_SEED, device=device)
    for step in range(seed * steps, (seed + 1) * steps):  # another seed, other clips
        indices = range(step * batch_size, (step + 1) * batch_size)
        attributes = world.attributes(indices)
        logits = probe(world.batch(indices).video)
        losses = [F.cross_entropy(logits[k], getattr(attributes, k).to(device)) for k in KINDS]
        loss = torch.stack(losses).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if on_step is not None:
            on_step(step + 1 - seed * steps, float(loss.detach()))
    return probe.eval()


@torch.no_grad()
def probe_accuracy(probe: Probe, clips: int = 2048, seed: int = HELD_OUT_SEED) -> dict[str, float]:
    """Share of true held-out clips whose attribute the probe names, for each attribute."""
    device = next(probe.parameters()).device
    world, hits = World(seed=seed, device=device), dict.fromkeys(KINDS, 0)
    for start in range(0, clips, 128):
        indices = range(start, min(start + 128, clips))
        attributes, logits = world.attributes(indices), probe(world.batch(indices).video)
        for kind in KINDS:
            right = logits[kind].argmax(1).cpu() == getattr(attributes, kind)
            hits[kind] += int(right.sum())
    return {kind: n / clips for kind, n in hits.items()}


def save_probe(
    probe: Probe, path: str | Path, beside: Mapping[str, torch.Tensor] | None = None
) -> None:
    """Write a probe's weights, in half precision, and other tensors ``beside`` them."""
    state = {k: v.half().contiguous() for k, v in probe.state_dict().items()}
    save_file(state | {BESIDE + k: v.contiguous() for k, v in (beside or {}).items()}, path)


def load_probe(path: str | Path | None = None, device: torch.device | str = "cpu") -> Probe:
    """The probe of a file that ``ssvae train-probe`` wrote; where None, the one of this package."""
    probe = Probe()
    try:
        state = _tensors(path)
        weights = {k: v.float() for k, v in state.items() if not k.startswith(BESIDE)}
        probe.load_state_dict(weights)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ValueError(f"{path} is no probe: {error}; ssvae train-probe writes one") from error
    return probe.to(device).eval()


def load_beside(path: str | Path | None = None) -> dict[str, torch.Tensor]:
    """What :func:`save_probe` wrote beside the weights; empty where there is nothing."""
    state = _tensors(path)
    return {k.removeprefix(BESIDE): v for k, v in state.items() if k.startswith(BESIDE)}


def _tensors(path: str | Path | None) -> dict[str, torch.Tensor]:
    if path is not None:
        return load_file(path)
    with as_file(files("ssvae.evaluation").joinpath(SHIPPED)) as shipped:
        return load_file(shipped)

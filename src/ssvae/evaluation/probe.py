"""The probe: a small classifier of an endless source, trained once on true clips.

It names what a caption says (of the procedural world: shape, colour, direction, texture) and so
scores generated clips without a downloaded network; its hidden layer gives the features for a
Fréchet distance. It takes no part in training a VAE or a diffusion model.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from ssvae.data import Vocabulary, open_source, vocabulary_of
from ssvae.data.world import VOCABULARY as WORLD

SIZE = 9, 32, 32
"""Frames, height and width of the clips that a probe sees."""
FEATURES = 64
SHIPPED = {"world": "probe.safetensors", "stills": "probe-stills.safetensors"}
"""Probes in this package, by the source that they are of."""
BESIDE = "beside."
TRAINING_SEED, HELD_OUT_SEED = 7_000_001, 7_000_002  # sources that nothing else is drawn from


class Probe(nn.Module):
    """Clips (B, 3, T, H, W) to logits of each attribute of a vocabulary.

    Shipped weights are for clips of 9 frames of 32 x 32.
    """

    def __init__(self, vocabulary: Vocabulary = WORLD, width: int = 32):
        super().__init__()
        self.vocabulary = vocabulary
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
        self.head = nn.Linear(FEATURES, sum(map(len, vocabulary.kinds.values())))

    def features(self, clips_BCTHW: torch.Tensor) -> torch.Tensor:
        """The hidden layer (B, 64)."""
        x = self.layers(clips_BCTHW).flatten(2)
        return self.hidden(torch.cat([x.mean(2), x.amax(2)], 1))

    def logits(self, features: torch.Tensor) -> dict[str, torch.Tensor]:
        """Features (B, 64) to the logits of each attribute (B, values)."""
        kinds = self.vocabulary.kinds
        parts = self.head(features).split([len(values) for values in kinds.values()], 1)
        return dict(zip(kinds, parts, strict=True))

    def forward(self, clips_BCTHW: torch.Tensor) -> dict[str, torch.Tensor]:
        """The logits of each attribute (B, values)."""
        return self.logits(self.features(clips_BCTHW))


def repa_teacher() -> Callable[[torch.Tensor], torch.Tensor]:
    """The world's probe before it pools, a teacher for REPA: ``--repa.teacher
    ssvae.evaluation.probe:repa_teacher``. Clips of the world (B, 3, T, H, W) to (B, D, t, h, w).
    """
    return load_probe().layers


def averaged_down(clips_BCTHW: torch.Tensor) -> torch.Tensor:
    """Clips at the size that probes see, where they are two times as large, or three, or more."""
    factor, left = divmod(clips_BCTHW.shape[-1], SIZE[-1])
    if factor < 2 or left or clips_BCTHW.shape[-2] != factor * SIZE[-2]:
        return clips_BCTHW
    return F.avg_pool3d(clips_BCTHW.float(), (1, factor, factor))


def train_probe(
    steps: int = 900,
    batch_size: int = 48,
    seed: int = 0,
    device: torch.device | str = "cpu",
    on_step: Callable[[int, float], Any] | None = None,
    data: str = "world",
    sizes: Sequence[tuple[int, int, int]] = (SIZE,),
) -> Probe:
    """Train a probe on true clips of a source (see :func:`ssvae.data.vocabulary_of`), 9 frames of
    32 x 32; a minute or two on two cores.

    Of several ``sizes`` batches take turns, each averaged down as scored clips are.
    """
    vocabulary = vocabulary_of(data)
    torch.manual_seed(seed)
    probe = Probe(vocabulary).to(device)
    optimizer = torch.optim.AdamW(probe.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    sources = [open_source(data, *size, seed=TRAINING_SEED, device=device) for size in sizes]
    for step in range(seed * steps, (seed + 1) * steps):  # another seed, other clips
        indices = range(step * batch_size, (step + 1) * batch_size)
        batch = sources[step % len(sources)].batch(indices)
        clips = averaged_down(batch.on(device))
        said, logits = vocabulary.read(batch.captions), probe(clips)
        losses = [F.cross_entropy(logits[kind], said[kind].to(device)) for kind in said]
        loss = torch.stack(losses).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if on_step is not None:
            on_step(step + 1 - seed * steps, float(loss.detach()))
    return probe.eval()


@torch.no_grad()
def probe_accuracy(
    probe: Probe,
    clips: int = 2048,
    seed: int = HELD_OUT_SEED,
    data: str = "world",
    size: tuple[int, int, int] = SIZE,
) -> dict[str, float]:
    """Share of true held-out clips whose attribute the probe names, for each attribute."""
    device = next(probe.parameters()).device
    source = open_source(data, *size, seed=seed, device=device)
    hits = dict.fromkeys(probe.vocabulary.kinds, 0)
    for start in range(0, clips, 128):
        batch = source.batch(range(start, min(start + 128, clips)))
        logits = probe(averaged_down(batch.on(device)))
        said = probe.vocabulary.read(batch.captions)
        for kind in said:
            hits[kind] += int((logits[kind].argmax(1).cpu() == said[kind]).sum())
    return {kind: n / clips for kind, n in hits.items()}


def save_probe(
    probe: Probe, path: str | Path, beside: Mapping[str, torch.Tensor] | None = None
) -> None:
    """Write a probe's weights, in half precision, its vocabulary, and other tensors ``beside``."""
    state = {k: v.half().contiguous() for k, v in probe.state_dict().items()}
    tensors = state | {BESIDE + k: v.contiguous() for k, v in (beside or {}).items()}
    save_file(tensors, path, {"vocabulary": json.dumps(asdict(probe.vocabulary))})


def load_probe(
    path: str | Path | None = None, device: torch.device | str = "cpu", data: str = "world"
) -> Probe:
    """The probe of a file that ``ssvae train-probe`` wrote; where None, this package's for
    ``data``.
    """
    try:
        state, facts = _read(path, data)
        # Earlier versions knew the procedural world alone.
        said = facts.get("vocabulary")
        probe = Probe(Vocabulary(**json.loads(said)) if said else WORLD)
        weights = {k: v.float() for k, v in state.items() if not k.startswith(BESIDE)}
        probe.load_state_dict(weights)
    except (OSError, SafetensorError, RuntimeError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is no probe: {error}; ssvae train-probe writes one") from error
    return probe.to(device).eval()


def load_beside(path: str | Path | None = None, data: str = "world") -> dict[str, torch.Tensor]:
    """What :func:`save_probe` wrote beside the weights; empty where there is nothing."""
    state, _ = _read(path, data)
    return {k.removeprefix(BESIDE): v for k, v in state.items() if k.startswith(BESIDE)}


def _read(path: str | Path | None, data: str) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors and metadata."""
    if path is None:
        if data not in SHIPPED:
            raise ValueError(
                f"no probe of {data} comes with the package: ssvae train-probe --data {data} --out "
                "FILE trains one, --probe FILE takes it"
            )
        with as_file(files("ssvae.evaluation").joinpath(SHIPPED[data])) as shipped:
            return _read(shipped, data)
    with safe_open(path, "pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118

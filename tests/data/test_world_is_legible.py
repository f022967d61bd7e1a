"""A small classifier can name all that a caption says (slow: trains it for about two minutes)."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ssvae.data.world import COLOURS, DIRECTIONS, SHAPES, TEXTURES, World

COUNTS = [len(SHAPES), len(COLOURS), len(DIRECTIONS), len(TEXTURES)]


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        layers: list[nn.Module] = []
        for a, b, kernel, stride in [
            (3, 32, (3, 5, 5), (1, 2, 2)),
            (32, 64, (3, 3, 3), (2, 2, 2)),
            (64, 128, (3, 3, 3), (2, 2, 2)),
            (128, 128, (3, 3, 3), (1, 1, 1)),
        ]:
            padding = tuple(k // 2 for k in kernel)
            layers += [nn.Conv3d(a, b, kernel, stride, padding), nn.GroupNorm(8, b), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(256, sum(COUNTS))

    def forward(self, clips: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = self.features(clips).flatten(2)
        return self.head(torch.cat([x.mean(2), x.amax(2)], 1)).split(COUNTS, 1)


def labels(world: World, indices: range) -> tuple[torch.Tensor, ...]:
    a = world.attributes(indices)
    return a.shape, a.colour, a.direction, a.texture


@pytest.mark.slow
def test_every_attribute_is_named_in_97_of_100_clips():
    torch.manual_seed(0)
    model, steps, size = Classifier(), 900, 48
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    world, held_out = World(seed=1), World(seed=2)
    for step in range(steps):
        indices = range(step * size, (step + 1) * size)
        logits = model(world.batch(indices).video)
        losses = [
            F.cross_entropy(a, b) for a, b in zip(logits, labels(world, indices), strict=True)
        ]
        optimizer.zero_grad()
        torch.stack(losses).sum().backward()
        optimizer.step()
        schedule.step()
    right = torch.zeros(4)
    with torch.no_grad():
        for start in range(0, 1024, 128):
            indices = range(start, start + 128)
            logits = model(held_out.batch(indices).video)
            hits = [
                (a.argmax(1) == b) for a, b in zip(logits, labels(held_out, indices), strict=True)
            ]
            right += torch.stack(hits).float().sum(1)
    accuracy = dict(zip(("shape", "colour", "direction", "texture"), right / 1024, strict=True))
    assert min(accuracy.values()) >= 0.97, accuracy

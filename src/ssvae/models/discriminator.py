"""Patch discriminators that tell clips from reconstructions: of frames, and of clips.

PatchGAN (arXiv 1611.07004) with spectral normalisation (arXiv 1802.05957) of every layer but the
last, one score for each patch. Shape legend: B clips, T frames, H, W pixels.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import nn

from ssvae.data.pixels import as_seen
from ssvae.models.activation import activated
from ssvae.models.blocks import autocast_dtype, channels_last, repeated

Conv = nn.Conv2d | nn.Conv3d
SLOPE = 0.2
STEPS_AT_FIRST = 15  # of power iteration, as in torch.nn.utils.parametrizations.spectral_norm


class SpectralNorm(nn.Module):
    """Weights divided by their largest singular value, which power iteration finds.

    Each call in training takes a step. All layers are divided together, in float32 under autocast
    too, and given as autocast wants them: a GPU's host launches a third of what it would otherwise.
    """

    def __init__(self, weights: Sequence[torch.Tensor]):
        super().__init__()
        for i, weight in enumerate(weights):
            start = F.normalize(torch.randn(weight.shape[1:]).movedim(0, -1).flatten(), dim=0)
            self.register_buffer(f"right{i}", start)  # right singular vectors
        for _ in range(STEPS_AT_FIRST):
            self(weights)

    def forward(self, weights: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """(C', C, ...) to the same shapes."""
        right, dtype = list(self.buffers()), autocast_dtype(weights[0])
        with torch.no_grad(), torch.autocast(weights[0].device.type, enabled=False):
            matrices = [_matrix(weight) for weight in weights]
            left = _unit([m @ v for m, v in zip(matrices, right, strict=True)])[0]
            turned, largest = _unit([m.mT @ u for m, u in zip(matrices, left, strict=True)])
            if self.training:
                torch._foreach_copy_(right, list(turned))
        parts = zip(weights, left, turned, largest, strict=True)
        return [_Divided.apply(*part, dtype) for part in parts]


class _Divided(torch.autograd.Function):
    """A weight W over its largest singular value s = u' W v, whose gradient is u v'."""

    @staticmethod
    def forward(
        ctx: Any,
        weight: torch.Tensor,
        left: torch.Tensor,
        right: torch.Tensor,
        largest: torch.Tensor,
        dtype: torch.dtype,
    ) -> torch.Tensor:
        ctx.save_for_backward(weight, left, right, largest)
        return torch.div(weight, largest, out=torch.empty_like(weight, dtype=dtype))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # type: ignore[override]
        weight, left, right, largest = ctx.saved_tensors
        grad = grad.to(weight.dtype)
        turned = _matrix(grad).flatten() @ _matrix(weight).flatten() / largest * left
        of_matrix = torch.addcmul(_matrix(grad), turned[:, None], right, value=-1) / largest
        shape = weight.shape[0], *weight.shape[2:], weight.shape[1]
        return of_matrix.view(shape).movedim(-1, 1), None, None, None, None


def _matrix(weight: torch.Tensor) -> torch.Tensor:
    """(C', C, ...) to (C', ... C), without a copy of what is channels last."""
    return weight.movedim(1, -1).flatten(1)


def _unit(vectors: list[torch.Tensor]) -> tuple[Sequence[torch.Tensor], Sequence[torch.Tensor]]:
    """Vectors of length 1, and the lengths that they had."""
    lengths = list(torch._foreach_norm(vectors))
    torch._foreach_clamp_min_(lengths, 1e-12)
    return torch._foreach_div(vectors, lengths), lengths


class _Patches(nn.Module):
    """Convolutions under spectral normalisation with leaky ReLUs, and one that scores."""

    def __init__(self, layers: Sequence[Conv], score: Conv):
        super().__init__()
        self.layers, self.score = nn.ModuleList(layers), score
        channels_last(self)
        self.normalised = SpectralNorm([layer.weight for layer in layers])

    def scores(
        self, x: torch.Tensor, before: Callable[[torch.Tensor], torch.Tensor] = lambda x: x
    ) -> torch.Tensor:
        """(N, 3, ...) to (N, ...); ``before`` goes before each convolution."""
        layers = [cast(Conv, layer) for layer in self.layers]
        weights = self.normalised([layer.weight for layer in layers])
        for layer, weight in zip(layers, weights, strict=True):
            x = activated(layer, before(x), SLOPE, weight)
        return self.score(before(x)).squeeze(1)


class FrameDiscriminator(_Patches):
    """Scores patches of single frames: (B, 3, T, H, W) to (B, T, h, w)."""

    def __init__(self, channels: int = 64, halvings: int = 4):
        widths = [3, *(channels * min(2**i, 8) for i in range(halvings + 1))]
        layers = [
            nn.Conv2d(a, b, 4, stride=2 if i < halvings else 1, padding=1)
            for i, (a, b) in enumerate(pairwise(widths))
        ]
        super().__init__(layers, nn.Conv2d(widths[-1], 1, 4, padding=1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Clips to scores."""
        B, _, T = x.shape[:3]
        return self.scores(x.transpose(1, 2).flatten(0, 1)).unflatten(0, (B, T))


class ClipDiscriminator(_Patches):
    """Scores patches of space and time: (B, 3, T, H, W) to (B, t, h, w).

    Causal in time as the autoencoder is: the first frame is repeated in front, so images pass too.
    The first ``time_halvings`` of its ``halvings`` halve time beside space.
    """

    def __init__(self, channels: int = 64, halvings: int = 4, time_halvings: int = 2):
        widths = [3, *(channels * min(2**i, 8) for i in range(halvings + 1))]
        layers: list[Conv] = []
        for i, (a, b) in enumerate(pairwise(widths)):
            space, time = (2 if i < halvings else 1), (2 if i < time_halvings else 1)
            layers.append(nn.Conv3d(a, b, 3, stride=(time, space, space), padding=(0, 1, 1)))
        super().__init__(layers, nn.Conv3d(widths[-1], 1, 3, padding=(0, 1, 1)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Clips to scores."""
        return self.scores(x, before=partial(repeated, repeats=2))


class Discriminator(nn.Module):
    """Both, side by side: clips (B, C, T, H, W) to a list of scores of what is seen of them, in
    order.
    """

    def __init__(self, channels: int = 64, halvings: int = 4, time_halvings: int = 2):
        super().__init__()
        self.frames = FrameDiscriminator(channels, halvings)
        self.clips = ClipDiscriminator(channels, halvings, time_halvings)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The scores of frames and of clips."""
        x = as_seen(x).contiguous(memory_format=torch.channels_last_3d)
        return [self.frames(x), self.clips(x)]

    @staticmethod
    def smallest_side(halvings: int) -> int:
        """The shortest side that leaves a patch to score."""
        return 3 * 2**halvings

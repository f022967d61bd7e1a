"""Two models of :mod:`told`: our transformer without captions, and a plain DiT.

Shape legend: B clips, C channels, N tokens, D width, K attributes.
"""

from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.embeddings import Timesteps
from torch import nn

from ssvae.data.vocabulary import Vocabulary
from ssvae.diffusion.building import build
from ssvae.diffusion.recipe import DiffusionRecipe
from ssvae.diffusion.transformer import positions
from studies.diffusability.ladder.told import AttributeEmbedding


class ToldTransformer(nn.Module):
    """The package's transformer, attributes in its time embedding, nothing to attend to beside."""

    def __init__(self, recipe: DiffusionRecipe, channels: int, vocabulary: Vocabulary):
        super().__init__()
        width = recipe.text.width
        self.attributes = AttributeEmbedding(vocabulary, width)
        self.transformer = build(recipe, channels, width)
        layers: Any = self.transformer
        layers.condition_embedder = _InTimeAlone(layers.condition_embedder)

    def forward(
        self, x: torch.Tensor, t: torch.Tensor, attributes_BK: torch.Tensor
    ) -> torch.Tensor:
        """The velocity (B, C, t, h, w) of noisy latents at times (B,)."""
        text = self.attributes(attributes_BK)[:, None]
        return self.transformer(x, t * 1000, text, return_dict=False)[0]


class _InTimeAlone(nn.Module):
    """An embedder of time and caption whose caption is zeros for cross-attention."""

    def __init__(self, embedder: nn.Module):
        super().__init__()
        self.embedder = embedder

    def forward(self, *inputs: Any, **named: Any) -> tuple[Any, ...]:
        """As Wan's: embedding, modulation, caption, image."""
        temb, modulation, text, image = self.embedder(*inputs, **named)
        return temb, modulation, torch.zeros_like(text), image


class PlainDiT(nn.Module):
    """DiT (arXiv 2212.09748, adaLN-zero) with one token per latent and fixed positions."""

    def __init__(
        self,
        shape: tuple[int, int, int, int],
        vocabulary: Vocabulary,
        width: int = 128,
        layers: int = 6,
        heads: int = 4,
    ):
        super().__init__()
        C, *sides = shape
        self.enter, self.leave = nn.Linear(C, width), nn.Linear(width, C)
        places = positions(sides[0], sides[1], sides[2], width).flatten(1).mT
        self.register_buffer("places", places, persistent=False)
        self.times = Timesteps(width, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.attributes = AttributeEmbedding(vocabulary, width)
        blocks = [_Block(width, heads) for _ in range(layers)]
        self.blocks, self.modulation = nn.ModuleList(blocks), nn.Linear(width, 2 * width)
        for layer in (self.leave, self.modulation, *(block.modulation for block in blocks)):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self, x: torch.Tensor, t: torch.Tensor, attributes_BK: torch.Tensor
    ) -> torch.Tensor:
        """The velocity (B, C, t, h, w) of noisy latents at times (B,)."""
        condition = self.time(self.times(t * 1000)) + self.attributes(attributes_BK)
        condition = F.silu(condition)
        h = self.enter(x.flatten(2).mT) + self.places
        for block in self.blocks:
            h = block(h, condition)
        shift, scale = self.modulation(condition)[:, None].chunk(2, -1)
        h = F.layer_norm(h, h.shape[-1:]) * (1 + scale) + shift
        return self.leave(h).mT.view_as(x)


class _Block(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.modulation = nn.Linear(width, 6 * width)

    def forward(self, h_BND: torch.Tensor, condition_BD: torch.Tensor) -> torch.Tensor:
        modulation = self.modulation(condition_BD)[:, None].chunk(6, -1)
        shift1, scale1, gate1, shift2, scale2, gate2 = modulation
        x = F.layer_norm(h_BND, h_BND.shape[-1:]) * (1 + scale1) + shift1
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.qkv(x).chunk(3, -1)
        )
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        h_BND = h_BND + gate1 * self.out(attended)
        x = F.layer_norm(h_BND, h_BND.shape[-1:]) * (1 + scale2) + shift2
        return h_BND + gate2 * self.down(F.gelu(self.up(x), approximate="tanh"))

"""A video transformer that reads its caption at once.

``WanTransformer3DModel`` sees a caption through cross-attention alone, and first has to learn where
to look. Here the time embedding, which steers every layer, also takes a pooled embedding of the
caption, as in SD3 (arXiv 2403.03206) and FLUX; and cross-attention leaves out the zeros that
``WanPipeline`` fills captions with, so that their number does not matter.

Shape legend: B batch, N tokens of the video, L tokens of the caption, D width.
"""

from functools import lru_cache
from typing import Any, Literal

import torch
import torch.nn.functional as F
from diffusers import WanTransformer3DModel
from diffusers.configuration_utils import register_to_config
from diffusers.models.embeddings import PixArtAlphaTextProjection
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from diffusers.models.transformers.transformer_wan import (
    WanTimeTextImageEmbedding,
    WanTransformerBlock,
)
from torch import nn

from ssvae.diffusion.captions import caption_mask, is_token, pooled
from ssvae.diffusion.fused_block import FusedBlock

LONGEST_PLAIN = 1024  # tokens; beyond, the square of weights takes more memory than it saves time

SHORTEST_TIME = 0.05  # of a sample's velocity, as in JiT: nearer to the data it would be rounding


def positions(
    frames: int,
    height: int,
    width: int,
    dim: int,
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> torch.Tensor:
    """Sines and cosines that say where a token is (dim, frames, height, width).

    A third of the width for each axis, wavelengths from four to four hundred. Tokens lie
    ``spacing`` apart on each axis, within the same frame: two of 1/2 about the place of one of 1.
    """
    pairs = dim // 6
    frequencies = 1.5 * 100.0 ** -(torch.arange(pairs) / pairs)
    cube = torch.zeros(dim, frames, height, width)
    for axis, side in enumerate((frames, height, width)):
        places = (torch.arange(side) + 0.5) * spacing[axis] - 0.5
        angles = places * frequencies[:, None]
        shape = [-1, *(side if other == axis else 1 for other in range(3))]
        waves = torch.cat([angles.sin(), angles.cos()]).view(shape)
        cube[2 * pairs * axis : 2 * pairs * (axis + 1)] = waves
    return cube


@lru_cache(maxsize=16)
def _positions_on(
    frames: int,
    height: int,
    width: int,
    dim: int,
    spacing: tuple[float, float, float],
    device: torch.device,
    dtype: torch.dtype,
) -> torch.Tensor:
    """Made once: a copy to a GPU in every step would make the host wait."""
    return positions(frames, height, width, dim, spacing).to(device, dtype)


class PlacedPatchEmbedding(nn.Conv3d):
    """Patches of latents to tokens that know their place.

    Rotary embeddings tell attention how far two tokens are apart; where they are it would have to
    find out. A small model that is told learns directions in a fraction of the steps.
    """

    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Latents (B, C, T, H, W) to tokens (B, D, t, h, w)."""
        tokens = super().forward(input)
        D, T, H, W = tokens.shape[1:]
        return tokens + _positions_on(T, H, W, D, self.spacing, tokens.device, tokens.dtype)


class PooledTextEmbedding(WanTimeTextImageEmbedding):
    """Embeddings of time and caption, the caption's pooled embedding in that of the time."""

    def __init__(self, dim: int, time_freq_dim: int, time_proj_dim: int, text_embed_dim: int):
        super().__init__(dim, time_freq_dim, time_proj_dim, text_embed_dim)
        self.pooled_embedder = PixArtAlphaTextProjection(text_embed_dim, dim, act_fn="silu")
        for layer in (self.pooled_embedder.linear_1, self.pooled_embedder.linear_2):
            # A caption as loud as the time from the first step on.
            nn.init.normal_(layer.weight, std=(2 / layer.in_features) ** 0.5)

    def forward(
        self,
        timestep: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        encoder_hidden_states_image: torch.Tensor | None = None,
        timestep_seq_len: int | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, None]:
        """As in Wan's transformer; rows of the caption that were zero stay zero."""
        if encoder_hidden_states_image is not None:
            raise ValueError("this transformer takes no image beside the caption: leave it out")
        text = encoder_hidden_states
        times = self.timesteps_proj(timestep)
        caption = self.pooled_embedder(pooled(text))
        if timestep_seq_len is not None:  # a time for each token (B N,)
            times = times.unflatten(0, (-1, timestep_seq_len))
            caption = caption[:, None]
        times = times.to(self.time_embedder.linear_1.weight.dtype)
        temb = (self.time_embedder(times) + caption).type_as(text)
        modulation = self.time_proj(self.act_fn(temb))
        return temb, modulation, self.text_embedder(text) * is_token(text)[..., None], None


class CaptionAttnProcessor:
    """Attention among a video's tokens, or to a caption's tokens but not to the zeros behind them.

    The arithmetic of diffusers' ``WanAttnProcessor``. Short sequences on a CPU are attended to by
    plain products: in bfloat16 torch's fused kernel takes twice as long there, in float32 as long.
    """

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        rotary_emb: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """(B, N, D) to the same; ``rotary_emb`` holds cosines and sines (1, N, 1, head's width)."""
        source, mask = hidden_states, None
        if encoder_hidden_states is not None:
            source, mask = encoder_hidden_states, caption_mask(encoder_hidden_states)
        query = attn.norm_q(attn.to_q(hidden_states))
        key, value = attn.norm_k(attn.to_k(source)), attn.to_v(source)
        query, key, value = (x.unflatten(2, (attn.heads, -1)) for x in (query, key, value))
        if rotary_emb is not None:
            query, key = (rotated(x, *rotary_emb).type_as(value) for x in (query, key))
        query, key, value = (x.transpose(1, 2) for x in (query, key, value))
        if query.device.type == "cpu" and query.shape[2] <= LONGEST_PLAIN:
            weights = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
            if mask is not None:
                weights = weights.masked_fill(~mask, -torch.inf)
            attended = weights.softmax(-1).type_as(value) @ value
        else:
            query, key = query.type_as(value), key.type_as(value)
            attended = F.scaled_dot_product_attention(query, key, value, mask)
        attended = attended.transpose(1, 2).flatten(2).type_as(hidden_states)
        return attn.to_out[1](attn.to_out[0](attended))


def rotated(x_BNHD: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor) -> torch.Tensor:
    """Pairs of values turned; of diffusers' cosines and sines (1, N, 1, D) every other is read.

    As complex numbers on a CPU, which takes half of the time there; torch.compile makes no code for
    them.
    """
    cos, sin = cosines[..., 0::2].float(), sines[..., 1::2].float()
    pairs = x_BNHD.float().unflatten(-1, (-1, 2))
    if x_BNHD.device.type == "cpu" and not torch.compiler.is_compiling():
        turned = torch.view_as_complex(pairs.contiguous()) * torch.complex(cos, sin)
        return torch.view_as_real(turned).flatten(-2)
    even, odd = pairs.unbind(-1)
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2)


class PooledWanTransformer3DModel(WanTransformer3DModel):
    """Wan's video transformer whose time embedding also takes a pooled embedding of the caption.

    Called as ``WanTransformer3DModel``; ``encoder_hidden_states`` (B, L, text_dim) are zero behind
    each caption's tokens, and how many zeros there are changes nothing. ``WanPipeline`` loads and
    samples it once ``ssvae`` is imported.

    What comes out is a velocity, n - x for data x and noise n. With ``prediction="sample"`` the
    layers make x instead, and the velocity follows, (x_t - x) / t with t at least .05 (JiT, arXiv
    2511.13720): the same loss and the same sampler, but what the layers have to hold is as simple
    as the data.

    ``token_spacing`` is how far tokens lie apart on each axis, for weights that learned larger
    patches: 1/2 where these were twice as large.
    """

    __module__ = "ssvae"  # where a saved pipeline names it, and importing ssvae alone offers it
    _repeated_blocks = ("FusedBlock",)
    _no_split_modules = ("FusedBlock",)

    @register_to_config
    def __init__(
        self,
        patch_size: tuple[int, int, int] = (1, 2, 2),
        num_attention_heads: int = 40,
        attention_head_dim: int = 128,
        in_channels: int = 16,
        out_channels: int = 16,
        text_dim: int = 4096,
        freq_dim: int = 256,
        ffn_dim: int = 13824,
        num_layers: int = 40,
        cross_attn_norm: bool = True,
        qk_norm: str | None = "rms_norm_across_heads",
        eps: float = 1e-6,
        image_dim: None = None,
        added_kv_proj_dim: None = None,
        rope_max_seq_len: int = 1024,
        pos_embed_seq_len: None = None,
        prediction: Literal["velocity", "sample"] = "velocity",
        token_spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    ):
        if (image_dim, added_kv_proj_dim, pos_embed_seq_len) != (None, None, None):
            raise ValueError("this transformer takes no image beside the caption: leave it out")
        super().__init__(
            patch_size=patch_size,
            num_attention_heads=num_attention_heads,
            attention_head_dim=attention_head_dim,
            in_channels=in_channels,
            out_channels=out_channels,
            text_dim=text_dim,
            freq_dim=freq_dim,
            ffn_dim=ffn_dim,
            num_layers=num_layers,
            cross_attn_norm=cross_attn_norm,
            qk_norm=qk_norm,
            eps=eps,
            rope_max_seq_len=rope_max_seq_len,
        )
        nn.init.zeros_(self.proj_out.weight)  # a fresh model says nothing, as in DiT
        nn.init.zeros_(self.proj_out.bias)
        dim = num_attention_heads * attention_head_dim
        t, h, w = patch_size
        self.patch_embedding = PlacedPatchEmbedding(in_channels, dim, (t, h, w), (t, h, w))
        self.patch_embedding.spacing = (token_spacing[0], token_spacing[1], token_spacing[2])
        self.condition_embedder = PooledTextEmbedding(dim, freq_dim, 6 * dim, text_dim)
        for block in self.blocks:
            assert isinstance(block, WanTransformerBlock)
            block.__class__ = FusedBlock  # with the parameters that were drawn
            for attention in (block.attn1, block.attn2):
                attention.set_processor(CaptionAttnProcessor())  # type: ignore[arg-type]

    def forward(
        self,
        hidden_states: torch.Tensor,
        timestep: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        encoder_hidden_states_image: torch.Tensor | None = None,
        return_dict: bool = True,
        attention_kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """The velocity (B, C, T, H, W) of noisy latents of that shape, at times (B,) in [0,
        1000].
        """
        inputs: dict[str, Any] = dict(
            hidden_states=hidden_states,
            timestep=timestep,
            encoder_hidden_states=encoder_hidden_states,
            encoder_hidden_states_image=encoder_hidden_states_image,
            attention_kwargs=attention_kwargs,
        )
        outputs: Any = super().forward(**inputs, return_dict=False)
        output: torch.Tensor = outputs[0]
        if self.config["prediction"] == "sample":
            if timestep.ndim != 1:
                raise ValueError(
                    "a transformer that predicts samples takes one time a clip, got times of shape "
                    f"{tuple(timestep.shape)}"
                )
            t = (timestep.float() / 1000).clamp(min=SHORTEST_TIME).view(-1, 1, 1, 1, 1)
            output = ((hidden_states.float() - output.float()) / t).type_as(output)
        return Transformer2DModelOutput(sample=output) if return_dict else (output,)

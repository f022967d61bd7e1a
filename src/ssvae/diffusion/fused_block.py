"""A transformer's block for a GPU: what stands between its products is a kernel each.

Residual with gate and bias, and the norm after it; the norms of queries and keys with their bias
and rotary embedding; bias and GELU (:mod:`ssvae.diffusion.kernels`). Written out they move three
times as many bytes, and a GPU waits for memory. The numbers are those of diffusers' block to
rounding, and so are the parameters.

Shape legend: B batch, N tokens of the video, L tokens of the caption, D width.
"""

from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.normalization import FP32LayerNorm
from diffusers.models.transformers.transformer_wan import WanTransformerBlock
from torch import nn

from ssvae.diffusion.captions import caption_mask
from ssvae.fused import fuses, operator

Tensor = torch.Tensor
Rotation = tuple[Tensor, Tensor]
"""Cosines and sines (N, head's width / 2), by which pairs of values are turned."""


class FusedBlock(WanTransformerBlock):
    """Diffusers' block, by kernels where they are for it."""

    def forward(  # type: ignore[override]
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        temb: Tensor,
        rotary_emb: Rotation,
    ) -> Tensor:
        """Tokens (B, N, D) under a caption (B, L, D) and modulations (B, 6, D) to the same."""
        if temb.ndim != 3 or not fuses(hidden_states) or not self._is_plain(hidden_states):
            return super().forward(hidden_states, encoder_hidden_states, temb, rotary_emb)  # type: ignore[arg-type]
        modulation = self.scale_shift_table + temb.float()
        shift1, scale1, gate1, shift2, scale2, gate2 = modulation.unbind(1)
        feed_forward: Any = self.ffn.net
        up, down = feed_forward[0].proj, feed_forward[2]
        between: Any = self.norm2
        to_caption: Any = self.attn2
        x, normed = residual_norm(hidden_states, gain=1 + scale1, shift=shift1, eps=self.norm1.eps)
        y, bias = self._among_tokens(normed, rotary_emb)
        x, normed = residual_norm(
            x, y, bias, gate1, between.weight[None], between.bias[None], between.eps
        )
        y = self._to_caption(normed, encoder_hidden_states)
        x, normed = residual_norm(
            x, y, to_caption.to_out[0].bias, None, 1 + scale2, shift2, self.norm3.eps
        )
        y = _BiasedGELU.apply(F.linear(normed, up.weight), up.bias)
        return residual_norm(x, F.linear(y, down.weight), down.bias, gate2)[0]

    def _is_plain(self, x: Tensor) -> bool:
        """Whether the layers are as they were made, and here.

        Adapters and quantised layers compute something else, and hooks hold weights elsewhere until
        a layer runs.
        """
        attentions: list[Any] = [self.attn1, self.attn2]
        feed_forward: Any = self.ffn.net
        layers: list[Any] = [feed_forward[0].proj, feed_forward[2]]
        layers += [a.to_out[0] for a in attentions]
        layers += [getattr(a, name) for a in attentions for name in ("to_q", "to_k", "to_v")]
        norms: list[Any] = [getattr(a, name) for a in attentions for name in ("norm_q", "norm_k")]
        return (
            all(type(layer) is nn.Linear and layer.bias is not None for layer in layers)
            and all(type(norm) is nn.RMSNorm for norm in norms)
            and type(self.norm2) is FP32LayerNorm
            and all(layer.weight.device == x.device for layer in (*layers, *norms, self.norm2))
        )

    def _among_tokens(self, normed: Tensor, rotary_emb: Rotation) -> tuple[Tensor, Tensor]:
        """Self-attention without a bias (B, N, D), and its bias (D,)."""
        attn: Any = self.attn1
        out = attn.to_out[0]
        weight = torch.cat([attn.to_q.weight, attn.to_k.weight, attn.to_v.weight])
        query, key, value = _Turned.apply(
            F.linear(normed, weight),
            *(attn.to_q.bias, attn.to_k.bias, attn.norm_q.weight, attn.norm_k.weight),
            *rotation_of(*rotary_emb),
            attn.norm_q.eps,
        )
        attended = _attended(query, key, value, attn.heads)
        with torch.autocast(normed.device.type, enabled=False):
            # Weights of attention add up to 1, so that the values' bias passes as it is.
            bias = torch.addmv(out.bias, out.weight, attn.to_v.bias)
        return F.linear(attended, out.weight), bias

    def _to_caption(self, normed: Tensor, text: Tensor) -> Tensor:
        """Cross-attention (B, N, D) without the bias of what comes out."""
        attn: Any = self.attn2
        query = _Query.apply(
            F.linear(normed, attn.to_q.weight), attn.to_q.bias, attn.norm_q.weight, attn.norm_q.eps
        )
        key, value = attn.norm_k(attn.to_k(text)), attn.to_v(text)
        key, mask = key.type_as(value), caption_mask(text)
        attended = _attended(query, key, value, attn.heads, mask)
        return F.linear(attended, attn.to_out[0].weight)


def rotation_of(cosines: Tensor, sines: Tensor) -> Rotation:
    """Diffusers' rotary embeddings (1, N, 1, head's width) as a turn of each pair of values."""
    return tuple(x[0, :, 0, i::2].float().contiguous() for i, x in enumerate((cosines, sines)))  # type: ignore[return-value]


def _attended(
    query: Tensor, key: Tensor, value: Tensor, heads: int, mask: Tensor | None = None
) -> Tensor:
    """Attention of (B, N, D) to (B, L, D)."""
    q, k, v = (x.unflatten(2, (heads, -1)).transpose(1, 2) for x in (query, key, value))
    return F.scaled_dot_product_attention(q, k, v, mask).transpose(1, 2).flatten(2)


def residual_norm(
    x: Tensor,
    y: Tensor | None = None,
    bias: Tensor | None = None,
    gate: Tensor | None = None,
    gain: Tensor | None = None,
    shift: Tensor | None = None,
    eps: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """x + (y + bias) gate, and that under LayerNorm times ``gain`` plus ``shift``.

    x and y are (B, N, D), ``bias`` (D,), ``gate`` (B, D), ``gain`` and ``shift`` (B, D), or (1, D)
    for all samples. What is left out is not done.
    """
    return _ResidualNorm.apply(x, y, bias, gate, gain, shift, eps)  # type: ignore[return-value]


class _ResidualNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        y: Tensor | None,
        bias: Tensor | None,
        gate: Tensor | None,
        gain: Tensor | None,
        shift: Tensor | None,
        eps: float,
    ) -> tuple[Tensor, Tensor]:
        x = x.contiguous()
        out, normed = _fused_residual_norm(x, y, bias, gate, gain, shift, eps)
        out = x if y is None else out
        of_gate = y if gate is not None else None
        ctx.save_for_backward(out if gain is not None else None, of_gate, bias, gate, gain)
        ctx.eps, ctx.has_y = eps, y is not None
        return out, normed

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(  # type: ignore[override]
        ctx: Any, of_out: Tensor, of_normed: Tensor
    ) -> tuple[Tensor | None, ...]:
        out, y, bias, gate, gain = ctx.saved_tensors
        of_out = of_out.contiguous()
        normed = None if gain is None else of_normed.contiguous()
        of_x, of_y, sums = _fused_residual_norm_backward(
            of_out, normed, out, y, gate, gain, ctx.has_y, ctx.eps
        )
        of_x = of_out if gain is None else of_x
        of_gain, of_shift, of_gate, total = sums.unbind(1)  # (B, D)
        if gain is not None and len(gain) == 1:
            of_gain, of_shift = of_gain.sum(0, keepdim=True), of_shift.sum(0, keepdim=True)
        if not ctx.has_y:
            return of_x, None, None, None, of_gain, of_shift, None
        of_bias = (total if gate is None else total * gate).sum(0)
        if gate is None:
            return of_x, of_x, of_bias, None, of_gain, of_shift, None
        of_gate = of_gate + total * bias
        if gain is None:
            return of_x, of_y, of_bias, of_gate, None, None, None
        return of_x, of_y, of_bias, of_gate, of_gain, of_shift, None


class _Turned(torch.autograd.Function):
    """Queries and keys with their bias, normed and turned, and values, of one product."""

    @staticmethod
    def forward(
        ctx: Any,
        joint: Tensor,
        bias_q: Tensor,
        bias_k: Tensor,
        weight_q: Tensor,
        weight_k: Tensor,
        cosines: Tensor,
        sines: Tensor,
        eps: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = joint.chunk(3, -1)
        ctx.save_for_backward(joint, bias_q, bias_k, weight_q, weight_k, cosines, sines)
        ctx.eps = eps
        turns = cosines, sines, eps
        return (
            _fused_turned(query, bias_q, weight_q, *turns),
            _fused_turned(key, bias_k, weight_k, *turns),
            value,
        )

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(  # type: ignore[override]
        ctx: Any, of_query: Tensor, of_key: Tensor, of_value: Tensor
    ) -> tuple[Tensor | None, ...]:
        joint, bias_q, bias_k, weight_q, weight_k, cosines, sines = ctx.saved_tensors
        of_joint, turns = torch.empty_like(joint), (cosines, sines, ctx.eps)
        (query, key, _), (q, k, v) = joint.chunk(3, -1), of_joint.chunk(3, -1)
        of_q = _fused_turned_backward(of_query.contiguous(), query, bias_q, weight_q, *turns, out=q)
        of_k = _fused_turned_backward(of_key.contiguous(), key, bias_k, weight_k, *turns, out=k)
        v.copy_(of_value)
        return of_joint, of_q[1], of_k[1], of_q[0], of_k[0], None, None, None


class _Query(torch.autograd.Function):
    """Queries with their bias, normed."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor, weight: Tensor, eps: float) -> Tensor:
        ctx.save_for_backward(x, bias, weight)
        ctx.eps = eps
        return _fused_turned(x, bias, weight, None, None, eps)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, bias, weight = ctx.saved_tensors
        of_x = torch.empty_like(x)
        sums = _fused_turned_backward(
            grad.contiguous(), x, bias, weight, None, None, ctx.eps, out=of_x
        )
        return of_x, sums[1], sums[0], None


class _BiasedGELU(torch.autograd.Function):
    """GELU of h + bias, by the tangent, as diffusers' feed-forward layers have it."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(h, bias)
        return _fused_gelu(h, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        return _fused_gelu_backward(grad.contiguous(), *ctx.saved_tensors)


# What the operators compute, written out.


def _residual_norm(
    x: Tensor,
    y: Tensor | None,
    bias: Tensor | None,
    gate: Tensor | None,
    gain: Tensor | None,
    shift: Tensor | None,
    eps: float,
) -> tuple[Tensor, Tensor]:
    out, h = x.new_empty(0), x.float()
    if y is not None:
        more = y.float() + (0 if bias is None else bias.float())
        out = (h + (more if gate is None else more * gate[:, None])).to(x.dtype)
        h = out.float()
    if gain is None or shift is None:
        return out, x.new_empty(0)
    normed = F.layer_norm(h, h.shape[-1:], eps=eps) * gain[:, None] + shift[:, None]
    return out, normed.to(x.dtype)


def _residual_norm_backward(
    of_out: Tensor,
    of_normed: Tensor | None,
    out: Tensor | None,
    y: Tensor | None,
    gate: Tensor | None,
    gain: Tensor | None,
    has_y: bool,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    g, of_y = of_out.float(), of_out.new_empty(0)
    zero = g.new_zeros(g.shape[0], g.shape[2])
    of_gain = of_shift = of_gate = zero
    if gain is not None and of_normed is not None and out is not None:
        h, n = out.float(), of_normed.float()
        h = h - h.mean(-1, keepdim=True)
        scale = (h.square().mean(-1, keepdim=True) + eps).rsqrt()
        h = h * scale
        of_gain, of_shift = (n * h).sum(1), n.sum(1)
        n = n * gain[:, None]
        n = n - n.mean(-1, keepdim=True) - h * (n * h).mean(-1, keepdim=True)
        g = g + scale * n
    total = g.sum(1) if has_y else zero
    if gate is not None and y is not None:
        of_gate, of_y = (g * y.float()).sum(1), (g * gate[:, None]).to(of_out.dtype)
    of_x = of_out.new_empty(0) if gain is None else g.to(of_out.dtype)
    return of_x, of_y, torch.stack([of_gain, of_shift, of_gate, total], 1)


def _standard(x: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    h = x.float() + bias.float()
    scale = (h.square().mean(-1, keepdim=True) + eps).rsqrt()
    return h * scale, scale


def _rotated(x: Tensor, cosines: Tensor | None, sines: Tensor | None, back: bool) -> Tensor:
    if cosines is None or sines is None:
        return x
    a, b = x.unflatten(-1, (-1, cosines.shape[-1], 2)).unbind(-1)
    cos, sin = cosines[:, None], -sines[:, None] if back else sines[:, None]
    return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(2)


def _turned(
    x: Tensor,
    bias: Tensor,
    weight: Tensor,
    cosines: Tensor | None,
    sines: Tensor | None,
    eps: float,
) -> Tensor:
    h = _standard(x, bias, eps)[0] * weight.float()
    return _rotated(h, cosines, sines, back=False).to(x.dtype)


def _turned_backward(
    grad: Tensor,
    x: Tensor,
    bias: Tensor,
    weight: Tensor,
    cosines: Tensor | None,
    sines: Tensor | None,
    eps: float,
    *,
    out: Tensor,
) -> Tensor:
    h, scale = _standard(x, bias, eps)
    g = _rotated(grad.float(), cosines, sines, back=True)
    of_weight = (g * h).sum((0, 1))
    g = g * weight.float()
    g = scale * (g - h * (g * h).mean(-1, keepdim=True))
    out.copy_(g)
    return torch.stack([of_weight, g.sum((0, 1))])


def _gelu(h: Tensor, bias: Tensor) -> Tensor:
    return F.gelu(h.float() + bias.float(), approximate="tanh").to(h.dtype)


def _gelu_backward(grad: Tensor, h: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    x = h.float() + bias.float()
    g = torch.ops.aten.gelu_backward(grad.float(), x, approximate="tanh")
    return g.to(h.dtype), g.flatten(0, -2).sum(0)


KERNELS = "ssvae.diffusion.kernels"
_fused_residual_norm = operator(
    "residual_norm(Tensor x, Tensor? y, Tensor? bias, Tensor? gate, Tensor? gain, Tensor? shift,"
    " float eps) -> (Tensor, Tensor)",
    _residual_norm,
    KERNELS,
)
_fused_residual_norm_backward = operator(
    "residual_norm_backward(Tensor of_out, Tensor? of_normed, Tensor? out, Tensor? y, Tensor? gate,"
    " Tensor? gain, bool has_y, float eps) -> (Tensor, Tensor, Tensor)",
    _residual_norm_backward,
    KERNELS,
)
_fused_turned = operator(
    "turned(Tensor x, Tensor bias, Tensor weight, Tensor? cosines, Tensor? sines, float eps)"
    " -> Tensor",
    _turned,
    KERNELS,
)
_fused_turned_backward = operator(
    "turned_backward(Tensor grad, Tensor x, Tensor bias, Tensor weight, Tensor? cosines,"
    " Tensor? sines, float eps, *, Tensor(a!) out) -> Tensor",
    _turned_backward,
    KERNELS,
)
_fused_gelu = operator("biased_gelu(Tensor h, Tensor bias) -> Tensor", _gelu, KERNELS)
_fused_gelu_backward = operator(
    "biased_gelu_backward(Tensor grad, Tensor h, Tensor bias) -> (Tensor, Tensor)",
    _gelu_backward,
    KERNELS,
)

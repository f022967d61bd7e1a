"""Text for the video transformer: encoders, embeddings, and padding as the pipeline pads.

``WanPipeline`` fills the embeddings of each caption with zeros up to 512 tokens, and Wan's
transformer attends to them. Those zeros are all alike, so one key that counts for all of them gives
the same attention at the price of one (:class:`PaddedTextProcessor`): captions train at their own
length and the pipeline, at its defaults, samples from the same model.
"""

import hashlib
import logging
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import WanTransformer3DModel
from diffusers.models.transformers.transformer_wan import WanAttnProcessor
from diffusers.pipelines.wan.pipeline_wan import prompt_clean
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForTextEncoding,
    AutoTokenizer,
    ByT5Tokenizer,
    UMT5Config,
    UMT5EncoderModel,
)

logger = logging.getLogger(__name__)

PIPELINE_LENGTH = 512
"""Tokens that ``WanPipeline`` pads captions to, unless told otherwise."""


@dataclass(frozen=True)
class TextConfig:
    """The text encoder."""

    encoder: str | None = None
    """A transformers text encoder by name or path (google/umt5-xxl), kept frozen; where None, a
    small byte-level T5 is trained along."""
    width: int = 64
    """Width of the encoder that is trained along."""
    layers: int = 2
    """Its layers."""
    heads: int = 4
    """Its attention heads."""

    def problems(self) -> list[str]:
        """All that is wrong with it; empty where nothing is."""
        wrong = [
            f"text.{name} must be at least 1, got {getattr(self, name)}"
            for name in ("width", "layers", "heads")
            if getattr(self, name) < 1
        ]
        if not wrong and self.width % self.heads:
            wrong.append(
                f"text.width must be a multiple of text.heads, got {self.width} and {self.heads}"
            )
        return wrong


def byte_level_encoder(config: TextConfig) -> tuple[Any, UMT5EncoderModel]:
    """A tokenizer of bytes, which needs no vocabulary, and a small T5 encoder with fresh weights."""
    encoder = UMT5EncoderModel(
        UMT5Config(
            vocab_size=384,  # 256 bytes, 3 special tokens, ByT5's sentinels
            d_model=config.width,
            d_kv=config.width // config.heads,
            d_ff=2 * config.width,
            num_layers=config.layers,
            num_heads=config.heads,
            dropout_rate=0.0,
            feed_forward_proj="gated-gelu",
        )
    )
    return ByT5Tokenizer(), encoder


def pretrained_encoder(
    name: str, device: torch.device | str, dtype: torch.dtype = torch.float32
) -> tuple[Any, Any]:
    """A text encoder of transformers and its tokenizer, by name or path, to embed with."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
        encoder = AutoModelForTextEncoding.from_pretrained(name, dtype=dtype, use_safetensors=True)
    except Exception as error:
        raise ValueError(f"the text encoder {name} does not load: {error}") from error
    return tokenizer, encoder.to(device).eval().requires_grad_(False)


def width_of(name: str) -> int:
    """Width of the embeddings of a text encoder of transformers, from its config."""
    try:
        return int(AutoConfig.from_pretrained(name).hidden_size)
    except Exception as error:
        raise ValueError(f"the text encoder {name} does not load: {error}") from error


def tokenize(tokenizer: Any, captions: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and their mask (B, L), cleaned as the pipeline cleans, L that of the longest."""
    tokens = tokenizer(
        [prompt_clean(caption) for caption in captions],
        padding="longest",
        max_length=PIPELINE_LENGTH,
        truncation=True,
        add_special_tokens=True,
        return_attention_mask=True,
        return_tensors="pt",
    )
    return tokens.input_ids, tokens.attention_mask


def embed(encoder: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Embeddings (B, L + 1, D), zero behind each caption's tokens, the last one always zero."""
    device = next(encoder.parameters()).device
    ids, mask = ids.to(device), mask.to(device)
    return _with_padding(encoder(ids, mask).last_hidden_state * mask[..., None])


def _with_padding(hidden: torch.Tensor) -> torch.Tensor:
    """One zero more (B, L + 1, D), unless the captions fill the pipeline's length."""
    return torch.nn.functional.pad(hidden, (0, 0, 0, int(hidden.shape[1] < PIPELINE_LENGTH)))


class PaddedTextProcessor(WanAttnProcessor):
    """Cross-attention in which the last key stands for all the zeros up to the pipeline's length.

    n equal keys of score s weigh n exp(s) = exp(s + log n). Embeddings that have the pipeline's
    length already are attended to plainly.
    """

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        rotary_emb: Any = None,
    ) -> torch.Tensor:
        """Attend as :class:`WanAttnProcessor` does."""
        assert encoder_hidden_states is not None
        length = encoder_hidden_states.shape[1]
        if length < PIPELINE_LENGTH:
            attention_mask = hidden_states.new_zeros(1, 1, 1, length)
            attention_mask[..., -1] = math.log(PIPELINE_LENGTH - length + 1)
        return super().__call__(
            attn, hidden_states, encoder_hidden_states, attention_mask, rotary_emb
        )


def attend_to_padding(transformer: WanTransformer3DModel) -> WanTransformer3DModel:
    """Let a transformer take embeddings of any length as :func:`embed` gives them."""
    for block in transformer.blocks:
        block.attn2.set_processor(PaddedTextProcessor())  # type: ignore[union-attr,operator]
    return transformer


@torch.no_grad()
def ignore_padding_at_first(transformer: WanTransformer3DModel) -> WanTransformer3DModel:
    """Fresh weights under which the zeros behind a caption get less attention.

    They are many more than its tokens and drown them: with the usual weights nine tenths of the
    attention go to padding, and hundreds of steps to unlearning it. All of a zero's key are biases,
    small ones, which normalisation blows up to full length; so a little more bias, in a random
    direction, and queries that lean the other way, weigh on zeros more than on tokens.
    """
    for block in transformer.blocks:
        attention: Any = block.attn2
        key, query = attention.to_k, attention.to_q
        direction = torch.randint(0, 2, key.bias.shape) * 2.0 - 1.0
        key.bias.copy_(0.01 * direction)
        query.bias.copy_(-0.5 * direction)
    return transformer


class CaptionEmbeddings:
    """Embeddings of many captions by a frozen encoder, computed once and kept in a file.

    ``embeddings(captions)`` gives (B, L + 1, D) as :func:`embed` does. A caption that the file
    does not know is a ValueError, for the encoder is gone by then.
    """

    def __init__(self, folder: Path, encoder: str, captions: Sequence[str]):
        unique = sorted({prompt_clean(caption) for caption in captions} | {""})
        digest = hashlib.sha256("\n".join([encoder, *unique]).encode()).hexdigest()[:16]
        self._path = folder / f"text-{digest}.safetensors"
        self._rows = {caption: i for i, caption in enumerate(unique)}
        self._encoder, self._unique = encoder, unique
        self._tensors: dict[str, torch.Tensor] | None = None

    @property
    def missing(self) -> bool:
        """Whether the file is still to be written."""
        return not self._path.exists()

    def write(
        self, device: torch.device | str, on_captions: Callable[[int], Any] | None = None
    ) -> None:
        """Embed all captions and write the file."""
        tokenizer, encoder = pretrained_encoder(self._encoder, device)
        parts, ends, total = [], [], 0
        with torch.no_grad():
            for start in range(0, len(self._unique), 32):
                some = self._unique[start : start + 32]
                ids, mask = tokenize(tokenizer, some)
                hidden = embed(encoder, ids, mask)
                for row, length in zip(hidden, mask.sum(1).tolist(), strict=True):
                    parts.append(row[:length].to("cpu", torch.bfloat16))
                    total += length
                    ends.append(total)
                if on_captions is not None:
                    on_captions(start + len(some))
        self._path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._path.with_suffix(f".partial-{os.getpid()}")
        save_file({"embeddings": torch.cat(parts), "ends": torch.tensor(ends)}, partial)
        os.replace(partial, self._path)

    @property
    def width(self) -> int:
        """Width of the embeddings."""
        return self._load()["embeddings"].shape[1]

    def embeddings(self, captions: Sequence[str]) -> torch.Tensor:
        """Embeddings of these captions (B, L + 1, D), float32."""
        tensors = self._load()
        rows = []
        for caption in captions:
            clean = prompt_clean(caption)
            if clean not in self._rows:
                raise ValueError(f"the caption {caption!r} was not among those embedded")
            i = self._rows[clean]
            start = int(tensors["ends"][i - 1]) if i else 0
            rows.append(tensors["embeddings"][start : int(tensors["ends"][i])].float())
        return _with_padding(torch.nn.utils.rnn.pad_sequence(rows, batch_first=True))

    def _load(self) -> dict[str, torch.Tensor]:
        if self._tensors is None:
            self._tensors = load_file(self._path)  # a memory map
        return self._tensors

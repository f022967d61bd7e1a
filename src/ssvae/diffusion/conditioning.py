"""Text for the video transformer: tokenizers, encoders, and embeddings that are computed once.

Embeddings are zero behind each caption's tokens, as ``WanPipeline`` fills them.
"""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.pipelines.wan.pipeline_wan import prompt_clean
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForTextEncoding,
    AutoTokenizer,
    UMT5Config,
    UMT5EncoderModel,
)

from ssvae.diffusion.words import HashedWordTokenizer

PIPELINE_LENGTH = 512
"""Tokens that ``WanPipeline`` pads captions to, unless told otherwise."""


@dataclass(frozen=True)
class TextConfig:
    """The text encoder."""

    encoder: str | None = None
    """A transformers text encoder by name or path (google/umt5-xxl), kept frozen; where None, a
    small T5 on hashed words is trained along."""
    buckets: int = 4096
    """Places that words are hashed into, for the encoder that is trained along."""
    width: int = 64
    """Its width."""
    layers: int = 1
    """Its layers; 0 embeds words by themselves, without their order."""
    heads: int = 4
    """Its attention heads."""

    def problems(self) -> list[str]:
        """All that is wrong with it; empty where nothing is."""
        wrong = [
            f"text.{name} must be at least 1, got {getattr(self, name)}"
            for name in ("buckets", "width", "heads")
            if getattr(self, name) < 1
        ]
        if self.layers < 0:
            wrong.append(f"text.layers must be at least 0, got {self.layers}")
        if not wrong and self.width % self.heads:
            wrong.append(
                f"text.width must be a multiple of text.heads, got {self.width} and {self.heads}"
            )
        return wrong


def word_level_encoder(config: TextConfig) -> tuple[HashedWordTokenizer, UMT5EncoderModel]:
    """A tokenizer of words, which needs no vocabulary, and a small T5 encoder with fresh weights."""
    tokenizer = HashedWordTokenizer(config.buckets)
    encoder = UMT5EncoderModel(
        UMT5Config(
            vocab_size=tokenizer.vocab_size,
            d_model=config.width,
            d_kv=config.width // config.heads,
            d_ff=2 * config.width,
            num_layers=config.layers,
            num_heads=config.heads,
            dropout_rate=0.0,
            feed_forward_proj="gated-gelu",
        )
    )
    return tokenizer, encoder


def load_tokenizer(folder: Path) -> Any:
    """A tokenizer that was saved in ``folder``: ours of words, or one of transformers'."""
    kind = json.loads((folder / "tokenizer_config.json").read_text()).get("tokenizer_class")
    ours = kind == HashedWordTokenizer.__name__
    return (HashedWordTokenizer if ours else AutoTokenizer).from_pretrained(folder)


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
    """Embeddings (B, L, D), zero behind each caption's tokens."""
    device = next(encoder.parameters()).device
    ids, mask = ids.to(device), mask.to(device)
    return encoder(ids, mask).last_hidden_state * mask[..., None]


class CaptionEmbeddings:
    """Embeddings of many captions by a frozen encoder, computed once and kept in a file.

    ``embeddings(captions)`` gives (B, L, D) as :func:`embed` does. A caption that the file
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
        """Embeddings of these captions (B, L, D), float32."""
        tensors = self._load()
        rows = []
        for caption in captions:
            clean = prompt_clean(caption)
            if clean not in self._rows:
                raise ValueError(f"the caption {caption!r} was not among those embedded")
            i = self._rows[clean]
            start = int(tensors["ends"][i - 1]) if i else 0
            rows.append(tensors["embeddings"][start : int(tensors["ends"][i])].float())
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)

    def _load(self) -> dict[str, torch.Tensor]:
        if self._tensors is None:
            self._tensors = load_file(self._path)  # a memory map
        return self._tensors

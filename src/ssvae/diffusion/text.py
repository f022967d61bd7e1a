"""Text for the video transformer: tokenizers and encoders.

Embeddings are zero behind each caption's tokens, as ``WanPipeline`` fills them.
"""

import hashlib
import html
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForTextEncoding,
    AutoTokenizer,
    UMT5Config,
    UMT5EncoderModel,
)
from transformers.models.umt5 import modeling_umt5

from ssvae.diffusion.recipe import TextConfig
from ssvae.diffusion.words import PLAIN, HashedWordTokenizer
from ssvae.storage.hub import hub_options

ENDS = 2**20  # bytes of a file at each end
TAKES_PREPARED = hasattr(modeling_umt5, "create_bidirectional_mask")
"""Whether T5's encoder adds a mask of four dimensions to its scores as it is."""
LOWEST = torch.finfo(torch.float32).min
PIPELINE_LENGTH = 512
"""Tokens that ``WanPipeline`` pads captions to, unless told otherwise."""


def word_level_encoder(config: TextConfig) -> tuple[HashedWordTokenizer, UMT5EncoderModel]:
    """A tokenizer of words, which needs no vocabulary, and a small T5 encoder with fresh
    weights.
    """
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
        where, options = hub_options(name)
        tokenizer = AutoTokenizer.from_pretrained(where, **options)
        encoder = AutoModelForTextEncoding.from_pretrained(
            where, dtype=dtype, use_safetensors=True, **options
        )
    except Exception as error:
        raise ValueError(f"the text encoder {name} does not load: {error}") from error
    return tokenizer, encoder.to(device).eval().requires_grad_(False)


def encoder_fingerprint(name: str) -> str:
    """A checksum of a local text encoder's files by their names, sizes and ends; empty of one on a
    hub.
    """
    if not name or not Path(name).is_dir():
        return ""
    digest = hashlib.sha256()
    for path in sorted(path for path in Path(name).iterdir() if path.is_file()):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}".encode())
        with open(path, "rb") as file:
            digest.update(file.read(ENDS))
            file.seek(max(0, size - ENDS))
            digest.update(file.read(ENDS))
    return digest.hexdigest()[:16]


def width_of(name: str) -> int:
    """Width of the embeddings of a text encoder of transformers, from its config."""
    try:
        where, options = hub_options(name)
        return int(AutoConfig.from_pretrained(where, **options).hidden_size)
    except Exception as error:
        raise ValueError(f"the text encoder {name} does not load: {error}") from error


def clean(caption: str) -> str:
    """A caption without entities of HTML, its quotes straight, its spaces single.

    Diffusers cleans captions by ``ftfy`` where that is installed; this does not hang on what is.
    """
    text = html.unescape(html.unescape(caption)).translate(PLAIN)
    return re.sub(r"\s+", " ", text).strip()


def tokenize(tokenizer: Any, captions: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and their mask (B, L) of cleaned captions, L that of the longest."""
    tokens = tokenizer(
        [clean(caption) for caption in captions],
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
    given = mask
    if TAKES_PREPARED and isinstance(encoder, UMT5EncoderModel):
        # Of a plain one it asks whether all of it is set, and the host waits for the answer.
        given = torch.zeros(mask.shape, device=device).masked_fill(mask == 0, LOWEST)
        given = given[:, None, None]
    return encoder(ids, given).last_hidden_state * mask[..., None]

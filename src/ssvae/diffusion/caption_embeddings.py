"""Embeddings of many captions by a frozen encoder, computed once and read from files."""

import hashlib
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file

from ssvae.diffusion.text import clean, embed, encoder_fingerprint, pretrained_encoder, tokenize
from ssvae.storage.files import replacing
from ssvae.storage.locks import written_together

logger = logging.getLogger(__name__)

SHARD, BATCH = 4096, 32  # captions in a file, and embedded at once


class CaptionEmbeddings:
    """Embeddings of the captions of a data set, beside its latents, in files of some thousand.

    ``embeddings(captions)`` gives (B, L, D) as :func:`ssvae.diffusion.text.embed` does. A caption
    that is not among them is a ValueError, for the encoder is gone by then.
    """

    def __init__(self, folder: Path, encoder: str, captions: Iterable[str]):
        unique = sorted({clean(caption) for caption in captions} | {""})
        provenance = [encoder, encoder_fingerprint(encoder)]
        digest = hashlib.sha256("\n".join([*provenance, *unique]).encode()).hexdigest()[:16]
        folder = folder / f"text-{digest}"
        self._shards = [unique[i : i + SHARD] for i in range(0, len(unique), SHARD)]
        self._paths = [folder / f"{i:05d}.safetensors" for i in range(len(self._shards))]
        self._rows = {caption: i for i, caption in enumerate(unique)}
        self._encoder = encoder
        self._tensors: dict[int, dict[str, torch.Tensor]] = {}

    def write(self, accelerator: Accelerator) -> None:
        """Embed what is not there yet, the processes together; each needs the encoder in memory
        once.

        In bfloat16 on a GPU, in float32 on a CPU; bfloat16 in the files.
        """
        if all(path.exists() for path in self._paths):
            return
        with written_together(self._paths[0].parent, "embeddings of captions", accelerator):
            self._write_missing(accelerator)

    def _write_missing(self, accelerator: Accelerator) -> None:
        every = range(accelerator.process_index, len(self._paths), accelerator.num_processes)
        own = [i for i in every if not self._paths[i].exists()]
        if own:
            logger.info("embedding %d captions by %s", len(self._rows), self._encoder)
            device = accelerator.device
            half = torch.bfloat16 if device.type == "cuda" else torch.float32
            tokenizer, encoder = pretrained_encoder(self._encoder, device, half)
            for i in own:
                self._write_shard(i, tokenizer, encoder)
        accelerator.wait_for_everyone()

    @torch.no_grad()
    def _write_shard(self, number: int, tokenizer: object, encoder: object) -> None:
        captions, parts, lengths = self._shards[number], [], []
        for start in range(0, len(captions), BATCH):
            ids, mask = tokenize(tokenizer, captions[start : start + BATCH])
            hidden = embed(encoder, ids, mask).to("cpu", torch.bfloat16)
            each = mask.sum(1).tolist()
            parts += [row[:length] for row, length in zip(hidden, each, strict=True)]
            lengths += each
        path, ends = self._paths[number], torch.tensor(lengths).cumsum(0)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            save_file({"embeddings": torch.cat(parts), "ends": ends}, partial)

    @property
    def width(self) -> int:
        """Width of the embeddings."""
        return self._shard(0)["embeddings"].shape[1]

    def embeddings(self, captions: Sequence[str]) -> torch.Tensor:
        """Embeddings of these captions (B, L, D), bfloat16, zero behind each one's tokens."""
        rows = []
        for caption in captions:
            cleaned = clean(caption)
            if cleaned not in self._rows:
                raise ValueError(f"the caption {caption!r} was not among those embedded")
            number, i = divmod(self._rows[cleaned], SHARD)
            tensors = self._shard(number)
            start = int(tensors["ends"][i - 1]) if i else 0
            rows.append(tensors["embeddings"][start : int(tensors["ends"][i])])
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)

    def _shard(self, number: int) -> dict[str, torch.Tensor]:
        if number not in self._tensors:
            self._tensors[number] = load_file(self._paths[number])  # a memory map
        return self._tensors[number]

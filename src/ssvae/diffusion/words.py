"""Captions by words, without a vocabulary: each word is hashed into one of some thousand places."""

import re
import zlib
from typing import Any

from transformers import PreTrainedTokenizer

PADDING, END, SPECIAL = 0, 1, 2  # ids before those of the words


class HashedWordTokenizer(PreTrainedTokenizer):
    """A tokenizer that needs no file: a word's id is a hash of it, in any language and for ever.

    Words and punctuation marks, in lower case; </s> ends a caption. Two words may share an id: of
    the thirty words of the procedural world none do at the default size.

    Args:
        buckets: ids that words are hashed into.
    """

    model_input_names = ["input_ids", "attention_mask"]  # noqa: RUF012  as transformers declares it

    def __init__(self, buckets: int = 4096, **kwargs: Any):
        self.buckets = buckets
        special = dict(pad_token="<pad>", eos_token="</s>", unk_token="</s>")
        super().__init__(buckets=buckets, **(special | kwargs))

    @property
    def vocab_size(self) -> int:
        """Ids that there are."""
        return SPECIAL + self.buckets

    def get_vocab(self) -> dict[str, int]:
        """A name for each id; which words are behind it nobody knows."""
        return {self._convert_id_to_token(i): i for i in range(self.vocab_size)}

    def build_inputs_with_special_tokens(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """A caption, or two, each with its end."""
        end = [END]
        return token_ids_0 + end + ([] if token_ids_1 is None else token_ids_1 + end)

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple:
        """None to save."""
        return ()

    def _tokenize(self, text: str, **kwargs: Any) -> list[str]:
        return re.findall(r"\w+|[^\w\s]", text.lower())

    def _convert_token_to_id(self, token: str) -> int:
        return SPECIAL + zlib.crc32(token.encode()) % self.buckets

    def _convert_id_to_token(self, index: int) -> str:
        return {PADDING: "<pad>", END: "</s>"}.get(index) or f"<word-{index}>"

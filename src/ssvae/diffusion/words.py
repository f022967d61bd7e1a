"""Captions by words, without a vocabulary: each word is hashed into one of some thousand places."""

import re
import unicodedata
import zlib
from typing import Any

from transformers import PreTrainedTokenizer

PADDING, END, SPECIAL = 0, 1, 2  # ids before those of the words
# Scripts that put no spaces between words: Thai, Lao, Myanmar, Khmer, Tai Lue, kana, bopomofo, Han.
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aad\ua9e0-\ua9ff\uaa60-\uaa7f"
    "\u3005-\u3007\u3021-\u3029\u3040-\u30ff\u3105-\u312f\u31a0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
MARKS = (
    "\u0300-\u036f\u0483-\u0489\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u0900-\u0dff"
    "\u3099\u309a"
)
"""Signs that belong to the letter before them, which ``\\w`` leaves out."""
TOKENS = re.compile(rf"[{UNSPACED}]|(?:(?![{UNSPACED}])[\w{MARKS}])+|[^\w\s]")
QUOTES = {
    0x2018: "'",
    0x2019: "'",
    0x201A: "'",
    0x201B: "'",
    0x201C: '"',
    0x201D: '"',
    0x201E: '"',
    0x201F: '"',
}
WIDTHS = {
    code: unicodedata.normalize("NFKC", chr(code))
    for code in (*range(0xFB00, 0xFB07), *range(0xFF01, 0xFFEF))
}
PLAIN = QUOTES | WIDTHS
"""Curly quotes as straight ones, ligatures and full-width letters as plain ones: as ``ftfy`` makes
them, which may be installed or not. """


class HashedWordTokenizer(PreTrainedTokenizer):
    """A tokenizer that needs no file: a word's id is a hash of it, in any language and for ever.

    Words and punctuation marks, in lower case; of scripts that put no spaces between words, such as
    Chinese, Japanese and Thai, each sign is a token. </s> ends a caption. Quotes are straight. Two
    words may share an id: of the thirty words of the procedural world none do at the default size.

    Args:
        buckets: ids that words are hashed into.
    """

    __module__ = "ssvae"  # where a saved pipeline names it, and importing ssvae alone offers it
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
        plain = unicodedata.normalize("NFC", text.translate(PLAIN))
        return TOKENS.findall(plain.lower())

    def _convert_token_to_id(self, token: str) -> int:
        return SPECIAL + zlib.crc32(token.encode()) % self.buckets

    def _convert_id_to_token(self, index: int) -> str:
        return {PADDING: "<pad>", END: "</s>"}.get(index) or f"<word-{index}>"

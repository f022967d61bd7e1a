"""Which rows of a batch's text are captions, of which the rest is zeros.

Shape legend: B batch, L rows of text, D width.
"""

import torch


def is_token(text_BLD: torch.Tensor) -> torch.Tensor:
    """Which rows of embeddings are a caption's tokens, not the zeros behind them: (B, L), bool."""
    return text_BLD.detach().any(-1)


def pooled(text_BLD: torch.Tensor) -> torch.Tensor:
    """The sum of a caption's tokens over the root of their number (B, D): the size of one token."""
    count = is_token(text_BLD).sum(1, keepdim=True).clamp(min=1)
    return text_BLD.sum(1) / count.sqrt().to(text_BLD.dtype)


def caption_mask(text_BLD: torch.Tensor) -> torch.Tensor:
    """What a caption's rows may be looked at (B, 1, 1, L): its tokens, not the zeros behind them.

    A caption without tokens has its first zero to look at.
    """
    mask = is_token(text_BLD)
    mask[:, 0] = True
    return mask[:, None, None]

"""Linear maps of the axes of clips and latents: cosine transforms, and other sizes."""

import math
from functools import lru_cache

import torch
import torch.nn.functional as F

from ssvae.transfer import moved


def dct_matrix(n: int) -> torch.Tensor:
    """The orthonormal DCT-II as an (n, n) float64 matrix: coefficients are ``dct_matrix(n) @
    x``.
    """
    k = torch.arange(n, dtype=torch.float64)
    matrix = torch.cos(math.pi * k[:, None] * (k + 0.5) / n) * math.sqrt(2 / n)
    matrix[0] /= math.sqrt(2)
    return matrix


@lru_cache(maxsize=64)
def dct_matrix_on(n: int, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """:func:`dct_matrix`, kept on the device, which may know no float64."""
    return moved(dct_matrix(n).to(dtype), device)


def dct3(x: torch.Tensor) -> torch.Tensor:
    """Orthonormal three-dimensional DCT-II over the last three axes."""
    for axis in (-3, -2, -1):
        matrix = dct_matrix_on(x.shape[axis], x.device, x.dtype)
        x = torch.movedim(torch.movedim(x, axis, -1) @ matrix.T, -1, axis)
    return x


def inverse_dct3(x: torch.Tensor) -> torch.Tensor:
    """The inverse of :func:`dct3`."""
    for axis in (-3, -2, -1):
        matrix = dct_matrix_on(x.shape[axis], x.device, x.dtype)
        x = torch.movedim(torch.movedim(x, axis, -1) @ matrix, -1, axis)
    return x


def resized(x: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Frames (..., H, W) in another size, bilinear and antialiased; in float32 where x is less.

    As two products with matrices, whose gradient is deterministic on a GPU, where interpolation's
    is not.
    """
    if (height, width) == x.shape[-2:]:
        return x
    with torch.autocast(x.device.type, enabled=False):
        frames = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        down, across = (
            _resizing(old, new, x.device, frames.dtype)
            for old, new in zip(x.shape[-2:], (height, width), strict=True)
        )
        return (down @ frames @ across.T).to(x.dtype)


@lru_cache(maxsize=256)
def _resizing(old: int, new: int, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """The linear map (new, old) of antialiased interpolation of a line."""
    lines = torch.eye(old, dtype=torch.float64)[:, None, None]  # (old, 1, 1, old)
    interpolated = F.interpolate(lines, (1, new), mode="bilinear", antialias=True)
    return moved(interpolated[:, 0, 0].T.to(dtype).contiguous(), device)

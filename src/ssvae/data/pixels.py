"""Frames of bytes and clips of floats: of colours, of grey, or of colours with alpha.

Frames are uint8 (H, W, C), clips floats (C, T, H, W) in [-1, 1]. One channel is grey: luma, a mask,
or depth. Three are red, green and blue. Four are these and alpha, *premultiplied*: every colour
times its alpha (arXiv 2507.09308), so that what is not seen is 0, whatever a file holds there, and
nothing bleeds where pixels are mixed. Files hold colours as they are; who reads and writes them
converts.
"""

from collections.abc import Iterable

import numpy as np
import torch

CHANNELS = {1: "grey", 3: "red, green and blue", 4: "red, green, blue and alpha"}
"""What files hold, by the number of a clip's channels."""
LUMA = (0.2126, 0.7152, 0.0722)
"""Shares of red, green and blue in grey (ITU-R BT.709)."""
CHECKS = (0.2, 0.5)  # levels of the chequers behind what is transparent
CHECK = 8  # pixels of their sides


def check_channels(channels: int) -> None:
    """A ValueError for a number of channels that files do not have."""
    if channels not in CHANNELS:
        known = ", ".join(f"{number} ({what})" for number, what in CHANNELS.items())
        raise ValueError(
            f"files are read and written with {known} channels, got {channels}: take such a model, "
            "or give it clips as tensors"
        )


def premultiplied(image: np.ndarray) -> np.ndarray:
    """A frame (H, W, 4) as files hold it, each colour times its alpha."""
    alpha = image[..., 3:]
    if (alpha == 255).all():
        return image
    colours = (image[..., :3].astype(np.uint16) * alpha + 127) // 255
    return np.concatenate([colours.astype(np.uint8), alpha], -1)


def straight(image: np.ndarray) -> np.ndarray:
    """The inverse of :func:`premultiplied`, as near as alpha allows: black where it is 0, no colour
    above full.
    """
    alpha = image[..., 3:].astype(np.uint32)
    if (alpha == 255).all():
        return image
    colours = (image[..., :3] * np.uint32(255) + alpha // 2) // np.maximum(alpha, 1)
    colours = np.minimum(colours, 255) * (alpha > 0)
    return np.concatenate([colours.astype(np.uint8), image[..., 3:]], -1)


def of_rgb(image: np.ndarray, channels: int) -> np.ndarray:
    """Colours (..., 3) of bytes as so many channels: (..., channels). Alpha is full."""
    if channels == 1:
        return np.rint(image @ np.array(LUMA, np.float32)).astype(np.uint8)[..., None]
    if channels == 4:
        return np.concatenate([image, np.full_like(image[..., :1], 255)], -1)
    return image


def of_colours(clips: torch.Tensor, channels: int) -> torch.Tensor:
    """Clips (..., 3, T, H, W) in [-1, 1] as so many channels: :func:`of_rgb` of floats."""
    if channels == 1:
        red, green, blue = clips.unbind(-4)
        return (LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue).unsqueeze(-4)
    if channels == 4:
        return torch.cat([clips, torch.ones_like(clips[..., :1, :, :, :])], -4)
    return clips


def over(clips: torch.Tensor, background: float | torch.Tensor) -> torch.Tensor:
    """Clips (..., 4, T, H, W) before a background of levels in [-1, 1]: (..., 3, T, H, W)."""
    colours, alpha = clips[..., :3, :, :, :], clips[..., 3:, :, :, :]
    return colours + (1 - alpha) / 2 * (background + 1)


def as_seen(clips: torch.Tensor) -> torch.Tensor:
    """Clips (B, C, T, H, W) as they can be looked at: (k B, 3, T, H, W), all of a clip together.

    Grey is shown as colours, k = 1; clips with alpha before black and before white, k = 2, between
    which every other grey lies. Other numbers of channels stay as they are.
    """
    if clips.shape[1] == 1:
        return clips.expand(-1, 3, -1, -1, -1)
    if clips.shape[1] == 4:
        return torch.stack([over(clips, -1), over(clips, 1)], 1).flatten(0, 1)
    return clips


def to_show(clips: torch.Tensor) -> torch.Tensor:
    """Clips (..., C, T, H, W) as pictures show them, (..., 3, T, H, W): what is transparent over
    chequers.
    """
    channels = clips.shape[-4]
    if channels == 1:
        return clips.expand(*clips.shape[:-4], 3, *clips.shape[-3:])
    if channels == 4:
        height, width = clips.shape[-2:]
        squares = torch.arange(height)[:, None] // CHECK + torch.arange(width) // CHECK
        board = torch.tensor(CHECKS, dtype=clips.dtype)[squares % 2].to(clips.device)
        return over(clips, board * 2 - 1)
    return clips


def stack_frames(images: Iterable[np.ndarray]) -> np.ndarray:
    """Frames (H, W, C) of bytes as (C, T, H, W)."""
    return np.ascontiguousarray(np.stack(list(images)).transpose(3, 0, 1, 2))


def to_clip(images: Iterable[np.ndarray]) -> torch.Tensor:
    """Frames (H, W, C) of bytes to a clip (C, T, H, W) in [-1, 1]."""
    return floats_of(stack_frames(images))


def floats_of(clip: np.ndarray) -> torch.Tensor:
    """Bytes as floats in [-1, 1]; in NumPy, for threads: see Source.read_ahead."""
    floats = clip.astype(np.float32)
    floats *= np.float32(1 / 127.5)
    floats -= 1
    return torch.from_numpy(floats)


def to_images(clip: torch.Tensor) -> np.ndarray:
    """A clip (C, T, H, W), clamped to [-1, 1], to bytes (T, H, W, C)."""
    clip = clip.detach().float().clamp(-1, 1)
    return ((clip + 1) * 127.5).round().byte().permute(1, 2, 3, 0).cpu().numpy()

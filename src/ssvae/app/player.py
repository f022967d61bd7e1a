"""Clips beside each other in one video, which the page cuts apart: so nothing can fall out of
step.
"""

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import gradio as gr
import torch

from ssvae.data.pixels import to_show
from ssvae.report.html import even, video_uri

SHORTEST = 256  # pixels of a pane's shorter side: smaller clips are enlarged, pixel by pixel


def player(label: str) -> gr.HTML:
    """A player of what :func:`panes` gives: side by side, under a wipe, or their difference."""
    resources = files("ssvae.app")
    return gr.HTML(
        value=None,
        html_template=(resources / "player.html").read_text().replace("LABEL", label),
        js_on_load=(resources / "player.js").read_text(),
        apply_default_css=False,
        elem_classes=["ssvae-player"],
    )


def panes(clips: Mapping[str, torch.Tensor], fps: float) -> dict[str, Any]:
    """Clips (C, T, H, W) of one size, by their names, as a player takes them."""
    first = next(iter(clips.values()))
    scale = max(1, -(-SHORTEST // min(first.shape[-2:])))
    video = torch.cat([to_show(even(_enlarged(clip, scale))) for clip in clips.values()], 3)
    _, frames, height, width = video.shape
    return {
        "source": video_uri(video, fps),
        "names": list(clips),
        "frames": frames,
        "fps": fps,
        "width": width // len(clips),
        "height": height,
    }


def _enlarged(clip: torch.Tensor, scale: int) -> torch.Tensor:
    return clip.repeat_interleave(scale, 2).repeat_interleave(scale, 3)

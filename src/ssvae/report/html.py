"""One HTML file with everything inside: text, tables, figures, video."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import jinja2
import torch
from markupsafe import Markup
from matplotlib.image import imsave

from ssvae.data.pixels import to_images, to_show
from ssvae.data.pyav import av
from ssvae.report.figures import for_page
from ssvae.storage.files import write_text


@dataclass(frozen=True)
class VideoStrip:
    """Clips that play in step, one beside the other under their names."""

    title: str
    note: str
    names: tuple[str, ...]
    source: str
    """A data URI."""


def video_uri(clip: torch.Tensor, fps: Fraction | float) -> str:
    """A clip (C, T, H, W) of even sides in [-1, 1] as an MP4 in a data URI."""
    buffer = io.BytesIO()
    _, _, height, width = clip.shape
    with av.open(buffer, "w", format="mp4") as container:
        rate = Fraction(fps).limit_denominator(65535)
        stream: Any = container.add_stream("h264", rate=rate, options={"crf": "14"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for image in to_images(to_show(clip)):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return data_uri(buffer.getvalue(), "video/mp4")


def data_uri(content: bytes, kind: str) -> str:
    """Bytes of a MIME type as a URI that holds them."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def strip(
    title: str, note: str, named: dict[str, torch.Tensor], fps: Fraction | float
) -> VideoStrip:
    """Clips (C, T, H, W) of one size, side by side in a single video, so that they keep step."""
    gap = torch.ones_like(next(iter(named.values()))[..., :8])
    panes = [pane for clip in named.values() for pane in (gap, clip)][1:]
    return VideoStrip(title, note, tuple(named), video_uri(even(torch.cat(panes, 3)), fps))


def render(out: str | Path, template: str, **content: Any) -> Path:
    """Fill a template of this package and write the page."""
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        loader=jinja2.PackageLoader("ssvae.report", ""),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["inline"] = lambda svg: Markup(for_page(svg))
    write_text(Path(out), environment.get_template(template).render(**content))
    return Path(out)


def picture_uri(image: torch.Tensor) -> str:
    """An image (C, H, W) in [-1, 1] as a PNG in a data URI."""
    buffer = io.BytesIO()
    imsave(buffer, to_images(to_show(image[:, None]))[0], format="png")
    return data_uri(buffer.getvalue(), "image/png")


def even(clip: torch.Tensor) -> torch.Tensor:
    """A clip (C, T, H, W) whose odd sides lose a pixel, for video has none."""
    height, width = (n - n % 2 for n in clip.shape[2:])
    return clip[..., :height, :width]


def grid(clips: Sequence[torch.Tensor] | torch.Tensor, columns: int, scale: int) -> torch.Tensor:
    """Clips (C, T, H, W) of one size as one clip, in rows of ``columns``, pixels enlarged."""
    rows = [
        torch.cat(list(clips[i : i + columns]), 3)
        for i in range(0, len(clips) - len(clips) % columns, columns)
    ]
    whole = torch.cat(rows, 2)
    return whole.repeat_interleave(scale, 2).repeat_interleave(scale, 3)

"""The pictures that explain: ``python -m tools.pictures`` draws them from the models that come with
the package.
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ssvae.analysis import Analysis, analyze
from ssvae.app.measuring import decoded, disturbed, encoded, principal_colours
from ssvae.data import World
from ssvae.models import open_vae
from ssvae.models.backbones import Backbone
from ssvae.report.analysis_figures import plates
from ssvae.report.figures import STYLE, save_figure

FOLDER = Path(__file__).parents[1] / "docs" / "images"
VAES = {"without LCR": "tiny-baseline", "with LCR": "tiny"}
SIDE, FRAMES, CLIPS, CLIP, FRAME = 64, 17, 16, 5, 8
SHARES = 1.0, 0.3, 0.1
"""Of the band, the lowest kept."""


def _frame(axes: Axes, video: torch.Tensor, at: int, title: str) -> None:
    """A frame of a video (3, T, H, W) in [-1, 1]."""
    image = ((video[:, at].clamp(-1, 1) + 1) / 2).permute(1, 2, 0).numpy()
    axes.imshow(image, interpolation="nearest")
    axes.set_title(title, fontsize=10)
    axes.set_axis_off()


def hero(vaes: dict[str, Backbone], analyses: dict[str, Analysis], clip: torch.Tensor) -> Figure:
    """A clip, its latents in two VAEs, and both spectra."""
    figure = plt.figure(figsize=(11, 2.9), layout="constrained")
    left, *middle, right = figure.subplots(1, 4, width_ratios=[1, 1, 1, 1.7])
    _frame(left, clip, FRAME, "a frame of a clip")
    for axes, (name, vae) in zip(middle, vaes.items(), strict=True):
        z = encoded(vae, clip)
        _frame(axes, principal_colours(z), 1 + (FRAME - 1) // 4, f"its latents {name}")
    (energy,) = [plate for plate in plates(analyses) if plate.name == "frequency"]
    energy.draw(right, analyses)
    right.set_title("their energy over frequency", fontsize=10)
    right.legend()
    return figure


def band(vaes: dict[str, Backbone], clip: torch.Tensor) -> Figure:
    """What is left of a clip when the latents' high frequencies are taken away."""
    figure = plt.figure(figsize=(2.1 * (1 + len(SHARES)), 4.4), layout="constrained")
    rows = figure.subplots(len(vaes), 1 + len(SHARES))
    for row, (name, vae) in zip(rows, vaes.items(), strict=True):
        z = encoded(vae, clip)
        _frame(row[0], principal_colours(z), 1 + (FRAME - 1) // 4, f"latents {name}")
        for axes, share in zip(row[1:], SHARES, strict=True):
            kept = "all frequencies" if share == 1 else f"the lowest {share:.0%}"
            _frame(axes, decoded(vae, disturbed(z, 0, share)), FRAME, kept)
    return figure


def noise(vaes: dict[str, Backbone], clip: torch.Tensor, sigmas: tuple[float, ...]) -> Figure:
    """What a sampler sees on its way: latents under noise, and their decoding."""
    figure = plt.figure(figsize=(2.1 * len(sigmas), 4.4), layout="constrained")
    rows = figure.subplots(len(vaes), len(sigmas))
    for row, (name, vae) in zip(np.atleast_2d(rows), vaes.items(), strict=True):
        z = encoded(vae, clip)
        for axes, sigma in zip(row, sigmas, strict=True):
            shown = principal_colours(disturbed(z, sigma, 1), z)
            _frame(axes, shown, 1 + (FRAME - 1) // 4, f"{name}, noise {sigma:g}")
    return figure


def main() -> None:
    """Draw them."""
    vaes = {name: open_vae(model) for name, model in VAES.items()}
    clips = World(FRAMES, SIDE, SIDE).batch(range(CLIPS)).on()
    analyses = {name: analyze(vae, clips) for name, vae in vaes.items()}
    with plt.rc_context(STYLE):
        for name, figure in (
            ("hero", hero(vaes, analyses, clips[CLIP])),
            ("band", band(vaes, clips[CLIP])),
            ("noise", noise(vaes, clips[CLIP], (0.0, 0.25, 0.5, 1.0))),
        ):
            path = FOLDER / f"{name}.png"
            save_figure(figure, path)
            sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()

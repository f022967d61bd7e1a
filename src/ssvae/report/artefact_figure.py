"""Synthetic films beside what VAEs make of them, as one picture."""

from collections.abc import Mapping

import matplotlib as mpl
import torch
from matplotlib.figure import Figure

from ssvae.analysis.artefacts import Artefacts
from ssvae.report.figures import INK, SOFT, STYLE

ERROR = 8  # times that errors are enlarged
PANE = 1.05  # inches


def artefact_figure(found: Mapping[str, Artefacts]) -> Figure:
    """A column for each film; rows for the films, and for each VAE's frame of it and its error."""
    first = next(iter(found.values())).thumbnails
    rows = [("original", [t.original for t in first])]
    for name, artefacts in found.items():
        rows += [
            (name, [t.reconstruction for t in artefacts.thumbnails]),
            (
                f"its error x {ERROR}",
                [(t.reconstruction - t.original) * ERROR for t in artefacts.thumbnails],
            ),
        ]
    _, H, W = first[0].original.shape
    height = PANE * H / W
    with mpl.rc_context(STYLE):
        figure = Figure(
            figsize=(PANE * len(first) + 1.0, height * len(rows) + 0.5), layout="constrained"
        )
        axes = figure.subplots(len(rows), len(first), squeeze=False)
        for number, ((name, images), line) in enumerate(zip(rows, axes, strict=True)):
            for film, image, place in zip(first, images, line, strict=True):
                place.imshow(_shown(image), interpolation="nearest")
                place.set(xticks=[], yticks=[])
                place.spines[:].set(color=SOFT, linewidth=0.4)
                if number == 0:
                    place.set_title(film.film.replace(": ", ",\n"), fontsize=8, color=INK)
            label = name.replace("$", r"\$")
            line[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8.5)
        figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, hspace=0, wspace=0)  # type: ignore[union-attr]
    return figure


def _shown(image: torch.Tensor):
    return ((image.clamp(-1, 1) + 1) / 2).permute(1, 2, 0).numpy()

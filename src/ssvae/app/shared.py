"""What the panels share: the models, and how they tell of what went wrong."""

from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from html import escape
from typing import Any

import gradio as gr
import torch
from matplotlib.figure import Figure

from ssvae.app.turns import Turns
from ssvae.models.backbones import Backbone
from ssvae.models.finding import open_vae
from ssvae.report.figures import for_page, to_svg


class Models:
    """VAEs by the names that the page shows, each loaded when it is first wanted.

    ``turns`` are those at all models of the page.
    """

    def __init__(self, named: Mapping[str, str], device: torch.device | str, dtype: torch.dtype):
        self.named, self._device, self._dtype = dict(named), device, dtype
        self._loaded: dict[str, Backbone] = {}
        self.turns = Turns()

    @property
    def names(self) -> list[str]:
        """In their order."""
        return list(self.named)

    def __getitem__(self, name: str) -> Backbone:
        if name not in self.named:
            raise ValueError(f"there is no model {name}: reload the page")
        if name not in self._loaded:
            self._loaded[name] = open_vae(self.named[name], self._device, self._dtype)
        return self._loaded[name]


def in_a_sentence(work: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    """A user's mistake, and the machine's failures, as a message on the page; others go into the
    log.
    """

    @wraps(work)
    def run(*arguments: Any) -> Iterator[Any]:
        try:
            yield from work(*arguments)
        except (ValueError, OSError) as error:
            raise gr.Error(str(error), print_exception=False) from error
        except torch.OutOfMemoryError as error:
            remedy = "give a smaller or shorter film"
            raise gr.Error(f"out of memory: {remedy}", print_exception=False) from error

    return run


def drawn(*figures: Figure) -> str:
    """Figures as elements of the page, in its colours."""
    return "".join(
        f'<figure class="plate">{for_page(to_svg(figure))}</figure>' for figure in figures
    )


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table whose first column names its rows."""
    cells = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f'<div class="scroll"><table class="figures"><tr>{cells}</tr>{body}</table></div>'

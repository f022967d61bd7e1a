"""Figures, tables and pages of what the other packages give.

What it offers is imported when it is asked for: a command that prints a table needs no matplotlib.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssvae.report.analysis_figures import spectra_figure
    from ssvae.report.analysis_page import Shown, write_report
    from ssvae.report.figures import (
        contact_sheet,
        diffusability_figure,
        save_figure,
        training_figure,
    )
    from ssvae.report.tables import Row, analysis_rows, analysis_tables, interval, markdown

__all__ = [
    "Row",
    "Shown",
    "analysis_rows",
    "analysis_tables",
    "contact_sheet",
    "diffusability_figure",
    "interval",
    "markdown",
    "save_figure",
    "spectra_figure",
    "training_figure",
    "write_report",
]

_WHERE = {
    **dict.fromkeys(("Row", "analysis_rows", "analysis_tables", "interval", "markdown"), "tables"),
    **dict.fromkeys(("Shown", "write_report"), "analysis_page"),
    "spectra_figure": "analysis_figures",
}
"""The module of each; of others, figures."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE.get(name, 'figures')}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

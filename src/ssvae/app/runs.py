"""The fourth panel: learning curves and validation of the runs below a folder."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from ssvae.app.shared import drawn, in_a_sentence, table
from ssvae.report.curves import metric_figure
from ssvae.report.tables import number

FILES = ("metrics.jsonl", "validation.jsonl", "scores.jsonl")
FIRST = "loss"
MOST = 8


def runs_panel(root: Path, page: gr.Blocks) -> None:
    """Build the panel for the runs below a folder; it is filled whenever the page is opened."""
    names = list(runs_below(root))
    with gr.Row():
        with gr.Column(scale=1, min_width=260):
            chosen = gr.Dropdown(
                names,
                value=names[:2],
                multiselect=True,
                max_choices=MOST,
                label=f"Runs below {root}",
                elem_id="runs",
            )
            metric = gr.Dropdown(
                metrics_of(root, names[:2]), value=FIRST, label="Metric", elem_id="runs-metric"
            )
            logarithmic = gr.Checkbox(False, label="Logarithmic", elem_id="runs-log")
            again = gr.Button("Read again", elem_id="runs-again")
        with gr.Column(scale=3, min_width=320):
            figure, last = gr.HTML(elem_classes=["plates"], elem_id="runs-figure"), gr.HTML()

    @in_a_sentence
    def draw(those: list[str], name: str | None, log: bool) -> Iterator[Any]:
        found = runs_below(root)
        known = metrics_of(root, those)
        name = name if name in known else (FIRST if FIRST in known else next(iter(known), None))
        choices = gr.update(choices=list(found)), gr.update(choices=known, value=name)
        curves = {
            run: curve
            for run in those
            if run in found and name and (curve := _curve(found[run], name))[0]
        }
        if not curves or name is None:
            yield *choices, "<p>Choose runs and a metric.</p>", ""
            return
        positive = log and all(min(values) > 0 for _, values in curves.values())
        yield *choices, drawn(metric_figure(curves, name, positive)), _ends(curves, name)

    inputs, outputs = [chosen, metric, logarithmic], [chosen, metric, figure, last]
    for control in (chosen, metric, logarithmic):
        control.input(draw, inputs, outputs)
    again.click(draw, inputs, outputs)
    page.load(draw, inputs, outputs)


def runs_below(root: Path) -> dict[str, Path]:
    """The run folders below ``root``, by their paths from there; links are not followed."""
    found = sorted({path.parent for path in root.rglob(FILES[0]) if not path.is_symlink()})
    return {str(path.relative_to(root)) if path != root else root.name: path for path in found}


def metrics_of(root: Path, names: Sequence[str]) -> list[str]:
    """What was measured in any of these runs."""
    found = runs_below(root)
    rows = [row for name in names if name in found for row in _rows(found[name])]
    return sorted({key for row in rows for key, v in row.items() if _is_number(v)} - {"step"})


def _rows(run: Path) -> list[Mapping[str, Any]]:
    """All rows of a run that can be read; one that is being written is not there yet."""
    rows = []
    for name in FILES:
        path = run / name
        for line in path.read_text().splitlines() if path.is_file() else []:
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict) and _is_number(row.get("step")):
                rows.append(row)
    return rows


def _curve(run: Path, metric: str) -> tuple[list[float], list[float]]:
    points = [(r["step"], r[metric]) for r in _rows(run) if _is_number(r.get(metric))]
    return [float(step) for step, _ in points], [float(value) for _, value in points]


def _ends(curves: Mapping[str, tuple[list[float], list[float]]], metric: str) -> str:
    rows = [
        [name, f"{steps[-1]:.0f}", number(values[-1]), number(min(values)), number(max(values))]
        for name, (steps, values) in curves.items()
    ]
    return table(["", "last step", f"{metric.replace('_', ' ')} there", "least", "most"], rows)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

"""Figures as tables for a paper: LaTeX (booktabs), CSV, Markdown or JSON.

A row a model, a column a measure, with intervals where there are any. In bold are the best, and
those that cannot be told from it.
"""

import csv
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ssvae.analysis import Analysis
from ssvae.report.tables import decimals, exact, interval, markdown
from ssvae.statistics.intervals import Interval
from ssvae.storage.files import check_file, write_text

ENDINGS = (".tex", ".csv", ".md", ".json")
ARROWS = {"higher": (r"$\uparrow$", "↑"), "lower": (r"$\downarrow$", "↓"), None: ("", "")}
ESCAPED = str.maketrans({c: f"\\{c}" for c in "&%$#_{}"} | {"\\": r"\textbackslash{}"})


@dataclass(frozen=True)
class Measure:
    """A column: what was measured."""

    name: str
    better: str | None = None
    """higher, lower, or None where neither is."""
    digits: int = 3
    """Decimals where no interval tells how many."""
    unit: str = ""

    @property
    def title(self) -> str:
        """With the unit."""
        return f"{self.name} ({self.unit})" if self.unit else self.name


ToldApart = Callable[[str, str], bool | None]
"""Whether two models differ in a measure, by a paired test; None where it cannot tell."""


@dataclass(frozen=True)
class PaperTable:
    """Measures of several models."""

    measures: Sequence[Measure]
    rows: Mapping[str, Sequence[Interval | None]]
    """Of each model, a figure a measure; None where it has none."""
    caption: str
    told_apart: Sequence[ToldApart] = ()
    """Of each measure; without these intervals that meet do not tell two models apart."""
    protocol: str = ""
    """In full, where the caption is shorter."""

    @property
    def legend(self) -> str:
        """The caption, and what bold means where there is any."""
        bold = any(self.best(i) for i in range(len(self.measures)))
        how = "does not differ from it clip by clip" if self.told_apart else "its interval meets"
        return self.caption + (f" Bold: the best, and what {how}." if bold else "")

    def best(self, column: int) -> set[str]:
        """The model with the best figure of a measure, and those that cannot be told from it; none
        where there is nothing to compare.
        """
        better = self.measures[column].better
        figures = {
            name: (figure.value, figure)
            for name, row in self.rows.items()
            if (figure := row[column]) is not None and figure.value is not None
        }
        if better is None or len(figures) < 2:
            return set()
        best = (max if better == "higher" else min)(figures, key=lambda name: figures[name][0])
        return {name for name in figures if name == best or not self._apart(column, best, name)}

    def _apart(self, column: int, one: str, other: str) -> bool:
        told = self.told_apart[column](one, other) if self.told_apart else None
        if told is not None:
            return told
        a, b = self.rows[one][column], self.rows[other][column]
        assert a is not None
        assert b is not None
        if a.low is None or a.high is None or b.low is None or b.high is None:
            return a.value != b.value
        return a.low > b.high or b.low > a.high

    def places(self, column: int) -> int:
        """Decimals of a measure."""
        figures = [row[column] for row in self.rows.values()]
        return decimals([vars(f) for f in figures if f is not None], self.measures[column].digits)


COLUMNS: tuple[tuple[Measure, str], ...] = (
    (Measure("local correlation", "higher"), "local_correlation"),
    (Measure("low share", "higher"), "low_share"),
    (Measure("high share", "lower"), "high_share"),
    (Measure("slope", None, 2), "slope"),
    (Measure("effective rank", "lower", 2), "effective_rank"),
    (Measure("PSNR", "higher", 2, "dB"), "psnr"),
    (Measure("SSIM", "higher"), "ssim"),
    (Measure("LPIPS", "lower"), "lpips"),
)
"""What a table of analyses shows, by the names in a summary; which way SSVAE wants spectra."""


def analysis_table(analyses: Mapping[str, Analysis], source: str = "") -> PaperTable:
    """The main figures of analyses over the same clips, with the intervals that they have."""
    rows = {name: [_figure(a, key) for _, key in COLUMNS] for name, a in analyses.items()}
    measured = [i for i in range(len(COLUMNS)) if any(row[i] is not None for row in rows.values())]
    p = next(iter(analyses.values())).protocol
    size = "" if p.frames is None else f" of {p.frames} frames of {p.height}x{p.width}"
    caption = f"{p.clips} clips{size} {source}".strip()
    if any(a.intervals for a in analyses.values()):
        caption += "; 95 % intervals by bootstrap over films"
    return PaperTable(
        [COLUMNS[i][0] for i in measured],
        {name: [row[i] for i in measured] for name, row in rows.items()},
        f"{caption}. Latents are posterior means; frequencies and local correlation are of "
        "standardised channels.",
    )


def _figure(analysis: Analysis, key: str) -> Interval | None:
    if key in analysis.intervals:
        return analysis.intervals[key]
    summary = analysis.summary()
    value = summary.get(key, (summary["reconstruction"] or {}).get(key))
    return None if value is None else Interval(value, None, None)


def check_table_path(path: Path) -> None:
    """A ValueError where no table can be written there: ask before long work."""
    if path.suffix not in ENDINGS:
        raise ValueError(f"a table is a file {', '.join(ENDINGS)}, got {path}")
    check_file(path)


def write_table(table: PaperTable, path: Path) -> None:
    """Write a table in the form that the file's ending asks for."""
    check_table_path(path)
    forms = {".csv": comma_separated, ".md": in_markdown, ".json": as_json}
    text = latex(table, path.stem) if path.suffix == ".tex" else forms[path.suffix](table)
    write_text(path, text)


def latex(table: PaperTable, label: str) -> str:
    r"""As LaTeX, with \usepackage{booktabs}."""
    heads = [f"{m.title.translate(ESCAPED)} {ARROWS[m.better][0]}".strip() for m in table.measures]
    lines = [
        r"\begin{table}",
        r"  \centering",
        f"  \\caption{{{table.legend.translate(ESCAPED)}}}",
        f"  \\label{{tab:{re.sub('[^A-Za-z0-9-]', '-', label)}}}",
        f"  \\begin{{tabular}}{{l{'r' * len(heads)}}}",
        r"    \toprule",
        f"    & {' & '.join(heads)} \\\\",
        r"    \midrule",
    ]
    for name, row in table.rows.items():
        cells = [
            _latex_cell(figure, table.places(i), name in table.best(i))
            for i, figure in enumerate(row)
        ]
        lines.append(f"    {name.translate(ESCAPED)} & {' & '.join(cells)} \\\\")
    lines += [r"    \bottomrule", r"  \end{tabular}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def _latex_cell(figure: Interval | None, places: int, best: bool) -> str:
    if figure is None or figure.value is None:
        return "--"
    value, low, high = (
        "" if end is None else exact(end, places).replace("-", "$-$")
        for end in (figure.value, figure.low, figure.high)
    )
    value = rf"\textbf{{{value}}}" if best else value
    return rf"{value} {{\scriptsize [{low}, {high}]}}" if low and high else value


def in_markdown(table: PaperTable) -> str:
    """As Markdown, the caption below."""
    heads = ["", *(f"{m.title} {ARROWS[m.better][1]}".strip() for m in table.measures)]
    rows = []
    for name, row in table.rows.items():
        cells = []
        for i, figure in enumerate(row):
            text = _plain(figure, table.places(i))
            cells.append(f"**{text}**" if name in table.best(i) else text)
        rows.append([name, *cells])
    return markdown(heads, rows) + f"\n{table.legend}\n"


def _plain(figure: Interval | None, places: int) -> str:
    if figure is None or figure.value is None:
        return "–"
    return interval(vars(figure), show=lambda value: exact(value, places))


def comma_separated(table: PaperTable) -> str:
    """As CSV: a row a model and measure, with the ends of its interval, for other programs."""
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["model", "measure", "value", "low", "high"])
    for name, row in table.rows.items():
        for figure, measure in zip(row, table.measures, strict=True):
            if figure is not None:
                rows.writerow([name, measure.name, figure.value, figure.low, figure.high])
    return text.getvalue()


def as_json(table: PaperTable) -> str:
    """As JSON, with the protocol."""
    models = {
        name: {
            measure.name: None if figure is None else asdict(figure)
            for figure, measure in zip(row, table.measures, strict=True)
        }
        for name, row in table.rows.items()
    }
    return (
        json.dumps({"protocol": table.protocol or table.caption, "models": models}, indent=2) + "\n"
    )

"""How evaluations are told: on the terminal, side by side, and as tables for papers."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import tyro
from rich import box
from rich.markup import escape
from rich.table import Table

from ssvae.cli.common import Common, CommonOptions, check_outputs
from ssvae.cli.console import console
from ssvae.evaluation.judge import HIGHEST, SCALES
from ssvae.evaluation.metrics import WAYS
from ssvae.evaluation.result import Evaluation, check_comparable, differences, load_evaluation
from ssvae.report.paper_tables import Measure, PaperTable, ToldApart, write_table
from ssvae.report.tables import measured

SHOWN_AS = {
    **{name: name.upper() for name in ("psnr", "ssim", "lpips", "fvd", "kvd")},
    "rfvd": "rFVD",
    "rkvd": "rKVD",
}
"""In tables for papers."""
UNIT = {"psnr": "dB"}
"""Of measures that have one."""
UNITS = {
    "psnr": "dB over [0, 1], the mean over clips; higher is better",
    "ssim": "the mean over frames and clips; higher is better",
    "lpips": "the mean over frames and clips; lower is better",
    "rfvd": "Fréchet distance of reconstructions to their clips; lower is better",
    "rkvd": "kernel distance of reconstructions to their clips, unbiased; lower is better",
    "fvd": "Fréchet distance of generated to true clips; lower is better",
    "kvd": "kernel distance of generated to true clips, unbiased; lower is better",
    "frechet": "Fréchet distance of generated to true clips; lower is better",
    "kernel": "kernel distance of generated to true clips, unbiased; lower is better",
    "mark": f"the mean of the five scales, from 1 to {HIGHEST}; higher is better",
    **dict.fromkeys(SCALES, f"from 1 to {HIGHEST}"),
    "final score": "from 1 to 10",
}


def compare(
    evaluations: tyro.conf.Positional[tuple[str, ...]],
    table: Path | None = None,
    common: CommonOptions = Common(),
) -> None:
    """Lay evaluations side by side; where their protocols differ that is refused.

    Args:
        evaluations: Files that the other commands wrote with --out; NAME=FILE calls one otherwise.
        table: Write the figures as a table for a paper: .tex (booktabs), .csv, .md or .json.
    """
    check_outputs(None, None, table=table)
    named = _named(evaluations)
    if len(named) < 2 or len(set(named.values())) < len(evaluations):
        raise ValueError("give at least two different files to compare, each by a name of its own")
    loaded = {name: load_evaluation(path) for name, path in named.items()}
    check_comparable(loaded)
    shown = Table(box=box.SIMPLE_HEAD)
    shown.add_column("", no_wrap=True)
    for name in loaded:
        shown.add_column(escape(name), justify="right", overflow="fold")
    (reference, first), *others = loaded.items()
    for measure in dict.fromkeys(m for e in loaded.values() for m in e.figures):
        each = [e.figures.get(measure) for e in loaded.values()]
        shown.add_row(measure, *("–" if f is None else measured(vars(f)) for f in each))
    console.print(shown)
    for name, other in others:
        for measure, change in differences(first, other).items():
            description = f"{name} - {reference}, clip by clip: {measure} {measured(vars(change))}"
            console.print(description, soft_wrap=True, markup=False)
    for line in first.protocol.lines():
        console.print(line, soft_wrap=True, markup=False, highlight=False, style="dim")
    if table is not None:
        _write_table(loaded, table)


def _named(evaluations: Sequence[str]) -> dict[str, str]:
    """Files by the names that they are given, or by their own where these differ."""
    given = [
        (name, place) if place and not Path(each).exists() else ("", each)
        for each, (name, _, place) in ((each, each.partition("=")) for each in evaluations)
    ]
    stems = Counter(Path(place).stem for _, place in given)
    return {
        name or (place if stems[Path(place).stem] > 1 else Path(place).stem): place
        for name, place in given
    }


def tell(
    evaluation: Evaluation, out: Path | None, table: Path | None = None, name: str = ""
) -> None:
    """Print an evaluation, and write it where that is asked for, in a table under ``name``."""
    shown = Table(box=box.SIMPLE_HEAD)
    shown.add_column("", no_wrap=True)
    shown.add_column("value (95 % interval)", justify="right")
    shown.add_column("", style="dim")
    for measure, figure in evaluation.figures.items():
        shown.add_row(measure, measured(vars(figure)), UNITS.get(measure, "of your own"))
    console.print(shown)
    for line in evaluation.protocol.lines():
        console.print(line, soft_wrap=True, markup=False, highlight=False)
    for clip, reason in evaluation.left_out.items():
        console.print(f"left out: {clip}: {reason}", soft_wrap=True, markup=False)
    if out is not None:
        evaluation.save(out)
        console.print(f"written to {out}", soft_wrap=True)
    if table is not None:
        _write_table({name: evaluation}, table)


def _write_table(evaluations: Mapping[str, Evaluation], path: Path) -> None:
    """The figures of evaluations that compare, as a table for a paper."""
    names = list(dict.fromkeys(m for e in evaluations.values() for m in e.figures))
    rows = {name: [e.figures.get(m) for m in names] for name, e in evaluations.items()}
    protocol = next(iter(evaluations.values())).protocol
    text = f"{'; '.join(protocol.lines())}. 95 % intervals by bootstrap over files."
    caption = re.sub(r"; data: sha256 \w+|, sha256 \w+", "", text)
    units = {m: UNITS.get(m, protocol.networks.get(m, "")) for m in names}
    measures = [
        Measure(SHOWN_AS.get(m, m), _better(units[m]), 2 if m == "psnr" else 3, UNIT.get(m, ""))
        for m in names
    ]
    told_apart = [_told_apart(evaluations, m) for m in names]
    write_table(
        PaperTable(measures, rows, caption[:1].upper() + caption[1:], told_apart, text), path
    )
    console.print(f"table: {path}", soft_wrap=True)


def _told_apart(evaluations: Mapping[str, Evaluation], measure: str) -> ToldApart:
    """Whether two evaluations differ in a measure, clip by clip; None where no clip has it."""

    def differ(one: str, other: str) -> bool | None:
        change = differences(evaluations[one], evaluations[other]).get(measure)
        if change is None or change.low is None or change.high is None:
            return None
        return not change.low <= 0 <= change.high

    return differ


def _better(unit: str) -> str | None:
    """Which way a measure is better, as its unit says."""
    return next((way for way in WAYS if f"{way} is better" in unit), None)

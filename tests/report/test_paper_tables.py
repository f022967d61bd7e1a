"""Tables for papers, metrics of one's own, and intervals over films."""

import csv
import json
import re

import pytest
import torch

from commands import status_and_output
from ssvae.analysis import Analyzer, Subject, psnr
from ssvae.evaluation.metrics import load_metric
from ssvae.models import AutoencoderKLSSVAE
from ssvae.report.paper_tables import (
    Measure,
    PaperTable,
    analysis_table,
    in_markdown,
    write_table,
)
from ssvae.statistics.intervals import Interval, mean_interval

TABLE = PaperTable(
    [Measure("PSNR", "higher", 2, "dB"), Measure("lost_%", "lower", 1), Measure("slope")],
    {
        "a_b": [Interval(30.123, 29.5, 31.0), Interval(2.0, None, None), Interval(-1.5, -2, -1)],
        "c": [Interval(29.0, 28.0, 29.4), None, Interval(-1.0, None, None)],
    },
    "8 clips & more",
)


def test_latex(tmp_path):
    write_table(TABLE, tmp_path / "t.tex")
    text = (tmp_path / "t.tex").read_text()
    assert r"\caption{8 clips \& more" in text
    assert r"\label{tab:t}" in text
    assert r"& PSNR (dB) $\uparrow$ & lost\_\% $\downarrow$ & slope \\" in text
    first = r"a\_b & \textbf{30.12} {\scriptsize [29.50, 31.00]} & 2.00 & $-$1.50"
    assert first in text, "the best is marked, but not the only one of its measure"
    assert r"c & 29.00 {\scriptsize [28.00, 29.40]} & -- & $-$1.00 \\" in text
    assert text.count("{") == text.count("}")


def test_other_forms(tmp_path):
    for ending in ("csv", "md", "json"):
        write_table(TABLE, tmp_path / f"t.{ending}")
    rows = list(csv.DictReader((tmp_path / "t.csv").open()))
    assert rows[0] == {
        "model": "a_b",
        "measure": "PSNR",
        "value": "30.123",
        "low": "29.5",
        "high": "31.0",
    }
    assert len(rows) == 5
    held = json.loads((tmp_path / "t.json").read_text())
    assert held["models"]["c"]["lost_%"] is None
    assert "| a_b | **30.12 (29.50 to 31.00)** | 2.00 |" in (tmp_path / "t.md").read_text()
    with pytest.raises(ValueError, match=r"a table is a file \.tex"):
        write_table(TABLE, tmp_path / "t.xlsx")


@pytest.mark.parametrize(
    ("figures", "bold"),
    [
        ([(3, 2, 4), (1, 0, 2.5), (0, -1, 1)], {"0", "1"}),
        ([(3, 2, 4), (1, 0, 1.9), (0, -1, 1)], {"0"}),
        ([(3, 2, 4), (2.9, 2, 4)], {"0", "1"}),
        ([(3, None, None), (2.9, 2, 4)], {"0"}),
        ([(3, None, None)], set()),
    ],
)
def test_what_may_be_the_best_is_bold(figures, bold):
    rows = {str(i): [Interval(*figure)] for i, figure in enumerate(figures)}
    assert PaperTable([Measure("x", "higher")], rows, "").best(0) == bold
    turned = {name: [Interval(-f.value, None, None)] for name, (f,) in rows.items()}
    best = PaperTable([Measure("x", "lower")], turned, "").best(0)
    assert best == ({"0"} if len(rows) > 1 else set())


@pytest.mark.parametrize(
    ("figures", "shown"),
    [
        ([(30.1234, 29.5, 31.0)], "30.12 (29.50 to 31.00)"),
        ([(708743.883, 663396.398, 757249.938)], "708744 (663396 to 757250)"),
        ([(0.0127, 0.0122, 0.0132)], "0.01270 (0.01220 to 0.01320)"),
        ([(1.234e-5, 1.1e-5, 1.4e-5)], "1.23e-05 (1.10e-05 to 1.40e-05)"),
        ([(1.234e-5, None, None)], "1.23e-05"),
        ([(2.0, None, None), (0.5, None, None)], "2.000"),
        ([(1.0, 1.0, 1.0)], "1.000 (1.000 to 1.000)"),
        ([(0.0, None, None)], "0.000"),
    ],
)
def test_figures_have_the_digits_that_intervals_leave_them(figures, shown):
    rows = {str(i): [Interval(*figure)] for i, figure in enumerate(figures)}
    table = PaperTable([Measure("x")], rows, "")
    assert f"| 0 | {shown} |" in in_markdown(table)


def test_a_paired_test_counts_before_intervals():
    rows = {"a": [Interval(3, 2, 4)], "b": [Interval(2.9, 2, 4)], "c": [Interval(1, 0, 1.9)]}

    def best(told):
        return PaperTable([Measure("x", "higher")], rows, "", [told]).best(0)

    assert best(lambda one, other: True) == {"a"}
    assert best(lambda one, other: False) == {"a", "b", "c"}
    assert best(lambda one, other: None) == {"a", "b"}
    assert best(lambda one, other: {"a", "b"} == {one, other}) == {"a", "c"}


def test_intervals_are_over_films():
    """Clips of one film are drawn together, and parts merge to the whole."""
    torch.manual_seed(0)
    vae = Subject.of(AutoencoderKLSSVAE.from_preset("tiny", base_channels=8).eval())
    clips = torch.rand(12, 3, 5, 32, 32) * 2 - 1
    names = [f"film-{i // 2}, part {i % 2 + 1}" for i in range(12)]

    def seen(parts) -> Analyzer:
        whole = Analyzer(intervals=True)
        for rows in parts:
            one = Analyzer(intervals=True)
            one.update(vae, clips[rows], [names[i] for i in rows])
            whole.merge(one)
        return whole

    together, apart = (
        seen(parts).result() for parts in ([range(12)], [range(0, 12, 2), range(1, 12, 2)])
    )
    assert set(together.intervals) >= {"psnr", "ssim", "low_share", "effective_rank"}
    for name, own in together.intervals.items():
        other = apart.intervals[name]
        assert (own.value, own.low, own.high) == pytest.approx(
            (other.value, other.low, other.high), rel=1e-6
        ), name
    assert together.intervals["low_share"].value == pytest.approx(together.frequency.low_share)
    table = analysis_table({"mine": together})
    figures = dict(zip((m.name for m in table.measures), table.rows["mine"], strict=True))
    assert figures["PSNR"] == together.intervals["psnr"]
    correlation = figures["local correlation"]
    assert correlation.value == pytest.approx(together.local_correlation, abs=1e-6)
    assert correlation.low < correlation.value < correlation.high
    # By hand: six films of two clips are six groups.
    each = psnr(vae.decode(vae.encode(clips)), clips).tolist()
    by_film = mean_interval(each, [name.split(",")[0] for name in names])
    assert together.intervals["psnr"].low == pytest.approx(by_film.low, rel=1e-5)
    assert together.intervals["psnr"].low != pytest.approx(mean_interval(each).low, rel=1e-5)


METRIC = """
FACTOR = 2
def twice(clips, reconstructions):
    return FACTOR * (clips - reconstructions).flatten(1).std(1)
twice.better = "lower"
"""


def test_a_metric_of_ones_own(tmp_path):
    (tmp_path / "own.py").write_text(
        METRIC
        + "def wrong(clips, reconstructions):\n    return 1.0\n"
        + "def pair(clips, reconstructions):\n    return {}\n"
        + "def small(clips, reconstructions): ...\nsmall.better = 'small'\n"
    )
    metric = load_metric(f"{tmp_path / 'own.py'}:twice")
    clips = torch.rand(3, 3, 2, 4, 4)
    assert torch.allclose(metric(clips, 0 * clips), 2 * clips.flatten(1).std(1))
    with pytest.raises(ValueError, match="must give a finite number for each of 3 clips"):
        load_metric(f"{tmp_path / 'own.py'}:wrong")(clips, clips)
    with pytest.raises(ValueError, match="the metric pair fails .* a number a clip"):
        load_metric(f"{tmp_path / 'own.py'}:pair")(clips, clips)
    with pytest.raises(ValueError, match="better must be higher or lower, got 'small'"):
        load_metric(f"{tmp_path / 'own.py'}:small")
    with pytest.raises(ValueError, match="has no function other"):
        load_metric(f"{tmp_path / 'own.py'}:other")
    with pytest.raises(ValueError, match="a metric is named module:function"):
        load_metric("psnr")


def test_the_commands(tmp_path):
    (tmp_path / "own.py").write_text(METRIC)
    of = "--videos", "world", "--clips", "4", "--frames", "9", "--size", "32", "32"
    for name in ("tiny", "tiny-baseline"):
        words = "evaluate", "reconstruction", "--model", name, *of, "--metric", "own.py:twice"
        out = "--out", f"{name}.json", "--table", f"{name}.csv"
        status, said = status_and_output(*words, *out, folder=tmp_path)
        assert status == 0, said
    measures = {row["measure"] for row in csv.DictReader((tmp_path / "tiny.csv").open())}
    assert {"PSNR", "SSIM", "twice"} <= measures
    words = "evaluate", "compare", "ours=tiny.json", "tiny-baseline.json", "--table", "both.tex"
    status, said = status_and_output(*words, folder=tmp_path)
    assert status == 0, said
    text = (tmp_path / "both.tex").read_text()
    assert "sha256" not in text
    assert len(re.findall(r"\\textbf", text)) >= 3
    assert "    ours & " in (tmp_path / "both.tex").read_text()
    (tmp_path / "own.py").write_text(METRIC.replace("= 2", "= 3"))
    words = "evaluate", "reconstruction", "--model", "tiny", *of, "--metric", "own.py:twice"
    status, said = status_and_output(*words, "--out", "other.json", folder=tmp_path)
    assert status == 0, said
    words = "evaluate", "compare", "tiny.json", "other.json"
    status, said = status_and_output(*words, folder=tmp_path)
    assert status == 2
    assert "twice" in said
    words = "analyze", "tiny", "tiny-baseline", *of, "--skip-artefacts", "--table", "a.tex"
    figure = "--figure", "a.png", "--figure-width", "3.25"
    status, said = status_and_output(*words, *figure, folder=tmp_path)
    assert status == 0, said
    assert r"\scriptsize" in (tmp_path / "a.tex").read_text()

import base64
import io

import av
import pytest
import torch

from ssvae.analysis import analyze
from ssvae.report import html
from ssvae.report.analysis_figures import spectra_figure
from ssvae.report.figures import save_figure, to_svg, training_figure
from ssvae.report.tables import analysis_rows, percent

pytestmark = pytest.mark.quick


@pytest.fixture
def analyses(vae):
    torch.manual_seed(0)
    return {
        "a & b": analyze(vae, [torch.rand(3, 3, 9, 16, 16)]),
        "c": analyze(vae, [torch.rand(2, 3, 9, 16, 16)]),
    }


def test_spectra_figure(analyses, tmp_path):
    figure = spectra_figure(analyses)
    frequency, channels = figure.axes
    assert list(channels.lines[1].get_ydata()) == analyses["c"].channels.explained.tolist()
    # Energy in even bins of frequency, over what each would hold of white noise.
    spectrum = analyses["a & b"].frequency
    lowest = spectrum.frequencies < 1 / 24
    expected = float(spectrum.curve[lowest].mean()) * len(spectrum.curve)
    assert frequency.lines[0].get_ydata()[0] == pytest.approx(expected)
    assert to_svg(figure) == to_svg(spectra_figure(analyses))
    save_figure(figure, tmp_path / "f.png")
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match=r"end in \.png"):
        save_figure(figure, tmp_path / "f.doc")
    with pytest.raises(ValueError, match="no folder"):
        save_figure(figure, tmp_path / "none" / "f.png")


def test_training_figure_with_skipped_steps():
    rows = [{"step": s, "l1": 1 / s, "local_correlation": 0.5} for s in range(1, 30)]
    rows[4] = {"step": 5, "l1": None, "local_correlation": None}
    left, _ = training_figure({"run": rows}).axes
    assert len(left.lines[0].get_xdata()) == 28
    assert left.lines[1].get_ydata().max() <= 1


def test_rows(analyses):
    rows = analysis_rows(list(analyses.values()))
    assert all(len(row.values) == 2 for row in rows)
    written = [percent(share).replace("\u00a0", " ") for share in (0.5, 0.02, 0.00123)]
    assert written == ["50.0 %", "2.0 %", "0.12 %"]


def test_page(analyses, tmp_path):
    strip = html.strip("t", "n", {"x": torch.zeros(3, 4, 15, 20), "y": torch.ones(3, 4, 15, 20)}, 5)
    video = base64.b64decode(strip.source.split(",")[1])
    with av.open(io.BytesIO(video)) as container:
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    assert len(frames) == 4
    assert frames[0].shape == (14, 48, 3)
    assert abs(int(frames[0][7, 5, 0]) - 128) < 4
    assert frames[0][7, 40].min() > 250
    svg = to_svg(spectra_figure(analyses))
    content = dict(
        lead="<script>",
        allowed="",
        names=["a & b"],
        rows=analysis_rows([analyses["c"]]),
        strips=[strip],
    )
    others = ("parameters", "clips_seen", "steps", "batch_size", "analysed", "protocol")
    page = html.render(
        tmp_path / "r.html",
        "demo.html.j2",
        **content,
        spectra_svg=svg,
        training_svg=svg,
        **dict.fromkeys(others, "1"),
    )
    text = page.read_text()
    assert "&lt;script&gt;" in text
    assert "a &amp; b" in text
    assert "<?xml" not in text
    assert text.count("<svg") == 2
    assert "http-equiv" not in text
    assert 'src="http' not in text


def test_grid():
    clips = torch.stack([torch.full((3, 1, 2, 2), float(i)) for i in range(5)])
    made = html.grid(clips, 2, 3)
    assert made.shape == (3, 1, 12, 12)
    assert made[0, 0, ::6, ::6].tolist() == [[0, 1], [2, 3]]

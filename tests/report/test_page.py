"""The page of an analysis: what it says, and in a browser what it shows."""

import json
import re
import shutil
import subprocess

import av
import pytest
import torch

from ssvae.analysis import analyze
from ssvae.report.analysis_figures import PLATES, plates
from ssvae.report.analysis_page import Shown, write_report
from ssvae.report.html import picture_uri

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
NAMES = [
    "_ours",
    "a <b> & c",
    r"a $\foo$ [/red]",
    "a rather long name of a model, such as a hub id has",
]


def page(vae, folder, names=NAMES, **changes):
    torch.manual_seed(0)
    clips = torch.rand(3, 3, 9, 33, 32) * 2 - 1
    clips = clips[..., :32, :]
    analysis = analyze(vae, clips, fps=8, cost=True, artefacts=True, drift=True)
    analyses = dict.fromkeys(names, analysis)
    shown = [Shown(f"film {i}.mp4", clips[i], dict.fromkeys(names, clips[i])) for i in range(2)]
    given = dict(source="from films, at 8 frames a second", unread={}, failed={}) | changes
    return write_report(analyses, folder / "page.html", shown, **given), analyses


def test_what_the_page_holds(vae, tmp_path):
    out, analyses = page(
        vae, tmp_path, unread={"bad.mp4": "unreadable"}, failed={"fourth": "it is broken"}
    )
    text = out.read_text()
    assert "a &lt;b&gt; &amp; c" in text
    assert "3 clips of 9 frames of 32x32 from films" in text
    assert "at 8 frames a second" in text
    assert "bad.mp4 (unreadable)" in text
    assert "it is broken" in text
    assert text.count("data:video/mp4") == 2 * (1 + 2 * len(NAMES))
    loaded = re.findall(r'(?:src|href|poster)="([^"]*)"', text)
    assert loaded
    assert "flat fields: grid" in text
    assert "called out (!) over 0.5 levels" in text
    assert text.count('alt="Synthetic films beside') == 1
    assert all(where.startswith(("data:", "#")) for where in loaded)  # nothing from a network
    drawn = {p.stem for p in (tmp_path / "page-figures").glob("*.svg")}
    assert drawn == {plate.name for plate in PLATES} - {"lpips"}
    assert "var(--c0, #0072b2)" in text
    for svg in (tmp_path / "page-figures").glob("*.svg"):
        assert "var(--" not in svg.read_text()
    assert len(plates(analyses)) == len(drawn)


def test_images_have_no_frames_to_compare(vae):
    torch.manual_seed(0)
    analyses = {"a": analyze(vae, torch.rand(4, 3, 1, 32, 32) * 2 - 1)}
    names = {plate.name for plate in plates(analyses)}
    assert names == {"frequency", "frequency-space", "channels", "deviations", "robustness"}
    for plate in plates(analyses):
        plate.figure(analyses)


def test_a_picture_as_png():
    import base64
    import io

    image = torch.zeros(3, 4, 6)
    image[0] = 1
    content = base64.b64decode(picture_uri(image).split(",")[1])
    with av.open(io.BytesIO(content)) as container:
        frame = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert frame.shape == (4, 6, 3)
    assert frame[0, 0].tolist() == [255, 128, 128]


CHECK = """
<script>
addEventListener("load", async () => {
  const videos = [...document.querySelectorAll("video")];
  const ready = (v) => v.readyState >= 2 ? 1 : new Promise((done) => {
    v.addEventListener("loadeddata", done); v.addEventListener("error", done);
  });
  await Promise.all(videos.map(ready));
  const posters = await Promise.all(videos.map((v) => new Promise((done) => {
    const image = new Image();
    image.onload = () => done(image.naturalWidth); image.onerror = () => done(0);
    image.src = v.poster;
  })));
  const inside = (e) => e.closest(".scroll") || e.getBoundingClientRect().right <= innerWidth + 1;
  const told = {
    width: innerWidth, page: document.documentElement.scrollWidth,
    videos: videos.map((v) => v.error ? 0 : v.videoWidth), posters,
    svgs: [...document.querySelectorAll("svg")].map((s) => s.getBoundingClientRect().width),
    outside: [...document.body.querySelectorAll("*")].filter((e) => !inside(e)).map((e) => e.tagName),
    background: getComputedStyle(document.body).backgroundColor,
  };
  const said = document.createElement("pre");
  said.id = "told"; said.textContent = JSON.stringify(told);
  (window.parent.document || document).body.append(said);
});
</script>
"""


def browse(page, tmp_path, width: int, *options: str) -> dict:
    """Open a page in a frame of that width, and hear what it holds."""
    checked = tmp_path / "checked.html"
    checked.write_text(page.read_text().replace("</body>", CHECK + "</body>"))
    outer = tmp_path / "outer.html"
    outer.write_text(f'<iframe src="checked.html" width="{width}" height="900"></iframe>')
    done = subprocess.run(
        [
            *(str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *(f"--user-data-dir={tmp_path / 'profile'}", "--allow-file-access-from-files"),
            *("--virtual-time-budget=20000", "--timeout=60000", *options, "--dump-dom"),
            outer.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=180,
        check=True,
    )
    found = re.search(r'<pre id="told">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stdout[-2000:] + done.stderr[-2000:]
    return json.loads(found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs the system's package chromium")
@pytest.mark.parametrize("width", [360, 800, 1400])
@pytest.mark.parametrize("names", [NAMES, NAMES[:2]], ids=["four", "two"])
def test_in_a_browser(vae, tmp_path, width, names):
    out, _ = page(vae, tmp_path, names)
    told = browse(out, tmp_path, width)
    assert told["width"] in range(width - 20, width + 1)
    assert told["page"] <= told["width"]
    assert told["outside"] == []
    assert len(told["videos"]) == 2 * (1 + 2 * len(names))
    assert min(told["videos"]) >= 160
    assert min(told["posters"]) >= 160
    assert len(told["svgs"]) == len(PLATES) - 1
    assert min(told["svgs"]) > 0.4 * min(width, 1056) - 40
    dark = browse(out, tmp_path, width, "--blink-settings=preferredColorScheme=0")
    assert (told["background"], dark["background"]) == ("rgb(255, 255, 255)", "rgb(13, 17, 23)")

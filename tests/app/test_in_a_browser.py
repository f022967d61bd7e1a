"""The page as it is served: every panel opened and used in the system's Chromium."""

import os
import re
import shutil
import signal
import subprocess
from contextlib import contextmanager

import pytest

from commands import SCRIPT
from made_videos import write

sync_api = pytest.importorskip("playwright.sync_api", reason="needs pip install 'ssvae[browser]'")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs the system's package chromium"),
]


@contextmanager
def served(scratch, *words):
    """The page's address; what it was given lies below ``scratch`` until it is interrupted."""
    command = [SCRIPT, "app", *map(str, words), "--port", "0"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"TMPDIR": str(scratch)},
    ) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if found := re.search(r"open (http://127\.0\.0\.1:\d+)", line):
                break
        else:
            raise AssertionError("".join(lines))
        try:
            yield found[1]
        finally:
            process.send_signal(signal.SIGINT)
            rest = process.communicate(timeout=60)[0]
    assert "Traceback" not in rest, rest


@pytest.fixture(scope="module")
def page_of(tmp_path_factory, vae_folder, run):
    """Opens the page in a window of a size; all that it asks of other hosts is kept."""
    folder, scratch = tmp_path_factory.mktemp("app"), tmp_path_factory.mktemp("scratch")
    with (
        served(
            scratch,
            f"one={vae_folder}",
            f"two={vae_folder}",
            "--generator",
            run,
            "--runs",
            run.parent,
        ) as url,
        sync_api.sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        asked: list[str] = []

        def open_page(width: int = 1300, height: int = 1000, **options):
            context = browser.new_context(viewport={"width": width, "height": height}, **options)
            page = context.new_page()
            page.on("request", lambda request: asked.append(request.url))
            page.on("pageerror", lambda error: asked.append(f"error:{error}"))
            page.goto(url)
            page.wait_for_selector("#reconstruct-start")
            return page

        yield open_page, folder
        browser.close()
        assert list(scratch.rglob("a film.mp4"))
    assert not list(scratch.rglob("*.mp4"))
    own = ("http://127.0.0.1", "data:", "blob:")
    assert [one for one in asked if not one.startswith(own)] == []


def panel(page, name: str):
    page.get_by_role("tab", name=name).click()


def test_reconstruct(page_of):
    open_page, folder = page_of
    page = open_page()
    film = write(folder / "a film.mp4", count=20, height=64, width=96)
    page.set_input_files("input[type=file] >> nth=0", film)
    page.wait_for_selector("text=a film.mp4")
    page.click("#reconstruct-start")
    player = page.locator(".ssvae-player section").first
    player.wait_for(state="visible", timeout=60_000)
    page.wait_for_selector("text=17 frames of 96x64")
    page.wait_for_selector("figure.plate svg")
    said = player.locator(".told")
    player.locator(".play").click()  # it plays: now it does not
    player.locator(".place").fill("0")
    sync_api.expect(said).to_have_text("1 / 17")
    player.locator(".forth").click()
    sync_api.expect(said).to_have_text("2 / 17")
    player.focus()
    page.keyboard.press("ArrowRight")
    sync_api.expect(said).to_have_text("3 / 17")
    wide = player.locator("canvas").evaluate("(c) => c.width / c.height")
    assert wide == pytest.approx(3 * 96 / 64, rel=0.02)
    for view, names in (("wipe", "a film.mp4  |  one"), ("difference", "a film.mp4 less one")):
        player.locator(".view").select_option(view)
        sync_api.expect(player.locator(".names")).to_have_text(names)
    # The model learned nothing, so that the difference is far from black.
    bright = "(c) => Math.max(...c.getContext('2d').getImageData(0, 0, 64, 64).data.filter((_, i) => i % 4 < 3))"
    assert player.locator("canvas").evaluate(bright) > 20
    player.locator(".which").select_option("2")
    sync_api.expect(player.locator(".names")).to_have_text("a film.mp4 less two")


def test_what_is_no_film(page_of):
    open_page, folder = page_of
    page = open_page()
    letter = folder / "letter.mp4"
    letter.write_text("Dear all")
    page.set_input_files("input[type=file] >> nth=0", letter)
    page.wait_for_selector("text=letter.mp4")
    page.click("#reconstruct-start")
    page.wait_for_selector("text=letter.mp4: unreadable", timeout=60_000)
    page.reload()
    for model in ("one", "two"):
        page.locator("#reconstruct-models").get_by_label(model).uncheck()
    page.click("#reconstruct-start")
    page.wait_for_selector("text=choose one or two models, 0 are chosen")


def test_look_inside(page_of):
    page = page_of[0](color_scheme="dark")
    panel(page, "Look inside")
    page.click("#inside-start")
    page.wait_for_selector("text=on this film alone", timeout=120_000)
    assert page.locator("figure.plate svg:visible").count() == 3
    source = page.locator(".ssvae-player video >> nth=1").evaluate("(v) => v.src")
    cut = page.locator("#inside-cut input[type=range]")
    cut.focus()
    for _ in range(40):
        page.keyboard.press("ArrowLeft")
    cut.dispatch_event("pointerup")
    page.wait_for_function(
        "(old) => document.querySelectorAll('.ssvae-player video')[1].src !== old", arg=source
    )


def test_generate(page_of):
    page = page_of[0]()
    panel(page, "Generate")
    page.wait_for_selector("text=knows nothing but")
    page.fill("#generate-prompt textarea", " ")
    page.click("#generate-start")
    page.wait_for_selector("text=give a prompt")
    page.locator("button", has_text="moving").first.click()
    page.locator("#generate-steps input[type=number]").fill("4")
    page.click("#generate-start")
    page.wait_for_selector("#generate-clips video >> nth=3", timeout=120_000)
    page.wait_for_function("document.querySelector('#generate-clips video').videoWidth > 0")
    page.locator("#generate-steps input[type=number]").fill("100")
    page.click("#generate-start")
    page.click("#generate-stop")
    page.wait_for_timeout(500)
    assert page.locator("#generate-start").is_enabled()


def test_compare_runs(page_of):
    page = page_of[0]()
    panel(page, "Compare runs")
    page.wait_for_selector("#runs-figure svg")  # before anything is chosen
    page.click("#runs-again")
    page.wait_for_selector("text=last step")


def test_on_a_phone(page_of):
    page = page_of[0](390, 844, device_scale_factor=2)
    page.click("#reconstruct-start")
    page.wait_for_selector("figure.plate svg", timeout=60_000)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")

"""Browsers at once on the page of ``ssvae app``, one of them with a long film: who is served when.

``python benchmarks/app_queue.py [LONG_FILM]`` needs the system's Chromium and '.[app,browser]'. The
film should outlast the seconds that the page takes; without one a synthetic film of 4 s is written.
"""

import argparse
import asyncio
import re
import shutil
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from ssvae.data import World, write_video

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
LONG_SIDE, LONG_FRAMES, FPS = 256, 97, 24.0


async def use(page: Any, url: str, film: Path | None, begin: asyncio.Barrier) -> dict[str, float]:
    """Reconstruct a film, or the synthetic one: seconds until it is there, the furthest place."""
    await page.goto(url)
    await page.wait_for_selector("#reconstruct-start")
    if film is not None:
        await page.set_input_files("input[type=file] >> nth=0", film)
        await page.wait_for_selector(f"text={film.name}")
    await begin.wait()
    start, place = time.perf_counter(), 0
    await page.click("#reconstruct-start")
    while not await page.locator("figure.plate svg").count():
        text = await page.locator("body").inner_text()
        for told in re.findall(r"waiting, (\d+) before you", text):
            place = max(place, int(told))
        await asyncio.sleep(0.2)
    return {"seconds": time.perf_counter() - start, "place": place}


async def measure(url: str, browsers: int, film: Path) -> None:
    async with import_module("playwright.async_api").async_playwright() as playwright:
        chromium = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        begin = asyncio.Barrier(browsers)
        pages = [await (await chromium.new_context()).new_page() for _ in range(browsers)]
        films = [film, *[None] * (browsers - 1)]
        results = await asyncio.gather(
            *(use(p, url, f, begin) for p, f in zip(pages, films, strict=True))
        )
        await chromium.close()
    for number, result in enumerate(results):
        kind = "short" if number else "long"
        sys.stdout.write(
            f"{kind} film: {result['seconds']:.1f} s, {result['place']} before it at first\n"
        )


def main() -> None:
    """Serve the page, and use it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("film", nargs="?", type=Path)
    parser.add_argument("--browsers", type=int, default=10)
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        film = words.film or Path(folder) / "long.mp4"
        if words.film is None:
            clip = World(LONG_FRAMES, LONG_SIDE, LONG_SIDE).batch([0]).on()[0]
            write_video(film, clip, fps=FPS)
        command = [sys.executable, "-m", "ssvae", "app", "film", "--port", "0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            url = next(
                found[0] for line in server.stdout if (found := re.search(r"http://[\d.:]+", line))
            )
            try:
                asyncio.run(measure(url, words.browsers, film))
            finally:
                server.terminate()


if __name__ == "__main__":
    main()

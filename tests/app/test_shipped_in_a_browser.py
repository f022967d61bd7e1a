"""The page as it is without a word, in the system's Chromium: apart from the other tests, for
playwright runs once at a time in a process.
"""

import pytest
from test_in_a_browser import CHROMIUM, QUIET, panel, served, sync_api

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs the system's package chromium"),
]


def test_without_a_word_the_models_that_come_with_it(tmp_path):
    preview = "--preview", "tiny-baseline"
    with served(tmp_path, *preview) as url, sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        page = browser.new_page(viewport={"width": 1300, "height": 1000})
        page.goto(url)
        page.wait_for_selector("#reconstruct-start")
        for name in ("film", "tiny", "tiny-baseline"):
            sync_api.expect(page.get_by_label(name, exact=True).first).to_be_attached()
        panel(page, "Generate")
        page.locator("#generate-number input").first.fill("1")
        page.locator("#generate-steps input").first.fill("40")
        page.click("#generate-start")
        page.wait_for_selector("#generate-clips video[title*='step ']", timeout=60_000)
        page.wait_for_selector("#generate-clips video[title$='1']", timeout=60_000)
        browser.close()

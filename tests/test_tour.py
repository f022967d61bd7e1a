"""The tour, run as its page shows it; training is cut short, so numbers after it may differ."""

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest

from commands import status_and_output

PAGE = (Path(__file__).parents[1] / "docs" / "tour.md").read_text()
BLOCKS = re.findall(r"```(sh|python|text)\n(.*?)```", PAGE, re.DOTALL)
BEFORE_YOUR_FILMS = next(i for i, (_, text) in enumerate(BLOCKS) if "holiday" in text)
SHORT = {
    "--steps 300": "--steps 4 --warmup-steps 2",
    "--clips 64": "--clips 8",
    'over fine waves"\n': 'over fine waves" --steps 4\n',
}


def masked(text: str) -> list[str]:
    """Lines without their numbers and their spacing."""
    lines = (re.sub(r"[-+]?\d[\d.,e]*", "#", line) for line in text.splitlines())
    return [" ".join(line.split()) for line in lines if line.strip()]


@pytest.fixture(scope="module")
def said(tmp_path_factory) -> dict[int, str]:
    """What each block says, by its place on the page."""
    folder, found = tmp_path_factory.mktemp("tour"), dict[int, str]()
    for place, (kind, block) in enumerate(BLOCKS[:BEFORE_YOUR_FILMS]):
        if kind == "python":
            with contextlib.redirect_stdout(io.StringIO()) as output:
                exec(block, {})
            found[place] = output.getvalue()
        if kind == "sh":
            found[place] = ""
            for shown, run in SHORT.items():
                block = block.replace(shown, run)
            for line in block.splitlines():
                program, *words = shlex.split(line)
                if program == "pip":  # how this came here
                    continue
                status, output = status_and_output(*words, folder=folder)
                assert status == 0, output
                found[place] += output
    for picture in ("spectra.png", "report.html", "generated/contact-sheet.png"):
        assert (folder / picture).stat().st_size > 1000
    return found


def test_outputs_are_as_the_page_shows_them(said):
    compared = 0
    for place, output in said.items():
        following, text = BLOCKS[place + 1]
        if following != "text":
            continue
        compared += 1
        if BLOCKS[place][0] == "python":
            assert output == text
        else:
            assert set(masked(text)) <= set(masked(output)), output
    assert compared == 4

"""How README and docs are written: short sentences, and one name for one thing."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MOST = 20
"""Words of a sentence, on average."""
FORBIDDEN = {
    r"\bthe custom\b": "the conventional recipe",
    r"\b[Rr]egularizers?\b": "regulariser",
    r"\bzigzag(?:ged)? (?:order|frequency)\b": "zigzag index",
    r"\bones? own\b": "your own",
    r"\bnot any more\b": "no longer",
}
"""Names that something else here has, and that name."""


def sentences(text: str) -> list[str]:
    """The prose of a page, sentence by sentence: no code, tables, headings or comments."""
    text = re.sub(r"<!--.*?-->|```.*?```", " ", text, flags=re.DOTALL)
    lines = [
        ""
        if re.match(r"\s*(?:\||#|!\[|--8<--|---)", line)
        else re.sub(r"^\s*(?:[-*]|\d+\.) ", "\n\n", line)
        for line in text.splitlines()
    ]
    prose = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", "\n".join(lines))
    found = []
    for paragraph in re.split(r"\n\s*\n", prose):
        words = re.sub(r"`[^`]*`", "code", " ".join(paragraph.split()))
        found += [part for part in re.split(r"(?<=[.!?:])\s+(?=[A-Z*_])", words) if part.split()]
    return found


def test_what_a_sentence_is():
    text = "# Head\n\nOne `ssvae x. Y` here. Two, and\nthree (e.g. that).\n\n| a | b |\n\n- Four: five.\n"
    assert sentences(text) == ["One code here.", "Two, and three (e.g. that).", "Four: five."]


def test_sentences_are_short():
    every = [sentence for page in PAGES for sentence in sentences(page.read_text())]
    words = sum(len(sentence.split()) for sentence in every)
    assert words / len(every) <= MOST, f"{words / len(every):.1f} words a sentence"


def test_the_readme_is_read():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_one_name_for_one_thing(page):
    text = "\n".join(sentences(page.read_text()))
    for name, instead in FORBIDDEN.items():
        assert not re.search(name, text), f"{name}: say {instead}"

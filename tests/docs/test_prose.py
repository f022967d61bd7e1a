"""How README and docs are written: short sentences, and one name for one thing."""

import re
from itertools import pairwise
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
    r"\brunning means?\b": "EMA",
    r"\b(?:goes|go) on\b": "resume, continue",
    r"\b(?:times of mean|times nearer)\b": "timesteps",
    r"\ba token a latent\b": "one token per latent",
}
"""Names that something else here has, and that name."""
TERMS = {
    "lcr": r"\b(?:LCR|LMR)\b",
    "local-correlation": r"\blocal\scorrelation\b(?!\sregularisation)",
    "low-share": r"\benergy\sat\slow\sfrequencies\b|\blow-frequency\sshare\b",
    "effective-rank": r"\beffective\sranks?\b",
    "world": r"\bprocedural\sworld\b",
    "reward": r"\brewards?\b",
    "ceiling": r"\bceilings?\b",
    "gain": r"\bspeed-ups?\b",
    "timesteps": r"\btimesteps\b",
    "token": r"\ba\stoken\sa\slatent\b",
    "ladder": r"\brungs?\b",
    "moments": r"(?<!two )\bmoments\b",
    "first-frame": r"\blone\sfirst\sframe\b",
}
"""Anchors of the glossary, and how the prose of a page says each."""
LINKING = [page for page in PAGES if page.name not in ("README.md", "index.md", "glossary.md")]
NO_PROSE = re.compile(
    r"<!-- fragment.*?<!-- end -->|<!--.*?-->|```.*?```|`[^`\n]*`|!?\[[^\]]*\]\([^)]*\)"
    r"|^\s*(?:\||#|--8<--).*?$",
    re.DOTALL | re.MULTILINE,
)


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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_sentences_are_short(page):
    every = sentences(page.read_text())
    words = sum(len(sentence.split()) for sentence in every)
    assert words / len(every) <= MOST, f"{words / len(every):.1f} words a sentence"


def test_the_readme_is_read():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_one_name_for_one_thing(page):
    text = "\n".join(sentences(page.read_text()))
    for name, instead in FORBIDDEN.items():
        assert not re.search(name, text), f"{name}: say {instead}"


@pytest.mark.parametrize("page", LINKING, ids=lambda page: page.name)
def test_a_term_links_to_the_glossary_where_it_is_first_used(page):
    text = page.read_text()
    prose = NO_PROSE.sub(lambda found: " " * len(found[0]), text)
    for anchor, said in TERMS.items():
        if used := re.search(said, prose, re.IGNORECASE):
            link = text.find(f"(glossary.md#{anchor})")
            assert 0 <= link < used.start(), f"{used[0]!r} comes before a link to its definition"


def test_the_glossary_is_short_and_has_these_terms():
    found = re.findall(r'<a id="([\w-]+)">', (ROOT / "docs" / "glossary.md").read_text())
    assert len(found) <= 15
    assert set(TERMS) <= set(found)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_picture_has_a_caption(page):
    lines = [line for line in page.read_text().splitlines() if line.strip()]
    for line, after in pairwise(lines):
        if line.startswith("!["):
            assert after.startswith(("*", "![")), f"what is to be seen in {line}?"

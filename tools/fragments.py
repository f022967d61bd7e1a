"""What is generated from the code and from results: ``python -m tools.fragments`` writes it anew.

Each fragment stands in its file between two lines that name it,

    <!-- fragment NAME -->          # fragment NAME
    ...                             ...
    <!-- end -->                    # end

and ``tests/test_fragments.py`` checks that all are fresh.
"""

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path

from tools.regularizer_fragments import exports

ROOT = Path(__file__).parents[1]
EXPORTS = "regularizers.exports"
"""The fragment without which the package may not import, and so the others cannot be made."""
PLACES = ("src/**/*.py", "README.md", "docs/**/*.md", "studies/**/*.md")
"""Code first, which makes the rest."""
MARKED = re.compile(
    r"(?P<begin>^(?:<!--|#) fragment (?P<name>[\w.-]+)(?: -->)?\n)(?P<text>.*?)(?P<end>^(?:<!--|#) "
    r"end\b)",
    re.MULTILINE | re.DOTALL,
)


@cache
def fragments() -> Mapping[str, Callable[[], str]]:
    """What makes each, by name."""
    from tools import readme_fragments, recipe_fragments, result_fragments, study_fragments

    return {
        EXPORTS: exports,
        "readme.claims": readme_fragments.claims_of_the_paper,
        **recipe_fragments.FRAGMENTS,
        **result_fragments.FRAGMENTS,
        **study_fragments.FRAGMENTS,
    }


def copies() -> Mapping[Path, str]:
    """Figures that pages show, each with its place."""
    from tools import study_fragments

    return study_fragments.COPIES


def renewed(text: str) -> str:
    """A file's text with its fragments made anew."""

    def fresh(found: re.Match[str]) -> str:
        name = found["name"]
        make = exports if name == EXPORTS else fragments().get(name)
        if make is None:
            known = ", ".join(sorted(fragments()))
            raise ValueError(f"no fragment is called {name}: {known} are")
        content = make().rstrip() + "\n"
        blank = "\n" if found["begin"].startswith("<!--") else ""
        return f"{found['begin']}{blank}{content}{blank}{found['end']}"

    return MARKED.sub(fresh, text)


def stale() -> Iterator[tuple[Path, str]]:
    """Files whose fragments are not fresh, each with what it should hold."""
    for pattern in PLACES:
        for path in sorted(ROOT.glob(pattern)):
            text = path.read_text(encoding="utf-8")
            if (fresh := renewed(text)) != text:
                yield path, fresh
    for source, target in copies().items():
        path, fresh = ROOT / target, source.read_text(encoding="utf-8")
        if not path.exists() or path.read_text(encoding="utf-8") != fresh:
            yield path, fresh


def main() -> None:
    """Write all that are stale."""
    for path, text in stale():
        path.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{path.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()

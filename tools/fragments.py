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
from pathlib import Path

from tools.regularizer_fragments import FRAGMENTS as OF_REGULARIZERS
from tools.result_fragments import FRAGMENTS as OF_RESULTS
from tools.study_fragments import COPIES
from tools.study_fragments import FRAGMENTS as OF_THE_STUDY

ROOT = Path(__file__).parents[1]
FRAGMENTS: Mapping[str, Callable[[], str]] = {**OF_REGULARIZERS, **OF_RESULTS, **OF_THE_STUDY}
"""What makes each, by name."""
PLACES = ("README.md", "docs/**/*.md", "studies/**/*.md", "src/**/*.py")
MARKED = re.compile(
    r"(?P<begin>^(?:<!--|#) fragment (?P<name>[\w.-]+)(?: -->)?\n)(?P<text>.*?)(?P<end>^(?:<!--|#) "
    r"end\b)",
    re.MULTILINE | re.DOTALL,
)


def renewed(text: str) -> str:
    """A file's text with its fragments made anew."""

    def fresh(found: re.Match[str]) -> str:
        name = found["name"]
        if name not in FRAGMENTS:
            raise ValueError(f"no fragment is called {name}: {', '.join(sorted(FRAGMENTS))} are")
        content = FRAGMENTS[name]().rstrip() + "\n"
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
    for source, target in COPIES.items():
        path, fresh = ROOT / target, source.read_text(encoding="utf-8")
        if not path.exists() or path.read_text(encoding="utf-8") != fresh:
            yield path, fresh


def main() -> None:
    """Write all that are stale."""
    for path, text in list(stale()):
        path.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{path.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()

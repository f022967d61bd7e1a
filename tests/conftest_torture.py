"""The table at the end: what was tried, what held, what fell short."""

from collections import Counter

import pytest


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter):
    tried, short = Counter(), Counter()
    for outcome in ("passed", "failed", "error"):
        for report in terminalreporter.stats.get(outcome, ()):
            if "torture/" not in report.nodeid:
                continue
            kind = report.nodeid.partition("::test_")[2].partition("[")[0].replace("_", " ")
            tried[kind] += 1
            short[kind] += outcome != "passed"
    if not tried:
        return
    rows = [(kind, tried[kind], tried[kind] - short[kind], short[kind]) for kind in sorted(tried)]
    rows.append(("all", tried.total(), tried.total() - short.total(), short.total()))
    terminalreporter.write_line(
        "\n| kind | tried | held | fell short |\n| --- | ---: | ---: | ---: |"
    )
    for row in rows:
        terminalreporter.write_line("| " + " | ".join(map(str, row)) + " |")

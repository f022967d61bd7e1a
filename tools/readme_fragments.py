"""The README's table: what the paper claims, where it was looked for, and what was found."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from ssvae.bench.claims import LEVEL, SEEDS_FOR_A_CLAIM
from ssvae.bench.convergence import student
from ssvae.bench.records import Arm
from ssvae.bench.scales import BASELINE, BOTH
from ssvae.report.tables import interval, markdown
from studies.diffusability.cells import DEFAULT
from studies.diffusability.ladder import rows as ladder_rows
from studies.diffusability.ladder.findings import Comparison, PrimaryClaim, claims, comparisons
from studies.diffusability.reports import VARIANTS, Report, report_of

LAPTOP = "clips of 9x32x32"


def claims_of_the_paper() -> str:
    """Rows of the study and of the ladder, in one table."""
    report, read = report_of(VARIANTS), ladder_rows.read()
    effects = {entry["label"]: entry for entry in report.effects["Over the baseline"]}
    rows = [
        _of_spectra(report, "LCR brings energy to low frequencies", "lcr", "low_share", +1),
        _of_spectra(report, "LMR brings variance into few channels", "lmr", "effective_rank", -1),
        *(
            [
                f"Diffusion learns faster with {name} (paper: 3 times with both)",
                f"{LAPTOP}, {len(entry['seeds'])} seeds",
                f"{interval(entry['speedups']['0.9'], 2)} times fewer steps",
                entry["verdict"],
            ]
            for name, entry in (("both", effects[BOTH]), ("LCR", effects["lcr"]))
        ),
        [
            "Generated clips are better (paper: 10 % more reward)",
            f"{LAPTOP}, {len(effects[BOTH]['seeds'])} seeds",
            f"reward {interval(effects[BOTH]['gain']['reward'], 3)} higher",
            effects[BOTH]["verdict"],
        ],
    ]
    found = comparisons(read)
    rows += [
        _of_ladder(claim, found)
        for claim in claims(found, read)
        if claim.text.startswith("gain of LCR at rung")
    ]
    return markdown(["the paper's claim", "where we looked", "found (95 %)", "verdict"], rows)


def _of_spectra(report: Report, claim: str, variant: str, name: str, way: int) -> list[str]:
    """A difference in spectra, seed by seed."""
    arms = report.arms
    one, two = (_spectra(arms[Arm(DEFAULT, v)], name) for v in (BASELINE, variant))
    change = student([two[seed] - one[seed] for seed in sorted(one.keys() & two.keys())])
    assert change.low is not None
    assert change.high is not None
    share = name == "low_share"
    shown = interval(asdict(change), show=lambda x: f"{100 * x:+.1f}" if share else f"{x:+.1f}")
    towards = change.low > 0 if way > 0 else change.high < 0
    away = change.high < 0 if way > 0 else change.low > 0
    return [
        claim,
        f"{LAPTOP}, {len(one)} seeds",
        f"{shown} {'points of the energy' if share else 'effective rank'}",
        "**shown**" if towards else "contradicted here" if away else "not shown",
    ]


def _spectra(records: Mapping, name: str) -> dict[int, float]:
    return {seed: record.measure["analysis"][name] for seed, record in records.items()}


def _of_ladder(claim: PrimaryClaim, found: Sequence[Comparison]) -> list[str]:
    side = int(claim.text.rpartition(" ")[2])
    seeds, clip = len(claim.values), f"9x{side}x{side}"
    entry = next((c for c in found if claim.text.endswith(f"rung {c.place.rung}")), None)
    shown = "–" if entry is None else f"reward {interval(asdict(entry.gain), 3)} higher"
    if seeds < SEEDS_FOR_A_CLAIM:
        verdict = f"unfinished: {seeds} of {SEEDS_FOR_A_CLAIM} seeds" if seeds else "not run yet"
    else:
        verdict = "**shown**" if claim.corrected < LEVEL else "not shown"
    where = f"clips of {clip}, {seeds} seed{'s' * (seeds != 1)}"
    return [f"The same with LCR, at {side}x{side} pixels", where, shown, verdict]

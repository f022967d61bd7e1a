"""Fragments that are tables of the study, from its rows."""

from collections.abc import Callable, Mapping
from functools import cache, lru_cache

from ssvae.bench.claims import GAIN, LEVEL, SEEDS_FOR_A_CLAIM, WORDS
from ssvae.bench.scales import variant_of
from ssvae.regularizers.registry import registered
from ssvae.report.tables import interval, markdown, number
from studies.diffusability import prediction, regularizer_table, reports
from studies.diffusability.ladder import report as ladder_report
from studies.diffusability.ladder import rows as ladder_rows
from studies.diffusability.ladder.findings import claims, comparisons
from studies.diffusability.reports import STILLS, STUDIES, VARIANTS, WORLD, Report
from studies.diffusability.variants import BASELINE, BOTH, OURS, TRIED, settings_of

IN_TEXT = ("recipe", "alone", "parts", "left-out", "regularisers", "settings")
CHOSEN_CELL = "channels-48"
"""Where other papers' regularisers were run."""


@cache
def _report(name: str) -> Report:
    return reports.report_of(STUDIES[name])


def _family(study: str, family: str) -> Callable[[], str]:
    return lambda: reports.family_table(_report(study), family)


def _regularizers(study: str, name: str) -> Callable[[], str]:
    def table() -> str:
        report = _report(study)
        return regularizer_table.tables(report.described, report.effects)[name]

    return table


def registry() -> str:
    """Every regulariser: its class, field, cost of a step and what it gave where all were run."""
    report, costs, rows = _report(WORLD.name), regularizer_table.costs(), []
    gains = {e["other"]: e for e in report.effects["regularisers"]}
    ordered = sorted(registered().values(), key=lambda kind: (kind.NAME not in OURS, kind.NAME))
    for kind in ordered:
        variant = variant_of(kind.NAME)
        effect = gains.get(f"{CHOSEN_CELL}/{variant}")
        gain = "–" if effect is None else interval(effect["gain"]["reward"], 3)
        seeds = "–" if effect is None else str(len(effect["seeds"]))
        verdict = "–" if effect is None else effect["verdict"].partition(":")[0]
        paper = f"[{kind.PAPER}](https://arxiv.org/abs/{kind.PAPER})"
        cost = number(costs.get(variant), 2)
        rows.append([kind.TITLE, f"`{kind.NAME}`", kind.SUMMARY, cost, gain, verdict, seeds, paper])
    columns = [
        "regulariser",
        "field of a recipe",
        "what it does",
        "a step",
        "gain",
        "verdict",
        "seeds",
        "paper",
    ]
    return markdown(columns, rows)


def evidence() -> str:
    """Where LCR and LMR were run with the seeds that a claim takes, and what came of it."""
    tested = []
    for study, family, where in (
        (VARIANTS, "Over the baseline", ""),
        (WORLD, "regularisers", ""),
        (STILLS, "regularisers", " on moving pictures"),
    ):
        for entry in _report(study.name).effects[family]:
            if len(entry["seeds"]) < SEEDS_FOR_A_CLAIM:
                continue
            setting = (entry["label"].partition(": ")[2] or "the default latents") + where
            names = _regularizers_of(entry["other"].partition("/")[2])
            for name in names:
                others = "".join(f" with {other}" for other in names if other != name)
                tested.append((name, setting + others, entry["verdict"]))
    rows = ladder_rows.read()
    for claim in claims(comparisons(rows), rows):
        name, at, place = claim.text.removeprefix("gain of ").partition(" at ")
        if at and len(claim.values) >= SEEDS_FOR_A_CLAIM:
            way = WORDS[GAIN, sum(claim.values) > 0]
            side = place.removeprefix("rung ")
            setting = f"clips of {side}x{side} pixels"
            tested.append((name, setting, way if claim.corrected < LEVEL else "not shown"))
    lines = "".join(f'    Tested("{n}", "{setting}", "{v}"),\n' for n, setting, v in tested)
    return f"TESTED: Sequence[Tested] = (\n{lines})\n"


def ladder_claims() -> str:
    """The plan's four claims, as far as they have been run."""
    rows = ladder_rows.read()
    return ladder_report.claims_table(claims(comparisons(rows), rows))


def _regularizers_of(variant: str) -> list[str]:
    names = [*OURS] if variant == BOTH else [variant] if variant in OURS else []
    return [registered()[name].TITLE for name in names]


def variants() -> str:
    """The variants of the study, and what each sets."""

    def options(variant: str) -> str:
        return " ".join(f"`{_option(*pair)}`" for pair in settings_of(variant).items())

    names = [*OURS, BOTH, *(variant_of(n) for n in registered() if n not in OURS), *TRIED]
    rows = [[f"`{BASELINE}`", "none"], *([f"`{name}`", options(name)] for name in names)]
    columns = ["variant", "options of the VAE's recipe"]
    lines = [columns, ["---", "---"], *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _option(name: str, value: object) -> str:
    """A setting as the command line has it."""
    group, _, field = name.replace("_", "-").rpartition(".")
    if isinstance(value, bool):
        return f"--{group}.{'' if value else 'no-'}{field}"
    return f"--{group}.{field} {_shown(value)}"


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(f"{each:g}" for each in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


@lru_cache(1)
def _prediction() -> prediction.Prediction:
    """It takes some seconds."""
    return prediction.prediction_of(WORLD)


FRAGMENTS: Mapping[str, Callable[[], str]] = {
    "study.variants": lambda: reports.overview(_report(VARIANTS.name)),
    "study.smallest": lambda: reports.smallest(_report(WORLD.name)),
    **{f"study.world.{name}": _family(WORLD.name, name) for name in IN_TEXT},
    "study.world.compared": _regularizers(WORLD.name, CHOSEN_CELL),
    "study.world.tried": _regularizers(WORLD.name, f"{CHOSEN_CELL}-tried"),
    "study.stills.recipe": _family(STILLS.name, "recipe"),
    "study.stills.compared": _regularizers(STILLS.name, CHOSEN_CELL),
    "study.prediction": lambda: prediction.table(next(iter(_prediction().values()))),
    "study.prediction.models": lambda: prediction.models_table(_prediction()),
    "study.evidence": evidence,
    "study.ladder": ladder_claims,
    "study.ladder.all": lambda: ladder_report.comparisons_table(comparisons(ladder_rows.read())),
    "regularizers.table": registry,
    "regularizers.variants": variants,
}
COPIES = {
    VARIANTS.folder / "figure.svg": "docs/images/diffusability.svg",
    WORLD.folder / "figure.svg": "docs/images/cells.svg",
    STILLS.folder / "figure.svg": "docs/images/stills.svg",
    WORLD.folder / "prediction.svg": "docs/images/prediction.svg",
    ladder_report.FOLDER / "by-rung.svg": "docs/images/by-rung.svg",
}
"""Figures that pages show."""

"""The ladder's page of results: tables, and a figure of gain and speed-up by rung."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from ssvae.bench.claims import LEVEL, SEEDS_FOR_A_CLAIM
from ssvae.bench.report import write_figure
from ssvae.report.figures import COLOURS, INK, SOFT, STYLE
from ssvae.report.tables import interval, markdown, number
from ssvae.storage.files import write_text
from studies.diffusability.ladder.findings import (
    LCR,
    Comparison,
    Place,
    PrimaryClaim,
    Regime,
    UnderNoise,
    claims,
    comparisons,
    over_seeds,
    regimes,
    under_noise,
)
from studies.diffusability.ladder.rows import FOLDER, ROWS, read
from studies.diffusability.ladder.rungs import SIDES, compression

PAPERS_SPEEDUP = 3.0
TITLE = "# The ladder: what the rows say\n"


def write(rows: Path = ROWS, folder: Path = FOLDER) -> Path:
    """Write ``results.md`` and the figure; the page's path."""
    read_rows = read(rows)
    found = comparisons(read_rows)
    tested = claims(found, read_rows)
    write_figure(by_rung(found), folder / "by-rung")
    page = folder / "results.md"
    parts = [
        TITLE,
        f"From `{rows.name}`, by `python -m studies.diffusability ladder-report`. The plan is in "
        "[plan.md](plan.md).\n",
        "## The four claims\n",
        claims_table(tested),
        "![Gain and speed-up by rung, a point for each seed](by-rung.svg)\n",
        "## All comparisons\n",
        "A gain is in reward, over the baseline of the same place and seed, after the last step "
        "that both have. A speed-up is in steps, to 90 % of the way from chance to the baseline's "
        "end. Intervals are Student's, from three seeds on.\n",
        comparisons_table(found),
        *_part_8(regimes(read_rows)),
        *_noise(under_noise(read_rows)),
    ]
    write_text(page, "\n".join(parts))
    return page


def _part_8(found: Sequence[Regime]) -> list[str]:
    if not found:
        return []
    return [
        "## What LMR does to latents (part 8)\n",
        "Without LMR and with it, means over seeds. It *concentrates* where the effective rank is "
        "lower and the first component's share higher in every one of three seeds. The cost of "
        "noise is what a deviation of .3 takes from PSNR, in dB.\n",
        regimes_table(found),
    ]


def _noise(found: Sequence[UnderNoise]) -> list[str]:
    if not found:
        return []
    return [
        "## Noise on latents that were drawn (part 8)\n",
        "VAEs without a decoder stage, and a diffusion model on each. What noise on its samples' "
        "latents, in units of each channel's deviation over its clip, takes of its own reward.\n",
        noise_table(found),
    ]


def noise_table(found: Sequence[UnderNoise]) -> str:
    """The reward without noise, and what each deviation takes of it."""
    noises = list(found[0].lost)
    rows = [
        [
            each.variant,
            str(len(each.seeds)),
            interval(asdict(over_seeds(each.plain)), 3),
            *(interval(asdict(over_seeds(each.lost[noise])), 3) for noise in noises),
        ]
        for each in found
        if list(each.lost) == noises
    ]
    columns = ["variant", "seeds", "reward", *(f"lost to noise of {n:g}" for n in noises)]
    return markdown(columns, rows)


def regimes_table(found: Sequence[Regime]) -> str:
    """Effective rank, first share and the cost of noise, without LMR and with it."""
    rows = []
    for each in found:
        ranks, firsts, noise = (
            np.mean(values, axis=0).tolist() for values in (each.ranks, each.firsts, each.noise)
        )
        verdict = "yes" if each.concentrates else "no"
        rows.append(
            [
                each.setting,
                each.reference,
                str(len(each.seeds)),
                f"{ranks[0]:.1f}, {ranks[1]:.1f}",
                f"{firsts[0]:.3f}, {firsts[1]:.3f}",
                f"{noise[0]:.2f}, {noise[1]:.2f}",
                verdict if len(each.seeds) >= 3 else "too few seeds",
            ]
        )
    columns = ["setting", "beside", "seeds", "effective rank", "first share", "cost of noise"]
    return markdown([*columns, "concentrates"], rows)


def claims_table(tested: Sequence[PrimaryClaim]) -> str:
    """The primary claims, with what was found of each."""
    rows = []
    for claim in tested:
        verdict = "not run yet" if not claim.values else "too few seeds"
        enough = len(claim.values) >= SEEDS_FOR_A_CLAIM
        if enough:
            ahead = np.mean(claim.values) > 0
            shown = "positive" if ahead else "negative"
            verdict = shown if claim.corrected < LEVEL else "not shown"
        mean = asdict(over_seeds(claim.values)) if claim.values else None
        rows.append(
            [
                claim.text,
                str(len(claim.values)),
                "–" if mean is None else interval(mean, 3),
                number(claim.p if enough else None, 3),
                number(claim.corrected if enough else None, 3),
                verdict,
            ]
        )
    return markdown(["claim", "seeds", "found", "p", "p after Holm", "verdict"], rows)


def comparisons_table(found: Sequence[Comparison]) -> str:
    """Every variant beside its baseline."""
    rows = []
    for each in found:
        place, fast = each.place, each.speedup
        ratio = None if fast is None else asdict(fast.ratio(over_seeds(fast.logs)))
        apart = f" ({', '.join(map(str, each.apart))} apart)" if each.apart else ""
        rows.append(
            [
                ", ".join(filter(None, (str(place.rung), place.setting, place.detail))),
                each.variant,
                f"{len(each.seeds)}{apart}",
                f"{each.ends[0]:.3f}, {each.ends[1]:.3f}",
                interval(asdict(each.gain), 3),
                interval(asdict(over_seeds(each.frechet)), 1),
                "–" if ratio is None else interval(ratio, 2),
            ]
        )
    columns = ["rung, setting", "variant", "seeds", "rewards", "gain", "Fréchet, lower by"]
    return markdown([*columns, "speed-up"], rows)


def by_rung(found: Sequence[Comparison]) -> Figure:
    """Gain and speed-up of LCR over the compression of space, a point for each seed."""
    plain = [c for c in found if c.variant == LCR and c.place == Place(c.place.rung)]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9, 3.8), layout="constrained")
        gain, faster = figure.subplots(1, 2)
        for each in plain:
            x = compression(each.place.rung)
            gain.plot([x] * len(each.gains), each.gains, "o", color=COLOURS[0], alpha=0.6, ms=6)
            gain.plot(x, np.mean(each.gains), "_", color=INK, ms=18, mew=2)
            if each.speedup is not None:
                ratios, censored = np.exp(each.speedup.logs), any(each.speedup.open)
                look = {"mfc": "white"} if censored else {}
                faster.plot([x] * len(ratios), ratios, "o", color=COLOURS[0], ms=6, **look)
                faster.plot(x, np.exp(each.speedup.mean), "_", color=INK, ms=18, mew=2)
        faster.axhline(PAPERS_SPEEDUP, color=COLOURS[1], lw=1.2, ls="--")
        faster.annotate(
            "the paper's, at 17x512x512",
            (0.02, PAPERS_SPEEDUP),
            xycoords=("axes fraction", "data"),
            xytext=(0, 4),
            textcoords="offset points",
            color=COLOURS[1],
            fontsize=8.5,
        )
        faster.set_yscale("log")
        faster.yaxis.set_major_locator(FixedLocator([0.5, 0.75, 1, 1.5, 2, 3, 4]))
        faster.yaxis.set_minor_locator(NullLocator())
        faster.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
        faster.set_ylim(0.45, 4.2)
        for panel, level in ((gain, 0), (faster, 1)):
            panel.axhline(level, color=SOFT, lw=1)
            panel.set_xscale("log", base=2)
            panel.set_xlim(3.2, 20)
            panel.xaxis.set_major_locator(FixedLocator([compression(side) for side in SIDES]))
            panel.xaxis.set_minor_locator(NullLocator())
            panel.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
            panel.set_xlabel("pixels per latent, on a side")
        low, high = gain.get_ylim()
        gain.set_ylim(min(low, -0.02), max(high, 0.1))  # so that little looks little
        gain.set_title("Gain of LCR in reward, after equal steps")
        faster.set_title("Speed-up of LCR in steps, to 90 %")
    return figure

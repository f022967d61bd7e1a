"""What the map leaves: summary, figure, tables, configs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ssvae.bench import regularizer_table
from ssvae.bench.cells import DEFAULT, Arm, label_of
from ssvae.bench.comparisons import CUSTOM_ARM, WHOLE, WHOLE_LONG, Learned, Pair, families, learned
from ssvae.bench.map_summary import PairedCurves, describe, effects, sensitivity
from ssvae.bench.records import portable, read_records
from ssvae.bench.results import write_configs, write_samples
from ssvae.bench.scales import BASELINE, Scale
from ssvae.bench.stages import Options
from ssvae.bench.summary import CLAIMED, SAME_CEILING, SEEDS_FOR_A_CLAIM
from ssvae.data import vocabulary_of
from ssvae.report.figures import save_figure, to_svg
from ssvae.report.forest import Effect, forest_figure
from ssvae.report.tables import interval, markdown, number, percent
from ssvae.storage.files import write_text

TITLES = {
    "recipe": "Recipes, over the custom",
    "alone": "What one part adds to the custom",
    "parts": "What each part of the recommended adds to the others",
    "left-out": "What another part would add to the recommended",
    "regularisers": "What a regulariser does, over the baseline of the same cell",
    "settings": "What a setting does to the baseline, over the default",
}


NOTES = (
    "Seeds are paired; VAEs that are trained have those seeds too. 95 % intervals are Student's; of "
    f"fewer than {SEEDS_FOR_A_CLAIM} seeds, with the scatter of all pairs here that are on one VAE, or on two, "
    "since few seeds cannot tell their own: they hold if all of a kind scatter alike. Speed-up: steps that the one that it is compared "
    f"with needs for {CLAIMED:.0%} of the way from chance to its end, over those that the row's needs; in all "
    "tables but the recipes', where the custom has its whole length, to its score at the last step that both "
    "have, as the gain is. Of runs that never got there, the end of the interval that holds all the same, or "
    "–. Time of a step: in units of that of the one that it is compared with, on the same machine. A verdict "
    f"is at 5 % after Holm's correction over its table, from {SEEDS_FOR_A_CLAIM} seeds on and at ceilings "
    f"that differ by no more than {SAME_CEILING}."
)
COSTS = "costs.json"
"""What ``benchmarks/regularizers.py --out`` wrote into the folder of the results, if it did."""
SEEDS_TOLD = (2, 3, SEEDS_FOR_A_CLAIM)
SHOWN_ARMS: list[Arm] = [CUSTOM_ARM, (DEFAULT, BASELINE), WHOLE, WHOLE_LONG]


def write_map(scale: Scale, options: Options, vaes: Mapping[str, str]) -> dict[str, Any]:
    """Write what all records of the results give, whichever calls they are of; the summary."""
    arms, out = learned(read_records(options.out)), options.out
    vocabulary, pairs = vocabulary_of(scale.data), families(arms, scale)
    summary = {
        "effects": effects(pairs, arms, vocabulary),
        "sensitivity": {
            kind: {str(seeds): sensitivity(arms, some, seeds) for seeds in SEEDS_TOLD}
            for kind, some in by_vae(pairs, arms).items()
        },
        "arms": describe(arms, vocabulary),
        "protocol": {
            "data": scale.data,
            "evaluation": asdict(scale.evaluation),
            "vaes": dict(vaes) or "trained",
            "dtype": options.dtype,
        },
    }
    text = json.dumps(summary, indent=1) + "\n"
    write_text(out / "summary.json", portable(text, options.work))
    write_text(out / "arms.md", portable(arms_table(summary), options.work))
    write_text(out / "effects.md", effects_table(summary))
    for name, its in summary["effects"].items():
        # Rivals have tables of their own, with more columns, and stand in that of all effects.
        own = [e for e in its if not regularizer_table.is_rival(e["other"].partition("/")[2])]
        if own:
            write_text(out / f"{name}.md", family_table(name, own))
    costs = json.loads((out / COSTS).read_text()) if (out / COSTS).exists() else {}
    for older in out.glob("regularisers-*.md"):  # what was tried may be a row of the other by now
        older.unlink()
    for name, table in regularizer_table.tables(summary, costs).items():
        write_text(out / f"regularisers-{name}.md", table)
    if summary["effects"]:
        figure = figure_of(summary)
        (out / "figure.svg").write_text(to_svg(figure))
        save_figure(figure, out / "figure.png")
    write_configs(options)
    shown = [arm for arm in SHOWN_ARMS if arm in arms]
    if shown:
        folder, seeds = options.work / "diffusion", set.intersection(*(set(arms[a]) for a in shown))
        runs = {seed: _shown(shown, seed, arms, folder) for seed in sorted(seeds)}
        write_samples(runs, scale, options)
    return summary


def by_vae(pairs: Mapping[str, Sequence[Pair]], arms: Learned) -> dict[str, list[Pair]]:
    """The pairs that learn one VAE's latents, and those that learn two's, which scatter more."""
    every = [pair for its in pairs.values() for pair in its]
    one = [pair for pair in every if PairedCurves.of(pair, arms).on_one_vae]
    return {"on one VAE": one, "on two": [pair for pair in every if pair not in one]}


def _shown(shown: Sequence[Arm], seed: int, arms: Learned, folder: Path) -> dict[str, Path]:
    """The runs of a seed whose clips are shown, each with what it is."""
    return {
        f"{'/'.join(arm)} after {arms[arm][seed].rows[-1]['step']} steps": folder
        / label_of(arm, seed)
        for arm in shown
    }


def figure_of(summary: Mapping[str, Any]):
    """Speed-up, gain and final reward of all effects."""
    groups = {
        TITLES[name]: [
            Effect(
                effect["label"],
                effect["speedup"].get("reward", dict.fromkeys(("value", "low", "high"))),
                effect["gain"]["reward"],
                (effect["ends"][0]["reward"], effect["ends"][1]["reward"]),
                f"{len(effect['seeds'])} seed" + "s" * (len(effect["seeds"]) > 1),
                abs(effect["ceiling_gap"]) > SAME_CEILING,
            )
            for effect in its
        ]
        for name, its in summary["effects"].items()
    }
    return forest_figure(groups, f"(to {CLAIMED:.0%} of the other's rise)")


def effects_table(summary: Mapping[str, Any]) -> str:
    """All effects as tables in Markdown, and what it takes to read them."""
    parts = [
        f"**{TITLES[name]}**\n\n{family_table(name, its)}\n"
        for name, its in summary["effects"].items()
    ]
    seen = [
        f"of pairs {kind}, {number(gain, 3)} by {seeds} seeds"
        for kind, its in summary["sensitivity"].items()
        for seeds, gain in its.items()
        if gain is not None
    ]
    smallest = f" The smallest gain that is found four times out of five: {'; '.join(seen)}."
    return "".join(parts) + NOTES + (smallest if seen else "") + "\n"


def family_table(family: str, its: Sequence[Mapping[str, Any]]) -> str:
    """Effects whose claims are corrected together, as a table in Markdown.

    Times of a step are left out where both sides train the same diffusion model: they would differ by
    what else the machine did.
    """
    timed = family != "regularisers"
    columns = ["", "seeds", f"speed-up to {CLAIMED:.0%}", "coarse", "fine"]
    columns += ["time of a step"] if timed else []
    columns += ["gain in reward", "reward at the last step of the other, of its own", "verdict"]
    rows = [
        [
            effect["label"],
            str(len(effect["seeds"])),
            *(
                interval(effect["speedup"][q], 2) if q in effect["speedup"] else "–"
                for q in ("reward", "coarse", "fine")
            ),
            *([number(effect["time_of_a_step"], 2)] if timed else []),
            interval(effect["gain"]["reward"], 3) + f" at {effect['shared_step']}",
            ", ".join(f"{number(end['reward'], 3)} at {end['step']}" for end in effect["ends"]),
            effect["verdict"],
        ]
        for effect in its
    ]
    return markdown(columns, rows)


def arms_table(summary: Mapping[str, Any]) -> str:
    """Each arm by itself, as a table in Markdown, with the command that repeats it."""
    columns = ["cell", "VAE", "seeds", "latents", "ceiling", "decoder steps", "low frequencies"]
    columns += [
        "effective rank",
        "local correlation",
        "steps",
        "reward",
        "coarse",
        "fine",
        "Fréchet",
    ]
    columns += ["plateau", "ms a step", "minutes"]
    rows = []
    for arm in summary["arms"]:
        spectra, speed = arm["spectra"], arm["steps_per_second"]
        rows.append(
            [
                arm["cell"],
                arm["variant"],
                ", ".join(map(str, arm["seeds"])),
                "x".join(map(str, arm["latent_shape"])),
                number(arm["ceiling"], 3),
                number(arm["decoder_steps"], 0),
                percent(spectra["low_share"]),
                number(spectra["effective_rank"], 1),
                number(spectra["local_correlation"], 2),
                str(arm["steps"]),
                *(interval(arm[q], 3) for q in ("reward", "coarse", "fine")),
                interval(arm["frechet"], 0),
                "yes" if arm["at_plateau"] else "no",
                number(None if speed is None else 1000 / speed, 0),
                number(None if speed is None else arm["steps"] / speed / 60, 1),
            ]
        )
    notes = (
        "Time is that of training one diffusion model, where it was run, without its VAE and its scores. "
        f"Protocol: {json.dumps(summary['protocol'])}"
    )
    return f"{markdown(columns, rows)}\n{notes}\n"

"""What the map leaves: summary, figure, tables, configs."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ssvae.bench.cells import DEFAULT
from ssvae.bench.map_summary import CUSTOM_ARM, WHOLE, describe, effects, families, learned
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
    "Seeds are paired: VAE and diffusion model of one are of that seed in the other too. 95 % "
    "intervals are of Student's kind, with one scatter for all effects of a table, since few seeds "
    "cannot tell each its own. Speed-up: steps that the one it is compared with needs for "
    f"{CLAIMED:.0%} of the way from chance to where it ends, over those that the other needs; of runs "
    "that never got there, the end of the interval that holds all the same, or –. Time of a step: in "
    "units of the step of the one it is compared with. Gain: the other's last reward less that of the "
    f"one. A verdict is at 5 % after Holm's correction over its table, from {SEEDS_FOR_A_CLAIM} seeds on "
    f"and at ceilings that differ by no more than {SAME_CEILING}.\n"
)


def write_map(scale: Scale, options: Options) -> dict[str, Any]:
    """Write what all records of the results give, whichever calls they are of; the summary."""
    arms, out = learned(read_records(options.out)), options.out
    vocabulary = vocabulary_of(scale.data)
    summary = {
        "effects": {
            name: effects(pairs, arms, vocabulary)
            for name, pairs in families(arms).items()
            if pairs
        },
        "arms": describe(arms, vocabulary),
        "data": scale.data,
        "dtype": options.dtype,
    }
    text = json.dumps(summary, indent=1) + "\n"
    write_text(out / "summary.json", portable(text, options.work))
    write_text(out / "table.md", map_table(summary))
    for name, its in summary["effects"].items():
        write_text(out / f"{name}.md", family_table(its))
    if summary["effects"]:
        figure = figure_of(summary)
        (out / "figure.svg").write_text(to_svg(figure))
        save_figure(figure, out / "figure.png")
    write_configs(options)
    shown = [CUSTOM_ARM, (DEFAULT, BASELINE), WHOLE]
    if all(arm in arms for arm in shown):
        seeds = [seed for seed in arms[WHOLE] if all(seed in arms[arm] for arm in shown)]
        folders = {
            seed: {
                "/".join(arm): options.work / "diffusion" / f"{arm[0]}-{arm[1]}-{seed}"
                for arm in shown
            }
            for seed in seeds
        }
        write_samples(folders, scale, options)
    return summary


def figure_of(summary: Mapping[str, Any]):
    """Speed-up, gain and final reward of all effects."""
    groups = {
        TITLES[name]: [
            Effect(
                effect["label"],
                effect["speedup"].get("reward", dict.fromkeys(("value", "low", "high"))),
                effect["gain"]["reward"],
                tuple(effect["ends"]),
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
        f"**{TITLES[name]}**\n\n{family_table(its)}\n" for name, its in summary["effects"].items()
    ]
    return "".join(parts) + NOTES


def family_table(its: Sequence[Mapping[str, Any]]) -> str:
    """Effects whose claims are corrected together, as a table in Markdown."""
    columns = ["", "seeds", f"speed-up to {CLAIMED:.0%}", "coarse", "fine", "time of a step"]
    columns += ["gain in reward", "from, to", "verdict"]
    rows = [
        [
            effect["label"],
            str(len(effect["seeds"])),
            *(
                interval(effect["speedup"][q], 2) if q in effect["speedup"] else "–"
                for q in ("reward", "coarse", "fine")
            ),
            number(effect["time_of_a_step"], 2),
            interval(effect["gain"]["reward"], 3),
            ", ".join(number(end, 3) for end in effect["ends"]),
            effect["verdict"],
        ]
        for effect in its
    ]
    return markdown(columns, rows)


def map_table(summary: Mapping[str, Any]) -> str:
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
        "A cell again, with another seed: `ssvae bench map --cells CELL --seeds N`."
    )
    return f"{markdown(columns, rows)}\n{notes}\n"

"""Tables of effects and of arms, in Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from ssvae.bench.claims import CLAIMED, SAME_CEILING, SEEDS_FOR_A_CLAIM
from ssvae.bench.effects import Quantity
from ssvae.report.tables import interval, markdown, number, percent

NOTES = f"""Seeds are paired. 95 % intervals are Student's; of fewer than {SEEDS_FOR_A_CLAIM} seeds,
with the scatter of all pairs here that are on one VAE, or on two, if all of a kind scatter alike.
Speed-up: steps that the reference needs for a share of the way from its start to its score at the
last step that both have, over those that the row's needs. Of runs that never got there, the end of
the interval that holds all the same, or –. A verdict is at 5 % after Holm's correction over its
table, from {SEEDS_FOR_A_CLAIM} seeds on, and where rewards are scored at ceilings that differ by no
more than {SAME_CEILING}."""
DIGITS = {"reward": 3, "coarse": 3, "fine": 3, "frechet": 0, "kernel": 3}
TITLES = {"frechet": "Fréchet", "kernel": "KVD"}


def effects_table(
    entries: Sequence[Mapping[str, Any]],
    quantities: Sequence[Quantity],
    shares: Sequence[float] = (CLAIMED,),
) -> str:
    """Effects whose claims are corrected together."""
    chief, *others = [quantity.name for quantity in quantities]
    digits = DIGITS[chief]
    columns = ["", "seeds", *(f"speed-up to {share:.0%}" for share in shares)]
    columns += [TITLES.get(name, name) for name in others]
    score = TITLES.get(chief, chief)
    columns += [f"gain in {score}", f"reference's last {score}", f"its last {score}", "verdict"]
    rows = [
        [
            entry["label"],
            str(len(entry["seeds"])),
            *(_ratio(entry["speedups"].get(f"{share:g}")) for share in shares),
            *(_ratio(entry["speedup"].get(name)) for name in others),
            interval(entry["gain"][chief], digits) + f" at {entry['shared_step']}",
            *(f"{number(end[chief], digits)} at {end['step']}" for end in entry["ends"]),
            entry["verdict"],
        ]
        for entry in entries
    ]
    return markdown(columns, rows)


def arms_table(arms: Sequence[Mapping[str, Any]], quantities: Sequence[Quantity]) -> str:
    """Each arm by itself. Time is that of training one diffusion model, where it was run."""
    names = list(dict.fromkeys([*(q.name for q in quantities), "frechet"]))
    in_cells = any(arm["cell"] for arm in arms)
    columns = [*(["cell"] if in_cells else []), "VAE", "seeds", "latents", "ceiling"]
    columns += ["decoder steps", "low frequencies", "effective rank", "local correlation", "steps"]
    columns += [*(TITLES.get(name, name) for name in names), "plateau", "ms a step", "minutes"]
    rows = []
    for arm in arms:
        spectra, speed = arm["spectra"], arm["steps_per_second"]
        rows.append(
            [
                *([arm["cell"]] if in_cells else []),
                arm["variant"],
                ", ".join(map(str, arm["seeds"])),
                "x".join(map(str, arm["latent_shape"])),
                number(arm["ceiling"], DIGITS[names[0]]),
                number(arm["decoder_steps"], 0),
                percent(spectra["low_share"]),
                number(spectra["effective_rank"], 1),
                number(spectra["local_correlation"], 2),
                str(arm["steps"]),
                *(interval(arm[name], DIGITS[name]) for name in names),
                "yes" if arm["at_plateau"] else "no",
                number(None if speed is None else 1000 / speed, 0),
                number(None if speed is None else arm["steps"] / speed / 60, 1),
            ]
        )
    return markdown(columns, rows)


def smallest_effects(sensitivity: Mapping[str, Mapping[str, float | None]], digits: int = 3) -> str:
    """The smallest gains that would be found, as a sentence; empty where nothing is known.

    ``sensitivity`` is by kind of pair, then by number of seeds.
    """
    known = [
        f"of pairs {kind}, {number(gain, digits)} by {seeds} seeds"
        for kind, by_seeds in sensitivity.items()
        for seeds, gain in by_seeds.items()
        if gain is not None
    ]
    if not known:
        return ""
    return f"The smallest gain that is found four times out of five: {'; '.join(known)}."


def _ratio(ratio: Mapping[str, Any] | None) -> str:
    return "–" if ratio is None else interval(ratio, 2)

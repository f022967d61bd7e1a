"""What a benchmark leaves: summary, curves, figure, table, samples, configs."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from ssvae.bench.records import portable
from ssvae.bench.scales import Scale
from ssvae.bench.stages import SAMPLES, SHOWN, Options
from ssvae.bench.summary import CLAIMED, SEEDS_FOR_A_CLAIM, Curves
from ssvae.data import write_video
from ssvae.evaluation.convergence import student
from ssvae.report.figures import Band, Spectra, diffusability_figure, save_figure, to_svg
from ssvae.report.html import grid
from ssvae.report.tables import interval, markdown, number, percent
from ssvae.storage.files import write_text

NOISE = "0.3"  # deviation of the noise on the latents, for the table
Measures = Mapping[str, Sequence[Mapping[str, Any]]]


def write_results(
    summary: dict[str, Any],
    curves: Curves,
    measures: Measures,
    scale: Scale,
    protocol: Mapping[str, Any],
    options: Options,
) -> dict[str, Any]:
    """Write everything into the folder of the results, beside the records of the seeds; the summary."""
    out = options.out
    out.mkdir(parents=True, exist_ok=True)
    evaluation = dataclasses.asdict(scale.evaluation)
    summary = summary | {"protocol": {"evaluation": evaluation, **protocol}}
    text = json.dumps(summary, indent=2) + "\n"
    write_text(out / "summary.json", portable(text, options.work))
    figure = figure_of(curves, measures)
    (out / "figure.svg").write_text(to_svg(figure))
    save_figure(figure, out / "figure.png")
    (out / "table.md").write_text(portable(table(summary), options.work))
    write_text(out / "overview.md", overview(summary))
    write_configs(options)
    runs = options.work / "diffusion"
    write_samples(
        {seed: {name: runs / f"{name}-{seed}" for name in curves.rows} for seed in curves.seeds},
        scale,
        options,
    )
    return summary


def write_configs(options: Options) -> None:
    """The settings of all runs that are here, beside the results."""
    (options.out / "configs").mkdir(parents=True, exist_ok=True)
    for config in sorted(options.work.glob("*/*/config.json")):
        target = options.out / "configs" / f"{config.parent.parent.name}-{config.parent.name}.json"
        target.write_text(portable(config.read_text(), options.work))


def figure_of(curves: Curves, measures: Measures):
    """Frequency spectrum, channel spectrum, reward over steps, and gain over the baseline."""
    spectra, rewards, gains, ceilings = {}, {}, {}, {}
    for name in curves.rows:
        its = measures[name]
        means = [
            np.mean([m["analysis"][curve] for m in its], 0) for curve in ("curve", "explained")
        ]
        spectra[name] = Spectra(*(mean.tolist() for mean in means))
        rewards[name] = _band(curves.steps, curves.of(name, "reward"))
        if name != curves.baseline:
            gains[name] = _band(curves.steps, curves.gains(name))
        ceilings[name] = float(np.mean([m["ceiling"]["reward"] for m in its]))
    return diffusability_figure(spectra, rewards, ceilings, gains)


def _band(steps: Sequence[int], values: np.ndarray) -> Band:
    """Means over seeds of values (seeds, steps), with Student's intervals; none for one seed."""
    points = [student(column) for column in values.T]
    means = [point.value or 0.0 for point in points]
    lows = [m if p.low is None else p.low for m, p in zip(means, points, strict=True)]
    highs = [m if p.high is None else p.high for m, p in zip(means, points, strict=True)]
    return Band(steps, means, lows, highs)


def overview(summary: Mapping[str, Any]) -> str:
    """The summary's chief figures as a table in Markdown."""
    columns = ["", "low frequencies", "effective rank", "decoder steps", "ceiling"]
    columns += ["speed-up to 50 %", "to 90 %", "gain in reward", "verdict"]
    rows = []
    for name, v in summary["variants"].items():
        is_baseline, faster = name == summary["baseline"], v["speedups"]["reward"]
        rows.append(
            [
                f"*{name}*" if v["control"] else name,
                percent(v["spectra"]["low_share"]),
                number(v["spectra"]["effective_rank"], 1),
                number(v["decoder_steps"], 0),
                number(v["ceiling"]["value"], 3),
                *("1" if is_baseline else interval(faster[s], 2) for s in ("0.5", f"{CLAIMED:g}")),
                "–" if is_baseline else interval(v["gain"], 3),
                v["verdict"],
            ]
        )
    return markdown(columns, rows)


def table(summary: Mapping[str, Any]) -> str:
    """The summary as a table in Markdown, and the sentences that it takes to read it."""
    columns = [
        *("", "reward", "gain", "speed-up to 50 %", "to 75 %", "to 90 %", "coarse", "fine"),
        *("Fréchet", "ceiling", "decoder steps", "PSNR", f"under noise {NOISE}", "verdict"),
    ]
    rows = []
    for name, v in summary["variants"].items():
        is_baseline = name == summary["baseline"]
        faster = [v["speedups"]["reward"][f"{share:g}"] for share in (0.5, 0.75, CLAIMED)]
        rows.append(
            [
                f"*{name}*" if v["control"] else name,
                interval(v["reward"], 3),
                "–" if is_baseline else interval(v["gain"], 3),
                *("1" if is_baseline else interval(s, 2) for s in faster),
                interval(v["coarse"], 3),
                interval(v["fine"], 3),
                interval(v["frechet"], 0),
                interval(v["ceiling"], 3),
                number(v["decoder_steps"], 0),
                interval(v["psnr"], 2),
                number(v["psnr_under_noise"][NOISE], 2),
                v["verdict"],
            ]
        )
    return markdown(columns, rows) + "\n" + "\n\n".join(_notes(summary)) + "\n"


def _notes(summary: Mapping[str, Any]) -> list[str]:
    """What a reader of the table must know, in sentences that follow from the figures."""
    steps, seeds, baseline = summary["steps"], summary["seeds"], summary["baseline"]
    variants, seen = summary["variants"], summary["sensitivity"]
    notes = [
        f"After {steps[-1]} steps; seeds {', '.join(map(str, seeds))}, paired over variants. 95 % "
        "intervals are Student's over seeds (of ceiling and PSNR over clips where one VAE serves all "
        "seeds), of the mean logarithm for speed-ups. Gain: reward less the baseline's. Speed-up: "
        f"steps that {baseline} needs for a score over those that the variant needs; targets are "
        "shares of the way from chance to where it ends on average; where runs never reached one, "
        "the end of the interval that holds all the same is told, or – where none does. "
        f"A verdict is about speed-up to {CLAIMED:.0%} and "
        f"final reward, at 5 % after Holm's correction, from {SEEDS_FOR_A_CLAIM} seeds on. Controls "
        "are in italics."
    ]
    late = [name for name, v in variants.items() if not v["at_plateau"]]
    notes.append(
        "Every curve is at its plateau: the last two evaluations differ by less than 2 %."
        if not late
        else f"Not at a plateau yet (the last two evaluations differ by over 2 %): {', '.join(late)}."
    )
    for name, v in variants.items():
        for quantity, change in v["movements"].items():
            word = "as the paper says" if change["as_the_paper_says"] else "not as the paper says"
            text = interval(change, 3)
            notes.append(f"{name} moves {quantity.replace('_', ' ')} by {text}: {word}.")
    if seen["reward"] is not None:
        faster = "" if seen["speedup"] is None else f" or a speed-up of {seen['speedup']:.2f}"
        notes.append(
            f"Smallest effect that {len(seeds)} seeds would have found four times out of five, one "
            f"test alone: a difference of {seen['reward']:.3f} in reward{faster}."
        )
    return [*notes, f"Protocol: {json.dumps(summary['protocol'])}"]


def write_samples(runs: Mapping[int, Mapping[str, Path]], scale: Scale, options: Options) -> None:
    """The same captions and noise through every variant, by models of one seed: a video.

    ``runs`` are the folders of each seed's runs, by variant. Of the first seed all of whose runs are
    here; where there is none, what stands in the results is left.
    """
    here = [
        seed
        for seed, folders in runs.items()
        if all((folder / SAMPLES).exists() for folder in folders.values())
    ]
    if not here:
        return
    folders = runs[here[0]]
    clips = [load_file(folder / SAMPLES)["clips"][:SHOWN] for folder in folders.values()]
    named = [grid(of_variant, SHOWN, 3) for of_variant in clips]
    gap = torch.ones_like(named[0][:, :, :6])
    joined = torch.cat([part for clip in named for part in (gap, clip)][1:], 2)
    height, width = (n - n % 2 for n in joined.shape[2:])
    write_video(options.out / "samples.mp4", joined[..., :height, :width], 6)
    text = [
        f"Seed {here[0]}. Rows, top to bottom: " + ", ".join(folders) + ". Columns, left to right:",
        "",
    ]
    captions = options.scorer(scale).captions[:SHOWN]
    text += [f"{i + 1}. {caption}" for i, caption in enumerate(captions)]
    (options.out / "samples.md").write_text("\n".join(text) + "\n")

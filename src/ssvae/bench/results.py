"""What a benchmark leaves: summary, curves, figure, table, samples, configs."""

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from ssvae.bench.learning import Options
from ssvae.bench.stages import SHOWN, Judge
from ssvae.bench.summary import Curves
from ssvae.data import write_video
from ssvae.data.files import write_text
from ssvae.report.figures import Band, Spectra, diffusability_figure, save_figure, to_svg
from ssvae.report.html import grid
from ssvae.report.tables import interval, markdown, number, percent

NOISE = "0.3"  # deviation of the noise on the latents, for the table
Measures = Mapping[str, Sequence[Mapping[str, Any]]]


def write_results(
    summary: dict[str, Any],
    curves: Curves,
    measures: Measures,
    judge: Judge,
    protocol: Mapping[str, Any],
    places: Options,
) -> dict[str, Any]:
    """Write everything into the folder of the results; the summary."""
    out = places.out
    (out / "configs").mkdir(parents=True, exist_ok=True)
    summary = summary | {"protocol": {**protocol, **_provenance()}}
    text = json.dumps(summary, indent=2) + "\n"
    write_text(out / "summary.json", _portable(text, places.work))
    losses = {
        name: [
            losses_by_time(places.work / "diffusion" / f"{name}-{seed}", curves.steps[-1])
            for seed in curves.seeds
        ]
        for name in curves.rows
    }
    (out / "curves.json").write_text(
        json.dumps({"seeds": list(curves.seeds), "rows": curves.rows, "losses": losses}, indent=1)
        + "\n"
    )
    figure = figure_of(curves, measures)
    (out / "figure.svg").write_text(to_svg(figure))
    save_figure(figure, out / "figure.png")
    (out / "table.md").write_text(_portable(table(summary), places.work))
    for config in sorted(places.work.glob("*/*/config.json")):
        target = out / "configs" / f"{config.parent.parent.name}-{config.parent.name}.json"
        target.write_text(_portable(config.read_text(), places.work))
    _write_samples(curves, judge, places)
    return summary


def _portable(text: str, work: Path) -> str:
    """Paths count from the folder of the runs, or from where the command ran, wherever these are."""
    for folder in (work.resolve(), work, Path.cwd()):
        text = text.replace(f"{folder}/", "")
    return text


def losses_by_time(run: Path, last: int) -> dict[str, float]:
    """The loss at each noise level, the mean over the last quarter of a run's steps."""
    metrics = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    found: dict[str, list[float]] = {}
    for row in metrics:
        if 0.75 * last < row["step"] <= last:
            for key, value in row.items():
                if key.startswith("loss") and value is not None:
                    found.setdefault(key, []).append(value)
    return {key: sum(values) / len(values) for key, values in sorted(found.items())}


def _provenance() -> dict[str, str]:
    cuda = torch.cuda.is_available()
    return {
        "ssvae": version("ssvae"),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name()
        if cuda
        else f"CPU, {torch.get_num_threads()} threads",
    }


def figure_of(curves: Curves, measures: Measures):
    """The three panels: frequency spectrum, channel spectrum, reward over steps."""
    spectra, bands = {}, {}
    for name in curves.rows:
        its = measures[name]
        means = [
            np.mean([m["analysis"][curve] for m in its], 0) for curve in ("curve", "explained")
        ]
        spectra[name] = Spectra(*(mean.tolist() for mean in means))
        points = curves.over_steps(name, "reward")
        bands[name] = Band(
            curves.steps,
            *zip(*((p.value, p.low or p.value, p.high or p.value) for p in points), strict=True),
            ceiling=float(np.mean([m["ceiling"]["reward"] for m in its])),
        )
    return diffusability_figure(spectra, bands)


def table(summary: Mapping[str, Any]) -> str:
    """The summary as a table in Markdown."""
    columns = [
        *("", "reward", "gain", "speed-up to 75 %", "to 90 %", "to the end"),
        *("coarse", "fine", "Fréchet", "ceiling", "PSNR", f"under noise {NOISE}", "verdict"),
    ]
    rows = []
    for name, v in summary["variants"].items():
        faster = [v["speedups"]["reward"][s] for s in ("0.75", "0.9", "1")]
        rows.append(
            [
                name,
                interval(v["reward"], 3),
                interval(v["reward_gain"], show=percent),
                *(interval(s, 2) for s in faster),
                interval(v["coarse"], 3),
                interval(v["fine"], 3),
                interval(v["frechet"], 0),
                interval(v["ceiling"], 3),
                interval(v["psnr"], 2),
                number(v["psnr_under_noise"][NOISE], 2),
                v["verdict"],
            ]
        )
    steps, seeds = summary["steps"], summary["seeds"]
    return (
        markdown(columns, rows)
        + f"\nAfter {steps[-1]} steps; seeds {', '.join(map(str, seeds))}; 95 % intervals over seeds "
        "(of ceiling and PSNR over clips where one VAE serves all seeds). Speed-up: steps that "
        f"{summary['baseline']} needs for a score over those that the variant needs; targets are "
        "shares of the way from chance to where it ends; – was never reached. "
        f"Protocol: {json.dumps(summary['protocol'])}\n"
    )


def _write_samples(curves: Curves, judge: Judge, places: Options) -> None:
    """The same captions and noise through every variant: a video and their captions."""
    seed, named = curves.seeds[0], []
    for name in curves.rows:
        path = places.work / "diffusion" / f"{name}-{seed}" / "samples.safetensors"
        named.append(grid(load_file(path)["clips"][:SHOWN], SHOWN, 3))
    gap = torch.ones_like(named[0][:, :, :6])
    joined = torch.cat([part for clip in named for part in (gap, clip)][1:], 2)
    height, width = (n - n % 2 for n in joined.shape[2:])
    write_video(places.out / "samples.mp4", joined[..., :height, :width], 6)
    text = ["Rows, top to bottom: " + ", ".join(curves.rows) + ". Columns, left to right:", ""]
    text += [f"{i + 1}. {caption}" for i, caption in enumerate(judge.captions[:SHOWN])]
    (places.out / "samples.md").write_text("\n".join(text) + "\n")

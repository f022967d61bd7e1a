"""Fragments that are tables of what the benchmarks by hand gave, from ``results/``."""

import json
import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from statistics import mean
from typing import Any

from ssvae.bench.convergence import steps_to_target, student
from ssvae.report.tables import interval, markdown, number
from ssvae.statistics.intervals import Interval

NVLINK = 450.0  # MB a millisecond
RESULTS = Path(__file__).parents[1] / "results"


def _read(name: str) -> Any:
    return json.loads((RESULTS / name).read_text())


def ten_million() -> str:
    """What so many clips cost."""
    found = _read("ten-million/results.json")
    return markdown(["", f"{found['clips']:,} clips", ""], found["arithmetic"])


def swapped_latents() -> str:
    """A student's latents through its teacher, and the other way round."""
    rows = [
        [row["encoder"], row["decoder"], number(row["psnr"], 2), number(row["ssim"], 3)]
        for row in _read("distil/film.json")["rows"]
    ]
    head = ["encoded by", "decoded by", "PSNR, dB", "SSIM"]
    return markdown(head, rows)


def alpha() -> str:
    """Reconstructions of clips with alpha and without."""
    mixed, alone = _read("alpha/film.json"), _read("alpha/film-alone.json")
    given, trained = mixed["of clips with alpha, dB"]
    whole = "of clips without, dB"
    rows = [["`film`", "", "", "", number(mixed[whole]["film"], 2)]]
    for label, found, model in (
        ("given four channels", mixed, given),
        ("trained on", mixed, trained),
        ("trained on cut-outs alone", alone, trained),
    ):
        cut = found["of clips with alpha, dB"][model]
        values = *(cut[name] for name in ("before black", "before white", "alpha")), found[whole]
        rows.append([label, *(number(v, 2) for v in (*values[:3], found[whole][model]))])
    head = ["", "cut out, before black", "before white", "alpha", "as they are"]
    return markdown(head, rows)


def strips() -> str:
    """Time, memory and messages of a clip in strips on several processes."""
    found = _read("strips/film.json")
    rows = [
        [
            row["task"],
            str(row["processes"]),
            number(row["megabytes"], 0),
            number((sent := row["sent"] / 1e6 / found["frames"]), 2),
            number(sent / NVLINK, 4),
            number(row["seconds"], 1),
        ]
        for row in found["rows"]
    ]
    head = ["", "processes", "most memory of one, MB", "sent by one, MB a frame"]
    return markdown([*head, "at an NVLink's 450 GB/s, ms a frame", "seconds"], rows)


def gpu_counted(kind: str) -> str:
    """What the models ask of a GPU, as written or compiled."""
    units = {
        "tflop": ("TFLOP", 1),
        "gigabytes": ("GB moved", 1),
        "launches": ("launches", 0),
        **({"unattributed": ("of them without bytes here", 0)} if kind == "compiled" else {}),
        "waits": ("waits", 0),
        "least_ms": ("least ms", 0),
        "peak_gigabytes": ("GB at the peak", 2),
    }
    rows = [
        [row["title"], *(number(row[name], digits) for name, (_, digits) in units.items())]
        for row in _read("gpu-counted/results.json")[kind].values()
    ]
    return markdown(["one H100, bfloat16", *(unit for unit, _ in units.values())], rows)


def diffusion_steps() -> str:
    """What a step of each diffusion recipe takes, over the conventional one's."""
    lines = (RESULTS / "diffusion-steps" / "rows.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    kinds = list(dict.fromkeys((row["dtype"], row["compiled"]) for row in rows))
    found = {(row["recipe"], row["dtype"], row["compiled"]): row for row in rows}
    table = [
        [name, *(f"{row['milliseconds']:.0f} ms, x {row['ratio']:.2f}" for row in of_kinds)]
        for name in dict.fromkeys(row["recipe"] for row in rows)
        for of_kinds in [[found[name, *kind] for kind in kinds]]
    ]
    columns = [f"{dtype}{', compiled' if compiled else ''}" for dtype, compiled in kinds]
    return markdown(["a step", *columns], table)


def time_to_score() -> str:
    """Seconds until each recipe has the conventional one's last reward and Fréchet distance, in
    float32, not compiled.
    """
    lines = (RESULTS / "time-to-score" / "rows.jsonl").read_text().splitlines()
    curves = defaultdict[tuple[str, int], list[Any]](list)
    for row in map(json.loads, lines):
        if row["dtype"] == "float32" and not row["compiled"]:
            curves[row["recipe"], row["seed"]].append(row)
    names = list(dict.fromkeys(name for name, _ in curves))
    table = []
    for name in names:
        seeds = [seed for other, seed in curves if other == name]
        cells = [name, str(len(seeds))]
        for score, sign in (("reward", 1), ("frechet", -1)):
            ratios = []
            for seed in seeds:
                end = curves[names[0], seed][-1]
                own = curves[name, seed]
                found = steps_to_target(
                    [row["seconds"] for row in own],
                    [sign * row["scores"][score] for row in own],
                    sign * end["scores"][score],
                )
                ratios += [] if found is None else [math.log(end["seconds"] / found)]
            whole = len(ratios) == len(seeds) and name != names[0]
            cells.append(interval(exponentials(student(ratios)), 2) if whole else "–")
        last = [curves[name, seed][-1] for seed in seeds]
        for score, digits in (("reward", 3), ("frechet", 0)):
            cells.append(number(mean(row["scores"][score] for row in last), digits))
        cells.append(f"{mean(row['seconds'] for row in last):.0f} s")
        table.append(cells)
    columns = ["recipe", "seeds", "sooner at its reward", "at its Fréchet distance"]
    return markdown([*columns, "last reward", "last Fréchet", "after"], table)


def exponentials(found: Interval) -> dict[str, float | None]:
    """An interval of logarithms as one of ratios."""
    return {
        name: None if value is None else math.exp(value) for name, value in asdict(found).items()
    }


FRAGMENTS: Mapping[str, Callable[[], str]] = {
    "results.distil": swapped_latents,
    "results.alpha": alpha,
    "results.strips": strips,
    "results.ten-million": ten_million,
    "results.diffusion-steps": diffusion_steps,
    "results.time-to-score": time_to_score,
    "results.gpu-counted": lambda: gpu_counted("as written"),
    "results.gpu-counted-compiled": lambda: gpu_counted("compiled"),
}

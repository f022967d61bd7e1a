"""Running arms: a VAE, its latents, a diffusion model on them, and the rows that tell what came
out.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ssvae.bench.records import training
from ssvae.bench.scales import Scale
from ssvae.bench.scoring import ProbeScorer
from ssvae.bench.stages import Options, learn, map_latents, measured, train_vae
from ssvae.bench.tasks import OnProgress, Task, run_tasks
from ssvae.models.backbones import load_backbone
from studies.diffusability.ladder.arms import MAPS, SETTINGS, Arm
from studies.diffusability.ladder.detail import kept_detail
from studies.diffusability.ladder.rows import DIFFUSION, FOLDER, ROWS, VAE, append, made_with, read

PROBE = FOLDER / "probe.safetensors"
ANALYSIS = (
    *("low_share", "high_share", "slope", "effective_rank", "local_correlation"),
    *("explained", "robustness"),
)


@dataclass(frozen=True)
class LadderOptions(Options):
    """Where the ladder works."""

    rows: Path = ROWS

    def scorer(self, scale: Scale) -> ProbeScorer:
        """The ladder's own probe, and one scorer for each size in a process."""
        return _scorer(scale)


@lru_cache(8)
def _scorer_of(size: tuple[int, int, int], data: str, sampling: Any) -> ProbeScorer:
    return ProbeScorer(sampling, size, PROBE, "cpu", data)


def _scorer(scale: Scale) -> ProbeScorer:
    return _scorer_of(scale.size, scale.data, scale.evaluation)


def run_arms(
    arms: Sequence[Arm],
    options: LadderOptions,
    on_progress: OnProgress = lambda done, total, note: None,
) -> None:
    """Run these arms, or go on where they were stopped; what stands in the rows is not run
    again.
    """
    there = {_key(row) for row in read(options.rows) if row["kind"] == DIFFUSION}
    left = [
        arm for arm in arms if not {(*_of(arm), step) for step in arm.scale.evaluations} <= there
    ]
    tasks = [task for arm in left for task in _tasks(arm, options)]
    unique = list({task.name: task for task in tasks}.values())
    run_tasks(unique, options.jobs, on_progress)


def _tasks(arm: Arm, options: LadderOptions) -> list[Task]:
    vae = training(arm.latents, arm.vae, arm.scale, options)
    prepare = dataclasses.replace(vae, work=_prepared, arguments=(arm, options))
    learned = Task(
        f"learn {arm.part} {arm.label}",
        _learned,
        (arm, options),
        needs=(prepare.name,),
        runs=(options.work / "diffusion" / arm.label,),
        steps=arm.scale.learning_steps,
    )
    return [prepare, learned]


def _prepared(arm: Arm, options: LadderOptions) -> None:
    """Train the arm's VAE and cache its latents; write its row once."""
    prepared = train_vae(arm.latents, arm.vae, arm.scale, options)
    known = {row["latents"] for row in read(options.rows) if row["kind"] == VAE}
    if arm.latents in known:
        return
    measure = prepared.measure
    backbone = load_backbone(prepared.vae)
    row = _described(arm, VAE) | {
        "latents": arm.latents,
        "parameters": sum(p.numel() for p in backbone.vae.parameters()),
        "ceiling": measure["ceiling"],
        "psnr": measure["psnr"],
        "decoder_steps": measure["decoder_steps"],
        "kept_detail": kept_detail(backbone, arm.rung),
        "analysis": {name: measure["analysis"].get(name) for name in ANALYSIS},
    }
    append([row], options.rows)


def _learned(arm: Arm, options: LadderOptions) -> None:
    """Train and score the arm's diffusion model; write a row an evaluation."""
    map_label = None
    if arm.variant in MAPS:
        map_label = arm.label
        config = MAPS[arm.variant]
        map_latents(map_label, arm.latents, None, config, arm.scale, options)
    scored = learn(
        options.work / "diffusion" / arm.label,
        arm.latents,
        map_label,
        arm.diffusion_seed,
        arm.scale,
        options,
    )
    ceiling = measured(map_label or arm.latents, options)["ceiling"]["reward"]
    planned = set(arm.scale.evaluations)
    append(
        [
            _described(arm, DIFFUSION)
            | {"latents": arm.latents, "ceiling": ceiling, "step": row["step"]}
            | {"scores": {name: value for name, value in row.items() if name != "step"}}
            for row in scored
            if row["step"] in planned
        ],
        options.rows,
    )


def _described(arm: Arm, kind: str) -> dict[str, Any]:
    """What every row tells of its arm."""
    return {
        "kind": kind,
        **dict(zip(("part", "rung", "variant", "setting", "seed"), _of(arm), strict=True)),
        "settings": SETTINGS[arm.setting],
        **made_with(),
    }


def _of(arm: Arm) -> tuple[Any, ...]:
    return arm.part, arm.rung, arm.variant, arm.setting, arm.seed


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return (*(row[name] for name in ("part", "rung", "variant", "setting", "seed")), row["step"])

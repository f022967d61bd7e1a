"""Running arms: a VAE, its latents, a diffusion model on them, and the rows that tell what came
out.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

from ssvae.bench.records import training
from ssvae.bench.stages import measured, train_vae
from ssvae.bench.tasks import OnProgress, Task, run_tasks
from ssvae.latents.cache import LatentCache
from ssvae.models.backbones import load_backbone
from studies.diffusability.evidence import predictors_of
from studies.diffusability.ladder.arms import MAPS, SETTINGS, VAES_ALONE, Arm
from studies.diffusability.ladder.curves import CURVES, of_the_package
from studies.diffusability.ladder.detail import kept_detail
from studies.diffusability.ladder.options import LadderOptions
from studies.diffusability.ladder.rows import DIFFUSION, VAE, append, made_with, read
from studies.diffusability.ladder.rungs import DATA, SIDES

ANALYSIS = (
    *("low_share", "high_share", "slope", "effective_rank", "local_correlation"),
    *("explained", "robustness"),
)
BESIDE = (
    *("sampling_steps", "guidance", "learning_rate", "resolution", "latent_noise"),
    *("ceiling", "psnr", "robustness"),
)
"""What an evaluation may have beside scores, where its setting is about that."""


def run_arms(
    arms: Sequence[Arm],
    options: LadderOptions,
    on_progress: OnProgress = lambda done, total, note: None,
) -> None:
    """Run these arms, or go on where they were stopped; what stands in the rows is not run
    again.
    """
    rows = read(options.rows)
    tasks = [task for arm in arms if not _is_there(arm, rows) for task in _tasks(arm, options)]
    unique = {task.name: task for task in tasks}
    needed = {name: tuple(n for n in task.needs if n in unique) for name, task in unique.items()}
    ordered = [dataclasses.replace(task, needs=needed[task.name]) for task in unique.values()]
    run_tasks(ordered, options.jobs, on_progress)


def _is_there(arm: Arm, rows: Sequence[dict[str, Any]]) -> bool:
    """Whether all of an arm's rows are there."""
    if arm.setting in VAES_ALONE:
        return any(row["kind"] == VAE and row["latents"] == arm.latents for row in rows)
    steps = {row["step"] for row in rows if row["kind"] == DIFFUSION and _arm_of(row) == _of(arm)}
    return set(arm.scale.evaluations) <= steps


def _tasks(arm: Arm, options: LadderOptions) -> list[Task]:
    vae = training(arm.latents, arm.vae, arm.scale, options)
    prepare = dataclasses.replace(vae, work=_prepared, arguments=(arm, options))
    if arm.setting in VAES_ALONE:
        return [prepare]
    learned = Task(
        _name(arm),
        _learned,
        (arm, options),
        needs=(prepare.name, *map(_name, arm.after)),
        runs=(options.work / "diffusion" / arm.label,),
        steps=arm.scale.learning_steps,
    )
    return [prepare, learned]


def _name(arm: Arm) -> str:
    return f"learn {arm.part} {arm.label}"


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
        **({"kept_detail": kept_detail(backbone, arm.rung)} if arm.scale.data == DATA else {}),
        "analysis": {name: measure["analysis"].get(name) for name in ANALYSIS},
        "predictors": predictors_of(
            LatentCache(prepared.latents),
            backbone,
            options.scorer(arm.scale).probe,
            max(32, arm.scale.evaluation.samples * min(SIDES) // arm.rung),  # decoded eight times
        ),
    }
    append([row], options.rows)


def _learned(arm: Arm, options: LadderOptions) -> None:
    """Learn the arm's latents; write a row an evaluation."""
    scored = CURVES.get(arm.setting, of_the_package)(arm, options)
    label = arm.label if arm.variant in MAPS else arm.latents
    ceiling = measured(label, options)["ceiling"]["reward"]
    append([_scored(arm, ceiling, row) for row in scored], options.rows)


def _scored(arm: Arm, ceiling: float, row: dict[str, Any]) -> dict[str, Any]:
    """The line of an evaluation."""
    beside = {name: row[name] for name in BESIDE if name in row}
    scores = {name: value for name, value in row.items() if name not in ("step", *BESIDE)}
    found = {"latents": arm.latents, "ceiling": ceiling, "step": row["step"], "scores": scores}
    return _described(arm, DIFFUSION) | found | beside


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


def _arm_of(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("part", "rung", "variant", "setting", "seed"))

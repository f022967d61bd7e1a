"""The outer loop of every training run: load, step, log, save."""

import dataclasses
import json
import logging
import math
import os
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from accelerate.utils import broadcast_object_list

from ssvae.data.files import write_text
from ssvae.training import checkpoint
from ssvae.training.interruption import InterruptedRun, interruptible
from ssvae.training.tracking import Tracking, check_tracker

logger = logging.getLogger(__name__)

PATIENCE = 10  # steps in a row whose loss may be not finite
# Settings that may change when a run goes on: they do not change what is learned.
FREE = re.compile(r"steps|cooldown_steps|workers|max_broken|checkpoint_every|validation\..*")
"""Settings that may change while a run goes on."""
BATCHES = "batch_size", "images.batch_size"

OnStep = Callable[[int, dict[str, float]], Any]


class Trainer(Protocol):
    """What the loop drives: a model in training."""

    def batches(self, first_step: int, last_step: int) -> Iterator[Any]:
        """A batch for each of these steps, which depends on the step alone."""
        ...

    def step(self, step: int, batch: Any) -> dict[str, float]:
        """One update; metrics, ``grad_norm`` among them, not finite where the step was skipped."""
        ...

    def validate(self, step: int, out: Path) -> dict[str, float]:
        """Figures on held-out data where the recipe asks for them after this step, else none."""
        ...

    def state(self) -> dict[str, Any]:
        """What processes must gather together before one of them saves."""
        ...

    def save(self, folder: Path, state: dict[str, Any]) -> None:
        """Write all that a resumed run needs but the data's position, which is the step."""
        ...

    def load(self, folder: Path) -> None:
        """Take up the state that :meth:`save` wrote."""
        ...


class Recipe(Protocol):
    """All that defines a training run: a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def steps(self) -> int:
        """Optimiser steps."""
        ...

    @property
    def checkpoint_every(self) -> int:
        """Steps between checkpoints."""
        ...

    def problems(self) -> list[str]:
        """All that is wrong with the settings; empty where nothing is."""
        ...

    def settled(self, before: dict[str, Any] | None) -> "tuple[Recipe, dict[str, Any] | None]":
        """The recipe, and the settings that its run began with if it did, with nothing left open."""
        ...

    def trainer(self, accelerator: Accelerator) -> Trainer:
        """What the loop drives."""
        ...


def make_accelerator(device: str = "auto", dtype: str = "float32") -> Accelerator:
    """One process or many, as ``accelerate launch`` or ``torchrun`` started it.

    ``device`` is "auto" (a GPU where torch sees one), "cpu" or "cuda"; ``dtype`` is "float32" or
    "bfloat16" (mixed precision, weights in float32).
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device cuda was asked for, but this torch sees no GPU: use --device cpu")
    precision = {"float32": "no", "bfloat16": "bf16"}[dtype]
    # One process may encode or embed for hours while others wait.
    patience = InitProcessGroupKwargs(timeout=timedelta(days=1))
    return Accelerator(cpu=device == "cpu", mixed_precision=precision, kwargs_handlers=[patience])


def repeat_bit_for_bit() -> None:
    """On a GPU, take kernels whose results repeat; call it before anything runs there."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cuda.enable_flash_sdp(False)
    torch.backends.cuda.enable_mem_efficient_sdp(False)
    torch.backends.cuda.enable_cudnn_sdp(False)


def train(
    recipe: Recipe,
    out: str | Path,
    accelerator: Accelerator | None = None,
    on_step: OnStep | None = None,
    tracker: str | None = None,
) -> Path:
    """Train by a recipe into the run folder ``out``, or go on where an earlier call stopped.

    The folder holds ``config.json``, ``metrics.jsonl`` (an object a step), ``validation.jsonl``
    where there is validation, and ``checkpoints/``. On one device a resumed run gives the losses,
    bit for bit, of an unbroken one. Returns the last checkpoint. ``tracker`` is "tensorboard",
    "wandb" or "trackio".

    Raises:
        ValueError: for settings that do not fit, or that differ from the run in ``out`` (but for
            more ``steps``, and what does not change what is learned), and where the loss is not finite for ten steps in a row.
        InterruptedRun: after SIGTERM or Ctrl-C, when the run has saved.
    """
    if problems := recipe.problems():
        raise ValueError("the recipe does not fit: " + "; ".join(problems))
    check_tracker(tracker)
    out, accelerator = Path(out), accelerator or make_accelerator()
    done, last = _last_checkpoint(out, accelerator)
    recipe, before = recipe.settled(_config_of(out))
    config = _settings(recipe, accelerator)
    if before is not None:
        _check_config(out, _flat(_usual(recipe)) | _flat(before), _flat(config), done)
    if done == recipe.steps and last is not None:
        logger.info("the run in %s is finished at step %d; more --steps go on", out, done)
        return last

    trainer = recipe.trainer(accelerator)
    if last is not None:
        try:
            trainer.load(last)
        except Exception as error:
            raise ValueError(
                f"the checkpoint {last} does not load ({error}): remove it to go on from the one "
                "before"
            ) from error
        logger.info("resumed from %s", last)
    steps = range(done + 1, recipe.steps + 1)
    data = trainer.batches(steps.start, recipe.steps)
    accelerator.wait_for_everyone()
    main = accelerator.is_main_process
    if main:
        out.mkdir(parents=True, exist_ok=True)
        write_text(out / "config.json", json.dumps(config, indent=2) + "\n")
        for name in ("metrics.jsonl", "validation.jsonl"):
            _drop_rows_after(out / name, done)

    skipped = 0
    tracking = Tracking(tracker, out, _flat(config), steps.start, accelerator)
    with (
        interruptible() as interruption,
        open(out / "metrics.jsonl" if main else os.devnull, "a", buffering=1) as metrics_file,
    ):
        for step, batch in zip(steps, data, strict=True):
            metrics = trainer.step(step, batch)
            finite = math.isfinite(metrics["grad_norm"])
            skipped = 0 if finite else skipped + 1
            metrics_file.write(_row(step, metrics))
            tracking.log({f"train/{name}": value for name, value in metrics.items()}, step)
            if not finite:
                logger.warning("step %d skipped: the loss or its gradient is not finite", step)
            if skipped == PATIENCE:
                good = last or "none: the run never reached one"
                raise ValueError(
                    f"the loss was not finite for {PATIENCE} steps in a row, up to step {step}; "
                    f"last good checkpoint: {good}. Try float32, or begin another run there (--init) "
                    "with a lower learning rate"
                )
            if on_step is not None and main:
                on_step(step, metrics)
            # What a checkpoint holds is good: none is written while steps are being skipped.
            if finite and (figures := trainer.validate(step, out)) and main:
                with open(out / "validation.jsonl", "a") as validation_file:
                    validation_file.write(_row(step, figures))
                tracking.log({f"validation/{name}": v for name, v in figures.items()}, step)
                film = out / "samples" / f"step-{step:08d}.mp4"
                tracking.film("reconstructions", film, step)
            stop = interruption.agreed(accelerator)
            if finite and (stop or step % recipe.checkpoint_every == 0 or step == recipe.steps):
                state = trainer.state()
                if main:
                    checkpoint.save(out, step, partial(trainer.save, state=state))
                del state
                accelerator.wait_for_everyone()
                done, last = step, checkpoint.folder_of(out, step)
            if stop:
                tracking.close()
                raise InterruptedRun(stop, done)
    tracking.close()
    if last is None or done != recipe.steps:
        raise ValueError(
            f"the run ended on steps that were not finite; last good checkpoint: {last}"
        )
    return last


def _last_checkpoint(out: Path, accelerator: Accelerator) -> tuple[int, Path | None]:
    """As the main process sees it, for others may see a shared folder as it was."""
    found = [(0, None), *checkpoint.checkpoints(out)][-1]
    return broadcast_object_list([found])[0] if accelerator.num_processes > 1 else found


def _row(step: int, values: dict[str, float]) -> str:
    finite = {k: v if math.isfinite(v) else None for k, v in values.items()}
    return json.dumps({"step": step, **finite}) + "\n"


def _config_of(out: Path) -> dict[str, Any] | None:
    """The settings that the run in a folder began with; None where there is no run yet."""
    path = out / "config.json"
    if path.exists():
        return json.loads(path.read_text())
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"{out} holds other files and is no run: choose an empty folder")
    return None


def _settings(recipe: Recipe, accelerator: Accelerator) -> dict[str, Any]:
    """The recipe, and what else decides what is learned, as JSON has them."""
    half = accelerator.mixed_precision == "bf16"
    around = dict(dtype="bfloat16" if half else "float32", processes=accelerator.num_processes)
    return json.loads(json.dumps(dataclasses.asdict(recipe) | around))


def _check_config(out: Path, before: dict[str, Any], now: dict[str, Any], done: int) -> None:
    """A run goes on with the settings it began with, but for more steps.

    Other processes may go on with it, where they see as many clips a step between them.
    """
    for name in ("dtype", "processes"):  # earlier versions did not write them down
        before.setdefault(name, now[name])
    free = {name for name in before | now if FREE.fullmatch(name)}
    if all(_a_step(before, n) == _a_step(now, n) for n in BATCHES if n in now):
        free |= {*BATCHES, "processes", "accumulate"}
    changed = [k for k in sorted(before | now) if before.get(k) != now.get(k) and k not in free]
    if changed:
        listed = ", ".join(f"{k} was {before.get(k)} and is {now.get(k)}" for k in changed)
        raise ValueError(
            f"the run in {out} began with other settings ({listed}): keep them, "
            "or choose another folder"
        )
    if now["steps"] < done:
        raise ValueError(
            f"the run in {out} is at step {done} already, got steps {now['steps']}: ask for more"
        )
    ends = {
        (settings["steps"], settings["steps"] - settings.get("cooldown_steps", 0))
        for settings in (before, now)
    }
    if len(ends) > 1 and done > (first := min(start for _, start in ends)):
        raise ValueError(
            f"the run in {out} is at step {done}, and under the settings it began with or those it is "
            f"given now its rate falls from step {first} on: keep steps and cooldown_steps, or begin "
            "another run"
        )


def _a_step(settings: dict[str, Any], name: str) -> int:
    """Clips a step of all processes together; ``name`` is that of one process's batch."""
    return settings[name] * settings["processes"] * settings.get("accumulate", 1)


def _usual(recipe: Recipe) -> dict[str, Any]:
    """The settings of a recipe that says nothing: a run of an older version knows no newer ones."""
    usual = {}
    for each in dataclasses.fields(recipe):
        if each.default_factory is not dataclasses.MISSING:
            usual[each.name] = dataclasses.asdict(each.default_factory())
        elif each.default is not dataclasses.MISSING:
            usual[each.name] = each.default
    return json.loads(json.dumps(usual))


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        name = prefix + key
        flat |= _flat(value, name + ".") if isinstance(value, dict) else {name: value}
    return flat


def _drop_rows_after(path: Path, step: int) -> None:
    """Keep the lines up to ``step``: those after the checkpoint are trained, and written, again."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:  # the line that a killed run was writing
            break
        if row["step"] > step:
            break
        kept.append(line + "\n")
    write_text(path, "".join(kept))

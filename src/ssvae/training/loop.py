"""The outer loop of every training run: load, step, log, save."""

import dataclasses
import logging
import re
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from accelerate import Accelerator

from ssvae.storage.files import read_json, write_json
from ssvae.storage.locks import LOCK, written_together
from ssvae.storage.processes import from_main
from ssvae.storage.runs import checkpoint_folder, last_checkpoint
from ssvae.storage.settings import as_json, check_same_settings, flat
from ssvae.training import checkpoint
from ssvae.training.devices import IN_STEPS, PATIENT, make_accelerator, set_patience
from ssvae.training.interruption import InterruptedRun, interruptible
from ssvae.training.metrics import StepOutcome
from ssvae.training.progress import progress_bar
from ssvae.training.run_log import OnStep, RunLog, drop_rows_after
from ssvae.training.speed import COUNTS_COMPILED, SpeedLog
from ssvae.training.tracking import Tracker, Tracking

logger = logging.getLogger(__name__)

PATIENCE = 10  # steps in a row whose loss may be not finite
SPEED_EVERY = 20  # steps between two rows of speed.jsonl
READ_OUT_EVERY = 20  # steps whose metrics are read together, but on a CPU, which does not wait
FREE = re.compile(
    r"steps|cooldown_steps|workers|compile|gradient_checkpointing|max_broken|checkpoint_every|validation\..*"
)
"""Settings that may change while a run goes on: they do not change what is learned."""
BATCHES = "batch_size", "images.batch_size"


class OtherDataError(ValueError):
    """What a run learns from is not what it began with."""


class Trainer(Protocol):
    """What the loop drives: a model in training."""

    def batches(self, first_step: int, last_step: int) -> Generator[Any]:
        """A batch for each of these steps, which depends on the step alone."""
        ...

    def step(self, step: int, batch: Any, signal: int = 0) -> StepOutcome:
        """One update; ``signal`` is the number of one that came to this process, 0 for none."""
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
    """All that defines a training run: a dataclass of data."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def steps(self) -> int:
        """Optimiser steps."""
        ...

    @property
    def batch_size(self) -> int:
        """Clips of a batch on each process."""
        ...

    @property
    def compile(self) -> bool:
        """Whether parts of the model are compiled."""
        ...

    @property
    def checkpoint_every(self) -> int:
        """Steps between checkpoints."""
        ...

    def settled(self, before: dict[str, Any] | None) -> tuple[Any, dict[str, Any] | None]:
        """The recipe, and the settings that its run began with if it did, with nothing left
        open.
        """
        ...


R = TypeVar("R", bound=Recipe)


def check_problems(problems: Sequence[str]) -> None:
    """A ValueError that tells all of them, where there are any."""
    if problems:
        raise ValueError("the recipe does not fit: " + "; ".join(problems))


def train(
    recipe: R,
    make_trainer: Callable[[R, Accelerator], Trainer],
    out: str | Path,
    accelerator: Accelerator | None = None,
    on_step: OnStep | None = None,
    tracker: Tracker | None = None,
) -> Path:
    """Train by a recipe into the run folder ``out``, or go on where an earlier call stopped.

    The folder holds ``config.json``, ``metrics.jsonl`` (an object a step), ``speed.jsonl``,
    ``validation.jsonl`` where there is validation, and ``checkpoints/``. On one device a resumed
    run gives the losses, bit for bit, of an unbroken one (on a GPU after ``repeat_bit_for_bit``).
    Returns the last checkpoint. ``on_step`` hears of each step; where it is None a bar shows them,
    and :func:`silent` shows nothing. ``tracker`` shows its metrics elsewhere too.

    Raises:
        ValueError: for settings that do not fit, or that differ from the run in ``out`` (but for
            more ``steps``, and what does not change what is learned), and where the loss is not
            finite for ten steps in a row.
        InterruptedRun: after SIGTERM or Ctrl-C, when the run has saved.
    """
    if tracker is not None:
        tracker.check()
    out, accelerator = Path(out), accelerator or make_accelerator(training=True)
    done, last = _last_checkpoint(out, accelerator, logger.warning)
    recipe, before = recipe.settled(_config_of(out))
    config = _settings(recipe, accelerator)
    if before is not None:
        _check_config(out, flat(_defaults(recipe)) | flat(before), flat(config), done)
    if done == recipe.steps and last is not None:
        logger.info("the run in %s is finished at step %d; more --steps go on", out, done)
        return last
    trainer = make_trainer(recipe, accelerator)
    if last is not None:
        try:
            trainer.load(last)
        except OtherDataError:
            raise
        except Exception as error:
            raise ValueError(
                f"the checkpoint {last} does not load ({error}): remove it to go on from the one "
                "before"
            ) from error
        logger.info("resumed from %s", last)
    data = trainer.batches(done + 1, recipe.steps)  # which may refuse
    if on_step is None and accelerator.is_main_process:
        on_step = progress_bar(recipe.steps)
    with _begun(out, config, last, accelerator):
        tracking = Tracking(tracker, out, flat(config), done + 1, accelerator)
        run = _Run(
            recipe=recipe,
            trainer=trainer,
            data=data,
            out=out,
            accelerator=accelerator,
            tracking=tracking,
            log=RunLog(out, accelerator, tracking, on_step),
            speed=SpeedLog(out / "speed.jsonl", _a_step(flat(config), "batch_size"), accelerator),
            steps=range(done + 1, recipe.steps + 1),
            done=done,
            last=last,
        )
        return _through_steps(run)


@dataclass
class _Run:
    """A run on its way: what it drives, where it writes, and how far it is."""

    recipe: Recipe
    trainer: Trainer
    data: Generator[Any]
    """A batch for each step that is left."""
    out: Path
    accelerator: Accelerator
    tracking: Tracking
    log: RunLog
    speed: SpeedLog
    steps: range
    """Of this call."""
    done: int
    """The step of the last checkpoint; 0 where there is none."""
    last: Path | None
    """The last checkpoint."""
    skipped: int = 0
    """Steps in a row whose loss was not finite."""
    writer: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    """Writes checkpoints while the run goes on, one at a time."""
    saving: tuple[int, Future[Path] | None] | None = None
    """The step whose checkpoint is being written, by the main process."""


def _through_steps(run: _Run) -> Path:
    """Load, step, log, validate, save, stop: the steps that are left; the last checkpoint."""
    with interruptible() as interruption, closing(run.data), _finished(run):
        for step, batch in zip(run.steps, run.speed.waited_for(run.data), strict=True):
            outcome = _step(run, step, batch, interruption.number)
            # Processes agreed in the step; one alone hears of a signal until its end.
            alone = run.accelerator.num_processes == 1
            updated, stop = outcome.updated, interruption.number if alone else outcome.signal
            if updated:
                _validate(run, step)
            ends = bool(stop) or step == run.steps[-1]
            if updated and (ends or step % run.recipe.checkpoint_every == 0):
                _save(run, step)
            _settle(run, wait=ends)
            if ends:
                run.accelerator.wait_for_everyone()
            if ends or step % SPEED_EVERY == 0:
                run.log.write()
                run.log.write_speed(step, run.speed.write(step))
            if stop:
                run.tracking.close()
                raise InterruptedRun(stop, run.done)
    run.tracking.close()
    if run.last is None or run.done != run.recipe.steps:
        raise ValueError(
            f"the run ended on steps that were not finite; last good checkpoint: {run.last}"
        )
    return run.last


def _step(run: _Run, step: int, batch: Any, signal: int) -> StepOutcome:
    """One update, logged. A ValueError after too many in a row that were none."""
    is_first = step == run.steps.start
    work = partial(run.trainer.step, step, batch, signal)
    can_count = COUNTS_COMPILED or not run.recipe.compile
    count = is_first and run.accelerator.device.type == "cuda" and can_count
    outcome = run.speed.counted(work) if count else work()
    run.speed.step()
    run.log.add(step, outcome.metrics)
    if is_first:
        set_patience(IN_STEPS)
    run.skipped = 0 if outcome.updated else run.skipped + 1
    if not outcome.updated:
        logger.warning("step %d skipped: the loss or its gradient is not finite", step)
    read_out_every = 1 if run.accelerator.device.type == "cpu" else READ_OUT_EVERY
    too_many = run.skipped == PATIENCE
    if step % read_out_every == 0 or step == run.recipe.steps or too_many:
        run.log.write()
    if too_many:
        _settle(run, wait=True)
        good = run.last or "none: the run never reached one"
        raise ValueError(
            f"the loss was not finite for {PATIENCE} steps in a row, up to step {step}; last good "
            f"checkpoint: {good}. Try float32, or begin another run there (--init) with a lower "
            "learning rate"
        )
    return outcome


def _validate(run: _Run, step: int) -> None:
    """Figures on held-out data, where the recipe asks for them after this step."""
    with run.speed.paused():
        figures = run.trainer.validate(step, run.out)
    if figures:
        run.log.write()  # trackers take no step that goes back
        run.log.write_figures(step, figures)


def _save(run: _Run, step: int) -> None:
    """A checkpoint, which is good: none is written while steps are being skipped."""
    run.log.write()
    with run.speed.paused():
        _settle(run, wait=True)  # so that no two copies of a state lie in memory
        state = run.trainer.state()
        written = None
        if run.accelerator.is_main_process:
            write = partial(run.trainer.save, state=state)
            written = run.writer.submit(checkpoint.save, run.out, step, write)
        run.saving = step, written


def _settle(run: _Run, wait: bool) -> None:
    """Take note of a checkpoint that is written, or wait until it is; an OSError where it fails."""
    if run.saving is None:
        return
    step, written = run.saving
    if not wait and written is not None and not written.done():
        return
    if written is not None:
        with run.speed.paused():
            written.result()
    run.saving, run.done, run.last = None, step, checkpoint_folder(run.out, step)


@contextmanager
def _begun(
    out: Path, config: dict[str, Any], last: Path | None, accelerator: Accelerator
) -> Iterator[None]:
    """Hold the run's folder, and write its beginning; a ValueError where another process does."""
    with written_together(out, "a run", accelerator):
        step, found = _last_checkpoint(out, accelerator, logger.debug)
        if found != last:
            raise ValueError(f"the run in {out} went on meanwhile: give the command again")
        if accelerator.is_main_process:
            write_json(out / "config.json", config, indent=2)
            for name in ("metrics.jsonl", "speed.jsonl", "validation.jsonl"):
                drop_rows_after(out / name, step)
        yield


@contextmanager
def _finished(run: _Run) -> Iterator[None]:
    """However the steps end: what waits is written, and processes are patient again."""
    try:
        yield
    finally:
        run.writer.shutdown()
        if run.accelerator.num_processes == 1:  # others might wait for one that is gone
            run.log.write()
        set_patience(PATIENT)


def _last_checkpoint(
    out: Path, accelerator: Accelerator, warn: Callable[..., None]
) -> tuple[int, Path | None]:
    """The last that is whole, as the main process sees it, for others may see a shared folder as it
    was.
    """
    return from_main(accelerator, lambda: last_checkpoint(out, warn=warn) or (0, None))


def _config_of(out: Path) -> dict[str, Any] | None:
    """The settings that the run in a folder began with; None where there is no run yet."""
    path = out / "config.json"
    if path.exists():
        return read_json(path)
    if out.exists() and any(path.name != LOCK for path in out.iterdir()):
        raise ValueError(f"{out} holds other files and is no run: choose an empty folder")
    return None


def _settings(recipe: Recipe, accelerator: Accelerator) -> dict[str, Any]:
    """The recipe, and what else decides what is learned, as JSON has them."""
    half = accelerator.mixed_precision == "bf16"
    around = dict(dtype="bfloat16" if half else "float32", processes=accelerator.num_processes)
    return as_json(dataclasses.asdict(recipe) | around)


def _check_config(out: Path, before: dict[str, Any], now: dict[str, Any], done: int) -> None:
    """A run goes on with the settings it began with, but for more steps.

    Other processes may go on with it, where they see as many clips a step between them.
    """
    free = {name for name in before | now if FREE.fullmatch(name)}
    if all(_a_step(before, n) == _a_step(now, n) for n in BATCHES if n in now):
        free |= {*BATCHES, "processes", "accumulate"}
    check_same_settings(f"the run in {out}", before, now, free)
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
            f"the run in {out} is at step {done}, and under the settings it began with or those it "
            f"is given now its rate falls from step {first} on: keep steps and cooldown_steps, or "
            "begin another run"
        )


def _a_step(settings: dict[str, Any], name: str) -> int:
    """Clips a step of all processes together; ``name`` is that of one process's batch."""
    return settings[name] * settings["processes"] * settings.get("accumulate", 1)


def _defaults(recipe: Recipe) -> dict[str, Any]:
    """The settings of a recipe that says nothing: a run knows none that came after it began."""
    found = {}
    for each in dataclasses.fields(recipe):
        if each.default_factory is not dataclasses.MISSING:
            found[each.name] = dataclasses.asdict(each.default_factory())
        elif each.default is not dataclasses.MISSING:
            found[each.name] = each.default
    return as_json(found)

"""What the commands share: options that mean the same everywhere, and the choice of a recipe."""

import dataclasses
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union

import torch
import tyro
from accelerate import Accelerator

from ssvae.cli.console import console, note_of, progress
from ssvae.models.finding import load_vae
from ssvae.report.paper_tables import check_table_path
from ssvae.storage.files import check_file, check_folder
from ssvae.storage.runs import checkpoints
from ssvae.training import make_accelerator, repeat_bit_for_bit
from ssvae.training.loop import check_problems
from ssvae.training.tracking import Tracker

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Common:
    """Options that mean the same everywhere."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes a GPU where torch sees one."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Number format of the model; in training, of its activations."""
    cudnn_benchmark: bool | None = None
    """Let cuDNN choose kernels by measuring them: a third faster where it works. By default in
    training, but not on ROCm, where it may hang."""
    debug: bool = False
    """Show the whole log, and tracebacks."""

    def load(self, model: str | Path) -> Any:
        """The autoencoder at ``model``, where and as these options say."""
        return load_vae(model, self.accelerator().device, self.torch_dtype)

    def accelerator(self, training: bool = False) -> Accelerator:
        """The processes and the device that these options say."""
        return make_accelerator(self.device, self.dtype, training, self.cudnn_benchmark)

    @property
    def torch_dtype(self) -> torch.dtype:
        """The number format as torch names it."""
        return DTYPES[self.dtype]


def check_outputs(
    out: Path | None,
    json_out: Path | None,
    figure: Path | None = None,
    table: Path | None = None,
) -> None:
    """A ValueError where a page, a file of figures, a picture or a table cannot be written: ask
    before long work.
    """
    if table is not None:
        check_table_path(table)
    if figure is not None:
        from ssvae.report.figures import check_figure_path  # matplotlib, which others do not need

        check_figure_path(figure)
    for path, ending in ((out, ".html"), (json_out, ".json")):
        if path is None:
            continue
        if path.suffix != ending:
            raise ValueError(f"give a file whose name ends in {ending}, got {path}")
        check_file(path)


CommonOptions = Annotated[Common, tyro.conf.arg(name="")]


@dataclass(frozen=True)
class Tracking:
    """Where a run's metrics and sample films go, beside its folder."""

    tracker: Literal["tensorboard", "wandb", "trackio", "none"] = "tensorboard"
    """Where metrics and sample films go, beside the run's folder."""
    tracker_project: str = "ssvae"
    """The project in wandb or trackio."""
    tracker_name: str | None = None
    """The run's name there; that of its folder where not given."""
    tracker_group: str | None = None
    """What the run belongs to there, such as an experiment."""

    @property
    def chosen(self) -> Tracker | None:
        """The tracker that these options ask for."""
        if self.tracker == "none":
            return None
        return Tracker(self.tracker, self.tracker_project, self.tracker_name, self.tracker_group)


TrackingOptions = Annotated[Tracking, tyro.conf.arg(name="")]


def choice_of(recipes: Mapping[str, Callable[[], Any]]) -> Any:
    """A type for an argument that is one of these recipes: a subcommand for each."""
    commands = tuple(
        Annotated[
            type(default),
            tyro.conf.subcommand(name, default=default, description=description),
        ]
        for name, default, description in (
            (name, recipe(), inspect.cleandoc(recipe.__doc__ or ""))
            for name, recipe in recipes.items()
        )
    )
    return Annotated[Union[commands], tyro.conf.arg(name="")]  # noqa: UP007


@dataclass(frozen=True)
class Kind:
    """How runs of one kind of recipe are checked and started."""

    train: Callable[..., Path]
    """(recipe, out, accelerator, on_step, tracker) to the last checkpoint."""
    problems_of: Callable[[Any], list[str]]
    parameters_of: Callable[[Any], int]
    show: Callable[[Any, Path, Accelerator], None]
    """Writes a film of what the model makes when the run is done."""


def run_recipe(
    kind: Kind,
    recipe: Any,
    out: Path,
    dry_run: bool,
    deterministic: bool,
    common: Common,
    tracking: Tracking,
) -> None:
    """Train by a recipe, or go on; a dry run shows its settings, or raises what is wrong with
    it.
    """
    if dry_run:
        check_problems(kind.problems_of(recipe))
        console.print_json(json.dumps(dataclasses.asdict(recipe)))
        console.print(f"{kind.parameters_of(recipe) / 1e6:.2f} M parameters")
        return
    check_folder(out)
    if deterministic:
        repeat_bit_for_bit()
    accelerator, done = common.accelerator(training=True), checkpoints(out)
    main = accelerator.is_main_process
    with progress("training", recipe.steps, done[-1][0] if done else 0, shown=main) as advance:
        last = kind.train(
            recipe,
            out,
            accelerator,
            lambda step, metrics: advance(step, note_of(metrics)),
            tracking.chosen,
        )
    if main:
        console.print(f"finished at step {recipe.steps}: {last}", soft_wrap=True)
        kind.show(recipe, out, accelerator)

"""What the commands show: progress, on a terminal and in a log file, and errors in one line."""

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.logging import RichHandler
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

if TYPE_CHECKING:
    from ssvae.report.tables import Row

console = Console()
error_console = Console(stderr=True)

NARROWEST_NOTE = 24  # columns of what stands beside a table's rows
SECONDS_BETWEEN_LINES = 15  # where the output is not a terminal


def configure_logging(debug: bool) -> None:
    """Our own log at INFO and everybody else's at WARNING; with ``debug``, all of it."""
    handler: logging.Handler = logging.StreamHandler()  # a line each, however long
    if error_console.is_terminal:
        handler = RichHandler(
            console=error_console, show_path=debug, show_time=debug, show_level=debug, markup=False
        )
    message = "%(message)s"
    if debug and not error_console.is_terminal:
        message = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    level = "DEBUG" if debug else "WARNING"
    logging.basicConfig(level=level, format=message, handlers=[handler], force=True)
    logging.getLogger("ssvae").setLevel("DEBUG" if debug else "INFO")
    for library in ("diffusers", "transformers"):
        if library in sys.modules:  # as far as a command has imported them
            # They would cut through ours.
            import_module(f"{library}.utils.logging").disable_progress_bar()


@contextmanager
def progress(
    title: str, total: int = 0, start: int = 0, shown: bool = True
) -> Iterator[Callable[..., None]]:
    """A progress bar, or a line every few seconds where the output is not a terminal.

    Yields ``advance_to(done, note="", total=None)``, which does nothing where it is not ``shown``:
    on all processes but the main one. ``total`` may be told with what is done.
    """
    if not shown:
        yield lambda done, note="", total=None: None
        return
    began = last = time.monotonic()
    if not console.is_terminal:

        def line(done: int, note: str = "", total: int = total) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last < SECONDS_BETWEEN_LINES and done < total:
                return
            last = now
            left = (now - began) / max(done - start, 1) * (total - done)
            text = f"{title}  {done}/{total}  {left:.0f} s left  {note}"
            console.print(text, soft_wrap=True, markup=False)

        yield line
        return

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(title, total=total, completed=start, note="")
        yield lambda done, note="", total=None: bar.update(
            task, completed=done, note=note, total=total
        )


def note_of(metrics: dict[str, float]) -> str:
    """What a progress bar shows of a step's metrics, and of the speed."""
    names = "loss", "l1", "lpips", "discriminator", "local_correlation"
    shown = [f"{name.replace('_', ' ')} {metrics[name]:.4f}" for name in names if name in metrics]
    if "clips_per_second" in metrics:
        shown.append(f"{metrics['clips_per_second']:.3g} clips/s")
    if (waited := metrics.get("waited_for_data", 0)) > 0.05:
        shown.append(f"{waited:.0%} of it waiting for data")
    return "  ".join(shown)


def print_rows(names: list[str], rows: "list[Row]") -> None:
    """Quantities over several models, as a table.

    Names and values stand whole; where the terminal is too narrow for what they mean beside them,
    that is left out.
    """
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("", overflow="fold", no_wrap=True)
    for name in names:
        table.add_column(escape(name), justify="right", overflow="fold")
    widths = [max(map(cell_len, column)) for column in zip(*(r.values for r in rows), strict=True)]
    taken = sum(max(w, 6) + 3 for w in [max(cell_len(row.name) for row in rows), *widths])
    described = console.width - taken >= NARROWEST_NOTE
    if described:
        table.add_column("", style="dim")
    for row in rows:
        table.add_row(row.name, *row.values, *((row.note,) if described else ()))
    console.print(table)


def exit_without_teardown() -> None:
    """End a process that is done, where it is one of several, without taking torch apart.

    On the CPU, torch's distributed training aborts in that about once in ten times ("terminate
    called without an active exception"), and a launcher would call the whole run failed.
    """
    torch = sys.modules.get("torch")
    if torch is not None and torch.distributed.is_initialized():
        sys.stdout.flush()
        sys.stderr.flush()
        logging.shutdown()
        os._exit(0)


@contextmanager
def errors_in_one_line(debug: bool) -> Iterator[None]:
    """Users' mistakes and the machine's failures end with a line and status 2, not a traceback."""
    try:
        yield
    except KeyboardInterrupt:
        error_console.print("interrupted: a command that keeps what it does goes on where it was")
        sys.exit(130)
    except Exception as error:
        if type(error).__name__ == "InterruptedRun":
            error_console.print(str(error), markup=False, soft_wrap=True)
            sys.exit(128 + error.number)  # type: ignore[attr-defined]
        if debug or (told := _told(error)) is None:
            raise
        error_console.print(f"error: {told}", style="red", markup=False, soft_wrap=True)
        sys.exit(2)


def _told(error: Exception) -> str | None:
    """An error in a line; None of one that is nobody's but ours."""
    if isinstance(error, ValueError | OSError):
        return str(error)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        remedy = "a smaller --batch-size, --accumulate, --gradient-checkpointing or smaller clips"
        return f"{error}: use {remedy}"
    if isinstance(error, OverflowError | MemoryError):
        return f"a number is too large for this machine ({error}): give a smaller one"
    return None

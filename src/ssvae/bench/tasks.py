"""Many stages, some at once in processes of their own, each after those that it needs."""

import logging
import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

OnProgress = Callable[[int, int, str], Any]
"""Hears of steps done, steps in all, and a note."""


@dataclass(frozen=True)
class Task:
    """A stage: a function of this package and its arguments, which goes on where it was stopped."""

    name: str
    work: Callable[..., Any]
    arguments: tuple[Any, ...]
    needs: tuple[str, ...] = ()
    """Names of the tasks that must be done before."""
    runs: tuple[Path, ...] = ()
    """Its training runs, whose logs tell how far it is."""
    steps: int = 0
    """Steps that it takes, about."""

    def steps_done(self) -> int:
        """Steps that its runs have logged."""
        logs = [run / "metrics.jsonl" for run in self.runs]
        done = sum(log.read_bytes().count(b"\n") for log in logs if log.exists())
        return min(done, self.steps)


def run_tasks(
    tasks: Sequence[Task], jobs: int, on_progress: OnProgress = lambda done, total, note: None
) -> dict[str, Any]:
    """What each task gives, by name; ``jobs`` at once, in their order where their needs allow."""
    total = sum(task.steps for task in tasks)

    def tell(results: dict[str, Any], under_way: str = "") -> None:
        steps = sum(t.steps if t.name in results else t.steps_done() for t in tasks)
        now = f", now {under_way}" if under_way else ""
        on_progress(steps, total, f"{len(results)} of {len(tasks)} stages done{now}")

    if jobs > 1:
        return _in_processes(tasks, jobs, tell)
    results: dict[str, Any] = {}
    for task in tasks:  # each stands behind those that it needs
        tell(results, task.name)
        results[task.name] = task.work(*task.arguments)
    tell(results)
    return results


def _in_processes(
    tasks: Sequence[Task], jobs: int, tell: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    # Threads that share the cores of one small model wait for each other; processes do not.
    threads = max(1, torch.get_num_threads() // jobs)
    context = multiprocessing.get_context("spawn")
    results: dict[str, Any] = {}
    waiting, running = list(tasks), dict[Future[Any], str]()
    started = context.Value("i", 0)
    with ProcessPoolExecutor(jobs, context, _start, (threads, started, visible_gpus())) as pool:
        try:
            while waiting or running:
                ready = [task for task in waiting if set(task.needs) <= set(results)]
                for task in ready[: jobs - len(running)]:
                    waiting.remove(task)
                    running[pool.submit(task.work, *task.arguments)] = task.name
                for future in wait(running, timeout=5, return_when=FIRST_COMPLETED).done:
                    results[running.pop(future)] = future.result()
                tell(results)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in multiprocessing.active_children():
                worker.terminate()
            raise
    return results


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    return [str(i) for i in range(count)] if named is None else named.split(",")[:count]


def _start(threads: int, started: Any, gpus: list[str]) -> None:
    """Of several GPUs each process takes the next, before it has touched one."""
    torch.set_num_threads(threads)
    with started.get_lock():
        number, started.value = started.value, started.value + 1
    if len(gpus) > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]
    logging.basicConfig(level="WARNING", format="%(message)s")  # each resumes at every evaluation
    for library in (diffusers_logging, transformers_logging):
        library.disable_progress_bar()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose parent was killed must not write beside the next one."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)

"""Stages in processes of their own."""

import math

import pytest

from ssvae.bench.tasks import Task, run_tasks

TASKS = [
    Task("a root", math.sqrt, (16.0,)),
    Task("a power", pow, (2, 3), needs=("a root",)),
    Task("a sum", sum, ((1, 2),), needs=("a root", "a power")),
]


def test_processes_give_what_one_gives():
    told = []
    results = run_tasks(TASKS, 2, lambda done, total, note: told.append(note))
    assert results == run_tasks(TASKS, 1) == {"a root": 4.0, "a power": 8, "a sum": 3}
    assert told[-1] == "3 of 3 stages done"


def test_an_error_in_a_process_is_raised():
    with pytest.raises(ValueError, match="invalid literal"):
        run_tasks([Task("no number", int, ("x",)), TASKS[0]], 2)

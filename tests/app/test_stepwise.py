import threading
import time
from contextvars import ContextVar

import pytest

pytest.importorskip("gradio")
from ssvae.app.stepwise import stepwise

NAME = ContextVar("NAME", default="")


def test_what_is_told_comes_in_order_and_the_result_last():
    def work(tell):
        tell(1)
        tell(NAME.get())
        return "end"

    NAME.set("mine")
    assert list(stepwise(work)) == [1, "mine", "end"]


def test_what_fails_is_raised():
    def work(tell):
        tell(1)
        raise ValueError("no")

    steps = stepwise(work)
    assert next(steps) == 1
    with pytest.raises(ValueError, match="no"):
        next(steps)


def test_who_closes_ends_the_work():
    ended = threading.Event()

    def work(tell):
        try:
            for i in range(1000):
                tell(i)
                time.sleep(0.01)
        finally:
            ended.set()

    steps = stepwise(work)
    assert next(steps) == 0
    steps.close()
    assert ended.is_set()

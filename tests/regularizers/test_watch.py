import pytest
import torch

from ssvae.regularizers.local_correlation import CorrelationWatch


def heard(values, threshold=0.75, first=1):
    watch = CorrelationWatch(len(values) + first - 1, 0, threshold, 0.002)
    told = [
        watch.hear(i, {"local_correlation": torch.tensor(v)}) for i, v in enumerate(values, first)
    ]
    assert told[:-1] == [None] * (len(values) - 1)
    return told[-1]


def test_a_correlation_that_stays_is_told_with_a_weight_that_fits():
    told = heard([0.21] * 60)
    assert told is not None
    assert "in 60 steps (0.210 at first, 0.210 now) with weight 0.002" in told
    assert "--lcr.weight" in told


def test_one_that_rises_or_is_there_is_not():
    assert heard([0.2 + 0.002 * i for i in range(60)]) is None
    assert heard([0.76] * 60) is None
    assert heard([0.21] * 60, first=100) is None  # a run that goes on
    assert heard([0.21] * 10) is None  # too short to tell


@pytest.mark.parametrize(("warmup", "at"), [(0, 500), (1000, 2000)])
def test_it_is_told_once_after_500_steps_or_twice_the_warm_up(warmup, at):
    watch = CorrelationWatch(5000, warmup, 0.75, 0.1)
    told = [watch.hear(step, {"local_correlation": torch.tensor(0.3)}) for step in range(1, 5001)]
    assert [i for i, t in enumerate(told, 1) if t] == [at]

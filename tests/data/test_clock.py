from itertools import pairwise

import pytest

from ssvae.data.clock import Clock, in_order_of_times


def risen(times, period=0.1, jumps=True):
    clock = Clock(period, jumps)
    return [clock.rising(time) for time in times]


def steps(start, count, period=0.1):
    return [start + i * period for i in range(count)]


@pytest.mark.parametrize("jumps", [True, False])
def test_times_that_rise_are_as_they_are(jumps):
    times = [-0.5, 0.0, 0.1, 0.35, 4.0, 9.0]
    assert risen(times, jumps=jumps) == times


@pytest.mark.parametrize("jumps", [True, False])
def test_a_clock_that_begins_again_goes_on(jumps):
    """After a jump back its times keep their distances, a gap of 3 seconds among them."""
    told = risen(steps(0, 20) + steps(0, 20) + steps(5, 20), jumps=jumps)
    assert told == pytest.approx(steps(0, 40) + steps(7, 20))


def test_gaps_are_bridged_where_clocks_may_jump():
    times = steps(0, 10) + steps(500, 10)
    assert risen(times) == pytest.approx(steps(0, 20))
    assert risen(times, jumps=False) == times
    assert risen([0.0, 0.1, 1.7e9], jumps=False) == pytest.approx(steps(0, 3))


@pytest.mark.parametrize("jumps", [True, False])
def test_frames_of_one_time_stand_between_their_neighbours(jumps):
    told = risen([0.0, 0.1, 0.1, 0.1, 0.2, 0.3], jumps=jumps)
    assert all(b > a for a, b in pairwise(told))
    assert told[-1] == pytest.approx(0.3)


def test_a_jump_takes_as_long_as_the_frame_before_it():
    clock = Clock(0.1, jumps=True)
    assert clock.rising(5.0) == 5.0
    assert clock.rising(0.0, period=2.0) == 7.0
    assert clock.rising(0.1) == pytest.approx(7.1)


def test_times_of_decoding_are_put_in_order():
    shuffled = [(1, "a"), (3, "b"), (4, "c"), (2, "d"), (6, "e"), (5, "f")]
    expected = list(zip(range(1, 7), "abcdef", strict=True))
    assert list(in_order_of_times(shuffled)) == expected
    long = [((i ^ 1) + 1, i) for i in range(100)]
    assert list(in_order_of_times(long)) == [(i + 1, i) for i in range(100)]

"""Jobs of several people at the page's models."""

import threading

import pytest

from ssvae.app.turns import Turns


def pieces(name, count, done):
    for i in range(count):
        done.append(f"{name}{i}")
        yield
    return name


def steps(job, *work):
    return job.run(pieces(*work), lambda before: before)


def test_short_jobs_pass_a_long_one_and_equal_ones_keep_their_order():
    """Round by round: each job has a piece in turn, whoever asked first."""
    turns, done = Turns(), list[str]()
    counts = {"long": 6, "a": 1, "b": 1, "c": 2}
    with (
        turns.job() as long,
        turns.job() as a,
        turns.job() as b,
        turns.job() as c,
    ):
        running = {
            name: steps(job, name, counts[name], done)
            for name, job in zip(counts, (long, a, b, c), strict=True)
        }
        told: dict[str, list[int]] = {name: [] for name in running}
        results = {}
        while running:
            for name in list(running):
                try:
                    told[name].append(next(running[name]))
                except StopIteration as end:
                    results[name] = end.value
                    del running[name]
    assert results == {name: name for name in counts}
    assert done[0] == "long0"
    assert done.index("b0") > done.index("a0")
    assert done.index("c1") < done.index("long3")
    assert done[-2:] == ["long4", "long5"]


def test_places_are_told_and_one_works_at_a_time():
    turns, working, most = Turns(), [], []
    told: dict[int, list[int]] = {}

    def work():
        for _ in range(3):
            working.append(1)
            most.append(len(working))
            threading.Event().wait(0.02)
            working.pop()
            yield

    def use(number):
        with turns.job() as job:
            told[number] = list(job.run(work(), lambda before: before))

    threads = [threading.Thread(target=use, args=(i,)) for i in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
    assert len(most) == 30
    assert all(places.count(0) == 3 for places in told.values())
    assert max(max(places) for places in told.values()) >= 5


@pytest.mark.parametrize("where", ["waiting", "between"])
def test_one_that_is_closed_is_waited_for_no_longer(where):
    turns, done = Turns(), list[str]()
    with turns.job() as first:
        assert not list(first.next_piece())

        def leaves():
            with turns.job() as job:
                yield from steps(job, "gone", 2, done)

        other = leaves()
        assert next(other) == 1
        if where == "between":
            first.leave()
            assert next(other) == 0
        other.close()
        assert not list(first.next_piece())
        first.leave()
    with turns.job() as last:
        assert list(steps(last, "last", 1, done)) == [0]


def test_a_job_that_fails_gives_its_turn_back():
    turns = Turns()

    def fails():
        raise ValueError("no film")
        yield

    with turns.job() as job, pytest.raises(ValueError, match="no film"):
        list(job.run(fails(), lambda before: before))
    with turns.job() as other:
        assert not list(other.next_piece())

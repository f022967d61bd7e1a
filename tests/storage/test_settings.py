import json
from dataclasses import dataclass

import pytest

from ssvae.storage.settings import as_json, check_same_settings, flat, keep_settings, replaced


def test_full_names():
    assert flat({"a": 1, "b": {"c": {"d": 2}, "e": None}}) == {"a": 1, "b.c.d": 2, "b.e": None}


@dataclass(frozen=True)
class Inner:
    weight: float = 1.0


@dataclass(frozen=True)
class Outer:
    gan: Inner = Inner()
    steps: int = 5


def test_a_value_is_replaced_by_its_full_name():
    assert replaced(Outer(), "gan.weight", 2.0) == Outer(Inner(2.0))
    assert replaced(Outer(), "steps", 7) == Outer(steps=7)
    with pytest.raises(AttributeError):
        replaced(Outer(), "lcr.weight", 2.0)


def test_what_changed_is_told_and_the_rest_is_not():
    before = dict(rate=0.1, steps=5, gan=dict(start=None, weight=1.0), note="x" * 100)
    check_same_settings("the run", before, before)
    check_same_settings("the run", before, before | dict(steps=9), free={"steps"})
    now = before | dict(steps=9, gan=dict(start=3, weight=1.0), note="y" * 100, newer=True)
    with pytest.raises(ValueError, match="the run began with other settings") as found:
        check_same_settings("the run", before, now, free={"steps"}, remedy="begin another")
    told = str(found.value)
    assert "gan.start was None and is 3" in told
    assert "newer was None and is True" in told
    assert f"note was {'x' * 60}... and is {'y' * 60}..." in told
    assert "steps" not in told
    assert told.endswith("keep them, or begin another")


def test_settings_are_kept_as_they_are_read_again(tmp_path):
    path, settings = tmp_path / "settings.json", dict(size=(2, 3), where=tmp_path)
    keep_settings(path, "the cache", settings)
    assert json.loads(path.read_text()) == as_json(settings)
    keep_settings(path, "the cache", settings)
    with pytest.raises(ValueError, match=r"the cache began .*size was \[2, 3\] and is \[2, 4\]"):
        keep_settings(path, "the cache", settings | dict(size=(2, 4)))

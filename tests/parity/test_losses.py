"""Ten steps of every recipe, and of each regulariser, give the losses that they always gave."""

import json
from collections.abc import Iterator

import pytest
import torch

from parity.recorded_losses import FILE, Losses, machine

RECORDED = json.loads(FILE.read_text())


@pytest.fixture(scope="module")
def losses(tmp_path_factory) -> Iterator[Losses]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums over threads differ in their last bits
    yield Losses(tmp_path_factory.mktemp("losses"))
    torch.set_num_threads(threads)


def test_all_are_recorded(losses):
    assert set(losses.cases()) == set(RECORDED)


SLOW = ("recipe ssvae-256p-baseline", "recipe ssvae-512p-decoder-baseline")


@pytest.mark.parametrize(
    "case",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in RECORDED],
)
def test_losses_are_those_that_were_recorded(losses, case):
    """Bit for bit where torch and its kernels are the same; else nearly."""
    found, recorded = losses.cases()[case](), RECORDED[case]["steps"]
    if RECORDED[case]["machine"].items() <= machine().items():
        assert found == recorded
    for one, two in zip(found, recorded, strict=True):
        assert one == pytest.approx(two, rel=0.05)

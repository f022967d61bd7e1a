from pathlib import Path

import pytest

from commands import launch
from ssvae import AutoencoderKLSSVAE

SCRIPT = Path(__file__).with_name("strips_script.py")


@pytest.mark.parametrize(
    "processes", [3, *(pytest.param(count, marks=pytest.mark.slow) for count in (2, 4))]
)
def test_processes_that_share_a_clip_are_one(processes):
    """Odd sizes, streams, tiles, attention, bfloat16, a subgroup of two, and what travels."""
    said = launch(SCRIPT, processes=processes)
    assert said.count("each process takes at least one row of latents, got 1 rows") == processes
    assert said.count("has no gradients: call under torch.no_grad()") == processes


def test_a_process_alone_is_told_how_to_start_several():
    with pytest.raises(ValueError, match="start them by torchrun"):
        AutoencoderKLSSVAE.from_preset("tiny").parallelize()

from pathlib import Path

import pytest

from commands import launch
from ssvae import AutoencoderKLSSVAE

SCRIPT = Path(__file__).with_name("strips_script.py")


def test_processes_that_share_a_clip_are_one():
    """Three, the first, one between and the last, and two of them: odd sizes, streams, tiles,
    attention, bfloat16, and what travels."""
    said = launch(SCRIPT, processes=3)
    assert said.count("each process takes at least one row of latents, got 1 rows") == 3
    assert said.count("has no gradients: call under torch.no_grad()") == 3


def test_a_process_alone_is_told_how_to_start_several():
    with pytest.raises(ValueError, match="start them by torchrun"):
        AutoencoderKLSSVAE.from_preset("tiny").parallelize()

"""The block for a GPU: on the CPU by its written-out operators, against diffusers' own; its kernels
by Triton's interpreter.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from diffusers.models.transformers.transformer_wan import WanTransformerBlock

from ssvae.diffusion import fused_block
from ssvae.diffusion.fused_block import FusedBlock
from ssvae.diffusion.transformer import PooledWanTransformer3DModel

SCRIPT = Path(__file__).parent / "kernels_script.py"
FRAMES, SIDE = 3, 4


@pytest.fixture(scope="module")
def model() -> PooledWanTransformer3DModel:
    torch.manual_seed(0)
    model = PooledWanTransformer3DModel(
        patch_size=(1, 1, 1),
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=4,
        out_channels=4,
        text_dim=8,
        freq_dim=16,
        ffn_dim=40,
        num_layers=2,
    )
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


def inputs() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    text = torch.randn(2, 5, 8)
    text[0, 3:] = 0
    return dict(
        hidden_states=torch.randn(2, 4, FRAMES, SIDE, SIDE, requires_grad=True),
        timestep=torch.tensor([100.0, 700.0]),
        encoder_hidden_states=text,
    )


def loss_and_gradients(model: PooledWanTransformer3DModel) -> list[torch.Tensor]:
    given = inputs()
    (out,) = model(**given, return_dict=False)
    leaves = [given["hidden_states"], *model.parameters()]
    found = torch.autograd.grad(out.square().sum(), leaves, allow_unused=True)
    return [out, *(g for g in found if g is not None)]


def test_it_is_diffusers_block_to_rounding(model):
    with patch.object(FusedBlock, "forward", WanTransformerBlock.forward):
        reference = loss_and_gradients(model)
    with patch.object(fused_block, "fuses", lambda x: True):
        found = loss_and_gradients(model)
    assert len(found) == len(reference) > 40
    for one, other in zip(found, reference, strict=True):
        torch.testing.assert_close(one, other, rtol=2e-4, atol=2e-4)


def test_layers_of_another_kind_run_as_they_are(model):
    """An adapter in a linear layer's place is not passed by."""

    class Adapted(torch.nn.Linear):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            raise AssertionError("it ran")

    block = model.blocks[0]
    plain = block.attn1.to_q
    block.attn1.to_q = Adapted(24, 24)
    try:
        with (
            patch.object(fused_block, "fuses", lambda x: True),
            pytest.raises(AssertionError, match="it ran"),
        ):
            model(**inputs())
    finally:
        block.attn1.to_q = plain


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
def test_the_kernels_compute_what_is_written_out():
    """By Triton's interpreter, which a process must be told of before it imports Triton."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT)],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr

import pytest
import torch
from accelerate.state import AcceleratorState

from ssvae.training import make_accelerator
from ssvae.training.devices import _warn_where_emulated


def test_what_accelerate_is_configured_for_is_not_passed_over(monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    with pytest.raises(
        ValueError, match="configured for mixed_precision bf16, but --dtype is float32"
    ):
        make_accelerator("cpu", "float32")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")  # as accelerate launch has it by default
    assert make_accelerator("cpu", "float32").mixed_precision == "no"


def test_bfloat16_where_it_is_emulated_is_told_once(monkeypatch, caplog):
    for fast in (True, False):
        _warn_where_emulated.cache_clear()
        monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda fast=fast: fast)
        for dtype in ("float32", "bfloat16", "bfloat16"):
            AcceleratorState._reset_state()
            make_accelerator("cpu", dtype)
            told = len(caplog.records)
            assert told == (dtype == "bfloat16" and not fast)
    AcceleratorState._reset_state()
    assert "leave out --dtype bfloat16" in caplog.text

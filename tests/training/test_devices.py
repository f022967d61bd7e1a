import pytest

from ssvae.training import make_accelerator


def test_what_accelerate_is_configured_for_is_not_passed_over(monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    with pytest.raises(
        ValueError, match="configured for mixed_precision bf16, but --dtype is float32"
    ):
        make_accelerator("cpu", "float32")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")  # as accelerate launch has it by default
    assert make_accelerator("cpu", "float32").mixed_precision == "no"

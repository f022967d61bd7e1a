import pytest
import torch
from accelerate.state import AcceleratorState

from ssvae import fused
from ssvae.training import make_accelerator
from ssvae.training.devices import _warn_where_emulated, known_faults


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


@pytest.mark.parametrize(
    ("version", "cudnn", "told"),
    [
        ("2.9.0+cu128", 91500, ["pytorch#166643"]),
        ("2.9.1+cu128", 91002, ["cuDNN 9.15", "cuDNN 9.10 gives wrong"]),
        ("2.9.1", 91400, ["pytorch#166643"]),
        ("2.9.1", 91500, []),
        ("2.9.1+rocm6.4", None, ["pytorch#166643"]),
        ("2.8.0", 90800, ["cuDNN 9.8 gives wrong results in bfloat16 (pytorch#163539)"]),
        ("2.8.0", 90701, []),
        ("2.10.0", 91100, []),
        ("2.13.0+cpu", None, []),
    ],
)
def test_versions_that_are_known_to_be_wrong_are_named(version, cudnn, told):
    found = known_faults(version, cudnn)
    assert len(found) == len(told)
    assert all(word in fault for word, fault in zip(told, found, strict=True))
    assert all("install" in fault for fault in found)


@pytest.mark.parametrize("hip", [None, "6.4"])
def test_kernels_are_chosen_by_measuring_in_training_alone(monkeypatch, hip):
    monkeypatch.setattr(torch.version, "hip", hip)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", torch.backends.cudnn.benchmark)
    for training, asked, expected in (
        (False, None, False),
        (True, None, hip is None),
        (True, False, False),
        (False, True, True),
    ):
        AcceleratorState._reset_state()
        make_accelerator("cpu", training=training, benchmark=asked)
        assert torch.backends.cudnn.benchmark == expected


def test_what_compiling_lacks_is_told_before_a_step(monkeypatch):
    fused.check_compiles(torch.device("cpu"))
    monkeypatch.setattr(fused, "lacking", lambda: ["Triton is missing"])
    with pytest.raises(ValueError, match=r"more than is here: Triton is missing; .*--compile"):
        fused.check_compiles(torch.device("cuda"))

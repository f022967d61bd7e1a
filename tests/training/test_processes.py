"""Runs of two processes on this machine; tests/test_cli.py starts some by torchrun itself."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from commands import launch

HERE = Path(__file__).parent


def test_two_processes_are_one_with_the_same_global_batch(tmp_path):
    """Masks, noise, LCR and its balance, LPIPS, GAN, R1, LeCam, images, accumulation and EMA."""
    launch(HERE / "parity_script.py", tmp_path / "one", 2, processes=1)
    launch(HERE / "parity_script.py", tmp_path / "two", 2)
    one, two = (load_file(tmp_path / n / "weights.safetensors") for n in ("one", "two"))
    assert one.keys() == two.keys()
    for name, value in one.items():
        close = 1e-5 if name.startswith("metric.") else 1e-9  # metrics are float32
        torch.testing.assert_close(two[name], value, rtol=close, atol=close, msg=name)
    assert one["metric.generator_weight"] > 0
    assert one["metric.lcr_weight"] > 0


def test_divided_weights_train_save_and_resume_as_whole_ones(cache, tmp_path):
    """FSDP as documented, of both models: the same runs, a resumed one, and what they write
    whole.
    """
    launch(HERE / "fsdp_script.py", cache, tmp_path / "ddp", 4)
    launch(HERE / "fsdp_script.py", cache, tmp_path / "fsdp", 4, FSDP="1")
    for log in ("vae/metrics", "vae/validation", "dit/metrics"):
        whole, divided = (
            [json.loads(line) for line in (tmp_path / n / f"{log}.jsonl").read_text().splitlines()]
            for n in ("ddp", "fsdp")
        )
        assert len(whole) == len(divided) > 1
        for a, b in zip(whole, divided, strict=True):
            a, b = ({k: -1 if v is None else v for k, v in row.items()} for row in (a, b))
            assert b == pytest.approx(a, rel=1e-3, abs=1e-5)
    files = {
        "vae": ("vae/diffusion_pytorch_model", "model", "discriminator", "masking"),
        "dit": ("transformer/diffusion_pytorch_model", "text_encoder/model", "model"),
    }
    for kind, names in files.items():
        for name in names:
            begun, a, b = (
                load_file(
                    tmp_path / n / kind / f"checkpoints/step-0000000{step}/{name}.safetensors"
                )
                for n, step in (("ddp", 2), ("ddp", 4), ("fsdp", 4))
            )
            assert a.keys() == b.keys()
            moved = torch.cat([(a[k] - begun[k]).flatten() for k in a]).norm()
            apart = torch.cat([(a[k] - b[k]).flatten() for k in a]).norm()
            assert moved > 0, name
            assert apart < 0.01 * moved, name


@pytest.mark.slow
def test_divided_weights_train_in_bfloat16(cache, tmp_path):
    launch(HERE / "fsdp_script.py", cache, tmp_path, 4, FSDP="1", DTYPE="bfloat16")
    for kind in ("vae", "dit"):
        lines = (tmp_path / kind / "metrics.jsonl").read_text().splitlines()
        metrics = [json.loads(line) for line in lines]
        assert [row["step"] for row in metrics] == [1, 2, 3, 4]
        assert all(row["grad_norm"] is not None for row in metrics)
        assert all(row["loss"] is not None for row in metrics)
    vae = json.loads((tmp_path / "vae" / "metrics.jsonl").read_text().splitlines()[-1])
    assert vae["lcr_weight"] > 0
    assert vae["generator_weight"] > 0


def test_what_is_not_finite_on_one_process_is_skipped_on_both(tmp_path):
    output = launch(HERE / "nan_script.py", tmp_path)
    assert "all agree" in output


def test_a_diffusion_run_of_two_processes_resumes_bit_for_bit(cache, tmp_path):
    """With Muon, and into the fall of its rate."""
    launch(HERE / "diffusion_script.py", cache, tmp_path)
    whole, parts = (tmp_path / name for name in ("whole", "parts"))
    assert (parts / "metrics.jsonl").read_text() == (whole / "metrics.jsonl").read_text()
    weights = "checkpoints/step-00000004/model.safetensors"
    assert (parts / weights).read_bytes() == (whole / weights).read_bytes()

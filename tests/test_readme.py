"""What the README and the pages of docs/ show, run as it stands there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLCogVideoX, AutoencoderKLWan

from made_videos import write
from ssvae.cli import COMMANDS
from ssvae.diffusion.pipeline import assemble, load_config, save_pipeline
from ssvae.models.official import load_official
from ssvae.recipes import RECIPES
from ssvae.storage.runs import checkpoints

ROOT = Path(__file__).parent.parent


def blocks(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


README = (ROOT / "README.md").read_text()
(SIX_LINES,) = blocks(README)
LIBRARY = next(c for c in blocks((ROOT / "docs" / "inference.md").read_text()) if "analyze" in c)
(PIPELINE,) = blocks((ROOT / "docs" / "diffusion.md").read_text())
GRADIENTS = """
    found = [p.grad for p in model.parameters() if p.grad is not None]
    if rank == 0:
        torch.save(found, f"{processes}.pt")
"""


def wan():
    torch.manual_seed(0)
    return AutoencoderKLWan(
        base_dim=8,
        z_dim=4,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
    )


def test_six_lines_on_a_foreign_vae():
    vae = wan()
    clips = torch.rand(2, 3, 9, 32, 32) * 2 - 1
    names = dict(vae=vae, clips=clips)
    exec(SIX_LINES, names)
    with_lcr = {n: p.grad.clone() for n, p in vae.named_parameters() if p.grad is not None}
    assert "encoder.conv_in.weight" in with_lcr
    assert "decoder.conv_in.weight" in with_lcr
    assert all(torch.isfinite(g).all() for g in with_lcr.values())
    assert names["masking"].token.grad is not None
    assert names["lcr"](names["posterior"].mean) > 0

    # The same without LCR and its balance: the encoder learns something else, the decoder not.
    vae.zero_grad()
    torch.manual_seed(1)
    exec(SIX_LINES, names)
    balanced = {n: p.grad.clone() for n, p in vae.named_parameters()}
    vae.zero_grad()
    torch.manual_seed(1)
    exec(re.sub(r"moments = .*", "moments = posterior.parameters", SIX_LINES), names)
    plain = {n: p.grad for n, p in vae.named_parameters()}
    assert torch.equal(balanced["decoder.conv_in.weight"], plain["decoder.conv_in.weight"])
    assert not torch.equal(balanced["encoder.conv_in.weight"], plain["encoder.conv_in.weight"])


def test_regularisers_on_cogvideox():
    torch.manual_seed(0)
    vae = AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * 4,
        up_block_types=("CogVideoXUpBlock3D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=2,
        temporal_compression_ratio=4,
    )
    code = SIX_LINES.replace("vae.config.z_dim", "4").replace("vae.quant_conv", "last")
    # CogVideoX has no quant_conv: its encoder ends on a causal convolution that wraps one.
    names = dict(vae=vae, clips=torch.rand(1, 3, 9, 32, 32), last=vae.encoder.conv_out.conv)
    exec(code, names)
    gradient = vae.encoder.conv_in.conv.weight.grad
    assert gradient is not None
    assert torch.isfinite(gradient).all()


def test_library_example(capsys):
    exec(LIBRARY, {})
    assert len(capsys.readouterr().out.split()) == 3


def test_an_exported_pipeline(run, tmp_path):
    checkpoint = checkpoints(run)[-1][1]
    save_pipeline(assemble(checkpoint), load_config(checkpoint), tmp_path / "pipeline")
    names = {}
    exec(PIPELINE.replace('"pipeline"', repr(str(tmp_path / "pipeline"))), names)
    assert names["video"].shape == (1, 9, 32, 32, 3)


@pytest.mark.slow
def test_the_page_about_inference(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    load_official(ROOT / "tests" / "parity" / "official_small.ckpt")[0].save_pretrained("model")
    write(tmp_path / "clip.mp4", 11, 48, 64)
    checkpoint = checkpoints(run)[-1][1]
    save_pipeline(assemble(checkpoint), load_config(checkpoint), tmp_path / "pipeline")
    names: dict = {}
    page = (ROOT / "docs" / "inference.md").read_text()
    assert "fullgraph=True" in page
    for code in blocks(page):  # that the graph is whole shows before it is compiled
        exec(code.replace("fullgraph=True", 'fullgraph=True, backend="eager"'), names)
    assert capsys.readouterr().out.count("torch.Size([1, 3, ") == 4  # 1 + 4 + 4 + 4 frames
    assert names["reconstruction"].shape == names["clip"].shape
    assert names["second"].shape[2] == 8
    assert names["video"].shape == (1, 9, 32, 32, 3)


def test_the_page_about_training():
    """Its code runs, and it names every recipe."""
    page = (ROOT / "docs" / "training.md").read_text()
    for code in blocks(page):
        exec(code, {})
    for name in RECIPES:
        assert f"`{name.removesuffix('-baseline')}`" in page, name


def test_the_loop_on_several_processes(tmp_path):
    """As torchrun starts it; without draws, two processes have the gradients of one with all
    clips.
    """
    (script,) = blocks((ROOT / "docs" / "scaling.md").read_text())
    for shown, instead in (
        ("torch.rand(2, 3, 9, 32, 32) * 2 - 1", "clips.chunk(processes)[rank]"),
        ("(moments).sample()", "(moments).mode()"),
        ("WithRegularizers(vae)", "WithRegularizers(vae.double())"),
        ("weight=0.002", "weight=0.5"),  # that LCR is seen
        ("    optimizer.step()", GRADIENTS),
        ("for step in range(2)", "clips = torch.rand(4, 3, 9, 32, 32).double()\nfor step in [0]"),
        ("torch.manual_seed(rank)", "torch.manual_seed(0)"),
    ):
        assert shown in script, shown
        script = script.replace(shown, instead)
    (tmp_path / "ddp.py").write_text(script)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    for processes in "12":
        subprocess.run([*command, processes, "ddp.py"], cwd=tmp_path, check=True)
    one, two = (torch.load(tmp_path / f"{processes}.pt") for processes in "12")
    torch.testing.assert_close(two, one, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("page", ["analysis", "evaluation"])
def test_the_code_of_other_pages(page, capsys):
    for code in blocks((ROOT / "docs" / f"{page}.md").read_text()):
        exec(code, {})


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_listed(command):
    assert f"| `ssvae {command}" in (ROOT / "docs" / "commands.md").read_text()

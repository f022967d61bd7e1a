import json

import pytest
import torch
from torch import nn

from commands import status_and_output
from ssvae import AutoencoderKLSSVAE
from ssvae.inference.onnx_export import PARTS, compare, export_onnx, parts_of

onnxruntime = pytest.importorskip("onnxruntime")


def make(**shape) -> AutoencoderKLSSVAE:
    torch.manual_seed(0)
    vae = AutoencoderKLSSVAE.from_preset("tiny", z_dim=3, base_channels=4, **shape).eval()
    for parameter in vae.parameters():
        nn.init.normal_(parameter, std=0.2)
    return vae


SMALL = dict(channel_multipliers=(1, 2), time_factors=(2,), space_factors=(2,), patch_size=1)


@pytest.mark.slow  # half a minute, most of it torch's exporter
def test_a_stream_by_onnxruntime_is_the_clip(tmp_path):
    """Cut otherwise than when it was checked, at a size of its own."""
    vae = make(**SMALL)
    steps = "decoder_first", "decoder_next"
    apart = export_onnx(vae, tmp_path, steps)
    assert set(apart) == set(steps)
    z = torch.randn(1, 3, 8, 7, 2)
    with torch.no_grad():
        whole = vae.decode(z).sample
    caches, clips = [], []
    for piece in z.split([1, 2, 1, 4], 2):
        session = onnxruntime.InferenceSession(tmp_path / f"{steps[bool(caches)]}.onnx")
        inputs = [i.name for i in session.get_inputs()]
        assert inputs == ["latents", *(f"cache_{i}" for i in range(len(inputs) - 1))]
        given = dict(zip(inputs, [piece.numpy(), *caches], strict=True))
        clip, *caches = session.run(None, given)
        clips.append(torch.from_numpy(clip))
    torch.testing.assert_close(torch.cat(clips, 2), whole, atol=1e-4, rtol=1e-4)
    facts = session.get_modelmeta().custom_metadata_map
    assert json.loads(facts["ssvae.time_factor"]) == 2
    assert json.loads(facts["ssvae.latents_std"]) == [1.0] * 3

    with torch.no_grad():  # another model is told from it
        vae.decoder.conv_out.weight += 0.1
    assert compare(vae, tmp_path, steps)["decoder_first"] > 1e-3


def test_a_student_has_the_parts_of_its_half():
    assert parts_of(make(**SMALL)) == PARTS
    assert parts_of(make(**SMALL, halves="decoder")) == PARTS[3:]


@pytest.mark.slow
def test_a_decoder_alone_is_exported_and_stays_as_it_is(tmp_path):
    vae = make(**SMALL, halves="decoder").to(torch.bfloat16).train()
    assert max(export_onnx(vae, tmp_path).values()) < 1e-4
    assert vae.dtype == torch.bfloat16
    assert vae.training


def test_unknown_parts_are_refused(tmp_path):
    with pytest.raises(ValueError, match="parts are encoder, .* got coder"):
        export_onnx(make(**SMALL), tmp_path, ["coder"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "shape", [{}, dict(time_factors=(1, 2), space_factors=(2, 2), attention=True)]
)
def test_all_parts_of_deeper_models(shape, tmp_path):
    assert max(export_onnx(make(**shape), tmp_path).values()) < 1e-5


@pytest.mark.slow
def test_the_command(tmp_path):
    status, said = status_and_output("export-onnx", "tiny", "graphs", folder=tmp_path)
    assert status == 0, said
    assert sorted(p.stem for p in (tmp_path / "graphs").iterdir()) == sorted(PARTS)
    assert "encoder_next.onnx" in said


@pytest.mark.slow
def test_a_compiled_package_decodes_as_the_model(tmp_path):
    """torch.export and AOTInductor, as they are."""
    vae, z = make(**SMALL), torch.randn(1, 3, 3, 4, 5)
    with torch.no_grad():
        program = torch.export.export(vae.decoder, (z,), strict=False)
        package = torch._inductor.aoti_compile_and_package(
            program, package_path=str(tmp_path / "decoder.pt2")
        )
        decode = torch._inductor.aoti_load_package(package)
        torch.testing.assert_close(decode(z)[0], vae.decoder(z)[0], atol=1e-4, rtol=1e-4)

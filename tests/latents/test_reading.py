"""Latents in files, whoever wrote them, and their analysis without a VAE."""

import io
import json
import tarfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from commands import status_and_output
from ssvae.analysis import analyze, analyze_latents, findings, unexamined
from ssvae.latents.reading import are_latents, open_latents
from ssvae.models import AutoencoderKLSSVAE
from ssvae.report import write_report


@pytest.fixture(scope="module")
def latents():
    torch.manual_seed(0)
    return torch.randn(70, 4, 3, 8, 8).cumsum(-1)


def npy(array) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def tar(path, members):
    with tarfile.open(path, "w") as file:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture(scope="module")
def stored(latents, tmp_path_factory):
    """The same latents in every form."""
    folder = tmp_path_factory.mktemp("stored")
    np.save(folder / "z.npy", latents.numpy())
    save_file({"latents": latents, "other": torch.ones(1)}, folder / "z.safetensors")
    save_file({"z": latents}, folder / "one.safetensors")
    tar(folder / "a-0.tar", {f"{i:03d}.npy": npy(latents[i].numpy()) for i in range(40)})
    tar(folder / "a-1.tar", {"rest.npy": npy(latents[40:].numpy()), "rest.txt": b"words"})
    return folder


@pytest.mark.parametrize("name", ["z.npy", "z.safetensors", "one.safetensors", "a-{0..1}.tar"])
def test_every_form_holds_the_same(name, stored, latents):
    place = str(stored / name)
    assert are_latents(place)
    assert torch.equal(torch.cat(list(open_latents(place).batches())), latents)


def test_models_are_no_latents(tmp_path):
    AutoencoderKLSSVAE.from_preset("tiny", base_channels=8).save_pretrained(tmp_path / "model")
    assert not are_latents(str(tmp_path / "model"))
    assert not are_latents(str(tmp_path / "model" / "diffusion_pytorch_model.safetensors"))
    assert not are_latents("film")


def test_what_holds_none_is_told(tmp_path, latents):
    np.save(tmp_path / "flat.npy", latents.numpy().reshape(70, -1))
    with pytest.raises(ValueError, match=r"must be \(clips, channels, frames, height, width\)"):
        list(open_latents(str(tmp_path / "flat.npy")).batches())
    with pytest.raises(ValueError, match="has no members"):
        list(open_latents(str(tar(tmp_path / "none.tar", {"a.txt": b""}))).batches())
    with pytest.raises(ValueError, match=r"a\.npy does not open"):
        list(open_latents(str(tar(tmp_path / "bad.tar", {"a.npy": b"nothing"}))).batches())
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="objects.npy does not open"):
        list(open_latents(str(tmp_path / "objects.npy")).batches())


def test_images_and_lone_clips_need_their_axes(tmp_path, latents):
    """Images (N, C, h, w) would else be one clip of N channels."""
    for name in ("z.npy", "z.safetensors"):
        flat = latents[:, :, 0].contiguous()
        if name == "z.npy":
            np.save(tmp_path / name, flat.numpy())
        else:
            save_file({"latents": flat}, tmp_path / name)
        with pytest.raises(ValueError, match="give images one frame each"):
            list(open_latents(str(tmp_path / name)).batches())


def test_clips_that_are_not_finite_are_left_out(latents):
    broken = latents.clone()
    broken[[0, 9]] = float("nan")
    found = analyze_latents(broken.split(4))
    assert found.broken == {"clip 0": "the latents", "clip 9": "the latents"}
    assert findings(found)[0].startswith(
        "NaN or infinity in the latents of 2 clips (clip 0, clip 9)"
    )
    kept = torch.cat([latents[1:9], latents[10:]])
    assert found.protocol.clips == len(kept)
    expected = analyze_latents(kept).summary()
    assert found.summary()["effective_rank"] == pytest.approx(expected["effective_rank"])
    with pytest.raises(ValueError, match="got 3, none finite"):
        analyze_latents(torch.full((3, 4, 3, 8, 8), float("nan")))


def test_latents_alone_are_as_with_their_vae():
    torch.manual_seed(0)
    vae = AutoencoderKLSSVAE.from_preset("tiny", base_channels=8).eval()
    clips = torch.rand(9, 3, 9, 32, 32) * 2 - 1
    with torch.no_grad():
        latents = vae.encode(clips).latent_dist.mean
    whole, alone = analyze(vae, clips).summary(), analyze_latents(latents.split(4)).summary()
    for name in ("low_share", "slope", "effective_rank", "latents_std", "local_correlation_rest"):
        assert alone[name] == pytest.approx(whole[name], rel=1e-5), name
    assert alone["reconstruction"] is None
    assert alone["compression"] == {}


def test_a_report_of_latents_and_of_a_vae(tmp_path, latents):
    torch.manual_seed(0)
    vae = AutoencoderKLSSVAE.from_preset("tiny", base_channels=8).eval()
    alone = analyze_latents(latents)
    analyses = {"alone": alone, "whole": analyze(vae, torch.rand(9, 3, 9, 32, 32) * 2 - 1)}
    for given in (analyses, dict(reversed(analyses.items())), {"alone": alone}):
        page = write_report(given, tmp_path / "r.html")
        assert "alone" in page.read_text()
    assert not findings(alone)
    assert unexamined(alone) == ["all that needs the VAE and its clips (these are latents alone)"]
    (small,) = findings(analyze_latents(latents[..., :2, :]))
    assert "grid of 2x8" in small
    with pytest.raises(ValueError, match="a report takes analyses and a file"):
        write_report({}, tmp_path / "r.html")


def test_the_command(stored, tmp_path):
    words = "analyze", f"mine={stored / 'z.npy'}", stored / "a-{0..1}.tar", "--out", "page.html"
    status, said = status_and_output(*words, folder=tmp_path)
    assert status == 0, said
    assert (tmp_path / "page.html").is_file()
    assert "latents of 70 clips, 4 channels of 3x8x8" in said
    np.save(tmp_path / "few.npy", np.random.default_rng(0).normal(size=(9, 4, 3, 8, 8)))
    both = "analyze", f"many={stored / 'z.npy'}", "few=few.npy"
    status, said = status_and_output(*both, folder=tmp_path)
    assert "many: latents of 70 clips, 4 channels of 3x8x8; few: latents of 9 clips" in said
    status, said = status_and_output("analyze", "tiny", "--out", "no.html", folder=tmp_path)
    assert status == 2
    assert "--videos" in said


def test_a_cache_knows_whether_its_first_frame_is_alone(vae_folder, tmp_path):
    """What its VAE does counts, and not a switch that was left as it is."""
    words = ["cache-latents", "--vae", vae_folder, "--data", "world", "--clips", 8]
    status, said = status_and_output(*words, "--out", tmp_path / "latents", folder=tmp_path)
    assert status == 0, said
    config = tmp_path / "latents" / "config.json"
    index = tmp_path / "latents" / "index.json"
    written = json.loads(index.read_text())
    assert open_latents(str(tmp_path / "latents")).first_frame_alone is True
    command = ["analyze", "latents", "--json", "out.json"]
    status, said = status_and_output(*command, "--frames-alike", folder=tmp_path)
    assert status == 2
    assert "is of a VAE whose first frame is alone" in said
    written["config"]["first_frame_alone"] = False
    del written["checksum"]
    index.write_text(json.dumps(written))
    config.unlink()
    status, said = status_and_output(*command, folder=tmp_path)
    assert status == 0, said
    analysis = json.loads((tmp_path / "out.json").read_text())["latents"]
    assert analysis["local_correlation_first_frame"] is None
    assert analysis["model"]["lone_first_frame"] is False


def test_what_is_assumed_of_the_first_frame_is_said(stored, tmp_path):
    status, said = status_and_output("analyze", stored / "z.npy", folder=tmp_path)
    assert status == 0, said
    assert "--frames-alike for others" in said
    status, said = status_and_output("analyze", "none.npy", folder=tmp_path)
    assert status == 2
    assert "there is no file none.npy" in said

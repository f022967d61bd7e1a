import av
import numpy as np
import pytest
import torch

from conftest import add_sound, images, write
from ssvae.data.video import probe, read_frames, to_clip, to_images
from ssvae.evaluation import reconstruct, reconstruct_video, score_reconstruction, ssim
from ssvae.evaluation.reconstruction import frames_at_once
from ssvae.spectra import psnr


@pytest.mark.parametrize("size", [(1, 16, 16), (6, 17, 30), (9, 16, 16), (2, 5, 3)])
def test_any_length_and_size(vae, size):
    clips = torch.rand(2, 3, *size) * 2 - 1
    made = reconstruct(vae, clips)
    assert made.shape == clips.shape
    if size == (9, 16, 16):
        torch.testing.assert_close(made, vae(clips).sample.detach())


def test_ssim():
    torch.manual_seed(0)
    clips = torch.rand(2, 3, 2, 16, 16) * 2 - 1
    assert ssim(clips, clips).tolist() == pytest.approx([1, 1])
    noisy = clips + 0.3 * torch.randn_like(clips)
    flipped = -clips
    assert (ssim(noisy, clips) > ssim(flipped, clips)).all()
    with pytest.raises(ValueError, match="at least 11 pixels"):
        ssim(torch.zeros(1, 3, 1, 8, 16), torch.zeros(1, 3, 1, 8, 16))


def test_scores_do_not_depend_on_batches(vae):
    torch.manual_seed(0)
    clips = torch.rand(5, 3, 5, 16, 16) * 2 - 1
    whole, parts = score_reconstruction(vae, [clips]), score_reconstruction(vae, clips.split(2))
    assert whole.clips == parts.clips == 5
    assert whole.psnr == pytest.approx(parts.psnr, rel=1e-5)
    assert whole.ssim == pytest.approx(parts.ssim, rel=1e-4)
    assert whole.psnr == pytest.approx(psnr(vae(clips).sample.detach(), clips).mean().item())
    with pytest.raises(ValueError, match="got none"):
        score_reconstruction(vae, [])


def test_reconstruct_a_file(vae, tmp_path):
    source = add_sound(write(tmp_path / "a.mp4", 23, 35, 50), tmp_path / "s.mp4", 2.3)
    heard = []
    assert reconstruct_video(vae, source, tmp_path / "out.mp4", 9, heard.append) == 23
    assert heard == [9, 18, 23]
    info = probe(tmp_path / "out.mp4")
    assert (info.width, info.height, info.fps) == (50, 35, 10)
    assert info.has_audio
    before, after = list(read_frames(source)), list(read_frames(tmp_path / "out.mp4"))
    assert [f.time for f in after] == pytest.approx([f.time for f in before], abs=1e-3)
    clip = to_clip(f.image for f in before[9:18])
    expected = to_images(reconstruct(vae, clip[None])[0]).astype(float)
    written = np.stack([f.image for f in after[9:18]]).astype(float)
    original = np.stack([f.image for f in before[9:18]]).astype(float)
    lost = np.abs(written - expected).mean()  # to the codec
    assert lost < 8
    assert lost < 0.2 * np.abs(written - original).mean()


def test_a_video_that_changes_its_size(vae, tmp_path):
    parts = []
    for i, (height, width) in enumerate([(48, 64), (32, 80)]):
        with av.open(str(tmp_path / f"{i}.ts"), "w") as container:
            stream = container.add_stream("h264", rate=10)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            for image in images(6, height, width):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode())
        parts.append((tmp_path / f"{i}.ts").read_bytes())
    (tmp_path / "joined.ts").write_bytes(b"".join(parts))
    sizes = {f.image.shape[:2] for f in read_frames(tmp_path / "joined.ts")}
    assert sizes == {(48, 64), (32, 80)}
    reconstruct_video(vae, tmp_path / "joined.ts", tmp_path / "out.mp4")
    assert {f.image.shape[:2] for f in read_frames(tmp_path / "out.mp4")} == {(48, 64)}


def test_a_file_that_is_cut_off_is_named(vae, tmp_path, caplog):
    whole = write(tmp_path / "a.mkv", 60, 120, 160).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) // 2])
    done = reconstruct_video(vae, tmp_path / "cut.mkv", tmp_path / "b.mp4")
    assert 0 < done < 54
    assert f"60 frames, but only {done} could be read" in caplog.text
    assert probe(tmp_path / "b.mp4").frames == done


def test_files_that_cannot_be_reconstructed(vae, tmp_path):
    source = write(tmp_path / "a.mp4", 3)
    with pytest.raises(ValueError, match="the same file"):
        reconstruct_video(vae, source, source)
    with pytest.raises(ValueError, match="frames must be at least 1"):
        reconstruct_video(vae, source, tmp_path / "b.mp4", 0)
    with pytest.raises(ValueError, match="no such file"):
        reconstruct_video(vae, tmp_path / "none.mp4", tmp_path / "b.mp4")
    vae.decoder.conv_out.bias.data.fill_(float("nan"))
    with pytest.raises(ValueError, match="from frame 0 on holds NaN"):
        reconstruct_video(vae, source, tmp_path / "b.mp4")
    assert not (tmp_path / "b.mp4").exists()


def test_large_frames_are_taken_few_at_once():
    assert frames_at_once(480, 640) == 17
    assert frames_at_once(1080, 1920) == 5
    assert frames_at_once(4320, 7680) == 5
    assert len(images(1, 8, 8)) == 1

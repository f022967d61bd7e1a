import json
import math
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from commands import launch
from made_videos import add_sound, images, write
from small_runs import SMALL
from ssvae import models
from ssvae.data.pixels import to_clip, to_images
from ssvae.data.video import probe, read_clip, read_frames, read_sound
from ssvae.data.video_writer import VideoWriter, write_video
from ssvae.data.world import World
from ssvae.inference import (
    LatentFile,
    decode_video,
    encode_video,
    reconstruct_clips,
    reconstruct_video,
)
from ssvae.models import AutoencoderKLSSVAE
from ssvae.models.channels import with_channels
from ssvae.models.fingerprint import latents_fingerprint


@pytest.fixture(autouse=True)
def _colourful(vae):
    """Fresh layers that start at zero hide mistakes."""
    torch.manual_seed(1)
    for parameter in vae.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)


def pictures(path) -> np.ndarray:
    return np.stack([f.image for f in read_frames(path)]).astype(float)


def times(path) -> list[float]:
    return [f.time for f in read_frames(path)]


def sound(path) -> tuple[float, np.ndarray]:
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    return frames[0].time, np.concatenate([f.to_ndarray()[0] for f in frames])


@pytest.mark.quick
def test_frames_in_are_frames_out(vae, tmp_path):
    source = add_sound(write(tmp_path / "a.mp4", 23, 35, 50), tmp_path / "s.mp4", 2.3)
    heard = []
    assert reconstruct_video(vae, source, tmp_path / "out.mp4", heard.append) == 23
    assert heard[-1] == 23
    assert heard == sorted(heard)
    info = probe(tmp_path / "out.mp4")
    assert (info.width, info.height, info.fps, info.frames) == (50, 35, 10, 23)
    assert times(tmp_path / "out.mp4") == times(source)
    begins, wave = sound(tmp_path / "out.mp4")
    assert begins == sound(source)[0]
    assert np.array_equal(wave, sound(source)[1])
    # The whole clip at once gives the same pictures, but for what the codec loses.
    original = pictures(source)
    clip = to_clip(original.astype(np.uint8))
    expected = to_images(reconstruct_clips(vae, clip[None])[0]).astype(float)
    lost = np.abs(pictures(tmp_path / "out.mp4") - expected).mean((1, 2, 3))
    assert lost.max() < 8
    assert lost.max() < 0.2 * np.abs(expected - original).mean()


@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_by_way_of_a_file_of_latents(vae, tmp_path, count):
    stamps = [0.1 * i + 0.03 * (i % 2) for i in range(count)]
    made = write(tmp_path / "a.mp4", count, 36, 50, times=stamps, time_base=Fraction(1, 12800))
    source = add_sound(made, tmp_path / "s.mp4", 0.1 * count + 0.2)
    latents = tmp_path / "z.safetensors"
    assert encode_video(vae, source, latents) == count
    assert decode_video(vae, latents, tmp_path / "b.mp4") == count
    reconstruct_video(vae, source, tmp_path / "c.mp4")
    apart = np.abs(pictures(tmp_path / "b.mp4") - pictures(tmp_path / "c.mp4"))
    assert apart.mean() < 0.5  # rounding, which the codec may enlarge
    assert times(tmp_path / "b.mp4") == times(source)
    assert probe(tmp_path / "b.mp4") == probe(tmp_path / "c.mp4")
    assert np.array_equal(sound(tmp_path / "b.mp4")[1], sound(source)[1])
    assert sound(tmp_path / "b.mp4")[0] == pytest.approx(sound(source)[0], abs=0.002)

    # Anybody's reader sees the posterior's mean in it, time first.
    clip = to_clip(f.image for f in read_frames(source))[None]
    clip = torch.nn.functional.pad(clip, (0, 2, 0, 0, 0, 0), mode="replicate")
    with torch.no_grad():
        mean = vae.encode(clip, pad=True).latent_dist.mean[0]
    stored = load_file(latents)
    torch.testing.assert_close(stored["latents"].transpose(0, 1), mean, atol=1e-5, rtol=1e-5)
    assert stored["times"].tolist() == times(source)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (4, 40), (40, 4)])
def test_one_latent_wide(vae, tmp_path, size):
    source = write(tmp_path / "a.mkv", 5, *size)
    assert encode_video(vae, source, tmp_path / "z.safetensors") == 5
    assert decode_video(vae, tmp_path / "z.safetensors", tmp_path / "b.mkv") == 5
    reconstruct_video(vae, source, tmp_path / "c.mkv")
    apart = np.abs(pictures(tmp_path / "b.mkv") - pictures(tmp_path / "c.mkv"))
    assert apart.mean() < 2  # rounding, which the codec enlarges


@pytest.mark.quick
@pytest.mark.parametrize("kind", ["mov", "mkv", "png"])
def test_films_with_alpha(vae, tmp_path, kind):
    """Through a file, and by way of latents, as the same clip through the model."""
    wide = with_channels(vae, 4)
    torch.nn.init.normal_(wide.decoder.conv_out.weight, std=0.3)
    clip = World(9, 30, 50, channels=4).batch([3]).video[0]
    source = tmp_path / f"a.{kind}"
    write_video(source, clip, 8)
    assert reconstruct_video(wide, source, tmp_path / f"b.{kind}") == 9
    assert encode_video(wide, source, tmp_path / "z.safetensors") == 9
    assert decode_video(wide, tmp_path / "z.safetensors", tmp_path / f"c.{kind}") == 9
    read = to_clip(f.image for f in read_frames(source, channels=4))
    expected = reconstruct_clips(wide, read[None])[0].clamp(-1, 1)
    expected[:3] = expected[:3].minimum(expected[3:])  # no colour is above its alpha in a file
    assert (expected[3] < 0.5).float().mean() > 0.1
    for name in ("b", "c"):
        made = read_clip(tmp_path / f"{name}.{kind}", 9, channels=4)
        apart = 127.5 * (made - expected).abs()
        assert apart.mean() < 1.5


def test_colours_by_a_grey_model(vae, tmp_path):
    source = write(tmp_path / "a.mkv", 5, 36, 50)
    reconstruct_video(with_channels(vae, 1), source, tmp_path / "b.mkv")
    made = pictures(tmp_path / "b.mkv")
    assert np.abs(made - made.mean(-1, keepdims=True)).max() < 6
    clip = read_clip(source, 5, channels=1)[None]
    expected = reconstruct_clips(with_channels(vae, 1), clip)[0].clamp(-1, 1)
    assert np.abs(made.mean(-1) - 127.5 * (expected[0].numpy() + 1)).mean() < 3


def test_a_target_without_alpha_is_refused_before_any_work(vae, tmp_path):
    write_video(tmp_path / "a.mov", World(5, 16, 16, channels=4).batch([3]).video[0], 8)
    with pytest.raises(ValueError, match="holds no alpha"):
        reconstruct_video(
            with_channels(vae, 4), tmp_path / "a.mov", tmp_path / "b.mp4", pytest.fail
        )


def test_pixels_that_are_not_square(vae, tmp_path):
    """A circle of wide pixels stays one: in files, and in clips of another size."""
    source, wide = tmp_path / "a.mp4", Fraction(2)
    y, x = np.mgrid[:64, :64]
    disc = ((2 * (x - 31.5)) ** 2 + (y - 31.5) ** 2 < 24**2)[..., None] * np.uint8(255)
    with VideoWriter(source, 64, 64, 10, pixel_aspect=wide) as writer:
        for _ in range(5):
            writer.write(disc.repeat(3, -1))
    assert probe(source).pixel_aspect == 2
    encode_video(vae, source, tmp_path / "z.safetensors")
    decode_video(vae, tmp_path / "z.safetensors", tmp_path / "b.mkv")
    reconstruct_video(vae, source, tmp_path / "c.mov")
    for made in ("b.mkv", "c.mov"):
        info = probe(tmp_path / made)
        assert (info.width, info.height, info.pixel_aspect) == (64, 64, 2)
    with pytest.raises(ValueError, match=r"2 times as wide as high, which \.webm does not keep"):
        reconstruct_video(vae, source, tmp_path / "d.webm")
    assert not (tmp_path / "d.webm").exists()
    seen = read_clip(source, 1, size=(64, 64))[0, 0] > 0
    rows, columns = (int(seen.any(axis).sum()) for axis in (1, 0))
    assert abs(rows - columns) <= 1
    assert rows == pytest.approx(48, abs=2)


def test_sound_that_quicktime_refuses(vae, tmp_path):
    codec, rate = "libopus", 48000
    silent, source = write(tmp_path / "a.mp4", 6, 32, 32), tmp_path / "s.mp4"
    with av.open(str(silent)) as video, av.open(str(source), "w") as out:
        copy = out.add_stream_from_template(video.streams.video[0])
        track = out.add_stream(codec, rate=rate)
        for packet in video.demux(video.streams.video[0]):
            if packet.dts is not None:
                packet.stream = copy
                out.mux(packet)
        wave = (np.sin(np.arange(rate // 2) * 0.1) * 9000).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(wave, format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        for piece in av.AudioResampler(track.format, "mono", rate, track.frame_size).resample(
            frame
        ):
            out.mux(track.encode(piece))
        out.mux(track.encode())
    encode_video(vae, source, tmp_path / "z.safetensors")
    for name in ("b.mp4", "b.mkv", "b.mov"):
        assert decode_video(vae, tmp_path / "z.safetensors", tmp_path / name) == 6
        assert len(sound(tmp_path / name)[1]) == pytest.approx(len(sound(source)[1]), rel=0.15)


@pytest.mark.parametrize(
    ("frames", "lengths"), [(None, [1, 16, 4]), (8, [1, 8, 8, 4]), (4, [1, 4, 4, 4, 4, 4])]
)
def test_frames_at_once(vae, tmp_path, frames, lengths):
    source = write(tmp_path / "a.mp4", 20, 32, 32)
    if frames:
        vae.enable_streaming(frames)
    heard = []
    vae.encoder.register_forward_pre_hook(lambda _, args: heard.append(args[0].shape[2]))
    reconstruct_video(vae, source, tmp_path / "b.mp4")
    assert heard == lengths


def test_silent_video_and_other_containers(vae, tmp_path):
    source = write(tmp_path / "a.mp4", 6, 32, 32)
    assert read_sound(source) is None
    encode_video(vae.bfloat16(), source, tmp_path / "z.safetensors")
    assert load_file(tmp_path / "z.safetensors")["latents"].dtype == torch.bfloat16
    for name in ("b.mkv", "b.webm", "b.mov"):
        assert decode_video(vae, tmp_path / "z.safetensors", tmp_path / name) == 6
        assert not probe(tmp_path / name).has_audio


def test_a_video_that_changes_its_size(vae, tmp_path, caplog):
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
    read = list(read_frames(tmp_path / "joined.ts"))
    assert {f.image.shape[:2] for f in read} == {(48, 64)}  # whole frames, as players show them
    grey = [f.image[:24, :32].mean() for f in read[-6:]]  # the corner, which cropping would cut
    assert grey == pytest.approx([5 * i for i in range(6)], abs=3)
    assert "changes its size on the way: frames of 32x80 are brought to 48x64" in caplog.text
    reconstruct_video(vae, tmp_path / "joined.ts", tmp_path / "out.mp4")
    assert {f.image.shape[:2] for f in read_frames(tmp_path / "out.mp4")} == {(48, 64)}


def test_a_file_that_is_cut_off_is_named(vae, tmp_path, caplog):
    whole = write(tmp_path / "a.mkv", 60, 120, 160).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) // 2])
    done = reconstruct_video(vae, tmp_path / "cut.mkv", tmp_path / "b.mp4")
    assert 0 < done < 54
    seen = times(tmp_path / "cut.mkv")
    lasts = seen[-1] - seen[0] + 0.1
    told = f"holds 6.00 seconds, but only {lasts:.2f} could be read: it may be cut off"
    assert told in caplog.text
    assert probe(tmp_path / "b.mp4").frames == done
    assert encode_video(vae, tmp_path / "cut.mkv", tmp_path / "z.safetensors") == done


def test_files_that_cannot_be_reconstructed(vae, tmp_path):
    source = write(tmp_path / "a.mp4", 3)
    with pytest.raises(ValueError, match="the same file"):
        reconstruct_video(vae, source, source)
    with pytest.raises(ValueError, match="no such file"):
        reconstruct_video(vae, tmp_path / "none.mp4", tmp_path / "b.mp4")
    with pytest.raises(ValueError, match=r"NAME\.safetensors, got"):
        encode_video(vae, source, tmp_path / "z.pt")
    vae.decoder.conv_out.bias.data.fill_(float("nan"))
    with pytest.raises(ValueError, match="from frame 0 on holds NaN"):
        reconstruct_video(vae, source, tmp_path / "b.mp4")
    vae.encoder.conv_out.bias.data.fill_(float("nan"))
    with pytest.raises(ValueError, match="the latents of .* NaN"):
        encode_video(vae, source, tmp_path / "z.safetensors")
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def test_files_that_hold_no_latents(vae, tmp_path):
    with pytest.raises(ValueError, match="ssvae encode writes them"):
        LatentFile(tmp_path / "none.safetensors")
    (tmp_path / "junk.safetensors").write_bytes(b"junk" * 100)
    with pytest.raises(ValueError, match="does not read as latents"):
        LatentFile(tmp_path / "junk.safetensors")
    header = json.dumps({"__metadata__": {"format": "other"}}).encode()
    (tmp_path / "other.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(ValueError, match="does not say that it holds"):
        LatentFile(tmp_path / "other.safetensors")
    source = write(tmp_path / "a.mp4", 6)
    encode_video(vae, source, tmp_path / "z.safetensors")
    whole = (tmp_path / "z.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[:-100])
    with pytest.raises(ValueError, match="does not read as latents"):
        LatentFile(tmp_path / "cut.safetensors")
    facts = dict(format="ssvae latents 1", height="8", width="8", fps="1", time_base="1")
    whole = dict(latents=torch.zeros(1, 4, 1, 1, dtype=torch.int8), times=torch.zeros(1).double())
    save_file(whole, tmp_path / "bytes.safetensors", facts)
    with pytest.raises(ValueError, match="holds latents in I8, but F64, F32, BF16, F16 are read"):
        LatentFile(tmp_path / "bytes.safetensors")
    other = AutoencoderKLSSVAE.from_preset("tiny", z_dim=6, base_channels=8)
    with pytest.raises(ValueError, match="latents of another model: 3 of 4x12x16 for 6 frames"):
        decode_video(other, tmp_path / "z.safetensors", tmp_path / "b.mp4")
    assert not (tmp_path / "b.mp4").exists()


def test_another_encoder_is_refused_and_another_decoder_is_not(vae, tmp_path):
    """The shapes agree; what the numbers mean does not."""
    source, latents = write(tmp_path / "a.mkv", 5), tmp_path / "z.safetensors"
    encode_video(vae, source, latents)
    assert LatentFile(latents).facts.encoder == latents_fingerprint(vae)
    assert latents_fingerprint(vae.to(torch.bfloat16)) == latents_fingerprint(vae.float())
    other = AutoencoderKLSSVAE.from_preset("tiny", **SMALL)
    with pytest.raises(ValueError, match="z.safetensors is of another VAE's latents .*--any-e"):
        decode_video(other, latents, tmp_path / "b.mkv")
    assert not (tmp_path / "b.mkv").exists()
    assert decode_video(other, latents, tmp_path / "b.mkv", any_encoder=True) == 5
    vae.decoder.load_state_dict(other.decoder.state_dict())
    assert decode_video(vae, latents, tmp_path / "c.mkv") == 5


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (dict(fps="1/0"), "does not read as latents"),
        (dict(fps="0"), "fps must be positive, got 0"),
        (dict(fps="-25"), "fps must be positive, got -25"),
        (dict(time_base="0"), "time_base must be positive, got 0"),
        (dict(time_base="-1/25"), "time_base must be positive"),
        (dict(height="0"), "height must be at least 1, got 0"),
        (dict(width="-8"), "width must be at least 1, got -8"),
        (dict(pixel_aspect="0"), "pixel_aspect must be positive"),
        (dict(times=[0.0, math.nan]), "times must be finite"),
        (dict(times=[0.0, math.inf]), "times must be finite"),
        (dict(times=[0.0, 1e300]), "times must be .* within"),
        (dict(times=[-1e9, 0.0]), "times must be .* within"),
        (dict(times=[1.0, 0.5]), "times must rise"),
        (dict(times=[[0.0, 1.0]]), "times must be one number a frame"),
        (dict(latents=torch.zeros(1, 4, 4)), "latents must be .frames, channels, height, width"),
    ],
)
def test_latents_that_nobody_wrote(damage, message, tmp_path):
    facts = dict(format="ssvae latents 1", height="16", width="16", fps="8", time_base="1/8")
    tensors = dict(latents=torch.zeros(2, 4, 4, 4), times=torch.tensor([0.0, 0.125]).double())
    for name, value in damage.items():
        if name in tensors:
            tensors[name] = torch.as_tensor(value, dtype=tensors[name].dtype)
        else:
            facts[name] = value
    save_file(tensors, tmp_path / "z.safetensors", facts)
    with pytest.raises(ValueError, match=message) as told:
        LatentFile(tmp_path / "z.safetensors")
    assert str(told.value).startswith(f"{tmp_path / 'z.safetensors'} ")


def test_a_variable_rate_is_not_cut_off(vae, tmp_path, caplog):
    """Where a container does not count its frames, their times tell whether any are missing."""
    stamps = [0.0, 0.04, 0.08, 0.12, 1.5, 3.0]
    source = write(tmp_path / "a.mkv", 6, fps=25, times=stamps, time_base=Fraction(1, 1000))
    assert probe(source).frames > 6  # an estimate
    assert reconstruct_video(vae, source, tmp_path / "b.mkv", strict=True) == 6
    assert not caplog.records


def test_strict_refuses_what_is_cut_off(vae, tmp_path):
    whole = write(tmp_path / "a.mkv", 60, 120, 160).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) // 2])
    for work, target in ((reconstruct_video, "b.mp4"), (encode_video, "z.safetensors")):
        with pytest.raises(ValueError, match="cut.mkv .* could be read: .*without --strict"):
            work(vae, tmp_path / "cut.mkv", tmp_path / target, strict=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mkv", "cut.mkv"]


def test_processes_that_share_frames_write_what_one_writes(vae, tmp_path):
    """``torchrun ... -m ssvae encode``, decode and reconstruct, at an odd size."""
    source = add_sound(write(tmp_path / "a.mp4", 11, 35, 50), tmp_path / "s.mp4", 1.1)
    vae.save_pretrained(tmp_path / "vae")
    encode_video(vae, source, tmp_path / "one.safetensors")
    decode_video(vae, tmp_path / "one.safetensors", tmp_path / "one.mp4")
    ssvae, model = Path(models.__file__).parents[1] / "__main__.py", ["--model", tmp_path / "vae"]
    both, film = tmp_path / "both.safetensors", tmp_path / "both.mp4"
    assert launch(ssvae, "encode", source, both, *model).count("11 frames encoded") == 1
    launch(ssvae, "decode", both, film, *model)
    launch(ssvae, "reconstruct", source, tmp_path / "again.mp4", *model)
    ours, theirs = (load_file(tmp_path / f"{n}.safetensors") for n in ("both", "one"))
    assert ours.keys() == theirs.keys() == {"latents", "times", "sound"}
    for name, value in theirs.items():
        scale = float(value.float().abs().max())
        torch.testing.assert_close(ours[name], value, atol=2e-6 * scale, rtol=0)
    for name in ("both", "again"):
        apart = pictures(tmp_path / f"{name}.mp4") - pictures(tmp_path / "one.mp4")
        assert abs(apart).mean() < 0.1
        assert sound(tmp_path / f"{name}.mp4")[0] == sound(tmp_path / "one.mp4")[0]


@pytest.mark.parametrize("sound", [False, True])
def test_joined_films_are_reconstructed_and_decoded(vae, tmp_path, sound):
    """Two MPEG-TS files in one: clocks of picture and sound begin again."""
    one = tmp_path / "a.ts"
    with av.open(str(one), "w") as container:
        stream = container.add_stream("h264", rate=10, options={"bf": "2"})
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for image in images(8, 32, 32):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    if sound:
        one = add_sound(one, tmp_path / "b.ts", 0.8)
    joined = tmp_path / "c.ts"
    joined.write_bytes(one.read_bytes() * 2)
    expected = np.arange(16) / 10
    encode_video(vae, joined, tmp_path / "z.safetensors", strict=True)
    decode_video(vae, tmp_path / "z.safetensors", tmp_path / "d.mkv")
    reconstruct_video(vae, joined, tmp_path / "e.mkv", strict=True)
    for name in ("d.mkv", "e.mkv"):
        seen = np.array(times(tmp_path / name))
        assert seen - seen[0] == pytest.approx(expected, abs=0.03), name
        assert probe(tmp_path / name).has_audio == sound


def test_the_last_frame_of_a_gif_and_a_late_clock(vae, tmp_path):
    frames = [Image.new("RGB", (32, 32), (50 * i, 0, 0)) for i in range(3)]
    frames[0].save(
        tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=[400, 600, 2000]
    )
    with av.open(str(tmp_path / "late.mkv"), "w") as container:
        stream = container.add_stream("h264", rate=1)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for i, image in enumerate(images(3, 32, 32)):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = 50_000 + i, Fraction(1)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    for name in ("a.gif", "late.mkv"):
        encode_video(vae, tmp_path / name, tmp_path / "z.safetensors", strict=True)
        decode_video(vae, tmp_path / "z.safetensors", tmp_path / "d.mp4")
        reconstruct_video(vae, tmp_path / name, tmp_path / "e.mp4", strict=True)
        for target in ("d.mp4", "e.mp4"):
            assert times(tmp_path / target)[0] == pytest.approx(0, abs=1e-3)
            assert probe(tmp_path / target).duration == pytest.approx(3.0, abs=0.02), (name, target)


def test_strict_takes_what_an_edit_cut_off_and_longer_sound(vae, tmp_path):
    whole = tmp_path / "a.mp4"
    with av.open(str(whole), "w") as container:
        stream = container.add_stream("h264", rate=10, options={"g": "30", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for i, image in enumerate(images(30, 32, 32)):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = i - 20, Fraction(1, 10)  # what is before 0 is not shown
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    longer = add_sound(write(tmp_path / "b.mp4", 6, 32, 32), tmp_path / "c.mkv", 9.0)
    for source in (whole, longer):
        reconstruct_video(vae, source, tmp_path / "out.mp4", strict=True)

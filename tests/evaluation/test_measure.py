import dataclasses
from fractions import Fraction

import pytest
import torch

from made_videos import write
from ssvae.analysis import psnr, ssim
from ssvae.data import open_fixed
from ssvae.data.pixels import to_images
from ssvae.data.video_writer import VideoWriter, write_video
from ssvae.evaluation.features import load_network
from ssvae.evaluation.measure import (
    FilePairs,
    Measured,
    evaluate_generation,
    evaluate_reconstruction,
    measure_clips,
    measure_pairs,
    pairs_of_model,
)
from ssvae.evaluation.result import check_comparable, differences, load_evaluation
from ssvae.losses import LPIPS
from ssvae.models.backbones import Backbone
from ssvae.statistics.kernel import kernel_distance


def evaluated(vae, batch_size=3, clips=7, **share):
    source = open_fixed("world", clips, 9, 32, 32)
    network = load_network("probe")
    pairs = pairs_of_model(Backbone(vae), source, batch_size, **share)
    return measure_pairs(pairs, network=network), network


def finish(measured, network):
    return evaluate_reconstruction(measured, 9, "32x32", None, "raw", network=network)


def test_a_model_over_a_source(vae):
    measured, network = evaluated(vae)
    evaluation = finish(measured, network)
    clips = torch.cat([b.video for b in open_fixed("world", 7, 9, 32, 32).batches(7)])
    with torch.no_grad():
        made = vae(clips).sample
    assert evaluation.figures["psnr"].value == pytest.approx(
        float(psnr(made, clips).mean()), rel=1e-4
    )
    assert evaluation.figures["ssim"].value == pytest.approx(
        float(ssim(made.clamp(-1, 1), clips).mean()), rel=1e-4
    )
    assert list(evaluation.figures) == ["psnr", "ssim", "rfvd", "rkvd"]
    assert evaluation.figures["rkvd"].value == pytest.approx(
        kernel_distance(network(clips), network(made), paired=True)
    )
    assert evaluation.protocol.clips == 7
    assert network.checksum in evaluation.protocol.networks["rfvd"]
    lines = " ".join(evaluation.protocol.lines())
    assert "reconstruction of 7 clips of 9 frames, 32x32, each video's own frame rate, raw" in lines


def test_another_order_batch_and_division(vae):
    one = finish(*evaluated(vae, 7))
    parts = [evaluated(vae, 2, process=p, processes=2)[0] for p in (1, 0)]
    two = finish(Measured().merge(parts[0]).merge(parts[1]), load_network("probe"))
    assert two.protocol == one.protocol
    for name, figure in one.figures.items():
        for part in ("value", "low", "high"):
            assert getattr(two.figures[name], part) == pytest.approx(
                getattr(figure, part), rel=2e-3
            ), (name, part)


def test_two_folders(tmp_path):
    (tmp_path / "a" / "sub").mkdir(parents=True)
    (tmp_path / "b" / "sub").mkdir(parents=True)
    generator = torch.Generator().manual_seed(0)
    for i, name in enumerate(("x", "sub/y")):
        clip = torch.rand(3, 6, 32, 32 + 16 * i, generator=generator) * 2 - 1
        write_video(tmp_path / "a" / f"{name}.mp4", clip, 8)
        write_video(tmp_path / "b" / f"{name}.mkv", (clip * 0.9).clamp(-1, 1), 8)
    pairs = FilePairs(tmp_path / "a", tmp_path / "b", 5)
    torch.manual_seed(0)
    lpips = LPIPS()
    measured = measure_pairs(pairs.read(), lpips)
    evaluation = evaluate_reconstruction(measured, 5, "as in the files", None, "from files", "abc")
    assert set(evaluation.clips) == {"x", "sub/y"}
    assert set(evaluation.figures) == {"psnr", "ssim", "lpips"}
    assert 20 < evaluation.figures["psnr"].value < 40
    assert evaluation.protocol.networks["lpips"].endswith("sha256 abc")
    same = measure_pairs(FilePairs(tmp_path / "a", tmp_path / "a", 5).read())
    assert {v["psnr"] for v in same.clips.values()} == {100.0}

    (tmp_path / "b" / "x.mkv").unlink()
    with pytest.raises(ValueError, match="1 have none: x"):
        FilePairs(tmp_path / "a", tmp_path / "b", 5)
    write(tmp_path / "b" / "x.mkv", 6, 48, 48, fps=8)
    write(tmp_path / "b" / "sub" / "y.mkv", 3, 32, 48, fps=8)
    pairs = FilePairs(tmp_path / "a", tmp_path / "b", 5)
    measured = measure_pairs(pairs.read())
    assert not measured.clips
    assert "sizes differ, 32x32 and 48x48: give --size" in pairs.left_out["x"]
    assert "too short" in pairs.left_out["sub/y"]
    assert measure_pairs(FilePairs(tmp_path / "a", tmp_path / "b", 3, (16, 16)).read()).clips
    with pytest.raises(ValueError, match="no clip gave a figure"):
        evaluate_reconstruction(measured, 5, "", None, "")
    write(tmp_path / "a" / "x.mkv", 6, 32, 32)
    with pytest.raises(ValueError, match="have one name"):
        FilePairs(tmp_path / "a", tmp_path / "b", 5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(fps=12), r"at other times: 8 and 1[12]\S* a second, .* give --fps"),
        (dict(times=[0, 0.125, 0.25, 0.5, 0.625, 0.75]), "frame 4 0.125 s apart"),
        (dict(first=1), r"better one frame early \(.* dB, as they are"),
    ],
)
def test_pairs_of_other_frames_are_refused(tmp_path, change, message):
    """Other rates, times, or a frame lost at the beginning: figures of other frames mean
    nothing.
    """
    generator = torch.Generator().manual_seed(0)
    clip = torch.rand(3, 8, 32, 32, generator=generator) * 2 - 1
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    write_video(tmp_path / "a" / "x.mkv", clip, 8)
    first, times = change.get("first", 0), change.get("times")
    with VideoWriter(
        tmp_path / "b" / "x.mkv", 32, 32, change.get("fps", 8), Fraction(1, 1000)
    ) as out:
        for i, image in enumerate(to_images(clip[:, first : first + 6])):
            out.write(image, None if times is None else times[i])
    with pytest.raises(ValueError, match=message):
        list(FilePairs(tmp_path / "a", tmp_path / "b", 6).read())
    if "first" not in change:
        pairs = FilePairs(tmp_path / "a", tmp_path / "b", 3, fps=8)
        assert len(list(pairs.read())) == 1


def test_a_clip_of_nan_is_left_out(vae):
    def pairs():
        for pair in pairs_of_model(Backbone(vae), open_fixed("world", 4, 9, 32, 32), 2):
            pair.reconstruction[0] = torch.nan
            yield pair

    network = load_network("probe")
    evaluation = finish(measure_pairs(pairs(), network=network), network)
    assert evaluation.protocol.clips == 2
    assert list(evaluation.left_out) == ["clip 0 of world 0", "clip 2 of world 0"]


def test_generated_against_true():
    network = load_network("probe")
    sets = [
        measure_clips(open_fixed("world", 40, 9, 32, 32, seed=seed), network, 16) for seed in (1, 2)
    ]
    far = measure_clips(open_fixed("world", 40, 9, 32, 32, seed=3), network, 16)
    far.reconstruction = {name: features + 3 for name, features in far.reconstruction.items()}
    near, away = (
        evaluate_generation(made, sets[0], network, 9, "32x32", None, "from files")
        for made in (sets[1], far)
    )
    assert near.figures["frechet"].value < away.figures["frechet"].low
    assert near.figures["kernel"].value < away.figures["kernel"].low
    assert near.protocol == away.protocol
    assert "40 true clips" in near.protocol.networks["frechet"]
    with pytest.raises(ValueError, match="at least 2 generated clips, got 0"):
        evaluate_generation(Measured(), sets[0], network, 9, "", None, "")


def test_saved_compared_and_refused(vae, tmp_path):
    one = finish(*evaluated(vae))
    one.save(tmp_path / "one.json")
    again = load_evaluation(tmp_path / "one.json")
    assert again == one
    check_comparable({"one": one, "again": again})
    better = dataclasses.replace(
        one, clips={n: {m: v + 1 for m, v in c.items()} for n, c in one.clips.items()}
    )
    change = differences(one, better)["psnr"]
    partly = dataclasses.replace(
        one, clips={n: ({"psnr": 1.0} if i else c) for i, (n, c) in enumerate(one.clips.items())}
    )
    assert list(differences(one, partly)) == ["psnr"]
    assert (change.value, change.low, change.high) == pytest.approx((1, 1, 1))
    for field, value in (
        ("clips", 6),
        ("files", 6),
        ("frames", 17),
        ("size", "64x64"),
        ("fps", 8.0),
        ("read_from", "from files"),
        ("data", "other"),
        ("networks", {"rfvd": "another network"}),
        ("kind", "generation"),
    ):
        other = dataclasses.replace(
            one, protocol=dataclasses.replace(one.protocol, **{field: value})
        )
        with pytest.raises(ValueError, match=f"different protocols.*{field}"):
            check_comparable({"one": one, "other": other})
    for content in ("junk", "{}", '{"protocol": {}}'):
        (tmp_path / "bad.json").write_text(content)
        with pytest.raises(ValueError, match="is no evaluation"):
            load_evaluation(tmp_path / "bad.json")

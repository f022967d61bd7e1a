import hashlib

import pytest
import torch
from torch import nn
from transformers import VideoMAEConfig, VideoMAEModel

from ssvae.evaluation.features import checksum, load_network
from ssvae.evaluation.probe import load_probe


class I3D(nn.Module):
    """As the usual file is called, and as small as can be."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv3d(3, 5, (4, 8, 8), (4, 8, 8))

    def forward(
        self, x, rescale: bool = False, resize: bool = False, return_features: bool = False
    ):
        if rescale or resize or not return_features:
            raise RuntimeError("called in another way")
        return self.layer(x).mean((2, 3, 4))


@pytest.fixture
def i3d(tmp_path):
    torch.manual_seed(0)
    network = I3D()
    torch.jit.script(network).save(str(tmp_path / "i3d.pt"))
    return tmp_path / "i3d.pt", network


@pytest.fixture
def videomae(tmp_path):
    torch.manual_seed(0)
    config = VideoMAEConfig(
        image_size=32,
        patch_size=16,
        num_frames=4,
        hidden_size=12,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
    )
    model = VideoMAEModel(config).eval()
    model.save_pretrained(tmp_path / "videomae")
    return tmp_path / "videomae", model


def test_i3d(i3d):
    path, network = i3d
    loaded = load_network(f"i3d:{path}")
    clips = torch.rand(2, 3, 12, 40, 30) * 2 - 1
    frames = clips.transpose(1, 2).flatten(0, 1)
    large = nn.functional.interpolate(frames, (224, 224), mode="bilinear")
    expected = network.layer(large.unflatten(0, (2, 12)).transpose(1, 2)).mean((2, 3, 4))
    torch.testing.assert_close(loaded(clips), expected.detach(), rtol=1e-4, atol=1e-5)
    assert loaded.checksum == hashlib.sha256(path.read_bytes()).hexdigest()
    assert loaded.checksum in loaded.described
    with pytest.raises(ValueError, match="at least 9 frames, got 8"):
        loaded(clips[:, :, :8])


def test_videomae(videomae):
    folder, model = videomae
    loaded = load_network(f"videomae:{folder}")
    clips = torch.rand(2, 3, 7, 32, 32) * 2 - 1
    chosen = clips[:, :, [0, 2, 4, 6]]
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1, 1)
    pixels = (((chosen + 1) / 2 - mean) / std).transpose(1, 2)
    with torch.no_grad():
        expected = model(pixels).last_hidden_state.mean(1)
    torch.testing.assert_close(loaded(clips), expected, rtol=1e-4, atol=1e-5)
    # What the folder says of its colours counts.
    (folder / "preprocessor_config.json").write_text(
        '{"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}'
    )
    with torch.no_grad():
        expected = model(chosen.transpose(1, 2)).last_hidden_state.mean(1)
    torch.testing.assert_close(
        load_network(f"videomae:{folder}")(clips), expected, rtol=1e-4, atol=1e-5
    )
    with pytest.raises(ValueError, match="looks at 4 frames, but clips have 3"):
        loaded(clips[:, :, :3])


def test_the_probe():
    loaded = load_network("probe")
    clips = torch.rand(2, 3, 9, 32, 32) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(loaded(clips), load_probe().features(clips))
    assert loaded(torch.rand(2, 3, 17, 64, 48)).shape == (2, 64)


def test_checksums_tell_networks_apart():
    torch.manual_seed(0)
    a, b = nn.Linear(3, 3), nn.Linear(3, 3)
    assert checksum(a) != checksum(b)
    b.load_state_dict(a.state_dict())
    assert checksum(a) == checksum(b)
    assert checksum(a.bfloat16()) != checksum(b)


def test_what_does_not_load(tmp_path, i3d):
    (tmp_path / "junk.pt").write_bytes(b"junk")
    torch.jit.script(nn.Linear(3, 3)).save(str(tmp_path / "other.pt"))
    for spec, message in (
        ("fid", "a feature network is probe"),
        ("i3d:", "a feature network is probe"),
        ("i3d:none.pt", "no I3D at none.pt"),
        (f"i3d:{tmp_path}/junk.pt", "does not load as TorchScript"),
        (f"videomae:{tmp_path}", "does not load as a VideoMAE"),
        (f"probe:{tmp_path}/junk.pt", "is no probe"),
    ):
        with pytest.raises(ValueError, match=message):
            load_network(spec)
    with pytest.raises(ValueError, match="does not run as the usual I3D"):
        load_network(f"i3d:{tmp_path}/other.pt")(torch.rand(1, 3, 9, 224, 224))
    broken = I3D()
    broken.layer.weight.data.fill_(torch.nan)
    torch.jit.script(broken).save(str(tmp_path / "nan.pt"))
    with pytest.raises(ValueError, match="hold NaN"):
        load_network(f"i3d:{tmp_path}/nan.pt")(torch.rand(1, 3, 9, 224, 224))

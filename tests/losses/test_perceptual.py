import importlib.metadata
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from small_models import write_lpips
from ssvae.losses import LPIPS, load_lpips, of_frames
from ssvae.losses.perceptual import VGG_URL


@pytest.fixture(scope="module")
def lpips() -> LPIPS:
    torch.manual_seed(0)
    model = LPIPS().double()
    for weights in model.linear:
        weights.data.uniform_()
    return model


def images(seed: int, count: int = 2, size: tuple[int, int] = (32, 24)) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, *size, generator=generator, dtype=torch.float64) * 2 - 1


def naive(model: LPIPS, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """By the definition: layer by layer, position by position."""
    shift = torch.tensor([-0.030, -0.088, -0.188], dtype=a.dtype).view(1, 3, 1, 1)
    scale = torch.tensor([0.458, 0.448, 0.450], dtype=a.dtype).view(1, 3, 1, 1)
    convolutions = [m for m in model.vgg.features if isinstance(m, torch.nn.Conv2d)]
    ends = {1: 0, 3: 1, 6: 2, 9: 3, 12: 4}  # relu1_2, relu2_2, relu3_3, relu4_3, relu5_3
    total = torch.zeros(len(a), dtype=a.dtype)
    x, y = (a - shift) / scale, (b - shift) / scale
    for i, convolution in enumerate(convolutions):
        if i - 1 in ends:
            x, y = F.max_pool2d(x, 2, 2), F.max_pool2d(y, 2, 2)
        x, y = (F.conv2d(z, convolution.weight, convolution.bias, padding=1).relu() for z in (x, y))
        if i in ends:
            weights = model.linear[ends[i]]
            for n in range(len(a)):
                height, width = x.shape[2:]
                for h in range(height):
                    for w in range(width):
                        u, v = x[n, :, h, w], y[n, :, h, w]
                        apart = u / (u.square().sum().sqrt() + 1e-10) - v / (
                            v.square().sum().sqrt() + 1e-10
                        )
                        total[n] += (weights * apart.square()).sum() / (height * width)
    return total


def test_it_is_the_definition(lpips):
    a, b = images(1, size=(18, 21)), images(2, size=(18, 21))
    torch.testing.assert_close(lpips(a, b), naive(lpips, a, b), rtol=1e-7, atol=0)


def test_identity_symmetry_and_shape(lpips):
    a, b = images(1), images(2)
    assert torch.equal(lpips(a, a), torch.zeros(2, dtype=torch.float64))
    torch.testing.assert_close(lpips(a, b), lpips(b, a))
    assert (lpips(a, b) > 0).all()
    with pytest.raises(ValueError, match="at least 16 pixels"):
        lpips(a[..., :8], b[..., :8])


def test_gradient_by_finite_differences(lpips):
    a, b = images(1, 1), images(2, 1)
    x = a.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(lpips(x, b).sum(), x)
    direction = images(3, 1)
    step = 1e-7
    ahead, back = (lpips(a + s * step * direction, b).sum() for s in (1, -1))
    found = (ahead - back) / (2 * step)
    torch.testing.assert_close((gradient * direction).sum(), found, rtol=1e-5, atol=0)


def test_a_frame_without_features_has_a_finite_gradient():
    """Where all channels are 0 the length has no derivative."""
    model = LPIPS()
    for module in model.vgg.features:
        if isinstance(module, torch.nn.Conv2d):
            module.weight.data.zero_()
            module.bias.data.fill_(-1.0)
    x = torch.zeros(1, 3, 16, 16, requires_grad=True)
    for dtype in (torch.float32, torch.bfloat16):
        with torch.autocast("cpu", dtype, enabled=dtype is torch.bfloat16):
            model(x, torch.ones(1, 3, 16, 16)).sum().backward()
        assert torch.isfinite(x.grad).all()


def test_bfloat16_is_near(lpips):
    single = LPIPS()
    single.load_state_dict({k: v.float() for k, v in lpips.state_dict().items()})
    a, b = images(1).float(), images(2).float()
    with torch.autocast("cpu", torch.bfloat16):
        near = single(a, b)
    assert near.dtype == torch.float32
    torch.testing.assert_close(near, single(a, b), rtol=0.02, atol=0)


def test_frames_of_clips(lpips):
    a, b = (x.view(2, 3, 3, 32, 24).transpose(1, 2) for x in (images(1, 6), images(2, 6)))
    made = of_frames(lpips, a, b)
    assert made.shape == (2, 3)
    torch.testing.assert_close(made[1, 2], lpips(a[1:, :, 2], b[1:, :, 2])[0])


def saved(folder: Path) -> tuple[str, str]:
    vgg, linear = write_lpips(folder)
    torch.save(torch.load(vgg) | {"classifier.0.weight": torch.zeros(2, 2)}, vgg)
    return vgg, linear


def test_weights_from_files(tmp_path):
    vgg, linear = saved(tmp_path)
    model = load_lpips(vgg, linear)
    assert not any(p.requires_grad for p in model.parameters())
    expected = torch.load(linear)["lin2.model.1.weight"].flatten()
    assert torch.equal(model.linear[2].data, expected)
    with pytest.raises(ValueError, match=r"holds other weights .features.0.weight"):
        load_lpips(linear, linear)
    with pytest.raises(ValueError, match=r"holds other weights .lin0.model.1.weight"):
        load_lpips(vgg, vgg)
    with pytest.raises(ValueError, match="does not load as weights"):
        load_lpips(__file__, linear)


def test_the_public_weights_are_checked_by_their_hash(tmp_path, monkeypatch):
    """Fetched from a server of our own that has other bytes: refused, with the way out."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    vgg, linear = saved(tmp_path)
    name = VGG_URL.rsplit("/", 1)[1]
    (tmp_path / name).write_bytes(Path(vgg).read_bytes())
    monkeypatch.setattr("ssvae.losses.perceptual.VGG_URL", (tmp_path / name).as_uri())
    with pytest.raises(ValueError, match=r"invalid hash.*--perceptual.vgg FILE.*weight 0"):
        load_lpips(None, linear)


def test_without_the_package_lpips_the_error_says_how(tmp_path, monkeypatch):
    vgg, linear = saved(tmp_path)

    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("ssvae.losses.perceptual.files", absent)
    with pytest.raises(ValueError, match=r"pip install --no-deps lpips.*--perceptual.weight 0"):
        load_lpips(vgg)
    assert isinstance(load_lpips(vgg, linear), LPIPS)

import itertools

import pytest
import torch

from ssvae.regularizers import LocalCorrelation, local_correlation
from ssvae.regularizers.local_correlation import correlation_of_each

pytestmark = pytest.mark.quick


def naive(mean: torch.Tensor, window: tuple[int, int, int]) -> float:
    """Every pair in every window, one by one."""
    x = (mean - mean.mean((0, 2, 3, 4), keepdim=True)) / mean.std(
        (0, 2, 3, 4), correction=0, keepdim=True
    )
    x = x - x.mean(1, keepdim=True)
    x = x / x.norm(dim=1, keepdim=True)
    B, _, T, H, W = x.shape
    t, h, w = window
    values = []
    for b, i, j, k in itertools.product(range(B), range(T // t), range(H // h), range(W // w)):
        box = x[b, :, i * t : (i + 1) * t, j * h : (j + 1) * h, k * w : (k + 1) * w].flatten(1)
        values += [
            (box[:, m] @ box[:, n]).item() for m, n in itertools.combinations(range(t * h * w), 2)
        ]
    return sum(values) / len(values)


@pytest.mark.parametrize("window", [(2, 2, 2), (1, 2, 2), (2, 3, 1), (3, 2, 2)])
def test_equals_the_naive_form(window):
    torch.manual_seed(0)
    mean = torch.randn(2, 5, 6, 7, 6, dtype=torch.float64)
    result = local_correlation(mean, window, lone_first_frame=False)
    assert result.first_frame is None
    assert result.average.item() == pytest.approx(naive(mean, window), abs=1e-7)


def test_first_frame_and_rest_stand_apart():
    torch.manual_seed(0)
    mean = torch.randn(2, 5, 5, 4, 4, dtype=torch.float64)
    whole = (mean - mean.mean((0, 2, 3, 4), keepdim=True)) / mean.std(
        (0, 2, 3, 4), correction=0, keepdim=True
    )
    result = local_correlation(mean)
    assert result.first_frame is not None
    assert result.rest is not None
    u = whole - whole.mean(1, keepdim=True)
    u = u / u.norm(dim=1, keepdim=True)
    first = u[:, :, 0].unfold(2, 2, 2).unfold(3, 2, 2).flatten(4)  # (B, C, h, w, 4)
    gram = torch.einsum("bchwi,bchwj->bhwij", first, first)
    expected = (gram.sum((3, 4)) - gram.diagonal(dim1=3, dim2=4).sum(3)).mean() / 12
    torch.testing.assert_close(result.first_frame, expected, atol=1e-7, rtol=0)
    torch.testing.assert_close(result.average, (result.first_frame + result.rest) / 2)


def test_known_answers():
    torch.manual_seed(0)
    column = torch.randn(1, 8, 1, 1, 1)
    blocks = torch.randn(1, 8, 3, 4, 4)
    # Constant inside each window of the rest and of the first frame: correlation 1.
    steps = blocks.repeat_interleave(2, 2)[:, :, 1:].repeat_interleave(2, 3).repeat_interleave(2, 4)
    assert local_correlation(steps).average.item() == pytest.approx(1, abs=1e-5)
    # Opposite neighbours, two in a window: correlation -1.
    signs = torch.tensor([1.0, -1.0]).repeat(4).view(1, 1, 1, 1, 8)
    zigzag = column * signs.expand(1, 1, 1, 4, 8)
    assert local_correlation(zigzag, (1, 1, 2)).average.item() == pytest.approx(-1, abs=1e-5)
    noise = torch.randn(8, 16, 5, 16, 16)
    assert local_correlation(noise).average.item() == pytest.approx(0, abs=0.01)


def test_images_and_remainders():
    torch.manual_seed(0)
    images = torch.randn(3, 6, 8, 8)
    result = local_correlation(images)
    assert result.rest is None
    torch.testing.assert_close(result.average, local_correlation(images.unsqueeze(2)).average)
    odd = torch.randn(2, 6, 6, 5, 7)
    assert torch.isfinite(local_correlation(odd).average)


def test_scale_and_shift_of_a_channel_do_not_matter():
    torch.manual_seed(0)
    mean = torch.randn(2, 4, 5, 4, 4, dtype=torch.float64)
    moved = mean * torch.tensor([1.0, 5, 0.1, 30]).view(1, 4, 1, 1, 1) + 7
    torch.testing.assert_close(local_correlation(mean).average, local_correlation(moved).average)


@pytest.mark.parametrize("value", [0.0, 5.1, 1e6])
def test_dead_channels_give_numbers(value):
    dead = torch.full((2, 4, 5, 4, 4), value, requires_grad=True)
    penalty = LocalCorrelation()(dead)
    assert penalty.item() == pytest.approx(0.75)
    penalty.backward()
    assert dead.grad is not None
    assert torch.isfinite(dead.grad).all()
    torch.manual_seed(0)
    one_dead = torch.randn(2, 4, 5, 4, 4)
    one_dead[:, 1] = value
    without_noise = one_dead.clone()
    without_noise[:, 1] = 0
    torch.testing.assert_close(
        local_correlation(one_dead).average, local_correlation(without_noise).average
    )


def test_penalty_and_its_gradient():
    torch.manual_seed(0)
    mean = torch.randn(1, 3, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    module = LocalCorrelation(threshold=0.9)
    expected = 0.9 - local_correlation(mean).average
    torch.testing.assert_close(module(mean), expected)
    assert LocalCorrelation(threshold=-1)(mean).item() == 0
    # Statistics are detached, so finite differences must hold them: test behind them.
    module(mean).backward()
    assert mean.grad is not None
    before = local_correlation(mean.detach()).average
    after = local_correlation((mean - 1e-3 * mean.grad / mean.grad.norm()).detach()).average
    assert after > before


def test_half_precision_is_computed_in_float32():
    torch.manual_seed(0)
    mean = torch.randn(2, 8, 5, 8, 8)
    half = local_correlation(mean.bfloat16()).average
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(local_correlation(mean).average.item(), abs=1e-3)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((1, 1, 5, 4, 4), {}, "at least 2 channels"),
        ((1, 4, 4), {}, "latents must be"),
        ((1, 4, 5, 1, 4), {}, "at least as large as the window.*1x4"),
        ((1, 4, 2, 4, 4), {}, "got 1 frames behind the first"),
        ((1, 4, 1, 4, 4), dict(lone_first_frame=False), "got 1 frames of 4x4"),
        ((1, 4, 5, 4, 4), dict(window=(1, 1, 1)), r"such as \(2, 2, 2\)"),
        ((1, 4, 5, 4, 4), dict(window=(2, 1, 1)), "wider than 1 in space"),
        ((1, 4, 5, 4, 4), dict(window=(2, 2)), "time, height, width"),
    ],
)
def test_errors(shape, options, message):
    with pytest.raises(ValueError, match=message):
        local_correlation(torch.randn(shape), **options)
    with pytest.raises(ValueError, match="threshold"):
        LocalCorrelation(threshold=2)


@pytest.mark.parametrize(("frames", "lone"), [(5, True), (1, True), (4, False)])
def test_what_each_clip_gives(frames, lone):
    """Their mean is the whole, and none is what the clip gives alone."""
    torch.manual_seed(0)
    x = torch.randn(3, 4, frames, 4, 6) * torch.tensor([1, 2, 3]).view(3, 1, 1, 1, 1)
    each = correlation_of_each(x, (min(frames, 2), 2, 2), lone)
    whole = local_correlation(x, (min(frames, 2), 2, 2), lone)
    torch.testing.assert_close(each.mean(), whole.average)
    alone = local_correlation(x[:1], (min(frames, 2), 2, 2), lone).average
    assert not torch.allclose(each[0], alone)

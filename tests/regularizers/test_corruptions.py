"""What changes clips or latents before they are encoded or decoded: all have the same manners."""

import pytest
import torch

from ssvae.regularizers import (
    ChannelPrefix,
    DecoderNoise,
    Draws,
    FutureDropping,
    InputMasking,
    LatentNoise,
    motion_loss,
)

ALL = [
    LatentNoise(),
    DecoderNoise(),
    FutureDropping(8, 1.0),
    FutureDropping(8, 1.0, "gaussian"),
    FutureDropping(8, 1.0, "zeros"),
    ChannelPrefix(),
    InputMasking(0.9, (2, 2, 2)),
]


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("module", ALL, ids=lambda m: type(m).__name__)
def test_manners(module):
    torch.manual_seed(0)
    z = torch.randn(4, 8, 5, 6, 4, requires_grad=True)
    out = module.train()(z, drawn())
    assert out.shape == z.shape
    assert not torch.equal(out, z)
    torch.testing.assert_close(module(z, drawn()), out)
    out.sum().backward()
    assert z.grad is not None
    assert torch.isfinite(z.grad).all()
    # Each half of the batch, on a process of its own, is as in the whole.
    halves = [module(z[i * 2 : i * 2 + 2], Draws(drawn(), i, 2)) for i in range(2)]
    torch.testing.assert_close(torch.cat(halves), out)
    assert module(z.bfloat16(), drawn()).dtype == torch.bfloat16
    assert module(z[:, :, 0], drawn()).shape == (4, 8, 6, 4)
    assert module.eval()(z) is z
    assert type(module).__name__ in repr(module)
    module.train()


def test_noise_is_the_stated_mixture():
    z = torch.full((20_000, 2, 1, 1, 1), 5.0)
    noisy = LatentNoise(gamma=2.0).train()(z, drawn()).flatten(1)
    # Of z' = (1 - t) 5 + 2 t e: mean 5/2; the two channels share t and not e.
    assert noisy.mean().item() == pytest.approx(2.5, abs=0.03)
    covariance = torch.cov(noisy.T)
    assert covariance[0, 1].item() == pytest.approx(25 / 12, abs=0.06)
    assert covariance[0, 0].item() == pytest.approx(25 / 12 + 4 / 3, abs=0.08)


def test_noise_for_the_decoder_is_in_units_of_each_channel():
    z = torch.randn(2000, 2, 1, 8, 8, generator=drawn(1)) * torch.tensor([1.0, 5.0]).view(
        1, 2, 1, 1, 1
    )
    noise = DecoderNoise(0.3, fixed=True).train()(z, drawn()) - z
    shares = noise.std((0, 2, 3, 4)) / z.std((0, 2, 3, 4))
    assert shares.tolist() == pytest.approx([0.3, 0.3], abs=0.01)
    assert torch.corrcoef(noise[:, :, 0, 0, 0].T)[0, 1].abs() < 0.1
    # Drawn for each sample: the mean of |N(0, t^2)| is t sqrt(2 / pi).
    each = (DecoderNoise(0.3).train()(z, drawn()) - z)[:, 0].flatten(1).std(1)
    assert each.mean().item() == pytest.approx(0.3 * (2 / torch.pi) ** 0.5, abs=0.01)
    assert each.std() > 0.1


def test_dropping_keeps_beginnings_of_every_length():
    z = torch.ones(4000, 1, 4, 1, 1)
    kept = FutureDropping(1, 0.75, "zeros").train()(z, drawn()).flatten(1)
    assert torch.equal(kept, kept.cummin(1).values), "nothing comes back behind a dropped frame"
    shares = [(kept.sum(1) == n).float().mean().item() for n in range(5)]
    assert shares == pytest.approx([0, 0.25, 0.25, 0.25, 0.25], abs=0.03)
    alone = torch.ones(3, 1, 1, 2, 2)
    assert FutureDropping(1, 1.0).train()(alone).equal(alone)


def test_what_stands_for_the_future():
    z = torch.full((400, 2, 3, 4, 4), 7.0)
    learned = FutureDropping(2, 1.0).train()
    assert learned.token is not None
    torch.nn.init.constant_(learned.token[:, 1], 3.0)
    filled = learned(z, drawn())
    gone = filled[:, 0] != 7
    assert filled[:, 0][gone].eq(0).all()
    assert filled[:, 1][gone].eq(3).all()
    filled[:, 1].sum().backward()
    assert learned.token.grad is not None
    assert learned.token.grad.flatten().tolist() == [0, int(gone.sum())]
    # Of images nothing is dropped, and yet there is a gradient.
    learned.zero_grad()
    learned(z[:, :, 0]).sum().backward()
    assert learned.token.grad.eq(0).all()
    noisy = FutureDropping(2, 1.0, "gaussian").train()(z, drawn())
    padding = noisy[noisy != 7]
    assert (noisy[:, 0] != 7).equal(gone), "the same frames"
    assert padding.mean().item() == pytest.approx(0, abs=0.03)
    assert padding.std().item() == pytest.approx(1, abs=0.03)
    assert FutureDropping(2, 1.0, "zeros").token is None


def test_prefixes():
    z = torch.ones(3, 8, 2, 2, 2)
    module = ChannelPrefix((0.25, 0.5)).train()
    counts = set()
    for seed in range(20):
        out = module(z, drawn(seed))
        channels = out.mean((0, 2, 3, 4))
        assert torch.equal(channels, channels.sort(descending=True).values)
        assert torch.equal(out, out[:1].expand_as(out)), "one draw for the batch"
        counts.add(int(channels.sum()))
    assert counts == {2, 4}
    assert ChannelPrefix((0.01,)).train()(z)[:, 0].eq(1).all(), "a channel always stays"


def test_patches_of_the_input():
    clips = torch.ones(2000, 3, 5, 4, 4)
    seen = InputMasking(0.7, (4, 2, 2)).train()(clips, drawn())
    assert torch.equal(seen, seen[:, :1].expand_as(seen)), "all colours of a patch"
    rest = seen[:, 0, 1:].unfold(2, 2, 2).unfold(3, 2, 2)  # (B, 4, 2, 2, 2, 2)
    assert torch.equal(rest, rest[:, :1, :, :, :1, :1].expand_as(rest)), "whole patches"
    first = seen[:, 0, 0].unfold(1, 2, 2).unfold(2, 2, 2)
    assert not torch.equal(first[..., 0, 0], rest[:, 0, ..., 0, 0]), (
        "the first frame is its own row"
    )
    masked = 8 - (first[..., 0, 0].sum((1, 2)) + rest[:, 0, ..., 0, 0].sum((1, 2)))
    # U(-.1, .7) of eight patches, rounded: none below 1/16, five or six at most.
    assert (masked == 0).float().mean().item() == pytest.approx((0.1 + 1 / 16) / 0.8, abs=0.03)
    assert masked.max() == 6
    assert masked.mean().item() == pytest.approx(8 * 0.7**2 / 2 / 0.8, abs=0.1)


def test_motion_loss():
    clips = torch.zeros(1, 3, 4, 2, 2)
    made = clips + torch.tensor([0.0, 1.0, 1.0, 3.0]).view(1, 1, 4, 1, 1)
    assert motion_loss(made, clips).item() == pytest.approx(1.0)
    assert motion_loss(made + 5, clips).item() == pytest.approx(1.0), "still things do not matter"
    assert motion_loss(made[:, :, :1], clips[:, :, :1]).item() == 0
    with pytest.raises(ValueError, match="both must be"):
        motion_loss(made, clips[:, :, :2])


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (LatentNoise, dict(gamma=0.0), "gamma"),
        (LatentNoise, dict(gamma=float("nan")), "gamma"),
        (DecoderNoise, dict(deviation=0.0), "deviation"),
        (FutureDropping, dict(channels=4, probability=1.5), "probability"),
        (FutureDropping, dict(channels=0), "channels"),
        (FutureDropping, dict(channels=4, padding="ones"), "padding must be one of learned,"),
        (ChannelPrefix, dict(shares=()), "shares"),
        (ChannelPrefix, dict(shares=(0.0, 1.0)), "shares"),
        (InputMasking, dict(max_ratio=2.0), "max_ratio"),
        (InputMasking, dict(patch=(1, 2)), "patch"),
    ],
)
def test_settings_that_are_none(kind, settings, message):
    with pytest.raises(ValueError, match=message):
        kind(**settings)


@pytest.mark.parametrize("module", ALL, ids=lambda m: type(m).__name__)
def test_shapes_that_are_none(module):
    with pytest.raises(ValueError, match="must be"):
        module(torch.zeros(4))

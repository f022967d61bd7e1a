import warnings

import pytest
import torch
from torch import nn

from ssvae.regularizers import Balance, LatentMasking, LocalCorrelation, balance


class Coder(nn.Module):
    """A small encoder and decoder in float64."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.Sequential(nn.Conv3d(3, 6, 3, padding=1), nn.SiLU())
        self.last = nn.Conv3d(6, 8, 3, padding=1)
        self.decoder = nn.Sequential(nn.Conv3d(4, 6, 3, padding=1), nn.SiLU(), nn.Conv3d(6, 3, 1))
        self.double()

    def moments(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.encoder(x))


def losses(coder: Coder, moments: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    mean, logvar = moments.chunk(2, 1)
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(1), dtype=mean.dtype)
    return (coder.decoder(mean + (0.5 * logvar).exp() * noise) - x).abs().sum()


def kl(moments: torch.Tensor) -> torch.Tensor:
    mean, logvar = moments.chunk(2, 1)
    return 0.5 * (mean.square() + logvar.exp() - 1 - logvar).sum()


def penalty(moments: torch.Tensor) -> torch.Tensor:
    return LocalCorrelation()(moments.chunk(2, 1)[0])


@pytest.mark.parametrize("weight", [0.002, 0.1, 5.0])
def test_equals_the_two_pass_way(weight):
    coder, x = Coder(), torch.randn(2, 3, 5, 4, 4, dtype=torch.float64)

    # Two passes, as published: norms first, then one loss.
    moments = coder.moments(x)
    nll, p = losses(coder, moments, x), penalty(moments)
    W = coder.last.weight
    (g_nll,) = torch.autograd.grad(nll, W, retain_graph=True)
    (g_p,) = torch.autograd.grad(p, W, retain_graph=True)
    w = weight * (g_nll.norm() / (g_p.norm() + 1e-4)).clamp(0, 1e8)
    (nll + w.detach() * p + 5e-4 * kl(moments)).backward()
    expected = [parameter.grad.clone() for parameter in coder.parameters()]

    coder.zero_grad()
    moments = coder.moments(x)
    balanced = Balance(moments, penalty, coder.last, weight)
    assert torch.equal(balanced.moments, moments)
    assert balanced.penalty is not None
    assert balanced.penalty.item() == pytest.approx(p.item())
    with pytest.raises(RuntimeError, match="call loss.backward"):
        balanced.weight()
    (losses(coder, balanced.moments, x) + 5e-4 * kl(moments)).backward()
    assert balanced.weight().item() == pytest.approx(w.item(), rel=1e-9)
    for parameter, reference in zip(coder.parameters(), expected, strict=True):
        assert (parameter.grad - reference).norm() <= 1e-6 * reference.norm()


def test_decoder_gradients_are_those_without_the_penalty():
    coder, x = Coder(), torch.randn(2, 3, 5, 4, 4, dtype=torch.float64)
    losses(coder, coder.moments(x), x).backward()
    plain = [p.grad.clone() for p in coder.decoder.parameters()]
    first = coder.last.weight.grad.clone()
    coder.zero_grad()
    losses(coder, balance(coder.moments(x), penalty, coder.last, 1.0), x).backward()
    for a, b in zip(plain, coder.decoder.parameters(), strict=True):
        assert torch.equal(a, b.grad)
    assert not torch.allclose(first, coder.last.weight.grad)


def test_a_satisfied_penalty_changes_nothing():
    coder, x = Coder(), torch.randn(2, 3, 5, 4, 4, dtype=torch.float64)
    satisfied = LocalCorrelation(threshold=-1)
    losses(coder, coder.moments(x), x).backward()
    plain = coder.last.weight.grad.clone()
    coder.zero_grad()
    balanced = balance(coder.moments(x), lambda m: satisfied(m.chunk(2, 1)[0]), coder.last)
    losses(coder, balanced, x).backward()
    assert torch.equal(plain, coder.last.weight.grad)


def test_gradient_scaling_passes_through():
    """A loss scaled for float16 gives the same gradients, scaled."""
    coder, x = Coder(), torch.randn(2, 3, 5, 4, 4, dtype=torch.float64)
    grads = []
    for scale in (1.0, 1024.0):
        coder.zero_grad()
        (losses(coder, balance(coder.moments(x), penalty, coder.last), x) * scale).backward()
        grads.append(coder.last.weight.grad / scale)
    torch.testing.assert_close(*grads)


def test_with_masking_one_backward_reaches_everything():
    coder, x = Coder(), torch.randn(2, 3, 5, 4, 4, dtype=torch.float64)
    masking = LatentMasking(4, (0.5,), (1.0,)).double()
    mean = balance(coder.moments(x), penalty, coder.last).chunk(2, 1)[0]
    (coder.decoder(masking(mean)) - x).abs().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in coder.parameters())
    assert masking.token.grad is not None


def test_without_gradients_nothing_is_added():
    coder, x = Coder(), torch.randn(1, 3, 5, 4, 4, dtype=torch.float64)
    with torch.no_grad():
        moments = coder.moments(x)
        assert balance(moments, penalty, coder.last) is moments
    frozen = coder.requires_grad_(False).moments(x)
    assert balance(frozen, penalty, coder.last) is frozen


def test_errors():
    coder, x = Coder(), torch.randn(1, 3, 5, 4, 4, dtype=torch.float64)
    with pytest.raises(ValueError, match="must have a weight, got SiLU"):
        balance(coder.moments(x), penalty, nn.SiLU())
    coder.last.weight.requires_grad_(False)
    with pytest.raises(ValueError, match="unfreeze"):
        balance(coder.moments(x), penalty, coder.last)


def test_a_layer_that_did_not_make_the_moments_is_refused_before_the_backward_pass():
    coder, x = Coder(), torch.randn(1, 3, 3, 4, 4, dtype=torch.float64)
    for wrong in (coder.decoder[0], nn.Conv3d(6, 8, 3).double()):
        with pytest.raises(
            ValueError, match=r"do not come from the weight of last_layer, a Conv3d"
        ):
            balance(coder.moments(x), penalty, wrong)
    balance(coder.moments(x), penalty, coder.last)


def test_weights_that_are_computed_anew_are_refused():
    coder, x = Coder(), torch.randn(1, 3, 3, 4, 4, dtype=torch.float64)
    for wrap in (nn.utils.weight_norm, nn.utils.parametrizations.weight_norm):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            coder.last = wrap(nn.Conv3d(6, 8, 3, padding=1).double())
        with pytest.raises(ValueError, match="computed anew in each step, as weight_norm"):
            balance(coder.moments(x), penalty, coder.last)


def test_channels_that_come_last_are_told():
    coder, x = Coder(), torch.randn(1, 3, 3, 4, 4, dtype=torch.float64)
    moments = coder.moments(x).movedim(1, -1)
    with pytest.raises(ValueError, match=r"channels on the second axis.*moments.movedim"):
        balance(moments, penalty, coder.last)


def test_a_last_layer_behind_many_others_is_found():
    """Reshapes and the like stand between some encoders' last layers and their moments."""
    coder, x = Coder(), torch.randn(1, 3, 3, 4, 4, dtype=torch.float64)
    moments = coder.moments(x)
    for _ in range(100):
        moments = moments + 0
    balanced = balance(moments, penalty, coder.last, weight=0.1)
    losses(coder, balanced, x).backward()
    assert coder.last.weight.grad is not None


def test_moments_as_wide_as_their_channels_are_taken():
    """What the last axis holds is told by its length alone."""
    coder, x = Coder(), torch.randn(1, 3, 3, 4, 8, dtype=torch.float64)
    assert balance(coder.moments(x), penalty, coder.last).shape[-1] == 8
    half = coder.moments(x).chunk(2, 1)[0]
    balance(half, lambda m: LocalCorrelation()(m), coder.last)


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_weights_that_are_none_are_refused(weight):
    coder, x = Coder(), torch.randn(1, 3, 3, 4, 4, dtype=torch.float64)
    with pytest.raises(ValueError, match="weight must be a number of at least 0"):
        balance(coder.moments(x), penalty, coder.last, weight=weight)
    with pytest.raises(ValueError, match="must make a tensor"):
        balance(coder.moments(x), lambda m: 1.0, coder.last)
    with pytest.raises(ValueError, match="window must be"):
        LocalCorrelation(window=2)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="channels must be at least 1"):
        LatentMasking(0)

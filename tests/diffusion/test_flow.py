import itertools
import math

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from ssvae.diffusion.flow import (
    draw_times,
    loss_by_time,
    min_snr_weights,
    nearest_noise,
    noisy,
    others,
    shift_for,
    shifted,
)


def test_the_path_runs_from_data_to_noise():
    x, n = torch.randn(3, 2, 1, 4, 4), torch.randn(3, 2, 1, 4, 4)
    path = noisy(x, n, torch.tensor([0.0, 0.25, 1.0]))
    assert torch.equal(path[0], x[0])
    assert torch.allclose(path[1], 0.75 * x[1] + 0.25 * n[1])
    assert torch.equal(path[2], n[2])


@pytest.mark.parametrize("shift", [1.0, 3.0, 5.7])
def test_the_shift_is_the_schedulers(shift):
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    plain = FlowMatchEulerDiscreteScheduler(shift=1.0)
    assert torch.allclose(shifted(plain.sigmas, shift), scheduler.sigmas, atol=1e-6)


def test_shift_by_tokens():
    assert shift_for(48) == 1.0
    assert shift_for(4096) == 2.0
    assert shift_for(32_760) == pytest.approx(5.66, abs=0.01)


def test_times_are_logit_normal():
    generator = torch.Generator().manual_seed(0)
    t = draw_times(20_000, 0.5, 0.8, 1.0, generator)
    logits = torch.logit(t.double())
    assert float(logits.mean()) == pytest.approx(0.5, abs=0.02)
    assert float(logits.std()) == pytest.approx(0.8, abs=0.02)
    more = draw_times(20_000, 0.0, 1.0, 3.0, generator)
    assert float(more.median()) == pytest.approx(3 * 0.5 / (1 + 2 * 0.5), abs=0.01)


def test_loss_by_time_agrees_with_a_naive_form():
    t = torch.tensor([0.0, 0.1, 0.3, 0.3, 0.99, 1.0])
    losses = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    sums, counts = loss_by_time(losses, t)
    assert sums.tolist() == [3, 7, 0, 0, 11]
    assert counts.tolist() == [2, 2, 0, 0, 2]
    assert math.isnan(float((sums / counts)[2]))


@pytest.mark.parametrize(("mean", "std", "shift"), [(0.0, 1.0, 1.0), (1.0, 0.8, 3.0)])
def test_min_snr_weighs_the_datas_error(mean, std, shift):
    t = draw_times(200_000, mean, std, shift, torch.Generator().manual_seed(0)).double()
    weights = min_snr_weights(t, 5.0, mean, std, shift)
    assert float(weights.mean()) == pytest.approx(1, abs=0.01)
    # The data's error is t times the velocity's, and its weight min(SNR, gamma).
    snr = ((1 - t) / t).square()
    expected = snr.clamp(max=5.0) * t.square()
    torch.testing.assert_close(weights / weights.mean(), expected / expected.mean())


def test_noise_goes_to_the_nearest_clip():
    generator = torch.Generator().manual_seed(0)
    x, noise = torch.randn(2, 5, 3, 1, 2, 2, generator=generator)
    dealt = nearest_noise(x, noise)

    def cost(rows):
        return float((x - noise[list(rows)]).square().sum())

    best = min(itertools.permutations(range(5)), key=cost)
    assert dealt.equal(noise[list(best)])


def test_others_are_others():
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([others(5, generator) for _ in range(400)])
    assert not (drawn == torch.arange(5)).any()
    assert (drawn[:, 0] == 3).float().mean().item() == pytest.approx(1 / 4, abs=0.07)
    assert others(1, generator).tolist() == [0]

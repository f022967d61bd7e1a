import pytest
import torch

from ssvae.analysis.sensitivity import sensitivity


def test_decoders_that_need_one_thing_each():
    torch.manual_seed(0)
    # Smooth clips, whose latents are their own pixels.
    clips = (0.2 * torch.randn(6, 4, 2, 2, 2)).repeat_interleave(4, 3).repeat_interleave(4, 4)
    clips = clips.clamp(-1, 1)

    def shown(z: torch.Tensor) -> torch.Tensor:
        return z[:, :3]

    lost = sensitivity(clips, clips[:, :3], shown)
    # The plain one is perfect, at 100 dB: what is lost tells what is left.
    noise = 10 * torch.log10(4 / (0.3 * clips[:, :3].std()).square())
    assert 100 - lost["lost_to_noise_in_deviations"] == pytest.approx(float(noise), abs=0.5)
    assert 0 < lost["lost_to_low_pass"] < lost["lost_to_noise_in_deviations"] + 40
    deaf = sensitivity(clips, clips[:, :3], lambda z: torch.zeros_like(z[:, :3]))
    assert all(value == pytest.approx(0) for value in deaf.values())


def test_fine_latents_do_not_survive_a_low_pass():
    fine = torch.ones(2, 4, 1, 8, 8)
    fine[..., ::2] = -1
    flat = 0.5 * torch.randn(2, 4, 1, 1, 1).clamp(-2, 2).expand(2, 4, 1, 8, 8)
    for z, low in ((fine, False), (flat, True)):
        lost = sensitivity(z, z[:, :3], lambda latents: latents[:, :3])["lost_to_low_pass"]
        assert (lost < 20) == low


def test_a_quarter_of_the_channels():
    torch.manual_seed(0)
    z = torch.rand(40, 8, 1, 2, 2) - 0.5
    lost = sensitivity(z, z[:, :3], lambda latents: latents[:, :3])
    assert lost["lost_to_dropped_channels"] > 5
    # A decoder that reads channels nobody varies loses nothing.
    still = torch.cat([z[:, :4], torch.zeros(40, 4, 1, 2, 2)], 1)
    kept = sensitivity(still, torch.zeros(40, 3, 1, 2, 2), lambda latents: latents[:, 5:])
    assert kept["lost_to_dropped_channels"] == pytest.approx(0)

import pytest
import torch
import torch.nn.functional as F

from ssvae.regularizers import Equivariance, ScaleEquivariance
from ssvae.regularizers.equivariance import resized


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def grown(z: torch.Tensor) -> torch.Tensor:
    """Clips of which each latent is 4 x 4 pixels."""
    return z.repeat_interleave(4, -1).repeat_interleave(4, -2)


def test_turns_turn_both_alike():
    torch.manual_seed(0)
    z = torch.randn(2, 3, 2, 4, 6)
    module = Equivariance(1.0, (1.0, 1.0)).train()
    shapes = set()
    for seed in range(12):
        small, clips = module(z, grown(z), drawn(seed))
        torch.testing.assert_close(clips, grown(small))
        assert not torch.equal(small, z)
        shapes.add(small.shape[-2:])
    assert shapes == {(4, 6), (6, 4)}


def test_scales_are_whole_latents_of_the_range():
    z = torch.zeros(1, 3, 2, 8, 16)
    module = Equivariance(1.0, (0.25, 1.0), turns=False).train()
    heights = []
    for seed in range(400):
        small, clips = module(z, grown(z), drawn(seed))
        assert (clips.shape[-2], clips.shape[-1]) == (4 * small.shape[-2], 4 * small.shape[-1])
        heights.append(small.shape[-2])
    assert set(heights) == set(range(2, 9))
    assert heights.count(8) / 400 == pytest.approx(3 / 25, abs=0.06), "30, 31 and 32 of 8 to 32"


def test_a_ramp_stays_a_ramp():
    """Bilinear and antialiased: inside, a linear picture keeps its values at the same places."""
    places = torch.arange(16, dtype=torch.float32)
    z = places.expand(1, 2, 3, 16, 16)
    for factor, expected in ((2.0, 2 * places[:8] + 0.5), (4.0, 4 * places[:4] + 1.5)):
        small, _ = ScaleEquivariance((factor,)).train()(z, grown(z), drawn())
        inside = slice(1, -1)
        assert small.shape == (1, 2, 3, len(expected), len(expected))
        torch.testing.assert_close(small[0, 0, 0, 0, inside], expected[inside])
        pixels = torch.arange(64, dtype=torch.float32).expand(1, 3, 3, 64, 64)
        _, clips = ScaleEquivariance((factor,)).train()(z, pixels, drawn())
        places_of_pixels = factor * torch.arange(len(expected) * 4) + (factor - 1) / 2
        torch.testing.assert_close(clips[0, 0, 0, 0, 1:-1], places_of_pixels[1:-1])


def test_equals_interpolation():
    """As torch interpolates, for all sizes, and with its gradient."""
    torch.manual_seed(0)
    x = torch.randn(2, 3, 7, 11, dtype=torch.float64, requires_grad=True)
    for size in ((3, 4), (7, 5), (1, 11)):
        expected = F.interpolate(x, size, mode="bilinear", antialias=True)
        made = resized(x, *size)
        torch.testing.assert_close(made, expected)
        ours, theirs = (torch.autograd.grad(y.square().sum(), x)[0] for y in (made, expected))
        torch.testing.assert_close(ours, theirs)
    with torch.autocast("cpu", torch.bfloat16):
        assert resized(x.float(), 3, 4).dtype == torch.float32


def test_all_factors_are_drawn():
    z = torch.zeros(1, 2, 8, 8)  # images
    module = ScaleEquivariance().train()
    sides = {module(z, grown(z), drawn(seed))[0].shape[-1] for seed in range(20)}
    assert sides == {2, 4}


def test_probability_and_eval():
    z = torch.randn(1, 2, 1, 4, 4)
    clips = grown(z)
    module = Equivariance(0.25).train()
    changed = [module(z, clips, drawn(seed))[0] is not z for seed in range(400)]
    assert sum(changed) / 400 == pytest.approx(0.25, abs=0.07)
    for kind in (Equivariance(1.0), ScaleEquivariance()):
        assert kind.eval()(z, clips) == (z, clips)
        assert kind.train()(z.bfloat16(), clips.bfloat16(), drawn())[0].dtype == torch.bfloat16


def test_gradients_reach_the_latents():
    z = torch.randn(1, 2, 1, 4, 4, requires_grad=True)
    small, _ = ScaleEquivariance((2.0,)).train()(z, grown(z.detach()), drawn())
    small.sum().backward()
    assert z.grad is not None
    torch.testing.assert_close(z.grad.sum(), torch.tensor(8.0))  # four latents of two channels


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (ScaleEquivariance, dict(factors=()), "factors"),
        (ScaleEquivariance, dict(factors=(0.5,)), "factors"),
        (Equivariance, dict(probability=-1.0), "probability"),
        (Equivariance, dict(scales=(0.0, 1.0)), "scales"),
        (Equivariance, dict(scales=(0.5, 0.25)), "scales"),
        (Equivariance, dict(scales=(0.51, 0.52)), "multiple of 1/32"),
    ],
)
def test_settings_that_are_none(kind, settings, message):
    with pytest.raises(ValueError, match=message):
        kind(**settings)


@pytest.mark.parametrize(
    ("z", "clips", "message"),
    [
        ((2, 4, 2, 2), (2, 3, 1, 8, 8), "as many axes"),
        ((2, 4, 1, 2, 2), (1, 3, 1, 8, 8), "a clip for each"),
        ((2, 4, 3, 3), (2, 3, 8, 8), "multiples"),
    ],
)
def test_pairs_that_are_none(z, clips, message):
    with pytest.raises(ValueError, match=message):
        Equivariance()(torch.zeros(z), torch.zeros(clips))

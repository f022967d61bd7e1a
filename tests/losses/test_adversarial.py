import math

import pytest
import torch

from ssvae.losses import LeCam, generator_loss, hinge_loss, r1_penalty
from ssvae.models.discriminator import Discriminator


def test_hinge_and_generator_by_known_values():
    real = [torch.tensor([2.0, 0.0]), torch.tensor([-1.0])]
    fake = [torch.tensor([-2.0, 0.0]), torch.tensor([3.0])]
    # Halves of (0 + 1) / 2 + (0 + 1) / 2 and of 2 + 4, then their mean.
    assert float(hinge_loss(real, fake)) == pytest.approx((0.5 + 3.0) / 2)
    assert float(generator_loss(fake)) == pytest.approx((1.0 - 3.0) / 2)


def test_r1_is_the_squared_gradient():
    weights = torch.arange(12.0).view(3, 1, 2, 2)
    clips = torch.rand(5, 3, 1, 2, 2)

    def discriminator(x):
        return [(x * weights).flatten(1).sum(1, keepdim=True)]

    assert float(r1_penalty(discriminator, clips)) == pytest.approx(float(weights.square().sum()))


def test_lecam_follows_the_scores_and_pulls_them_back():
    lecam = LeCam(decay=0.5)
    real, fake = [torch.full((4,), 2.0)], [torch.full((4,), -2.0)]
    first = lecam(real, fake)
    # Means after one call: 1 and -1; (2 + 1)^2 + (1 + 2)^2.
    assert float(first) == pytest.approx(18.0)
    assert lecam.means.tolist() == [1.0, -1.0]
    x = torch.tensor([3.0], requires_grad=True)
    lecam([x], fake).backward()
    assert x.grad.item() > 0, "scores of clips are pulled down"


@pytest.mark.parametrize("frames", [1, 5, 17])
def test_scores_of_patches(frames):
    model = Discriminator(channels=4, halvings=4)
    of_frames, of_clips = model(torch.rand(2, 3, frames, 64, 48))
    assert of_frames.shape == (2, frames, 2, 1)
    assert of_clips.shape == (2, math.ceil(math.ceil(frames / 2) / 2), 4, 3)
    side = Discriminator.smallest_side(4)
    assert model(torch.rand(1, 3, 1, side, side))[0].numel() == 1


def test_the_discriminator_of_clips_is_causal():
    torch.manual_seed(0)
    model = Discriminator(channels=4, halvings=2).eval()
    x = torch.rand(1, 3, 9, 32, 32)
    changed = x.clone()
    changed[:, :, 8] += 1
    before, after = model.clips(x), model.clips(changed)
    assert torch.equal(before[:, :2], after[:, :2])
    assert not torch.equal(before[:, 2], after[:, 2])


def test_layers_are_lipschitz():
    torch.manual_seed(0)
    model = Discriminator(channels=4, halvings=2)
    for _ in range(50):  # power iterations
        model(torch.rand(1, 3, 5, 16, 16))
    for part in (model.frames, model.clips):
        for weight in part.normalised([layer.weight for layer in part.layers]):
            largest = torch.linalg.svdvals(weight.detach().flatten(1))[0]
            assert float(largest) == pytest.approx(1, abs=0.02)


def test_a_discriminator_learns_to_tell():
    torch.manual_seed(0)
    model = Discriminator(channels=8, halvings=2)
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    losses = []
    for _ in range(30):
        smooth = torch.rand(4, 3, 5, 1, 1).expand(-1, -1, -1, 24, 24)
        noisy = smooth + 0.3 * torch.randn(4, 3, 5, 24, 24)
        scores = model(torch.cat([smooth, noisy]))
        loss = hinge_loss([s[:4] for s in scores], [s[4:] for s in scores])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert losses[-1] < 0.3 * losses[0]

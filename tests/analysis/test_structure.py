import math

import pytest
import torch

from ssvae.analysis.structure import (
    local_over_distant,
    on_latent_grid,
    standardised,
    subject_structure,
    viv_within,
)
from ssvae.spectra.joint import JointSpectrum


def test_what_captions_tell_is_no_part_of_the_variance():
    torch.manual_seed(0)
    names = [f"caption {i % 40}" for i in range(2000)]
    means = 3 * torch.randn(40, 4, 2, 3, 3)
    z = means[torch.arange(2000) % 40] + torch.randn(2000, 4, 2, 3, 3)
    found = viv_within(z, names)
    # White residuals of a tenth of the variance, whatever the captions' means.
    assert found["viv_rho"] == pytest.approx(1, abs=0.01)
    deviation = float((1 / z.double().var((0, 2, 3, 4))).sqrt().mean())
    assert found["viv_within"] == pytest.approx(math.pi / 2 * deviation, rel=0.02)
    # Captions that tell nothing leave what no caption leaves.
    told = viv_within(z, torch.randint(0, 40, (2000,)).tolist())
    joint = JointSpectrum().update(z).result().irreducible_loss()
    assert told["viv_within"] == pytest.approx(joint, rel=0.03)


def test_rho_falls_with_the_modes_that_hold_the_variance():
    torch.manual_seed(0)
    names = [str(i % 10) for i in range(1000)]
    one = torch.randn(1000, 1, 1, 1, 1).expand(1000, 3, 2, 4, 4)
    # One mode of 96: the root of its share, at whatever scale.
    for scale in (1.0, 7.0):
        assert viv_within(scale * one, names)["viv_rho"] == pytest.approx(96**-0.5, rel=0.01)


def test_captions_without_a_pair_are_left_out():
    torch.manual_seed(0)
    z = torch.randn(400, 2, 1, 2, 2)
    paired = [str(i // 2) for i in range(400)]
    assert viv_within(z, paired)["viv_rho"] == pytest.approx(1, abs=0.02)
    with pytest.raises(ValueError, match="no caption of 400 clips has two"):
        viv_within(z, [str(i) for i in range(400)])


def planted(clips: int = 20) -> tuple[torch.Tensor, torch.Tensor]:
    """A square of one direction in channels before another, in frames of their own noise."""
    torch.manual_seed(0)
    masks = torch.zeros(clips, 2, 8, 8, dtype=torch.bool)
    masks[:, :, 1:4, 1:4] = True
    z = torch.where(masks[:, None], 1.0, -1.0) * torch.tensor([1.0, -1.0, 1.0]).view(3, 1, 1, 1)
    return z + 0.01 * torch.randn(clips, 3, 2, 8, 8), masks


def test_a_subject_unlike_what_is_behind_it():
    z, masks = planted()
    # Nine of 64 positions: standardised, the two directions are opposite.
    assert subject_structure(z, masks) == pytest.approx(2, abs=0.01)
    noise = torch.randn(200, 8, 2, 8, 8)
    assert subject_structure(noise, masks[:1].expand(200, -1, -1, -1)) == pytest.approx(0, abs=0.02)
    with pytest.raises(ValueError, match="8x8 is too small"):
        subject_structure(z, torch.ones_like(masks))


def test_subject_structure_by_loops():
    torch.manual_seed(1)
    z, masks = torch.randn(3, 4, 2, 4, 5), torch.rand(3, 2, 4, 5) < 0.4
    unit = standardised(z)
    unit = unit / unit.norm(dim=1, keepdim=True)
    frames = []
    for n in range(3):
        for t in range(2):
            deltas = []
            for i in range(4):
                for j in range(5):
                    if not masks[n, t, i, j]:
                        continue
                    near, far = [], []
                    for k in range(4):
                        for m in range(5):
                            steps = abs(i - k) + abs(j - m)
                            cosine = float(unit[n, :, t, i, j] @ unit[n, :, t, k, m])
                            if masks[n, t, k, m] and steps == 1:
                                near.append(cosine)
                            if not masks[n, t, k, m] and steps >= 2:
                                far.append(cosine)
                    if near and far:
                        deltas.append(sum(near) / len(near) - sum(far) / len(far))
            if deltas:
                frames.append(sum(deltas) / len(deltas))
    assert subject_structure(z, masks) == pytest.approx(sum(frames) / len(frames))


def test_smooth_latents_are_local():
    torch.manual_seed(0)
    noise = torch.randn(50, 8, 2, 8, 8)
    assert local_over_distant(noise) == pytest.approx(0, abs=0.02)
    smooth = torch.nn.functional.avg_pool3d(noise, (1, 3, 3), 1, (0, 1, 1))
    assert local_over_distant(smooth) > 0.4
    with pytest.raises(ValueError, match="grid of 1x2"):
        local_over_distant(torch.randn(4, 3, 1, 1, 2))


def test_masks_on_the_grid_of_latents():
    cover = torch.zeros(1, 1, 9, 8, 8)
    cover[:, :, 0, :4, :4] = 1  # on the first frame, which has latents of its own
    cover[:, :, 1:3, 4:, 4:] = 1  # on half of the four frames behind it
    masks = on_latent_grid(cover, (3, 2, 2), lone_first_frame=True)
    assert masks[0].int().tolist() == [[[1, 0], [0, 0]], [[0, 0], [0, 1]], [[0, 0], [0, 0]]]
    assert on_latent_grid(cover, (9, 8, 8), lone_first_frame=False).equal(cover[:, 0] > 0)


def test_dead_channels_and_wrong_shapes():
    z = torch.randn(4, 2, 1, 2, 2)
    z[:, 1] = 3
    unit = standardised(z)
    assert unit[:, 1].abs().max() == 0
    assert float(unit[:, 0].std()) == pytest.approx(1)
    with pytest.raises(ValueError, match="at least two clips"):
        standardised(z[:1])
    with pytest.raises(ValueError, match="every channel is constant"):
        standardised(torch.ones(4, 2, 1, 2, 2))

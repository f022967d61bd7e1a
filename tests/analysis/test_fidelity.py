import math

import pytest
import torch

from ssvae.analysis import Fidelity, psnr, ssim
from ssvae.analysis.fidelity import SMALLEST, quality
from ssvae.analysis.findings import border_ratio, relative_errors
from ssvae.losses import LPIPS, of_frames

pytestmark = pytest.mark.quick


def clips(n=4, T=5, side=16):
    torch.manual_seed(0)
    true = torch.rand(n, 3, T, side, side) * 2 - 1
    return true, true + 0.1 * torch.randn_like(true)


def test_each_frame_against_its_definition():
    true, made = clips()
    result = Fidelity().update(made[:1], true[:1]).update(made[1:], true[1:]).result()
    a, b = ((x.clamp(-1, 1) + 1) / 2 for x in (made, true))
    squares = (a - b).square().mean((1, 3, 4))
    naive = (10 * torch.log10(1 / squares)).mean(0)
    torch.testing.assert_close(result.frame_psnr.float(), naive, rtol=1e-5, atol=0)
    whole = (10 * torch.log10(1 / squares.mean(1))).mean()
    assert result.psnr == pytest.approx(float(whole), rel=1e-6)
    assert result.ssim == pytest.approx(float(ssim(made, true).mean()), rel=1e-5)
    assert result.lpips is None
    assert result.clips == 4


def test_equal_clips_and_small_ones():
    true, _ = clips(side=8)
    result = Fidelity().update(true, true).result()
    assert result.psnr == pytest.approx(100)
    assert result.frame_ssim is None
    assert SMALLEST["ssim"] == 11
    assert psnr(true, true).tolist() == pytest.approx([100] * 4)


def test_lpips_of_frames_in_parts():
    torch.manual_seed(0)
    lpips = LPIPS()
    true, made = clips(3)
    measured = quality(made, true, lpips)
    direct = of_frames(lpips, made.clamp(-1, 1), true)
    assert measured.frame_lpips is not None
    torch.testing.assert_close(measured.frame_lpips.float(), direct)
    parts = [Fidelity().update(made[i : i + 1], true[i : i + 1], lpips) for i in range(3)]
    result = parts[2].merge(parts[0]).merge(parts[1]).merge(Fidelity()).result()
    assert result.lpips == pytest.approx(float(direct.mean()), rel=1e-5)
    with pytest.raises(ValueError, match="all or none be measured by LPIPS"):
        parts[0].update(made, true)


def test_planted_steps():
    """A constant that jumps at every fourth frame is an error of the steps there alone."""
    true = torch.zeros(2, 3, 13, 16, 16)
    true += torch.linspace(-0.5, 0.5, 16)  # rises along a row
    made = true.clone()
    for t in range(13):
        made[:, :, t] += 0.1 * ((t + 3) // 4 % 2)
    steps = Fidelity().update(made, true).result().steps
    expected = torch.zeros(12, dtype=torch.float64)
    expected[[0, 4, 8]] = 0.05
    torch.testing.assert_close(steps["time"].error, expected, atol=1e-7, rtol=0)
    assert steps["columns"].activity.tolist() == pytest.approx([1 / 30] * 15, rel=1e-4)
    assert float(steps["rows"].activity.max()) == 0
    assert border_ratio(relative_errors(steps["time"]), [4, 8]) > 1e3
    assert border_ratio(torch.ones(5), [2]) is None
    assert not math.isnan(float(relative_errors(steps["rows"]).sum()))


def test_what_does_not_fit():
    with pytest.raises(ValueError, match="call update"):
        Fidelity().result()
    true, made = clips()
    with pytest.raises(ValueError, match="of one size"):
        Fidelity().update(made, true).update(made[:, :, :4], true[:, :, :4])

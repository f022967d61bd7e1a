import pytest
import torch

from ssvae.analysis import ssim
from ssvae.inference import reconstruct_clips


@pytest.mark.parametrize("size", [(1, 16, 16), (6, 17, 30), (9, 16, 16), (2, 5, 3)])
def test_any_length_and_size(vae, size):
    clips = torch.rand(2, 3, *size) * 2 - 1
    made = reconstruct_clips(vae, clips)
    assert made.shape == clips.shape
    if size == (9, 16, 16):
        torch.testing.assert_close(made, vae(clips).sample.detach())


def test_ssim():
    torch.manual_seed(0)
    clips = torch.rand(2, 3, 2, 16, 16) * 2 - 1
    assert ssim(clips, clips).tolist() == pytest.approx([1, 1])
    noisy = clips + 0.3 * torch.randn_like(clips)
    flipped = -clips
    assert (ssim(noisy, clips) > ssim(flipped, clips)).all()
    with pytest.raises(ValueError, match="at least 11 pixels"):
        ssim(torch.zeros(1, 3, 1, 8, 16), torch.zeros(1, 3, 1, 8, 16))

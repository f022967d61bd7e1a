import numpy as np
import pytest
import torch

from ssvae.data.pixels import (
    as_seen,
    check_channels,
    of_colours,
    of_rgb,
    over,
    premultiplied,
    straight,
    to_clip,
    to_images,
    to_show,
)


def test_premultiplied_by_hand():
    image = np.array([[[200, 100, 0, 255], [200, 100, 7, 51], [200, 100, 7, 0]]], np.uint8)
    expected = [[200, 100, 0, 255], [40, 20, 1, 51], [0, 0, 0, 0]]
    assert premultiplied(image)[0].tolist() == expected
    assert straight(premultiplied(image))[0].tolist() == [
        [200, 100, 0, 255], [200, 100, 5, 51], [0, 0, 0, 0],
    ]  # fmt: skip


def test_what_was_premultiplied_stays_as_it_is_through_files():
    """All colours under all alphas: premultiplied, straight, and premultiplied again."""
    alpha, colour = np.mgrid[:256, :256].astype(np.uint8)
    image = np.stack([np.minimum(colour, alpha)] * 3 + [alpha], -1)
    assert np.array_equal(premultiplied(straight(image)), image)


def test_a_model_may_make_colours_above_alpha():
    assert straight(np.array([[[255, 60, 0, 60]]], np.uint8))[0, 0].tolist() == [255, 255, 0, 60]


def test_grey_is_luma():
    image = np.array([[[255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    assert of_rgb(image, 1)[0, :, 0].tolist() == [255, 54, 182, 18]
    assert of_rgb(image, 4)[..., 3].min() == 255
    assert of_rgb(image, 3) is image


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_floats_as_bytes(channels):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, 5, 7, 3), np.uint8)
    of_bytes = to_clip(of_rgb(image, channels) for image in images)
    of_floats = of_colours(to_clip(images), channels)
    assert of_bytes.shape == (channels, 3, 5, 7)
    torch.testing.assert_close(of_bytes, of_floats, atol=0.51 / 127.5, rtol=0)


def test_over_is_the_usual_sum():
    """In [0, 1]: colour + (1 - alpha) background, of premultiplied colours."""
    unit = torch.rand(2, 4, 3, 5, 6)
    seen = (over(unit * 2 - 1, 0.5) + 1) / 2
    torch.testing.assert_close(seen, unit[:, :3] + (1 - unit[:, 3:]) * 0.75)


def test_what_is_seen():
    clips = torch.rand(2, 4, 3, 5, 6) * 2 - 1
    seen = as_seen(clips)
    assert seen.shape == (4, 3, 3, 5, 6)
    torch.testing.assert_close(seen[0::2], clips[:, :3])  # before black, clip by clip
    torch.testing.assert_close(seen[1::2], clips[:, :3] - clips[:, 3:] + 1)
    # Opaque clips are the same before all.
    opaque = of_colours(clips[:, :3], 4)
    assert all(
        torch.equal(each, clips[:, :3]) for each in as_seen(opaque).unflatten(0, (2, 2)).unbind(1)
    )
    grey = clips[:, :1]
    assert torch.equal(as_seen(grey), grey.expand(-1, 3, -1, -1, -1))
    assert as_seen(clips[:, :2]).shape == clips[:, :2].shape


def test_chequers_show_where_nothing_is():
    nothing = -torch.ones(4, 1, 16, 24)
    shown = to_images(to_show(nothing))[0]
    assert sorted(np.unique(shown).tolist()) == [51, 128]
    assert (shown[0, 0] == 51).all()
    assert (shown[0, 8] == 128).all()
    assert (shown[8, 8] == 51).all()
    opaque = of_colours(torch.rand(3, 1, 16, 24), 4)
    assert torch.equal(to_show(opaque), opaque[:3])


def test_other_numbers_of_channels_have_no_files():
    with pytest.raises(ValueError, match="1 .grey.*4 .red, green, blue and alpha.*got 2"):
        check_channels(2)

import pytest
import torch

from small_models import SHAPES, make
from ssvae.analysis import analyze, psnr, ssim
from ssvae.analysis.fidelity import Fidelity
from ssvae.data.pixels import of_colours
from ssvae.losses import l1_loss, of_frames
from ssvae.losses.perceptual import LPIPS
from ssvae.models import AutoencoderKLSSVAE
from ssvae.models.backbones import Backbone
from ssvae.models.channels import with_channels
from ssvae.models.discriminator import Discriminator
from ssvae.models.layouts import common_channels
from ssvae.models.official import save_official
from ssvae.regularizers import LatentMasking


@pytest.fixture
def clips() -> torch.Tensor:
    return torch.rand(2, 4, 5, 16, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("shape", SHAPES)
@torch.no_grad()
def test_a_widened_model_does_what_it_did(clips, shape):
    vae = make(shape)
    wide, colours = with_channels(vae, 4), clips[:, :3]
    T = clips.shape[2]
    for alpha in (clips, of_colours(colours, 4)):  # whatever alpha is
        torch.testing.assert_close(
            wide.encode(alpha, pad=True).latent_dist.parameters,
            vae.encode(colours, pad=True).latent_dist.parameters,
            atol=1e-4,
            rtol=1e-4,
        )
    z = vae.encode(colours, pad=True).latent_dist.mean
    made = wide.decode(z, num_frames=T).sample
    torch.testing.assert_close(
        made[:, :3], vae.decode(z, num_frames=T).sample, atol=1e-5, rtol=1e-4
    )
    assert (made[:, 3] == 1).all()


@pytest.mark.parametrize("shape", SHAPES)
@torch.no_grad()
def test_a_grey_model_sees_equal_colours_and_makes_their_luma(clips, shape):
    vae = make(shape)
    grey, one = with_channels(vae, 1), clips[:, :1]
    z = vae.encode(one.expand(-1, 3, -1, -1, -1), pad=True).latent_dist.mean
    torch.testing.assert_close(grey.encode(one, pad=True).latent_dist.mean, z, atol=1e-4, rtol=1e-4)
    made, luma = grey.decode(z).sample, of_colours(vae.decode(z).sample, 1)
    torch.testing.assert_close(made, luma, atol=1e-5, rtol=1e-4)


def test_it_is_saved_streams_and_keeps_its_format(clips, tmp_path):
    vae = with_channels(make({}).to(torch.bfloat16), 4)
    assert vae.dtype == torch.bfloat16
    assert not vae.training
    vae.float().save_pretrained(tmp_path)
    again = AutoencoderKLSSVAE.from_pretrained(tmp_path).eval()
    assert again.config["in_channels"] == again.config["out_channels"] == 4
    with torch.no_grad():
        whole = again.encode(clips, pad=True).latent_dist.mean
        parts = [p.mean for p in again.encode_stream(clips.split(2, 2), pad=True)]
        torch.testing.assert_close(torch.cat(parts, 2), whole, atol=1e-5, rtol=1e-4)
        made = torch.cat(list(again.decode_stream(whole.split(1, 2))), 2)
        torch.testing.assert_close(made, again.decode(whole).sample, atol=1e-5, rtol=1e-4)


def test_what_does_not_fit_is_refused(clips, tmp_path):
    vae = make({})
    wide = with_channels(vae, 4)
    for model, channels in ((vae, 3), (vae, 2), (wide, 1)):
        with pytest.raises(ValueError, match="a model of 3 channels is given 1 or 4"):
            with_channels(model, channels)
    with pytest.raises(ValueError, match=r"must be \(batch, 4, frames"):
        wide.encode(clips[:, :3])
    with pytest.raises(ValueError, match="takes clips of 4 channels, got 3"):
        Backbone(wide).encode(clips[:, :3])
    with pytest.raises(ValueError, match="in_channels must be at least 1"):
        AutoencoderKLSSVAE.from_preset("tiny", in_channels=0)
    with pytest.raises(ValueError, match="has 3 and 4 channels, which cannot be compared"):
        common_channels([Backbone(vae).layout, Backbone(wide).layout])
    with pytest.raises(ValueError, match="in_channels 4, in the published code 3"):
        save_official(wide, LatentMasking(4), tmp_path / "a.ckpt")


@torch.no_grad()
def test_more_may_be_made_than_is_taken(clips):
    torch.manual_seed(0)
    vae = AutoencoderKLSSVAE.from_preset("tiny", z_dim=4, base_channels=8, out_channels=4).eval()
    assert vae(clips[:, :3]).sample.shape == clips.shape
    with pytest.raises(ValueError, match="cannot be compared"):
        Backbone(vae).clip_channels  # noqa: B018


def test_l1_of_what_is_seen_by_hand():
    """A colour that is wrong by e counts e; an alpha that is wrong by e counts before white
    alone.
    """
    true = torch.zeros(1, 4, 2, 3, 3)
    colour, alpha = true.clone(), true.clone()
    colour[:, 0] += 0.3
    alpha[:, 3] += 0.3
    assert float(l1_loss(colour, true)) == pytest.approx(0.1)
    assert float(l1_loss(alpha, true)) == pytest.approx(0.15)


def test_a_colour_counts_by_its_alpha():
    """Straight colours that differ by 1/2 in [0, 1], premultiplied by a: an error of a / 2, twice
    that in [-1, 1].
    """
    for a in (0.0, 0.25, 1.0):
        one, two = (torch.full((1, 4, 1, 2, 2), c * a) for c in (0.75, 0.25))
        one[:, 3] = two[:, 3] = a
        assert float(l1_loss(one * 2 - 1, two * 2 - 1)) == pytest.approx(a)


@pytest.mark.parametrize("channels", [1, 4])
def test_opaque_and_grey_clips_are_measured_as_their_colours(clips, channels):
    """Each measure of a clip of other channels is that of the colours that are seen."""
    size = (2, 3, 5, 16, 32)
    a, b = (torch.rand(size, generator=torch.Generator().manual_seed(i)) * 2 - 1 for i in (1, 2))
    ours = [of_colours(x, channels) for x in (a, b)]
    plain = [x.expand(size) for x in ours] if channels == 1 else [a, b]
    torch.manual_seed(0)
    lpips, discriminator = LPIPS().eval(), Discriminator(8, 2, 1).eval()
    for measure in (l1_loss, psnr, ssim, lambda x, y: of_frames(lpips, x, y)):
        with torch.no_grad():
            torch.testing.assert_close(measure(*ours), measure(*plain))
    one, two = (Fidelity().update(*pair).result() for pair in (ours, plain))
    for axis, steps in one.steps.items():
        torch.testing.assert_close(steps.error, two.steps[axis].error)
        torch.testing.assert_close(steps.activity, two.steps[axis].activity)
    with torch.no_grad():
        for of_ours, of_plain in zip(discriminator(ours[0]), discriminator(plain[0]), strict=True):
            seen = of_ours.unflatten(0, (2, -1))
            torch.testing.assert_close(seen, of_plain[:, None].expand_as(seen))


@pytest.mark.parametrize("channels", [1, 4])
def test_an_analysis(channels):
    vae = with_channels(make({}), channels)
    clips = torch.rand(2, channels, 5, 64, 64) * 2 - 1
    found = analyze(vae, clips, artefacts=True, drift=True)
    assert found.protocol.channels == channels
    assert found.compression["values"] == pytest.approx(channels * 5 * 64 * 64 / (4 * 2 * 16 * 16))
    assert found.artefacts is not None
    assert all(each.reconstruction.shape[0] == 3 for each in found.artefacts.thumbnails)

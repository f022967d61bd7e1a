import itertools
import math

import pytest
import scipy.fft
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssvae.analysis import Robustness, analyze, psnr
from ssvae.models import AutoencoderKLSSVAE
from ssvae.spectra import ChannelSpectrum, FrequencySpectrum
from ssvae.transforms import dct3, dct_matrix


def basis(T: int, H: int, W: int, cell: tuple[int, int, int]) -> torch.Tensor:
    """The DCT mode of one cell (T, H, W)."""
    t, h, w = (dct_matrix(n)[k] for n, k in zip((T, H, W), cell, strict=True))
    return t[:, None, None] * h[:, None] * w


def test_dct_equals_scipys():
    x = torch.randn(2, 3, 5, 6, 7, dtype=torch.float64)
    expected = scipy.fft.dctn(x.numpy(), axes=(2, 3, 4), norm="ortho")
    torch.testing.assert_close(dct3(x), torch.from_numpy(expected))


@pytest.mark.parametrize("cell", [(1, 0, 0), (0, 3, 2), (4, 5, 6)])
def test_a_mode_lands_in_its_cell(cell):
    sizes = torch.randn(8, 2, 1, 1, 1, dtype=torch.float64)
    result = FrequencySpectrum().update(sizes * basis(5, 6, 7, cell)).result()
    assert result.power[cell] == result.power.max()
    assert result.power.sum() - result.power[cell] < 1e-12 * result.power[cell]
    assert result.curve.sum().item() == pytest.approx(1)


def test_white_noise_is_flat():
    torch.manual_seed(0)
    result = FrequencySpectrum().update(torch.randn(400, 16, 3, 8, 8)).result()
    assert (result.power - 1).abs().max() < 0.1
    assert result.slope == pytest.approx(0, abs=0.02)
    cells = result.power.numel()
    i, j, k = torch.meshgrid(torch.arange(3), torch.arange(8), torch.arange(8), indexing="ij")
    low = int((9 * (8 * i + 3 * j + 3 * k) < 3 * 24).sum())  # 9 f < 1 in integers
    assert low == 6, "the plane at exactly f = 1/9 is not low"
    assert result.low_share == pytest.approx(low / cells, rel=0.05)


def test_parseval_and_standardisation():
    torch.manual_seed(0)
    z = torch.randn(9, 4, 3, 5, 6, dtype=torch.float64) * 3 + 100
    result = FrequencySpectrum().update(z).result()
    # Standardised latents have mean power 1 in each channel.
    assert result.power.mean().item() == pytest.approx(1, rel=1e-9)
    mean, std = z.mean((0, 2, 3, 4)), z.std((0, 2, 3, 4), correction=0)
    given_statistics = FrequencySpectrum(mean, std).update(z).result()
    torch.testing.assert_close(given_statistics.power, result.power)
    view = (1, 4, 1, 1, 1)
    expected = dct3((z - mean.view(view)) / std.view(view)).square().mean((0, 1))
    torch.testing.assert_close(result.power, expected)
    other = FrequencySpectrum(mean + 1, std * 2).update(z).result()
    expected = dct3((z - mean.view(view) - 1) / std.view(view) / 2).square().mean((0, 1))
    torch.testing.assert_close(other.power, expected)


def test_zigzag_order_and_bands():
    power = torch.rand(2, 3, 2, dtype=torch.float64)
    z = torch.zeros(1, 1, 2, 3, 2, dtype=torch.float64)
    for cell in [(i, j, k) for i in range(2) for j in range(3) for k in range(2)]:
        z = z + power[cell].sqrt() * basis(2, 3, 2, cell)
    # A second clip turned round cancels the mean and keeps the power.
    result = FrequencySpectrum(torch.zeros(1), torch.ones(1)).update(torch.cat([z, -z])).result()
    torch.testing.assert_close(result.power, power)
    f = {
        (i, j, k): (i / 2 + j / 3 + k / 2) / 3 for i in range(2) for j in range(3) for k in range(2)
    }
    order = sorted(f, key=lambda cell: (round(f[cell], 12), cell))
    expected = torch.stack([power[cell] for cell in order])
    torch.testing.assert_close(result.curve, expected / expected.sum())
    torch.testing.assert_close(
        result.frequencies, torch.tensor([f[c] for c in order], dtype=torch.float64)
    )
    largest = max(f.values())
    high = sum(power[c].item() for c in f if f[c] > 2 / 3 * largest + 1e-12)
    assert result.high_share == pytest.approx(high / power.sum().item())
    sec = sum(power[c].item() for c in f if sum(c) > 0.5 * 4)
    assert result.sec(0.5) == pytest.approx(sec / power.sum().item())


def test_slope_of_a_power_law():
    T, H, W = 4, 8, 8
    i, j, k = (torch.arange(n, dtype=torch.float64) for n in (T, H, W))
    f = (i[:, None, None] / T + j[:, None] / H + k / W) / 3
    amplitude = torch.where(f > 0, f, 1).pow(-1.5)
    z = torch.zeros(1, 1, T, H, W, dtype=torch.float64)
    for cell in [(a, b, c) for a in range(T) for b in range(H) for c in range(W)]:
        z += amplitude[cell] * basis(T, H, W, cell)
    result = FrequencySpectrum(torch.zeros(1), torch.ones(1)).update(torch.cat([z, -z])).result()
    assert result.slope == pytest.approx(-3)


def test_dead_channels_are_counted_and_left_out():
    torch.manual_seed(0)
    z = torch.randn(5, 4, 3, 4, 4)
    with_dead = z.clone()
    with_dead[:, 2] = 7.3
    result = FrequencySpectrum().update(with_dead).result()
    assert result.dead_channels == 1
    live = FrequencySpectrum().update(z[:, [0, 1, 3]]).result()
    torch.testing.assert_close(result.power, live.power)
    with pytest.raises(ValueError, match="every channel is constant"):
        FrequencySpectrum().update(torch.ones(2, 3, 1, 4, 4)).result()


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(0, 12), max_size=4), seed=st.integers(0, 99))
def test_merging_parts_equals_the_whole(cuts, seed):
    z = torch.randn(12, 4, 3, 4, 5, generator=torch.Generator().manual_seed(seed)).double() + 50
    edges = [0, *sorted(cuts), 12]
    parts = [z[a:b] for a, b in itertools.pairwise(edges) if b > a]
    for kind, read in (
        (FrequencySpectrum, lambda r: r.power),
        (ChannelSpectrum, lambda r: r.eigenvalues),
        (ChannelSpectrum, lambda r: r.mean),
    ):
        whole = kind().update(z).result()
        merged = kind()
        for part in parts[::-1]:
            merged.merge(kind().update(part))
        merged.merge(kind())
        torch.testing.assert_close(read(merged.result()), read(whole), atol=1e-10, rtol=1e-10)


def test_channels_of_rank_one():
    torch.manual_seed(0)
    direction = torch.tensor([3.0, 0.0, 4.0]).view(1, 3, 1, 1, 1).double()
    result = ChannelSpectrum().update(direction * torch.randn(6, 1, 3, 4, 4)).result()
    assert result.effective_rank == pytest.approx(1, abs=1e-6)
    assert result.modes(0.9) == 1
    assert result.explained[0].item() == pytest.approx(1)
    # One standardised mode carries two live channels: eigenvalues 2 and 0.
    assert result.viv == pytest.approx(math.pi / 2 * math.sqrt(2) / 2, rel=1e-6)


def test_channels_known_spectrum():
    torch.manual_seed(0)
    rotation = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64)).Q
    scales = torch.tensor([4.0, 2.0, 1.0, 1.0], dtype=torch.float64)
    white = torch.randn(20000, 4, dtype=torch.float64)
    white = white - white.mean(0)
    white = white @ torch.linalg.inv(torch.linalg.cholesky(white.T @ white / len(white))).T
    rows = white * scales.sqrt() @ rotation.T + 3
    result = ChannelSpectrum().update(rows.T.reshape(1, 4, 1, 100, 200)).result()
    torch.testing.assert_close(result.eigenvalues, scales, atol=1e-9, rtol=0)
    p = scales / 8
    assert result.effective_rank == pytest.approx(math.exp(-(p * p.log()).sum().item()))
    assert [result.modes(s) for s in (0.5, 0.6, 0.75, 0.9)] == [1, 2, 2, 4]
    torch.testing.assert_close(result.mean, torch.full((4,), 3.0, dtype=torch.float64))


def test_shapes_that_do_not_fit():
    spectrum = FrequencySpectrum().update(torch.randn(1, 4, 3, 4, 4))
    with pytest.raises(ValueError, match=r"\(4, 3, 4, 4\), got \(4, 1, 4, 4\)"):
        spectrum.update(torch.randn(1, 4, 1, 4, 4))
    with pytest.raises(ValueError, match="one shape"):
        spectrum.merge(FrequencySpectrum().update(torch.randn(1, 4, 3, 4, 5)))
    with pytest.raises(ValueError, match="both mean and std"):
        FrequencySpectrum(mean=torch.zeros(4))
    with pytest.raises(ValueError, match="2 channels, latents 4"):
        FrequencySpectrum(torch.zeros(2), torch.ones(2)).update(torch.randn(1, 4, 3, 4, 4))
    with pytest.raises(ValueError, match="4 channels, got 5"):
        ChannelSpectrum().update(torch.randn(1, 4, 2)).update(torch.randn(1, 5, 2))
    for empty in (FrequencySpectrum(), ChannelSpectrum(), Robustness()):
        with pytest.raises(ValueError, match="call update"):
            empty.result()


def test_psnr():
    clips = torch.zeros(2, 3, 1, 4, 4)
    off = clips.clone()
    off[1] += 0.2  # a tenth of the range
    assert psnr(off, clips)[1].item() == pytest.approx(20, abs=1e-4)


def test_analysis_does_not_depend_on_batches(vae: AutoencoderKLSSVAE):
    torch.manual_seed(0)
    clips = torch.rand(6, 3, 9, 16, 16) * 2 - 1
    a = analyze(vae, [clips], fps=8)
    b = analyze(vae, clips.split(2))
    assert analyze(vae, clips).protocol.clips == 6
    assert a.protocol.clips == 6
    assert a.protocol.fps == 8
    assert a.protocol.latent_shape == (4, 3, 4, 4)
    x, y = a.summary(), b.summary()
    del x["protocol"], y["protocol"], x["model"], y["model"]
    for key in x:
        assert flat(x[key]) == pytest.approx(flat(y[key]), rel=1e-4, abs=1e-6), key
    assert list(a.robustness)[:2] == [0, pytest.approx(0.005**0.5)]
    direct = psnr(vae(clips).sample.detach(), clips).mean().item()
    assert a.robustness[0.0] == pytest.approx(direct, rel=1e-5)


def test_analysis_names_what_is_broken(vae: AutoencoderKLSSVAE):
    clips = torch.zeros(2, 3, 5, 16, 16)
    with pytest.raises(ValueError, match="got none"):
        analyze(vae, [])
    bad = clips.clone()
    bad[1, 0, 0, 0, 0] = math.nan
    with pytest.raises(ValueError, match="clip 1 of .* NaN"):
        analyze(vae, [bad])
    with pytest.raises(ValueError, match="one size"):
        analyze(vae, [clips, torch.zeros(2, 3, 9, 16, 16)])
    vae.encoder.conv_in.weight.data.fill_(math.nan)
    with pytest.raises(ValueError, match="latents .* NaN"):
        analyze(vae, [clips])


def flat(value) -> list[float]:
    if value is None:
        return []
    if isinstance(value, dict):
        return [x for v in value.values() for x in flat(v)]
    if isinstance(value, list):
        return [x for v in value for x in flat(v)]
    return [float(value)]

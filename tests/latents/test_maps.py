import pytest
import torch

from ssvae.latents.mapped import load_map, save_map
from ssvae.latents.maps import (
    LatentMap,
    MapConfig,
    fit_map,
    scrambled_order,
)
from ssvae.spectra import ChannelSpectrum, FrequencySpectrum
from ssvae.transforms import dct3, inverse_dct3


def fit(latents: torch.Tensor, config: MapConfig = MapConfig()) -> LatentMap:
    size = latents.shape[2], latents.shape[3], latents.shape[4]
    return fit_map(ChannelSpectrum().update(latents).result(), size, config, latents.split(10))


MAPS = [
    MapConfig(),
    MapConfig(normalization="global"),
    MapConfig(normalization="principal"),
    MapConfig(normalization="whitened"),
    MapConfig(power=0.0),
    MapConfig(power=1.5),
    MapConfig(power=2.0),
    MapConfig(scramble=(1, 2, 2)),
    MapConfig(normalization="principal", power=0.5, scramble=(2, 3, 3)),
]


@pytest.fixture(scope="module")
def latents() -> torch.Tensor:
    """Latents (64, 6, 3, 8, 8) of a steep spectrum over frequencies and correlated channels."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(64, 6, 3, 8, 8, generator=generator)
    f = sum(
        torch.arange(n).view([-1 if i == j else 1 for j in range(3)]) / n
        for i, n in enumerate((3, 8, 8))
    )
    z = inverse_dct3(dct3(z) / (0.1 + f))
    mix = torch.randn(6, 6, generator=generator)
    return torch.einsum("dc,bcthw->bdthw", mix, z) + torch.arange(6.0).view(1, 6, 1, 1, 1)


@pytest.mark.parametrize("config", MAPS, ids=str)
def test_the_inverse_undoes_the_map(config, latents, tmp_path):
    fitted = fit(latents, config)
    assert (fitted.inverse(fitted(latents)) - latents).abs().max() < 1e-5 * latents.abs().max()
    save_map(fitted, tmp_path / "map.safetensors")
    again = load_map(tmp_path / "map.safetensors")
    assert torch.equal(again(latents), fitted(latents))
    assert (again.size is None) == (config.power == 1 and config.scramble is None)


@pytest.mark.parametrize("config", MAPS, ids=str)
def test_mean_variance_of_a_channel_is_one(config, latents):
    channels = ChannelSpectrum().update(fit(latents, config)(latents)).result()
    assert channels.mean.abs().max() < 0.05
    assert float(channels.std.square().mean()) == pytest.approx(1, abs=1e-3)


def test_channel_spectra_are_what_their_names_say(latents):
    def spectrum(kind):
        mapped = fit(latents, MapConfig(normalization=kind))(latents)
        return ChannelSpectrum().update(mapped).result()

    own = ChannelSpectrum().update(latents).result()
    assert torch.allclose(spectrum("standardised").std, torch.ones(6).double(), atol=1e-4)
    for kind in ("global", "principal"):
        assert torch.allclose(spectrum(kind).shares, own.shares, atol=1e-5)
    principal = spectrum("principal").covariance
    off_diagonal = principal - torch.diag(principal.diagonal())
    assert off_diagonal.abs().max() < 1e-4
    assert (principal.diagonal().diff() <= 1e-6).all()
    assert spectrum("whitened").effective_rank == pytest.approx(6, abs=1e-3)


def test_power_shapes_the_amplitude_of_each_frequency(latents):
    def power(exponent):
        mapped = fit(latents, MapConfig(power=exponent))(latents)
        ones = torch.ones(6, dtype=torch.float64)
        return FrequencySpectrum(torch.zeros_like(ones), ones).update(mapped).result().power

    plain = power(1.0)
    flat = power(0.0)
    assert float(flat.max() / flat.min()) == pytest.approx(1, abs=1e-3)
    ratio = power(2.0) / plain.square()  # amplitude a to a^2: power p to p^2, in scale
    assert float(ratio.max() / ratio.min()) == pytest.approx(1, abs=1e-3)
    assert float(flat.sum()) == pytest.approx(float(plain.sum()), rel=1e-3)


def test_a_map_keeps_its_precision_when_its_model_is_cast(latents):
    fitted = fit(latents, MapConfig(power=1.5))
    before = fitted(latents)
    fitted.to(torch.bfloat16)
    assert torch.equal(fitted(latents), before)
    assert fitted(latents.bfloat16()).dtype == torch.bfloat16


def test_scrambling_stays_inside_windows():
    order = scrambled_order((3, 5, 4), (1, 2, 2))
    assert sorted(order.flatten().tolist()) == list(range(60))
    t, y, x = torch.meshgrid(torch.arange(3), torch.arange(5), torch.arange(4), indexing="ij")
    assert torch.equal(order // 20, t)
    assert torch.equal(order // 4 % 5 // 2, y // 2)
    assert torch.equal(order % 4 // 2, x // 2)
    assert not torch.equal(order, torch.arange(60).view(3, 5, 4))


def test_what_does_not_fit_is_refused(latents, tmp_path):
    fitted = fit(latents, MapConfig(power=0.5))
    with pytest.raises(ValueError, match=r"for latents of \(3, 8, 8\)"):
        fitted(latents[..., :4])
    with pytest.raises(ValueError, match=r"\(batch, 6, frames, height, width\)"):
        fitted(latents[:, :3])
    with pytest.raises(ValueError, match=r"channels \[2\] do not vary"):
        fit(latents * torch.tensor([1, 1, 0, 1, 1, 1.0]).view(1, 6, 1, 1, 1))
    with pytest.raises(ValueError, match="normalization must be standardised, "):
        MapConfig(normalization="rotated")
    with pytest.raises(ValueError, match="power must be between 0 and 4"):
        MapConfig(power=9)
    with pytest.raises(ValueError, match="nearly singular"):
        LatentMap(torch.zeros(2), torch.ones(2, 2))
    with pytest.raises(ValueError, match="more than 1000: choose a power nearer to 1"):
        fit(inverse_dct3(dct3(latents) * 10 ** -torch.arange(8.0)), MapConfig(power=3.0))
    (tmp_path / "notes.safetensors").write_text("no map")
    with pytest.raises(ValueError, match="is no map of latents"):
        load_map(tmp_path / "notes.safetensors")
    with pytest.raises(ValueError, match="no map at"):
        load_map(tmp_path / "none.safetensors")

"""Intervals of an analysis: what it would say of other films, by bootstrap over films."""

from collections.abc import Sequence

import numpy as np
import torch

from ssvae.analysis.fidelity import Quality
from ssvae.data.fixed import file_of
from ssvae.spectra.channels import ChannelSpectrum
from ssvae.spectra.correlation import CorrelationSample
from ssvae.spectra.frequency import FrequencySpectrum
from ssvae.statistics.intervals import Interval, mean_interval

DRAWS = 200
MOST = 256
"""Films whose spectra are kept apart; of more there are no intervals of spectra."""


class Films:
    """What an analysis saw of each film apart: its spectra, and the quality of its clips."""

    def __init__(self, dead: float):
        self.dead = dead
        self._spectra: dict[str, tuple[FrequencySpectrum, ChannelSpectrum]] = {}
        self._quality: dict[str, dict[str, float]] = {}
        self._of_key: dict[int, str] = {}
        self._many = False

    def update(
        self, names: Sequence[str], keys: Sequence[int], mean: torch.Tensor, quality: Quality
    ) -> None:
        """Add clips by their names and keys: their latents (B, C, t, h, w), and how they came
        back.
        """
        self._of_key |= zip(keys, map(file_of, names), strict=True)
        for i, name in enumerate(names):
            self._quality[name] = {
                measure: float(values[i].mean())
                for measure, values in (
                    ("psnr", quality.psnr),
                    ("ssim", quality.frame_ssim),
                    ("lpips", quality.frame_lpips),
                )
                if values is not None
            }
            film = file_of(name)
            if film not in self._spectra:
                self._many |= len(self._spectra) == MOST
                if self._many:
                    self._spectra.clear()
                    continue
                self._spectra[film] = FrequencySpectrum(dead=self.dead), ChannelSpectrum()
            for spectrum in self._spectra[film]:
                spectrum.update(mean[i : i + 1])

    def merge(self, other: "Films") -> None:
        """Add what another saw of the same model."""
        self._quality |= other._quality
        self._of_key |= other._of_key
        for film, spectra in other._spectra.items():
            if film not in self._spectra:
                self._spectra[film] = spectra
                continue
            self._spectra[film][0].merge(spectra[0])
            self._spectra[film][1].merge(spectra[1])
        self._many |= other._many or len(self._spectra) > MOST

    def intervals(
        self, correlation: CorrelationSample, lone_first_frame: bool
    ) -> dict[str, Interval]:
        """95 % intervals by the figures' names in a summary; none of spectra of over
        :data:`MOST` films. That of the local correlation takes the channels' scales as they are.
        """
        names = sorted(self._quality)
        films = [file_of(name) for name in names]
        found = {
            measure: mean_interval([self._quality[name][measure] for name in names], films)
            for measure in (self._quality[names[0]] if names else {})
        }
        found["local_correlation"] = mean_interval(
            correlation.of_each(lone_first_frame).tolist(),
            [self._of_key[key] for key in correlation.kept[0]],
        )
        return found if self._many else found | self._of_spectra()

    def _of_spectra(self) -> dict[str, Interval]:
        films = [self._spectra[film] for film in sorted(self._spectra)]
        if len(films) < 2:
            return {}
        generator = np.random.default_rng(0)
        whole = _figures(films)
        draws = [
            _figures([films[i] for i in generator.integers(0, len(films), len(films))])
            for _ in range(DRAWS)
        ]
        found = {}
        for name, value in whole.items():
            low, high = np.nanquantile([draw[name] for draw in draws], [0.025, 0.975])
            found[name] = Interval(value, float(low), float(high))
        return found


def _figures(films: Sequence[tuple[FrequencySpectrum, ChannelSpectrum]]) -> dict[str, float]:
    """What the spectra of these films say together."""
    frequency, channels = FrequencySpectrum(dead=films[0][0].dead), ChannelSpectrum()
    for of_film in films:
        frequency.merge(of_film[0])
        channels.merge(of_film[1])
    f, c = frequency.result(), channels.result()
    return {
        "low_share": f.low_share,
        "high_share": f.high_share,
        "slope": f.slope,
        "effective_rank": c.effective_rank,
    }

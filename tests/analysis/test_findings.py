"""Planted faults and planted spectra, whose answers are known."""

from types import SimpleNamespace

import pytest
import torch

from ssvae.analysis import Analysis, Analyzer, Subject, advise, analyze, findings, unexamined
from ssvae.analysis.evidence import Tested, evidence
from ssvae.analysis.findings import leading_share

T, SIDE, CHANNELS = 13, 32, 12


class Planted:
    """A VAE whose latents and reconstructions are what a test says, causal in time, 4 x 4 x 4."""

    def __init__(self, latents, spoil=lambda made: made):
        self.latents, self.spoil, self.seen = latents, spoil, 0

    def encode(self, x):
        z = self.latents[self.seen : self.seen + len(x)]
        self.seen += len(x)
        self.clips = x
        return SimpleNamespace(latent_dist=SimpleNamespace(mean=z))

    def decode(self, z):
        noise = torch.randn(self.clips.shape, generator=torch.Generator().manual_seed(0))
        return SimpleNamespace(sample=self.spoil(self.clips + 0.05 * noise)[: len(z)])


def smooth(n=8):
    """Noise of low frequency: the same channel vectors over a whole clip, and a little noise."""
    torch.manual_seed(0)
    return torch.randn(n, CHANNELS, 1, 1, 1) + 0.1 * torch.randn(n, CHANNELS, 4, 8, 8)


def white(n=8):
    torch.manual_seed(0)
    return torch.randn(n, CHANNELS, 4, 8, 8)


def analysed(latents, spoil=lambda made: made) -> Analysis:
    torch.manual_seed(1)
    clips = torch.rand(len(latents), 3, T, SIDE, SIDE) * 2 - 1
    return analyze(Planted(latents, spoil), clips)


def test_nothing_to_find():
    assert findings(analysed(white())) == []


def test_dead_and_exploding_channels():
    z = white()
    z[:, 3] = 0.5
    z[:, 7] *= 1e-4
    z[:, 5] *= 40
    a = analysed(z)
    assert a.dead_channels == [3, 7]
    assert a.exploding_channels == [5]
    assert a.frequency.dead_channels == 2
    dead, exploding = findings(a)
    assert "2 channels of 12 dead" in dead
    assert "(3, 7)" in dead
    assert "1 channel of 12 exploding" in exploding
    assert "up to 40 times (5)" in exploding or "up to 41 times (5)" in exploding


def test_every_channel_dead():
    with pytest.raises(
        ValueError, match="every channel is constant, or its variance not over 1e-06"
    ):
        analysed(1e-5 * white())


def test_nan_is_named():
    z, x = white(4), torch.zeros(4, 3, T, SIDE, SIDE)
    x += torch.randn(4, 1, 1, 1, 1) * 0.1
    z[2, 0, 0, 0, 0] = torch.nan
    analyzer = Analyzer()
    analyzer.update(Subject.of(Planted(z)), x, ["a", "b", "c", "d"])
    a = analyzer.result()
    assert a.broken == {"c": "the latents"}
    assert a.protocol.clips == 3
    assert "NaN or infinity in the latents of 1 clip (c)" in findings(a)[0]

    def spoil(made):
        return made.masked_fill(torch.arange(len(made)).view(-1, 1, 1, 1, 1) == 0, torch.inf)

    ((name, what),) = analysed(white(), spoil).broken.items()
    assert name.startswith("clip 0 (")
    assert what == "the reconstructions"
    with pytest.raises(ValueError, match="the latents of all 8 clips hold NaN"):
        analysed(white() * torch.nan)


def test_weak_frames():
    def spoil(made):
        noise = torch.randn(made.shape, generator=torch.Generator().manual_seed(5))
        noise[:, :, 1:10] = 0
        return made + 0.2 * noise

    first, later, *_ = findings(analysed(white(), spoil))
    assert first.startswith("The first frame is reconstructed")
    assert "Frames 11 to 13 of 13" in later


def test_seams_between_latent_frames_and_tiles():
    def chunked(made):
        made = made.clone()
        for t in range(T):
            made[:, :, t] += 0.3 * ((t + 3) // 4 % 2)
        return made

    (said,) = findings(analysed(white(), chunked))
    assert "Seams between frames every 4 frames" in said

    def tiled(made):
        made = made.clone()
        made[..., 17:] += 1.2
        return made.clamp(-3, 3)

    said = findings(analysed(white(), tiled))
    assert any("A jump between columns 17|18" in s for s in said)

    def blocky(made):
        blocks = torch.arange(SIDE) // 4 % 2
        return made + 0.3 * blocks.view(-1, 1)

    said = findings(analysed(white(), blocky))
    assert any("Seams between rows every 4 rows" in s for s in said)


def test_an_edge_is_no_seam_and_a_seam_no_edge():
    def padded(made):
        made = made.clone()
        made[..., 0] += 1.5
        return made

    said = findings(analysed(white(), padded))
    assert any("A jump between columns 1|2" in s and "at the edge" in s for s in said)

    def short(made):  # of 9 frames, with one border between latents inside
        made = made[:, :, :9].clone()
        made[:, :, 5:] += 0.5
        return made

    torch.manual_seed(1)
    clips = torch.rand(8, 3, 9, SIDE, SIDE) * 2 - 1
    latents = white()[:, :, :3]

    class Short(Planted):
        def decode(self, z):
            return SimpleNamespace(sample=short(super().decode(z).sample))

    analysis = analyze(Short(latents), clips)
    *_, said = findings(analysis)
    assert "A jump between frames 5|6" in said
    assert "edge" not in said
    assert any("seams between latents in frames" in s for s in unexamined(analysis))


def test_few_clips_are_not_blamed_on_the_model():
    def spoil(made):
        made = made.clone()
        made[:, :, 0] += 1
        return made

    analysis = analysed(white(4), spoil)
    assert findings(analysis) == []
    assert unexamined(analysis) == ["weak frames and seams (4 clips are fewer than 8)"]
    assert unexamined(analysed(white())) == []


def test_stills_with_one_cut_have_no_usual_step():
    def still(made):
        steps = torch.zeros(T)
        steps[7:] = 0.3
        return made.mean(2, keepdim=True).expand_as(made) + steps.view(1, 1, -1, 1, 1)

    torch.manual_seed(1)
    clips = (torch.rand(8, 3, 1, SIDE, SIDE) - 0.5).expand(-1, -1, T, -1, -1)

    class Still(Planted):
        def decode(self, z):
            return SimpleNamespace(sample=still(self.clips[: len(z)]))

    assert not any("frames" in s and "jump" in s for s in findings(analyze(Still(white()), clips)))


def test_advice_by_the_rules():
    frequency, channels = advise(analysed(white()))
    assert (frequency.verdict, channels.verdict) == ("missing", "missing")
    assert "(LCR)" in frequency.remedy
    assert "(LMR)" in channels.remedy

    one_mode = smooth() * torch.tensor([1.0] + [0.01] * (CHANNELS - 1)).view(1, -1, 1, 1, 1)
    frequency, channels = advise(analysed(one_mode))
    assert channels.verdict == "there"
    assert channels.remedy == ""
    assert advise(analysed(smooth()))[0].verdict == "there"


def test_what_was_shown_is_said_of_where_it_was_shown():
    tested = [Tested("LCR", "grids", "faster"), Tested("LCR", "films", "not shown")]
    tested += [Tested("LMR", "stills", "not shown"), Tested("LMR", "noise", "not shown")]
    said = evidence("LCR", tested)
    assert "shown for grids (faster), and not shown for films." in said
    assert "stills" not in said
    said = evidence("LMR", tested)
    assert "has not shown it" in said
    assert said.endswith("2 settings of five seeds each: stills; noise.")
    assert evidence("LMR", ()).endswith("has not shown it.")
    assert evidence("LCR") in advise(analysed(white()))[0].remedy


def test_leading_share_of_a_flat_spectrum():
    a = analysed(white(32))
    assert leading_share(a) == pytest.approx(10 / 48, abs=0.02)


def test_a_whole_analysis_in_another_order_and_batch():
    torch.manual_seed(1)
    x, z = torch.rand(9, 3, T, SIDE, SIDE) * 2 - 1, smooth(9)

    class Fixed(Planted):
        def encode(self, clips):
            which = [int((x - c).abs().flatten(1).sum(1).argmin()) for c in clips]
            self.clips = clips
            return SimpleNamespace(latent_dist=SimpleNamespace(mean=z[which]))

        def decode(self, latents):
            return SimpleNamespace(sample=self.clips + latents.mean((1, 2, 3, 4), keepdim=True))

    order = torch.randperm(9)
    one = analyze(Fixed(z), x).summary()
    other = analyze(Fixed(z), x[order].split(4)).summary()
    halves = [Analyzer(), Analyzer()]
    for half, part in zip(halves, (x[5:], x[:5]), strict=True):
        half.update(Subject.of(Fixed(z)), part)
    merged = halves[0].merge(halves[1]).result().summary()
    for again in (other, merged):
        for key in ("low_share", "slope", "effective_rank", "local_correlation"):
            assert again[key] == pytest.approx(one[key], rel=1e-6), key
        assert again["robustness"] == pytest.approx(one["robustness"], rel=1e-6)
        assert again["reconstruction"]["frame_psnr"] == pytest.approx(
            one["reconstruction"]["frame_psnr"], rel=1e-6
        )

"""Films whose right answer is known, and faults that are planted in them."""

import pytest
import torch

from ssvae.analysis import Subject, find_artefacts, findings, measure_drift
from ssvae.analysis.artefacts import judged
from ssvae.analysis.synthetic_films import cut_at, edge_places, synthetic_films

SIZE, PERIOD = (9, 64, 96), 4
FILMS = synthetic_films(*SIZE)


def spoiled(*names: str, by=lambda film: film) -> dict[str, torch.Tensor]:
    """All films as they are, but some of them with a fault."""
    return {
        name: by(film.clone()).clamp(-1, 1) if not names or name in names else film
        for name, film in FILMS.items()
    }


def called_out(made) -> dict[str, float]:
    return {m.name: m.value for m in judged(FILMS, made, PERIOD).measures if m.called_out}


def test_films_are_of_their_size_and_the_same_each_time():
    again = synthetic_films(*SIZE)
    for name, film in FILMS.items():
        assert film.shape == (3, *SIZE), name
        assert film.abs().max() <= 1, name
        assert torch.equal(film, again[name]), name


@pytest.mark.parametrize("size", [(1, 8, 8), (2, 16, 9), (5, 33, 47)])
def test_films_of_odd_sizes(size):
    films = synthetic_films(*size)
    assert {tuple(film.shape) for film in films.values()} == {(3, *size)}
    found = judged(films, films, 4)
    assert [m for m in found.measures if m.called_out] == []
    assert len(found.measures) + len(found.unmeasured) == 11


def test_what_is_perfect_is_not_called_out():
    assert called_out(FILMS) == {}


def tinted(film):
    film[0] += 5 / 127.5
    return film


def gridded(film):
    film[..., ::PERIOD] += 3 / 127.5
    return film


def banded(film):
    return (film * 8).round() / 8


def shimmering(film):
    film[:, ::2] += 4 / 127.5
    return film


def echoed(film):
    """What was there three frames ago, faintly."""
    return 0.8 * film + 0.2 * film[:, [max(0, t - 3) for t in range(SIZE[0])]]


def dissolved(film):
    cut = cut_at(SIZE[0])
    film[:, cut] = 0.7 * film[:, cut] + 0.3 * film[:, cut - 1]
    film[:, cut - 1] = 0.9 * film[:, cut - 1] + 0.1 * film[:, -1]
    return film


def blurred(film):
    kernel = torch.ones(3, 1, 5, 5) / 25
    frames = film.transpose(0, 1)
    padded = torch.nn.functional.pad(frames, (2, 2, 2, 2), mode="replicate")
    return torch.nn.functional.conv2d(padded, kernel, groups=3).transpose(0, 1)


@pytest.mark.parametrize(
    ("names", "fault", "name", "least", "most"),
    [
        (("flat: skin",), tinted, "colour shift", 4.99, 5.01),
        # 3 levels in every fourth column: the deviation is 3 sqrt(3) / 4.
        (("flat: grey",), gridded, "grid", 1.29, 1.31),
        (("gradient",), banded, "banding", 2, 6),
        # 4 levels in five of nine frames: 4 sqrt(5 * 4) / 9.
        (("still texture",), shimmering, "flicker", 1.98, 1.995),
        (("cut",), dissolved, "bleeding", 2, 2),
        (("one bright pixel",), lambda film: 0.2 * film, "kept brightness", 0.19, 0.21),
        (("text",), blurred, "SSIM", 0, 0.79),
        (("black",), lambda film: film + 6 / 127.5, "lift", 5.99, 6.01),
        (("noise",), lambda film: 0.5 * (2.4 * film), "kept", 1.1, 1.2),
    ],
)
def test_a_planted_fault_is_called_out_and_no_other(names, fault, name, least, most):
    found = called_out(spoiled(*names, by=fault))
    assert set(found) == {name}
    assert least <= found[name] <= most


def test_ghosts_behind_the_edge_are_told_from_those_before_it():
    places = edge_places(SIZE[0], SIZE[2])
    for sign, side in ((-1, "behind"), (1, "before")):

        def ghost(film, sign=sign):
            for t, place in enumerate(places.int().tolist()):
                near = place + sign * 2 * PERIOD
                film[:, t, :, near - 1 : near + 1] += 30 / 127.5
            return film

        found = [
            m
            for m in judged(FILMS, spoiled("moving edge", by=ghost), PERIOD).measures
            if m.called_out
        ]
        assert [m.name for m in found] == ["ghosts"]
        assert side in found[0].meaning
    assert "ghosts" in called_out(spoiled("moving edge", by=echoed))


def test_a_blurred_scene_is_not_taken_for_the_other():
    assert "bleeding" not in called_out(spoiled("cut", by=blurred))


def test_a_pixel_that_smears():
    def smear(film):
        wide = torch.nn.functional.max_pool2d(film.transpose(0, 1), 13, 1, 6)
        return wide.transpose(0, 1) * 0.5

    found = called_out(spoiled("one bright pixel", by=smear))
    assert found == {"spread": 6 / PERIOD}


class Faulty:
    """A VAE of 4x4 pixels a latent that keeps what it sees, but for its fault."""

    def __init__(self, fault):
        self.fault = fault

    def encode(self, x):
        self.x = x
        return x[:, :, :, ::PERIOD, ::PERIOD]

    def subject(self) -> Subject:
        return Subject("Faulty", None, self.encode, lambda z: self.fault(self.x.clone()), True)


def test_a_vae_with_a_fault_is_found_out():
    vae = Faulty(lambda x: x + 4 / 127.5).subject()
    found = find_artefacts(vae, *SIZE)
    assert {m.name for m in found.measures if m.called_out} == {"colour shift", "lift"}
    assert [t.film for t in found.thumbnails] == list(FILMS)
    summary = found.summary()
    assert summary[0]["value"] == pytest.approx(4, abs=1e-3)
    assert summary[0]["called out"] == "over 2 levels"


@pytest.mark.parametrize("extend", [False, True])
def test_drift_by_hand(extend):
    """Each round adds three levels and loses a tenth of the contrast about grey."""
    clips = 0.3 * torch.randn(2, 3, 5, 8, 8, generator=torch.Generator().manual_seed(0))
    clips -= clips.mean((2, 3, 4), keepdim=True)
    heard = []
    drift = measure_drift(
        Faulty(lambda x: 0.9 * (x - x.mean()) + x.mean() + 3 / 127.5).subject(),
        clips.clamp(-0.9, 0.9), 4, extend, heard.append,
    )  # fmt: skip
    assert heard == list(range(1, 9))
    assert drift.contrast == pytest.approx([0.9, 0.81, 0.729, 0.6561], rel=2e-3)
    assert drift.colour == pytest.approx([3, 6, 9, 12], abs=0.05)
    assert drift.psnr[0] > drift.psnr[1] > drift.psnr[3]


def test_extending_turns_time_round():
    """A fault at the first frame alone spreads to both ends."""

    def fault(x):
        x[:, :, 0] += 0.2
        return x

    clips = torch.zeros(1, 3, 5, 8, 8)
    again, extended = (
        measure_drift(Faulty(fault).subject(), clips, 2, e).colour for e in (False, True)
    )
    assert again[1] == pytest.approx(2 * again[0], rel=1e-4)
    assert extended[1] == pytest.approx(2 * again[0], rel=1e-4)
    of_one, of_two = (
        measure_drift(Faulty(fault).subject(), clips, 2, e).psnr[1] for e in (False, True)
    )
    assert of_two > of_one + 2  # two frames off by .2 are nearer than one by .4


def test_nothing_to_measure():
    with pytest.raises(ValueError, match="at least one clip and one round, got 0 clips"):
        measure_drift(Faulty(lambda x: x).subject(), torch.zeros(0, 3, 5, 8, 8))


def test_findings_tell_of_them(vae):
    from ssvae.analysis import analyze

    clips = torch.rand(2, 3, 5, 32, 32) * 2 - 1
    analysis = analyze(vae, clips, artefacts=True, drift=True)
    assert any(s.startswith("Black, lift ") for s in findings(analysis))
    assert analysis.drift is not None
    assert len(analysis.drift.psnr) == 5
    assert analysis.summary()["artefacts"][0]["name"] == "colour shift"


def test_what_is_lost_or_broken_is_said():
    gone = find_artefacts(Faulty(lambda x: x.clamp(max=0)).subject(), *SIZE)
    assert gone.unmeasured == ("the spread of one bright pixel (nothing of it is left)",)
    broken = find_artefacts(Faulty(lambda x: x / x.abs().min()).subject(), *SIZE)
    assert broken.measures == broken.thumbnails == ()
    assert broken.unmeasured[0].startswith(
        "artefacts (NaN or infinity in what is made of: flat: grey"
    )


def test_drift_leaves_out_what_breaks():
    clips = torch.stack([torch.full((3, 5, 8, 8), 0.1), torch.full((3, 5, 8, 8), 0.5)])
    vae = Faulty(lambda x: torch.where(x > 0.3, torch.nan, x + 1 / 127.5)).subject()
    assert measure_drift(vae, clips, 2).colour == pytest.approx((1, 2), abs=1e-3)
    with pytest.raises(ValueError, match="every one of the 1 clips gave NaN"):
        measure_drift(vae, clips[1:], 2)

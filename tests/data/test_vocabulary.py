import pytest
import torch

from ssvae.data import Vocabulary, vocabulary_of
from ssvae.data.world import VOCABULARY


def test_sentences_are_read_as_they_were_written():
    words = Vocabulary(
        source="animals",
        kinds=dict(what=("cat", "cat (large)"), where=("down", "down and left")),
        sentence="a {what} goes {where}",
        coarse=("what",),
        fine=("where",),
    )
    numbers = dict(what=torch.tensor([0, 1, 1]), where=torch.tensor([1, 0, 1]))
    captions = words.write(numbers)
    assert captions[1:] == ["a cat (large) goes down", "a cat (large) goes down and left"]
    again = words.read(captions)
    assert all(torch.equal(again[kind], numbers[kind]) for kind in numbers)
    with pytest.raises(ValueError, match='no caption of animals: .* like "a cat goes down"'):
        words.read(["a dog goes down"])


def test_chance_is_the_share_of_those_who_guess():
    assert VOCABULARY.chance(["shape"]) == 1 / 4
    assert VOCABULARY.chance(["colour", "direction"]) == pytest.approx((1 / 6 + 1 / 8) / 2)


def test_whose_captions_are_known(tmp_path):
    assert vocabulary_of("world") is VOCABULARY
    stills = vocabulary_of("stills")
    assert [len(values) for values in stills.kinds.values()] == [12, 24]
    assert stills.read(["a pan down and left over coffee"])["move"].item() == 3
    with pytest.raises(ValueError, match="may say anything"):
        vocabulary_of(str(tmp_path))
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "cat.png").write_bytes(b"")
    with pytest.raises(ValueError, match="two are called 'cat': rename one"):
        vocabulary_of(f"stills:{tmp_path}")

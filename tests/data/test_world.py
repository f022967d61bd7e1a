import pytest
import torch

from ssvae.data.world import COLOURS, DIRECTIONS, SHAPES, TEXTURES, VOCABULARY, World
from ssvae.storage.seeds import uniform


def test_a_clip_is_a_pure_function_of_seed_and_index():
    world = World(seed=5)
    together = world.batch([3, 7, 11])
    alone = World(seed=5).batch([7])
    torch.testing.assert_close(together.video[1], alone.video[0], atol=1e-5, rtol=0)
    assert together.captions[1] == alone.captions[0]
    other = World(seed=6).batch([7])
    assert not torch.allclose(alone.video, other.video)


def test_draws_are_fixed_for_ever():
    """Another formula would change every world: these numbers were drawn by the first."""
    assert World(seed=0).batch([0, 1, 2]).captions == [
        "a red triangle moving up over fine waves",
        "a red disc moving down over fine waves",
        "a green triangle moving up over coarse waves",
    ]
    u = uniform(1, range(20000), 3)
    assert u.mean(0) == pytest.approx([0.5] * 3, abs=0.01)
    assert (u.T @ u / 20000)[0, 1] == pytest.approx(0.25, abs=0.01)
    assert uniform(1, [2**62], 1)[0, 0] != uniform(1, [2**62 + 1], 1)[0, 0]


def test_shapes_range_and_attributes():
    for frames, height, width in [(1, 32, 32), (9, 32, 48), (17, 40, 24)]:
        batch = World(frames, height, width).batch(range(4))
        assert batch.video.shape == (4, 3, frames, height, width)
        assert batch.video.dtype == torch.float32
        assert batch.video.min() >= -1
        assert batch.video.max() <= 1
    attributes = World().attributes(range(2000))
    for name, count in [("shape", 4), ("colour", 6), ("direction", 8), ("texture", 4)]:
        counts = torch.bincount(getattr(attributes, name), minlength=count).float() / 2000
        assert (counts - 1 / count).abs().max() < 0.03
    with pytest.raises(ValueError, match="at least 8 pixels"):
        World(9, 4, 32)


def test_captions_name_what_is_there():
    world = World(9, 64, 64)
    indices = range(40)
    batch, attributes = world.batch(indices), world.attributes(indices)
    colours = torch.tensor(list(COLOURS.values())) * 2 - 1
    axis = (torch.arange(64) + 0.5) / 64 - 0.5
    angles = attributes.direction * (torch.pi / 4)
    for i, caption in enumerate(batch.captions):
        words = caption.split()
        assert words[1] == list(COLOURS)[attributes.colour[i]]
        assert words[2] == SHAPES[attributes.shape[i]]
        assert f"moving {DIRECTIONS[attributes.direction[i]]} over" in caption
        assert words[-2] == list(TEXTURES)[attributes.texture[i]]
        # Where the pixels are nearest the colour that is named, something moves as is named.
        distance = (batch.video[i] - colours[attributes.colour[i]][:, None, None, None]).norm(dim=0)
        near = (distance < 0.35).float()
        assert near.sum((1, 2)).min() > 50, caption
        x = (near * axis).sum((1, 2)) / near.sum((1, 2))
        y = (near * axis[:, None]).sum((1, 2)) / near.sum((1, 2))
        moved = torch.stack([x[-1] - x[0], y[-1] - y[0]])
        heading = torch.stack([angles[i].cos(), angles[i].sin()])
        cosine = moved @ heading / moved.norm()
        if near.mean() < 0.3:  # else the waves wear the same colour
            assert cosine > 0.9, caption


def test_a_scene_does_not_depend_on_resolution():
    small, large = World(9, 32, 32).batch([1]).video, World(9, 128, 128).batch([1]).video
    shrunk = torch.nn.functional.avg_pool3d(large, (1, 4, 4))
    assert (shrunk - small).abs().mean() < 0.03
    middle = World(1, 32, 32).batch([1]).video
    torch.testing.assert_close(middle[:, :, 0], small[:, :, 4], atol=1e-5, rtol=0)


def test_captions_say_all_that_the_attributes_do():
    attributes = World(seed=3).attributes(range(500))
    again = VOCABULARY.read(attributes.captions())
    for name in vars(attributes):
        assert torch.equal(again[name], getattr(attributes, name))
    with pytest.raises(ValueError, match="no caption of the procedural world: 'a red cat'"):
        VOCABULARY.read(["a red cat"])

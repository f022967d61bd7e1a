"""Weights of a trained diffusion model for smaller patches."""

from dataclasses import replace
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch.nn.functional import conv3d

from small_diffusion import small_recipe
from ssvae.diffusion.starting import repatched
from ssvae.diffusion.trainer import DiffusionTrainer, train_diffusion
from ssvae.diffusion.transformer import PooledWanTransformer3DModel, positions
from ssvae.training import make_accelerator


@pytest.mark.parametrize("small", [(1, 1, 1), (1, 1, 2), (2, 2, 2), (1, 2, 4)])
def test_a_small_patch_is_read_as_the_large_one_that_repeats_it(small):
    large, C, D = (2, 2, 4), 3, 5
    weights = {
        "patch_embedding.weight": torch.randn(D, C, *large),
        "proj_out.weight": torch.randn(2 * 2 * 4 * C, D),
        "proj_out.bias": torch.randn(2 * 2 * 4 * C),
    }
    found = repatched(weights, small)

    x = torch.randn(1, C, *small)
    counts = [a // b for a, b in zip(large, small, strict=True)]
    torch.testing.assert_close(
        conv3d(x, found["patch_embedding.weight"]),
        conv3d(x.repeat(1, 1, *counts), weights["patch_embedding.weight"]),
    )

    token = torch.randn(D)
    of_large = F.linear(token, weights["proj_out.weight"], weights["proj_out.bias"])
    of_large = of_large.view(*large, C)
    naive = torch.zeros(*small, C)
    for place in product(*map(range, large)):
        inside = tuple(i % side for i, side in zip(place, small, strict=True))
        naive[inside] += of_large[place] / torch.tensor(counts).prod()
    of_small = F.linear(token, found["proj_out.weight"], found["proj_out.bias"])
    torch.testing.assert_close(of_small.view(*small, C), naive)


def test_patches_that_do_not_divide_leave_the_weights():
    weights = {"patch_embedding.weight": torch.randn(5, 3, 1, 2, 2)}
    assert repatched(weights, (1, 1, 4)) == weights


def test_small_tokens_lie_about_the_place_of_a_large_one():
    small = positions(3, 8, 8, 12, (1, 0.5, 0.5))
    assert torch.equal(small[:4, :, 0, 0], positions(3, 4, 4, 12)[:4, :, 0, 0])  # frames
    frequency = 1.5  # of the first sine over the height, tokens at -.25 and .25
    torch.testing.assert_close(small[4, 0, :2, 0], torch.tensor([-0.25, 0.25]).mul(frequency).sin())


def test_a_run_starts_from_another_with_larger_patches(cache, tmp_path):
    recipe = small_recipe(cache, steps=2)
    large = replace(recipe, model=replace(recipe.model, patch_size=(1, 2, 2)))
    train_diffusion(large, tmp_path / "large", make_accelerator("cpu"))
    small = replace(recipe, init=str(tmp_path / "large"))
    last = train_diffusion(small, tmp_path / "small", make_accelerator("cpu"))
    own = PooledWanTransformer3DModel.from_pretrained(last / "transformer").patch_embedding
    assert own.spacing == (1, 0.5, 0.5)
    (tmp_path / "empty").mkdir()
    nothing = replace(recipe, init=str(tmp_path / "empty"), map=str(last / "map.safetensors"))
    with pytest.raises(ValueError, match="transformer in .* has other weights"):
        DiffusionTrainer(nothing, make_accelerator("cpu"))
    back = replace(large, init=str(tmp_path / "small"))
    with pytest.raises(ValueError, match="transformer in .* has other weights"):
        DiffusionTrainer(back, make_accelerator("cpu"))

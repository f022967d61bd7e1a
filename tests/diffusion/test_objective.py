"""What can be added to flow matching."""

import dataclasses

import pytest
import torch

from small_diffusion import small_recipe
from small_runs import cpu, rows
from ssvae.diffusion import train_diffusion
from ssvae.diffusion.building import build, problems_of
from ssvae.diffusion.layer_sync import LayerSync
from ssvae.diffusion.objective import FlowObjective
from ssvae.diffusion.recipe import ObjectiveConfig, TransformerConfig

THREE = TransformerConfig(layers=3, heads=2, head_dim=16, ffn_dim=32, freq_dim=32)
ALL = ObjectiveConfig(
    pairing="optimal-transport", time_weight="min-snr", contrastive=0.05, layer_sync=0.2
)


@pytest.fixture
def transformer():
    torch.manual_seed(0)
    model = build(small_recipe("", model=THREE), channels=4, text_width=16)
    torch.nn.init.normal_(model.proj_out.weight, std=0.1)  # a fresh model says nothing
    return model


def losses_of(transformer, config):
    torch.manual_seed(1)
    x, text = torch.randn(4, 4, 3, 4, 4), torch.randn(4, 2, 16)
    objective = FlowObjective(transformer, None, 1.0, config)
    return objective(x, (text,), (0.0, 1.0), torch.Generator().manual_seed(0))


def test_parts_add_up(transformer):
    plain = losses_of(transformer, ObjectiveConfig())
    assert plain.added == {}
    contrast = losses_of(transformer, ObjectiveConfig(contrastive=0.05))
    assert contrast.flow.equal(plain.flow), "the same noise and times"
    torch.testing.assert_close(
        contrast.total, plain.flow - 0.05 * contrast.added["contrast"], rtol=1e-6, atol=0
    )
    # A fresh velocity is as far from another clip's as that is long; its own is as long.
    assert contrast.added["contrast"].mean() > 0.5 * plain.flow.mean()
    synced = losses_of(transformer, ObjectiveConfig(layer_sync=0.2))
    torch.testing.assert_close(
        synced.total, plain.flow + 0.2 * synced.added["layer_sync"], rtol=1e-6, atol=0
    )
    weighed = losses_of(transformer, ObjectiveConfig(time_weight="min-snr"))
    assert (weighed.total / plain.flow).std() > 0.1
    dealt = losses_of(transformer, ObjectiveConfig(pairing="optimal-transport"))
    assert not dealt.flow.equal(plain.flow)


def test_the_student_alone_is_pulled():
    torch.manual_seed(0)
    blocks = torch.nn.ModuleList(torch.nn.Linear(6, 6) for _ in range(3))
    sync, x = LayerSync(blocks, 1, 3), torch.randn(2, 5, 6)
    first = blocks[0](x)
    last = blocks[2](blocks[1](first))
    loss = sync.loss()
    cosine = (first * last).sum(-1) / first.norm(dim=-1) / last.norm(dim=-1)
    torch.testing.assert_close(loss, 1 - cosine.mean(1))
    loss.sum().backward()
    assert blocks[0].weight.grad.any()
    assert blocks[2].weight.grad is None
    with pytest.raises(KeyError):
        sync.loss()


def test_published_depths_and_pairs_that_are_none():
    assert ObjectiveConfig().blocks(28) == (8, 16)
    assert ObjectiveConfig().blocks(4) == (1, 2)
    assert ObjectiveConfig().blocks(12) == (3, 7)
    assert ObjectiveConfig(student=2, teacher=3).blocks(3) == (2, 3)
    for config, layers in ((ObjectiveConfig(), 1), (ObjectiveConfig(student=3, teacher=2), 4)):
        with pytest.raises(ValueError, match="the student first"):
            config.blocks(layers)


def test_runs_with_all_of_them_go_on_exactly(cache, tmp_path):
    recipe = small_recipe(cache, model=THREE, objective=ALL)
    train_diffusion(recipe, tmp_path / "whole", cpu())
    whole = rows(tmp_path / "whole")
    assert {"contrast", "layer_sync"} <= set(whole[0])
    for steps in (2, 4):
        train_diffusion(dataclasses.replace(recipe, steps=steps), tmp_path / "parts", cpu())
    assert rows(tmp_path / "parts") == whole
    less = dataclasses.replace(recipe, gradient_checkpointing=True)
    train_diffusion(less, tmp_path / "less", cpu())
    for one, other in zip(rows(tmp_path / "less"), whole, strict=True):
        assert one["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-4)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (ObjectiveConfig(contrastive=1.0), "objective.contrastive must be in"),
        (ObjectiveConfig(layer_sync=-1.0), "objective.layer_sync must be at least 0"),
        (ObjectiveConfig(layer_sync=0.1, student=3, teacher=3), "objective: student and teacher"),
        (ObjectiveConfig(gamma=0.0), "objective.gamma must be positive"),
        (ObjectiveConfig(pairing="any"), "objective.pairing must be independent or"),  # type: ignore[arg-type]
    ],
)
def test_settings_that_are_none(cache, config, message):
    found = problems_of(small_recipe(cache, model=THREE, objective=config))
    assert any(message in problem for problem in found), found

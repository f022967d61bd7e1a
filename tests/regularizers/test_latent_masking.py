import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from ssvae.regularizers import LatentMasking


def masked(masking: LatentMasking, z: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """Where the token stands: (B, T, H, W)."""
    out = masking(z, torch.Generator().manual_seed(seed))
    token = masking.token.expand_as(out)
    assert torch.equal(torch.where(out == token, token, z), out)
    return (out == token).all(1)


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(*[st.integers(1, 6)] * 3),
    block=st.tuples(*[st.integers(1, 3)] * 3),
    ratio=st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]),
    seed=st.integers(0, 1000),
)
def test_counts_and_blocks(size, block, ratio, seed):
    masking = LatentMasking(3, (ratio,), (1.0,), block)
    where = masked(masking, torch.randn(4, 3, *size), seed)
    T, H, W = size
    t, h, w = block
    rows = [slice(0, 1)] + [slice(i, i + t) for i in range(1, T, t)]
    boxes = [
        where[:, row, j : j + h, k : k + w].flatten(1)
        for row in rows
        for j in range(0, H, h)
        for k in range(0, W, w)
    ]
    whole = torch.stack([box.all(1) for box in boxes], 1)
    part = torch.stack([box.any(1) for box in boxes], 1)
    assert torch.equal(whole, part), "blocks are masked whole or not at all"
    assert whole.sum(1).tolist() == [round(ratio * len(boxes))] * 4


def test_each_sample_has_its_mask_and_every_position_its_turn():
    masking = LatentMasking(3, (0.5,), (1.0,), (2, 2, 2))
    z = torch.randn(6, 3, 4, 5, 5)
    where = masked(masking, z)
    assert any(not torch.equal(where[0], other) for other in where[1:])
    ever = torch.stack([masked(masking, z, seed).any(0) for seed in range(20)]).any(0)
    assert ever.all()


def test_generator_decides():
    masking = LatentMasking(3)
    z = torch.randn(2, 3, 3, 4, 4)
    a, b = (masking(z, torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(a, b)
    torch.manual_seed(3)
    c = masking(z)
    torch.manual_seed(3)
    assert torch.equal(c, masking(z))


def test_ratios_are_drawn_as_often_as_asked():
    masking = LatentMasking(1, (0.0, 0.5, 1.0), (0.6, 0.0, 0.4))
    z = torch.randn(1, 1, 1, 4, 4)
    shares = [masked(masking, z, seed).float().mean().item() for seed in range(500)]
    assert set(shares) == {0.0, 1.0}
    assert sum(shares) / 500 == pytest.approx(0.4, abs=0.07)


def test_nothing_is_copied_to_the_device_again():
    class Made(TorchDispatchMode):
        """Tensors made of Python's numbers."""

        count = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.count += func is torch.ops.aten.lift_fresh.default
            return func(*args, **(kwargs or {}))

    masking = LatentMasking(3, (0.0, 0.625), (0.375, 0.625))
    z = torch.randn(2, 3, 3, 4, 4)
    counts = []
    for _ in range(2):
        with Made() as made:
            masking(z)
        counts.append(made.count)
    assert counts == [2, 0]


def test_token_stays_in_the_graph_at_ratio_0():
    masking = LatentMasking(3, (0.0,), (1.0,))
    z = torch.randn(1, 3, 1, 2, 2, requires_grad=True)
    masking(z).sum().backward()
    assert masking.token.grad is not None
    assert not masking.token.grad.any()
    assert z.grad is not None
    assert (z.grad == 1).all()


def test_gradients_go_where_the_values_came_from():
    masking = LatentMasking(2, (0.5,), (1.0,))
    z = torch.randn(1, 2, 1, 2, 4, requires_grad=True)
    where = masked(masking, z.detach())
    masking(z, torch.Generator().manual_seed(0)).sum().backward()
    assert z.grad is not None
    assert masking.token.grad is not None
    assert torch.equal(z.grad[:, 0] == 0, where)
    assert masking.token.grad.flatten().tolist() == [4.0, 4.0]


def test_eval_mode_images_and_half_precision():
    masking = LatentMasking(3, (1.0,), (1.0,))
    z = torch.randn(2, 3, 4, 4)
    assert masking(z).shape == z.shape
    assert torch.equal(masking(z), masking.token[:, :, 0].expand_as(z))
    assert masking(z.bfloat16()).dtype == torch.bfloat16
    masking.eval()
    assert masking(z) is z


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(ratios=(0.5,)), "each ratio needs a probability"),
        (dict(ratios=(1.5,), probabilities=(1,)), "ratios must be in"),
        (dict(probabilities=(0.5, 0.1, 0.1, 0.1)), "sum to 1"),
        (dict(block=(0, 1, 1)), "a block must be"),
    ],
)
def test_errors(options, message):
    with pytest.raises(ValueError, match=message):
        LatentMasking(3, **options)
    with pytest.raises(ValueError, match=r"\(batch, 3, "):
        LatentMasking(3)(torch.zeros(1, 4, 2, 2))

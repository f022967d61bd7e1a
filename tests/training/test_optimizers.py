"""Muon by singular values, and as torch has it."""

import copy

import torch
from torch import nn

from ssvae.models import PRESETS, AutoencoderKLSSVAE
from ssvae.training.optimizers import Muon, autoencoder_optimizers, orthogonalized

COEFFICIENTS = (3.4445, -4.775, 2.0315)


def test_newton_schulz_is_a_polynomial_of_singular_values():
    torch.manual_seed(0)
    a, b, c = COEFFICIENTS
    for shape in ((3, 8, 20), (3, 20, 8), (3, 8, 10)):
        matrices = torch.randn(shape)
        u, s, v = torch.linalg.svd(matrices, full_matrices=False)
        s = s / s.square().sum(-1, keepdim=True).sqrt()
        for _ in range(5):
            s = a * s + b * s**3 + c * s**5
        wanted = u @ torch.diag_embed(s) @ v
        torch.testing.assert_close(
            orthogonalized(matrices, COEFFICIENTS, 5, 1e-7), wanted, rtol=1e-4, atol=1e-4
        )


def test_muon_goes_where_torch_s_goes_and_takes_up_its_state():
    torch.manual_seed(0)
    shapes = [(8, 64), (8, 64), (64, 8), (16, 64)]  # far from square: no singular value near 0
    ours = [nn.Parameter(torch.randn(shape)) for shape in shapes]
    torchs = [nn.Parameter(p.detach().clone()) for p in ours]
    begun = [p.detach().clone() for p in ours]
    one = Muon(ours, lr=0.1, weight_decay=0.01)
    other = torch.optim.Muon(torchs, lr=0.1, weight_decay=0.01)
    for step in range(6):
        for p, q in zip(ours, torchs, strict=True):
            p.grad = torch.randn_like(p)
            q.grad = p.grad.clone()
        ours[0].grad = None if step == 0 else ours[0].grad  # a matrix may go without
        torchs[0].grad = None if step == 0 else torchs[0].grad
        one.step()
        other.step()
        if step == 2:
            one.load_state_dict(copy.deepcopy(other.state_dict()))
    for p, q, start in zip(ours, torchs, begun, strict=True):
        way, its_way = (p - start).flatten(), (q - start).flatten()
        assert torch.cosine_similarity(way, its_way, dim=0) > 0.95  # it rounds to bfloat16
        assert 0.9 < way.norm() / its_way.norm() < 1.1
        momenta = one.state[p]["momentum_buffer"], other.state[q]["momentum_buffer"]
        torch.testing.assert_close(*momenta)


def test_a_convolution_is_a_matrix_and_may_lie_channels_last():
    torch.manual_seed(0)
    weight, gradient = torch.randn(6, 4, 3, 3, 3), torch.randn(6, 4, 3, 3, 3)
    plain, last = (
        nn.Parameter(weight.clone()),
        nn.Parameter(weight.contiguous(memory_format=torch.channels_last_3d)),
    )
    matrix = nn.Parameter(weight.flatten(1).clone())
    plain.grad, matrix.grad = gradient.clone(), gradient.flatten(1).clone()
    last.grad = gradient.contiguous(memory_format=torch.channels_last_3d)
    for parameter in (plain, last, matrix):
        Muon([parameter], lr=0.1).step()
    assert not torch.equal(plain, weight)
    torch.testing.assert_close(plain.flatten(1), matrix)
    torch.testing.assert_close(plain, last)
    assert last.is_contiguous(memory_format=torch.channels_last_3d)


def test_muon_takes_the_weights_of_layers_that_are_trained_and_adam_the_rest():
    vae = AutoencoderKLSSVAE(**vars(PRESETS["tiny"]))
    vae.encoder.requires_grad_(False)
    trained = [p for p in vae.parameters() if p.requires_grad]
    adam, muon = autoencoder_optimizers(
        vae, trained, "muon", muon_learning_rate=0.02, learning_rate=1e-3
    )
    weights = muon.param_groups[0]["params"]
    rest = adam.param_groups[0]["params"]
    assert len(weights) + len(rest) == len(trained)
    assert {p.ndim for p in weights} <= {2, 4, 5}
    assert all(p.numel() > 500 for p in weights)  # no gain, whose axes are one long
    others = {id(p) for p in rest}
    names = [name for name, p in vae.named_parameters() if id(p) in others]
    assert names
    assert not [name for name in names if "conv" in name and name.endswith("weight")]
    (alone,) = autoencoder_optimizers(
        vae, trained, "adam", muon_learning_rate=0.02, learning_rate=1e-3
    )
    assert len(alone.param_groups[0]["params"]) == len(trained)

"""Optimisers: Muon for the weights of linear and convolution layers, Adam or AdamW for the rest."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn

LAYERS = nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d


class Muon(torch.optim.Optimizer):
    """``torch.optim.Muon`` for convolutions too, all weights of one shape at once, on a CPU in
    float32.

    Momentum whose singular values are brought near 1 (https://kellerjordan.github.io/posts/muon); a
    convolution's weight counts as the matrix (outputs, inputs x taps). torch's takes matrices alone
    and goes through them one by one in bfloat16, which most CPUs only emulate: a step of the
    smallest transformer here then takes three times as long.
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float, weight_decay: float = 0.0):
        # Coefficients and steps of Newton-Schulz are torch's, and Keller Jordan's.
        defaults = dict(
            lr=lr,
            weight_decay=weight_decay,
            momentum=0.95,
            ns_coefficients=(3.4445, -4.775, 2.0315),
            ns_steps=5,
            eps=1e-7,
        )
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """One update of every weight that has a gradient."""
        assert closure is None
        for group in self.param_groups:
            alike = defaultdict[Any, list[torch.Tensor]](list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    alike[parameter.shape, parameter.device].append(parameter)
            for parameters in alike.values():
                self._update(parameters, group)

    def _update(self, parameters: list[torch.Tensor], group: dict[str, Any]) -> None:
        gradients = [p.grad for p in parameters if p.grad is not None]
        for p in parameters:
            if "momentum_buffer" not in self.state[p]:
                self.state[p]["momentum_buffer"] = torch.zeros_like(p)
        momenta = [self.state[p]["momentum_buffer"] for p in parameters]
        torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
        ahead = torch._foreach_lerp(gradients, momenta, group["momentum"])  # Nesterov's
        matrices = torch.stack([each.flatten(1) for each in ahead])
        turned = orthogonalized(matrices, group["ns_coefficients"], group["ns_steps"], group["eps"])
        rows, columns = matrices.shape[1:]
        rate = group["lr"] * max(1, rows / columns) ** 0.5
        torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        turned = turned.to(matrices.dtype).view(-1, *parameters[0].shape)
        torch._foreach_add_(parameters, turned.unbind(), alpha=-rate)


def orthogonalized(
    matrices_NRC: torch.Tensor, coefficients: Sequence[float], steps: int, eps: float
) -> torch.Tensor:
    """Matrices (N, R, C) with their singular values brought near 1, by Newton-Schulz steps.

    Each step takes a singular value s to a s + b s^3 + c s^5. Float32 on a CPU, else bfloat16.
    Wide matrices are multiplied by the steps' product alone, whose factors follow from the Gram
    matrix: a quarter of the operations for a convolution's weight. bfloat16 would not hold it.
    """
    a, b, c = coefficients
    x = matrices_NRC.float() if matrices_NRC.device.type == "cpu" else matrices_NRC.bfloat16()
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=eps)
    if x.dtype == torch.float32 and x.shape[2] >= 2 * x.shape[1]:
        x = _product_of_steps(x @ x.mT, coefficients, steps) @ x
        steps = 0
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).contiguous()


def _product_of_steps(
    gram_NRR: torch.Tensor, coefficients: Sequence[float], steps: int
) -> torch.Tensor:
    """The product of the steps' factors a + b G + c G^2, of which each takes G to itself squared
    times G. All are polynomials of one matrix, so that their order does not matter.
    """
    a, b, c = coefficients
    gram, product = gram_NRR, None
    for step in range(steps):
        factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        factor.diagonal(dim1=-2, dim2=-1).add_(a)
        product = factor if product is None else factor @ product
        if step < steps - 1:
            gram = factor @ gram @ factor
    assert product is not None
    return product


def transformer_optimizers(
    blocks: nn.Module,
    parameters: Iterable[nn.Parameter],
    name: str,
    muon_learning_rate: float,
    learning_rate: float,
    weight_decay: float,
) -> list[torch.optim.Optimizer]:
    """AdamW and, where ``name`` is "muon", Muon for the matrices in ``blocks``.

    Embeddings, biases, gains and what lies outside the blocks are AdamW's.
    """
    matrices, rest = _divided(blocks, parameters, name)
    adamw = torch.optim.AdamW(
        rest, learning_rate, betas=(0.9, 0.99), weight_decay=weight_decay, fused=True
    )
    muon = [Muon(matrices, muon_learning_rate, weight_decay)] if matrices else []
    return _with_peaks([adamw, *muon])


def autoencoder_optimizers(
    vae: nn.Module,
    parameters: Iterable[nn.Parameter],
    name: str,
    muon_learning_rate: float,
    learning_rate: float,
) -> list[torch.optim.Optimizer]:
    """Adam and, where ``name`` is "muon", Muon for the weights of the linear and convolution
    layers.
    """
    matrices, rest = _divided(vae, parameters, name)
    adam = torch.optim.Adam(rest, learning_rate, fused=True)
    muon = [Muon(matrices, muon_learning_rate)] if matrices else []
    return _with_peaks([adam, *muon])


def set_rates(optimizers: Iterable[torch.optim.Optimizer], share: float) -> None:
    """Every group at this share of its peak learning rate."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = share * group["peak_lr"]


def _divided(
    module: nn.Module, parameters: Iterable[nn.Parameter], name: str
) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """What Muon takes, of the layers in ``module``, and the other parameters."""
    layers = [layer for layer in module.modules() if isinstance(layer, LAYERS)]
    weights = {id(layer.weight) for layer in layers if name == "muon"}
    parameters = list(parameters)
    return (
        [p for p in parameters if id(p) in weights],
        [p for p in parameters if id(p) not in weights],
    )


def _with_peaks(optimizers: list[torch.optim.Optimizer]) -> list[torch.optim.Optimizer]:
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
    return optimizers

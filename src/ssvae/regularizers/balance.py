"""Weigh a penalty on the latents against the reconstruction, in the one backward pass there is."""

import math
from collections.abc import Callable

import torch
from torch import nn

__all__ = ["Balance", "balance"]

MAX_RATIO = 1e8
NEAR = 64  # nodes of the graph behind the moments, among which the last layer's weight is

Reduce = Callable[[torch.Tensor], torch.Tensor]
"""The mean of a tensor over processes."""


def balance(
    moments: torch.Tensor,
    penalty_fn: Callable[[torch.Tensor], torch.Tensor],
    last_layer: nn.Module,
    weight: float = 0.002,
    max_ratio: float = MAX_RATIO,
    reduce: Reduce | None = None,
) -> torch.Tensor:
    """Add a gradient-balanced penalty to whatever is computed from the returned moments.

    The penalty acts with the weight  w = weight * min(|dL/dW| / (|dP/dW| + 1e-4), max_ratio),
    where W is ``last_layer.weight``, P the penalty, and L all of the loss that is computed from
    what this function *returns*. Compute there what the penalty is to be weighed against (decode
    from the returned moments) and the rest (KL) from ``moments`` itself. The usual way takes a
    second backward pass through the decoder for dL/dW. Here dL/dmoments is taken when it comes by,
    and the two weight gradients cost one small convolution each.

    Args:
        moments: what ``last_layer`` made, (B, 2C, ...), such as a posterior's parameters.
        penalty_fn: maps moments to a scalar penalty, without side effects on the graph.
        last_layer: the encoder's last layer; its ``weight`` sets the scale.
        weight: the paper's 0.1 * 0.02.
        max_ratio: the published 1e8.
        reduce: the mean over processes, where several share a batch: w is then that of the whole
            batch. It is called in the backward pass, once, on every process.

    Returns:
        The moments, equal to the given ones. One ``loss.backward()`` then does it all. Where
        ``moments`` needs no gradient (evaluation, a frozen encoder) nothing is added.

    Raises:
        ValueError: where ``last_layer.weight`` is no parameter that takes a gradient, or none that
            ``moments`` come from; where the channels are not their second axis; or where the
            penalty is no scalar that has a gradient.
    """
    _check_channels(last_layer, moments)
    return Balance(moments, penalty_fn, last_layer, weight, max_ratio, reduce).moments


class Balance:
    """:func:`balance`, with the penalty and its weight for those who log them.

    Arguments are those of :func:`balance`, and so are the errors, but that the second axis is not
    looked at: what a decoder's last layer made may have been folded since.

    Attributes:
        moments: equal to the given ones; the penalty is in their gradient.
        penalty: a scalar without a gradient; None where the moments need no gradient, and nothing
            is added.
    """

    moments: torch.Tensor
    penalty: torch.Tensor | None

    def __init__(
        self,
        moments: torch.Tensor,
        penalty_fn: Callable[[torch.Tensor], torch.Tensor],
        last_layer: nn.Module,
        weight: float = 0.002,
        max_ratio: float = MAX_RATIO,
        reduce: Reduce | None = None,
    ):
        self.moments, self.penalty = moments, None
        # In a list, for a hook that holds this object would keep the graph alive.
        self._weights: list[torch.Tensor] = []
        W = _weight_of(last_layer, weight)
        if not (moments.requires_grad and torch.is_grad_enabled()):
            return
        _check_trained(last_layer, W, moments)
        weights, leaf = self._weights, moments.detach().requires_grad_()
        with torch.enable_grad():
            penalty = _checked_penalty(penalty_fn(leaf))
            (penalty_gradient,) = torch.autograd.grad(penalty, leaf)

        def at_weight(gradient: torch.Tensor) -> torch.Tensor:
            (g,) = torch.autograd.grad(moments, W, gradient, retain_graph=True)
            return g.to(torch.promote_types(g.dtype, torch.float32))

        def add_penalty(gradient: torch.Tensor) -> torch.Tensor:
            both = torch.stack([at_weight(gradient), at_weight(penalty_gradient)])
            of_loss, of_penalty = (both if reduce is None else reduce(both)).unbind()
            ratio = torch.linalg.vector_norm(of_loss) / (
                torch.linalg.vector_norm(of_penalty) + 1e-4
            )
            balanced = weight * ratio.clamp(max=max_ratio)
            weights[:] = [balanced]
            return gradient + (balanced * penalty_gradient).to(gradient.dtype)

        self.moments, self.penalty = moments.view_as(moments), penalty.detach()
        self.moments.register_hook(add_penalty)

    def weight(self) -> torch.Tensor:
        """The penalty's weight, a scalar, once the loss went backward.

        Large, and of no effect, where the penalty is met and so has no gradient.

        Raises:
            RuntimeError: before, and where nothing is added.
        """
        if self.penalty is None:
            raise RuntimeError("nothing is balanced, for the moments need no gradient")
        if not self._weights:
            raise RuntimeError(
                "the weight is known once the gradient came by: call loss.backward() first, of a "
                "loss that is computed from the balanced moments"
            )
        return self._weights[0]


def _weight_of(last_layer: nn.Module, weight: float) -> torch.Tensor:
    """The parameter at which norms are taken; a ValueError for a layer that has none."""
    if not (weight >= 0 and math.isfinite(weight)):
        raise ValueError(f"weight must be a number of at least 0, got {weight}")
    W = getattr(last_layer, "weight", None)
    if not isinstance(W, torch.Tensor):
        raise ValueError(f"last_layer must have a weight, got {type(last_layer).__name__}")
    if not W.is_leaf:
        raise ValueError(
            f"the weight of last_layer, a {type(last_layer).__name__}, is computed anew in each "
            "step, as weight_norm and other parametrisations do, and no gradient arrives there: "
            "remove that from this layer"
        )
    return W


def _check_trained(last_layer: nn.Module, W: torch.Tensor, moments: torch.Tensor) -> None:
    """A ValueError for a layer that is frozen, or that the moments do not come from."""
    if not W.requires_grad:
        raise ValueError(
            "last_layer.weight must require a gradient, for the penalty is weighed there: unfreeze "
            "the layer, or leave the penalty out where the encoder is frozen"
        )
    _check_source(last_layer, W, moments)


def _checked_penalty(penalty: object) -> torch.Tensor:
    """A penalty that is a scalar with a gradient; else a ValueError."""
    if not isinstance(penalty, torch.Tensor):
        raise ValueError(
            "penalty_fn must make a tensor, a scalar, from the moments, got "
            f"{type(penalty).__name__}"
        )
    if penalty.ndim or not penalty.requires_grad:
        raise ValueError(
            "penalty_fn must make a scalar with a gradient from the moments that it is given, got "
            + (f"a tensor {tuple(penalty.shape)}" if penalty.ndim else "one that is detached")
            + ": compute it from its argument, and leave out detach() and no_grad()"
        )
    return penalty


def _check_channels(last_layer: nn.Module, moments: torch.Tensor) -> None:
    """A ValueError for moments whose channels, which the layer tells, are on the last axis."""
    W = getattr(last_layer, "weight", None)
    if not isinstance(W, torch.Tensor) or moments.ndim < 3:
        return
    channels = W.shape[0]
    if moments.shape[-1] == channels and moments.shape[1] not in (channels, channels // 2):
        raise ValueError(
            f"moments must have their channels on the second axis, got {tuple(moments.shape)} of a "
            f"last_layer that makes {channels}: give moments.movedim(-1, 1)"
        )


def _check_source(last_layer: nn.Module, W: torch.Tensor, moments: torch.Tensor) -> None:
    """A ValueError where moments do not come from a layer."""
    name = type(last_layer).__name__
    waiting, seen = [moments.grad_fn], 0
    while waiting and seen < NEAR:
        node = waiting.pop(0)
        if node is None:
            continue
        if getattr(node, "variable", None) is W:
            return
        seen += 1
        waiting += [behind for behind, _ in node.next_functions]
    zeros = torch.zeros_like(moments)
    (gradient,) = torch.autograd.grad(moments, W, zeros, retain_graph=True, allow_unused=True)
    if gradient is None:
        raise ValueError(
            f"moments {tuple(moments.shape)} do not come from the weight of last_layer, a {name} "
            f"of {tuple(W.shape)}: give the layer of the same model that makes them, such as "
            "vae.quant_conv"
        )

"""Models for clips of other channels, from what one has learned about colours."""

import torch

from ssvae.data.pixels import LUMA
from ssvae.models.autoencoder import AutoencoderKLSSVAE
from ssvae.models.blocks import channels_last

OPAQUE = 1.0
"""Full alpha, in [-1, 1]."""


@torch.no_grad()
def with_channels(vae: AutoencoderKLSSVAE, channels: int) -> AutoencoderKLSSVAE:
    """A new model of 4 or 1 channels that does what one of 3 does; see :mod:`ssvae.data.pixels`.

    Of 4, its encoder does not look at alpha and its decoder makes it full: the latents and the
    three colours are those of ``vae``, until it is trained. Of 1, it encodes grey as ``vae``
    encodes three colours that are equal, and decodes the luma of what ``vae`` decodes. Both to
    rounding.

    Raises:
        ValueError: for a model that is not of 3 channels, or another number than 1 or 4.
    """
    before = vae.config["in_channels"], vae.config["out_channels"]
    if before != (3, 3) or channels not in (1, 4):
        raise ValueError(
            f"a model of 3 channels is given 1 or 4, got {channels} for one of {before[0]} in and "
            f"{before[1]} out: take the model that it was made from"
        )
    settings = {name: value for name, value in vae.config.items() if not name.startswith("_")}
    settings |= dict(in_channels=channels, out_channels=channels)
    other = AutoencoderKLSSVAE(**settings)
    state = vae.state_dict()
    first, last = "encoder.conv_in.weight", "decoder.conv_out.weight"
    bias = "decoder.conv_out.bias"
    state[first] = _of_input(state[first], channels)
    state[last] = _of_output(state[last], channels, 0.0)
    state[bias] = _of_output(state[bias], channels, OPAQUE)
    other.load_state_dict(state)
    # diffusers' own way warns of every dtype.
    torch.nn.Module.to(other, vae.device, vae.dtype)
    return channels_last(other).train(vae.training)


def _of_input(weight: torch.Tensor, channels: int) -> torch.Tensor:
    """Weights of an input (width, 3 p, ...), pixels of a patch beside each other, for ``channels``
    p.
    """
    apart = weight.unflatten(1, (3, -1))
    if channels == 1:
        return apart.sum(1)
    return torch.cat([apart, torch.zeros_like(apart[:, :1])], 1).flatten(1, 2)


def _of_output(weight: torch.Tensor, channels: int, alpha: float) -> torch.Tensor:
    """Weights of an output (3 p, ...) for ``channels`` p, alpha's being one number."""
    apart = weight.unflatten(0, (3, -1))
    if channels == 1:
        return torch.einsum("c,cp...->p...", weight.new_tensor(LUMA), apart)
    return torch.cat([apart, torch.full_like(apart[:1], alpha)]).flatten(0, 1)

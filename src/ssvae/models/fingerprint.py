"""Which encoder made these latents? A short checksum of its weights tells."""

import hashlib

import torch
from torch import nn


@torch.no_grad()
def encoder_fingerprint(vae: nn.Module) -> str:
    """Sixteen hexadecimal digits of a SHA-256 over the names and weights of ``vae.encoder``.

    Weights count as bfloat16 has them, so that a model is the same in each format that it is loaded in.
    A decoder that was trained on, the encoder as it was, changes nothing.
    """
    seen = hashlib.sha256()
    for name, weight in sorted(vae.get_submodule("encoder").state_dict().items()):
        seen.update(name.encode())
        seen.update(
            weight.to("cpu", torch.bfloat16).contiguous().flatten().view(torch.uint8).numpy().data
        )
    return seen.hexdigest()[:16]

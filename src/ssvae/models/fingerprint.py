"""Whose latents are these? A short checksum of all that makes them tells.

Files that hold latents, or that are of latents, carry it as text: sixteen hexadecimal digits of the
VAE that encodes and, of a student, behind a slash those of the teacher whose latents it learned.
"""

import hashlib
from weakref import WeakKeyDictionary

import torch
from torch import nn

LATENTS_OF = "latents_of"
"""In the config of a student: the fingerprint of its teacher."""
DECODERS = {"decoder", "post_quant_conv"}
_known: WeakKeyDictionary[nn.Module, tuple[tuple[tuple[int, int], ...], str]] = WeakKeyDictionary()


def latents_fingerprint(vae: nn.Module) -> str:
    """The fingerprint of a VAE's latents: of the names and weights of all that does not decode.

    Weights count as bfloat16 has them, so that a model is the same in float32 and in bfloat16.
    A decoder that was trained on, the encoder as it was, changes nothing.
    """
    weights = {
        name.removeprefix("encoder."): weight
        for name, weight in vae.state_dict().items()
        if not DECODERS & set(name.split("."))
    }
    if any(weight.is_inference() for weight in weights.values()):  # which count no changes
        own = _checksum(weights)
    else:
        state = tuple((weight.data_ptr(), weight._version) for weight in weights.values())
        before, own = _known.get(vae, ((), ""))
        if before != state:
            own = _checksum(weights)
            _known[vae] = state, own
    config = getattr(vae, "config", None) or {}
    teacher = config.get(LATENTS_OF) if hasattr(config, "get") else None
    return f"{own}/{teacher}" if teacher else own


@torch.no_grad()
def _checksum(weights: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name, weight in sorted(weights.items()):
        digest.update(name.encode())
        rounded = weight.to("cpu", torch.bfloat16).contiguous().flatten()
        digest.update(rounded.view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def same_latents(one: str, other: str) -> bool:
    """Whether latents of one fingerprint mean what those of another do; an empty one says
    nothing.
    """
    return not one or not other or bool(set(one.split("/")) & set(other.split("/")))


def same_encoder(one: str, other: str) -> bool:
    """Whether latents of two fingerprints are of one encoder's weights; an empty one says
    nothing.
    """
    return not one or not other or one.split("/")[0] == other.split("/")[0]


def check_same_latents(what: str, held: str, vae: nn.Module, remedy: str) -> None:
    """A ValueError where ``what`` is of the latents ``held``, and a VAE's are others."""
    own = latents_fingerprint(vae)
    if not same_latents(held, own):
        raise ValueError(
            f"{what} is of another VAE's latents ({held}; this VAE's are {own}): {remedy}"
        )

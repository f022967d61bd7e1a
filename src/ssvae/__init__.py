"""SSVAE: video autoencoders whose latents are easy to diffuse (arXiv 2512.05394).

What this package offers is imported when it is asked for: diffusers and transformers take seconds,
and the regularisers need torch alone.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffusers.models.modeling_utils import ModelMixin

    from ssvae.diffusion import HashedWordTokenizer, PooledWanTransformer3DModel
    from ssvae.latents import MappedAutoencoder
    from ssvae.models import AutoencoderKLSSVAE
    from ssvae.regularizers import LatentMasking, LocalCorrelation, local_correlation

__version__ = version("ssvae")

__all__ = [
    "AutoencoderKLSSVAE",
    "HashedWordTokenizer",
    "LatentMasking",
    "LocalCorrelation",
    "MappedAutoencoder",
    "ModelMixin",
    "PooledWanTransformer3DModel",
    "local_correlation",
]

_WHERE = {
    "AutoencoderKLSSVAE": "ssvae.models",
    "HashedWordTokenizer": "ssvae.diffusion.words",
    "LatentMasking": "ssvae.regularizers",
    "LocalCorrelation": "ssvae.regularizers",
    "MappedAutoencoder": "ssvae.latents.mapped",
    # diffusers looks for base classes beside those of a saved pipeline when it loads it.
    "ModelMixin": "diffusers.models.modeling_utils",
    "PooledWanTransformer3DModel": "ssvae.diffusion.transformer",
    "PreTrainedTokenizer": "transformers",
    "local_correlation": "ssvae.regularizers",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

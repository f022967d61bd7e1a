"""The autoencoder, and any VAE behind one protocol.

What it offers is imported when it is asked for: a list of models needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssvae.models.autoencoder import AutoencoderKLSSVAE
    from ssvae.models.backbones import Backbone
    from ssvae.models.channels import with_channels
    from ssvae.models.config import PRESETS, AutoencoderConfig
    from ssvae.models.finding import load_vae, open_vae
    from ssvae.models.layouts import Layout
    from ssvae.models.posterior import DiagonalGaussian

__all__ = [
    "PRESETS",
    "AutoencoderConfig",
    "AutoencoderKLSSVAE",
    "Backbone",
    "DiagonalGaussian",
    "Layout",
    "load_vae",
    "open_vae",
    "with_channels",
]

_WHERE = {
    "PRESETS": "config",
    "AutoencoderConfig": "config",
    "AutoencoderKLSSVAE": "autoencoder",
    "Backbone": "backbones",
    "DiagonalGaussian": "posterior",
    "Layout": "layouts",
    "load_vae": "finding",
    "open_vae": "finding",
    "with_channels": "channels",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

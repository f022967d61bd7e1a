"""VAEs of the user's own: a function that returns one, named on the command line."""

from pathlib import Path
from typing import Any

from torch import nn

from ssvae.models.backbones import Backbone
from ssvae.models.names import FACTORY
from ssvae.storage.functions import load_function


class Own:
    """A name that says where a VAE of one's own comes from: ``module:function`` or
    ``file.py:function``, and behind another colon the folder of weights to load into it, such as a
    run of ``ssvae train adapt``.
    """

    def __init__(self, name: str):
        match = FACTORY.fullmatch(name)
        if match is None:
            raise ValueError(
                f"a VAE of your own is named module:function or file.py:function, got {name}"
            )
        self.source, self.function = match["source"], match["name"]
        self.weights = (match["more"] or "")[1:]
        """The folder behind the second colon, if any; see :func:`ssvae.models.finding.open_vae`."""

    def __str__(self) -> str:
        """The name, by which it is found from any folder."""
        source = str(Path(self.source).resolve()) if self._is_file else self.source
        return ":".join(filter(None, (source, self.function, self.weights)))

    @property
    def _is_file(self) -> bool:
        return self.source.endswith(".py")

    def open(self) -> Backbone:
        """The VAE, to evaluate.

        Raises:
            ValueError: where there is no such function, it fails, or returns no VAE.
        """
        found = self._called()
        if not isinstance(found, Backbone):
            try:
                found = Backbone(as_module(found))
            except ValueError as error:
                raise ValueError(f"{self.source}:{self.function}(): {error}") from error
        found.vae.eval()
        return found

    def _called(self) -> Any:
        function = load_function(self.source, self.function)
        try:
            return function()
        except Exception as error:
            raise ValueError(
                f"{self.source}:{self.function}() fails ({type(error).__name__}: {error}); --debug "
                "shows where"
            ) from error


class _Held(nn.Module):
    """A VAE that is no module: its parts that are some are known, so that they can be moved."""

    def __init__(self, vae: Any):
        super().__init__()
        for name, part in vars(vae).items():
            if isinstance(part, nn.Module):
                self.add_module(name, part)
        self.encode, self.decode = vae.encode, vae.decode


def as_module(vae: Any) -> nn.Module:
    """A VAE as a module; a ValueError for what has no ``encode`` or ``decode``."""
    if not (callable(getattr(vae, "encode", None)) and callable(getattr(vae, "decode", None))):
        raise ValueError(
            f"a VAE must have the methods encode and decode, as those of diffusers have; got a "
            f"{type(vae).__name__}"
        )
    return vae if isinstance(vae, nn.Module) else _Held(vae)

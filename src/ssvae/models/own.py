"""VAEs of the user's own: a function that returns one, named on the command line."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from ssvae.models.backbones import Backbone
from ssvae.models.classes import CLASSES, layout_of, mean_of, moments_of, sample_of
from ssvae.models.layouts import Layout, causal, uniform
from ssvae.models.names import FACTORY
from ssvae.storage.functions import load_function

SIDES = 64, 128, 256
"""Pixels a side of the noise that a layout is measured by: the first that a model takes."""
FRAMES = (17, 9), (33, 17), (16, 8), (32, 16), (4, 2)
"""Frames of two such clips; those of causal models come first."""


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
            module = as_module(found)
            known = type(module).__name__ in CLASSES
            found = Backbone(module, None if known else measured_layout(module))
        found.vae.eval()
        return found

    def _called(self) -> Any:
        function = load_function(self.source, self.function)
        try:
            return function()
        except Exception as error:
            raise ValueError(
                f"{self.source}:{self.function}() fails ({type(error).__name__}: {error})"
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


@torch.no_grad()
def measured_layout(vae: nn.Module) -> Layout:
    """The layout that a VAE shows when it encodes and decodes noise.

    Raises:
        ValueError: where it takes none of the clips that are tried, (1, 3, T, S, S) or images
            (1, 3, S, S): its layout must be given.
    """
    training, problems = vae.training, list[str]()
    vae.eval()
    try:
        for side in SIDES:
            for measure in (_as_clips, _as_images):
                if layout := measure(vae, side, problems):
                    return layout
    finally:
        vae.train(training)
    raise ValueError(
        f"the layout of this {type(vae).__name__} cannot be measured ({problems[0]}): return "
        "Backbone(vae, Layout(channels, time_factor, space_factor, mean, std))"
    )


def _as_clips(vae: nn.Module, side: int, problems: list[str]) -> Layout | None:
    """The layout of a VAE that takes clips of this side."""
    for frames in FRAMES:
        try:
            long, short = (_passed(vae, (1, 3, n, side, side)) for n in frames)
        except Exception as error:
            problems.append(f"clips of {frames[0]} frames of {side}x{side}: {error}")
            continue
        grown = long.shape[1] - short.shape[1]
        factor = (frames[0] - frames[1]) // max(grown, 1)
        for lengths in (causal(factor), uniform(factor)) if factor > 1 else (uniform(1),):
            if all(
                lengths.fits(n) and lengths.latent_frames(n) == passed.shape[1]
                for n, passed in zip(frames, (long, short), strict=True)
            ):
                return long.layout(vae, factor, side, lengths=lengths)
        problems.append(
            f"of {frames[0]} and {frames[1]} frames it makes {long.shape[1]} and {short.shape[1]}"
        )
    return None


def _as_images(vae: nn.Module, side: int, problems: list[str]) -> Layout | None:
    """The layout of a VAE that takes images of this side."""
    try:
        return _passed(vae, (1, 3, side, side)).layout(vae, 1, side, of_images=True)
    except Exception as error:
        problems.append(f"images of {side}x{side}: {error}")
        return None


class _Passed(NamedTuple):
    """What came of noise."""

    shape: torch.Size
    """Of the latents, without the batch."""
    has_variance: bool

    def layout(self, vae: nn.Module, time: int, side: int, **more: Any) -> Layout:
        config = getattr(vae, "config", None)
        return layout_of(
            config if isinstance(config, Mapping) else {},
            self.shape[0],
            time,
            side // self.shape[-1],
            has_variance=self.has_variance,
            **more,
        )


def _passed(vae: nn.Module, shape: tuple[int, ...]) -> _Passed:
    """Noise of this shape, encoded and decoded; a ValueError where that changes its shape."""
    weight = next(vae.parameters(), torch.empty(0))
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(weight)
    mean, moments = mean_of(vae, noise), moments_of(vae, noise)
    decoded = sample_of(vae, mean)
    if decoded.shape != noise.shape:
        raise ValueError(f"it decodes {tuple(decoded.shape)} of {tuple(noise.shape)}")
    return _Passed(mean.shape[1:], moments.shape[1] == 2 * mean.shape[1])

"""Any video VAE behind one protocol: ours, and those of diffusers.

Shape legend: B clips, T frames, H, W pixels; C, t, h, w channels and sides of the latents.
"""

from collections.abc import Callable, Collection
from functools import cached_property
from pathlib import Path
from typing import Any

import diffusers
import torch
from torch import nn

from ssvae.models.autoencoder import AutoencoderKLSSVAE
from ssvae.models.blocks import channels_last
from ssvae.models.classes import CLASSES, moments_of, sample_of
from ssvae.models.layouts import Layout, common_channels
from ssvae.models.measuring import last_layers, measured_layout
from ssvae.models.names import is_own
from ssvae.models.posterior import Deterministic, DiagonalGaussian
from ssvae.models.shipped import shipped_folder
from ssvae.storage.digests import check_whole
from ssvae.storage.files import write_json
from ssvae.storage.hub import hub_options

Posterior = DiagonalGaussian | Deterministic

ENCODERS_LAST = ("quant_conv", "encoder.conv_out", "encoder.proj_out")
"""What the layer that makes the moments may be called; the first that a model has."""
DECODERS_LAST = ("decoder.conv_out", "decoder.proj_out")
"""The same of the layer that makes the clip."""
DECODERS = ("decoder", "post_quant_conv")
"""The parts of a VAE that decode."""


class Backbone:
    """A video VAE seen through what all of them have in common.

    Args:
        vae: a model whose class stands in :data:`ssvae.models.classes.CLASSES`; or any module with
            ``encode`` and ``decode``, of clips (B, 3, T, H, W) in [-1, 1], in diffusers' way, with
            plain tensors, or with a pair of mean and log variance.
        layout: of another class; measured where None.
        encoders_last: name of the layer that makes the moments, where penalties are weighed; by
            default the one that diffusers' classes have, else the one that runs last.
        decoders_last: the same of the layer that makes the clip.

    Raises:
        ValueError: for a module whose layout cannot be measured.
    """

    def __init__(
        self,
        vae: nn.Module,
        layout: Layout | None = None,
        encoders_last: str | None = None,
        decoders_last: str | None = None,
    ):
        self.vae: Any = vae
        known = CLASSES.get(type(vae).__name__)
        self._moments, self._decoded, self._checkpoints = moments_of, sample_of, True
        if known is not None:
            layout = layout or known.layout(self.vae.config)
            self._moments, self._decoded = known.moments, known.decoded
            self._checkpoints = known.checkpoints
        self.layout = layout or measured_layout(vae)
        modules = dict(vae.named_modules())
        for argument, name in (("encoders_last", encoders_last), ("decoders_last", decoders_last)):
            if name is not None and name not in modules:
                raise ValueError(
                    f"{type(vae).__name__} has no layer {name}: {argument} takes one of its "
                    f"named_modules(), such as {next(reversed(modules))}"
                )
        self._last = (
            (encoders_last,) if encoders_last else ENCODERS_LAST,
            (decoders_last,) if decoders_last else DECODERS_LAST,
        )

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self._weight.device

    @property
    def dtype(self) -> torch.dtype:
        """The number format of its weights."""
        return self._weight.dtype

    @property
    def _weight(self) -> torch.Tensor:
        return next(self.vae.parameters(), torch.empty(0))

    @property
    def name(self) -> str:
        """The class of the VAE."""
        return type(self.vae).__name__

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """(C, t, h, w) of the latents of clips of this size; a ValueError where it does not fit."""
        layout = self.layout
        if not layout.fits(frames, height, width):
            raise ValueError(
                f"{self.name} takes clips of {layout}, got {frames} frames of {height}x{width}"
            )
        side, length = layout.space_factor, layout.clip_lengths.latent_frames(frames)
        return layout.channels, length, height // side, width // side

    @property
    def clip_channels(self) -> int:
        """Channels of its clips; a ValueError where it decodes others than it encodes."""
        return common_channels([self.layout])

    @property
    def lone_first_frame(self) -> bool:
        """Whether the first latent frame stands for one frame of video, the rest for several."""
        return self.layout.clip_lengths.lone_first_frame

    def encode(self, clips_BCTHW: torch.Tensor, train: bool = False) -> Posterior:
        """Clips (B, 3, T, H, W) in [-1, 1] to a posterior over latents (B, C, t, h, w).

        Of another number of channels where its layout says so. Gradients are kept with ``train``
        alone.
        """
        shape = self.latent_shape(*clips_BCTHW.shape[2:])
        if clips_BCTHW.shape[1] != self.layout.in_channels:
            raise ValueError(
                f"this {self.name} takes clips of {self.layout.in_channels} channels, got "
                f"{clips_BCTHW.shape[1]}"
            )
        clips = clips_BCTHW.to(self.device, self.dtype)
        with torch.set_grad_enabled(train and torch.is_grad_enabled()):
            moments = self._over_frames(self._moments, clips)
        parameters = (shape[0] * (1 + self.layout.has_variance), *shape[1:])
        if moments.shape[1:] != parameters:
            raise ValueError(
                f"the layout of this {self.name} says that clips {tuple(clips.shape)} become "
                f"{parameters} numbers, and they became {tuple(moments.shape[1:])}: give another "
                "Layout (ssvae.models.measuring.measured_layout finds it)"
            )
        return self.posterior(moments)

    def posterior(self, moments: torch.Tensor) -> Posterior:
        """Moments, (B, 2C, t, h, w) or (B, C, t, h, w) without a variance, to their posterior."""
        return (DiagonalGaussian if self.layout.has_variance else Deterministic)(moments)

    def decode(self, z: torch.Tensor, train: bool = False) -> torch.Tensor:
        """Latents (B, C, t, h, w) to clips (B, 3, T, H, W), not clamped."""
        with torch.set_grad_enabled(train and torch.is_grad_enabled()):
            return self._over_frames(self._decoded, z.to(self.device, self.dtype))

    def _over_frames(
        self, run: Callable[[Any, torch.Tensor], torch.Tensor], x_BCTHW: torch.Tensor
    ) -> torch.Tensor:
        """A clip as one, or frame by frame where the model is one of images."""
        if not self.layout.of_images:
            return run(self.vae, x_BCTHW)
        B, _, T = x_BCTHW.shape[:3]
        images = run(self.vae, x_BCTHW.transpose(1, 2).flatten(0, 1))
        return images.unflatten(0, (B, T)).transpose(1, 2)

    @property
    def encoders_last_layer(self) -> nn.Module:
        """The layer that makes the moments."""
        return self._last_layer(0, "encoders_last")

    @property
    def decoders_last_layer(self) -> nn.Module:
        """The layer that makes the clip."""
        return self._last_layer(1, "decoders_last")

    def _last_layer(self, which: int, argument: str) -> nn.Module:
        modules, names = dict(self.vae.named_modules()), self._last[which]
        found = [modules[name] for name in names if name in modules]
        if not found:
            (name, *_) = names if len(names) == 1 else (self._layers_run_last[which],)
            if name not in modules or not name:
                raise ValueError(
                    f"{self.name} has no layer {name}, where penalties are weighed: name the last "
                    f"one, Backbone(vae, {argument}=...)"
                )
            found = [modules[name]]
        weighted = [
            m for m in found[0].modules() if isinstance(getattr(m, "weight", None), nn.Parameter)
        ]
        return weighted[-1]

    @cached_property
    def _layers_run_last(self) -> tuple[str, str]:
        return last_layers(self.vae, self.layout)

    def save_config(self, folder: Path) -> None:
        """Write the model's config.json, or of one that keeps no config its class alone."""
        if hasattr(self.vae, "save_config"):
            self.vae.save_config(folder)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / "config.json", {"_class_name": self.name})

    def freeze_encoder(self) -> None:
        """Leave the latents as they are: only what decodes takes gradients."""
        if not any(hasattr(self.vae, part) for part in DECODERS):
            raise ValueError(
                f"{self.name} has no part called {' or '.join(DECODERS)}, which alone would train: "
                "leave out --freeze-encoder, or name the decoder so"
            )
        for name, parameter in self.vae.named_parameters():
            decodes = name.split(".")[0] in DECODERS
            parameter.requires_grad_(decodes and parameter.requires_grad)

    def compile(self) -> None:
        """Compile the blocks that repeat; a ValueError where the model does not name them."""
        if not getattr(self.vae, "_repeated_blocks", None):
            raise ValueError(f"{self.name} names no blocks that repeat: leave out --compile")
        # Blocks of one class see many shapes, each of which is a graph: 21 in the published model.
        torch._dynamo.config.recompile_limit = max(64, torch._dynamo.config.recompile_limit)
        self.vae.compile_repeated_blocks()

    def enable_gradient_checkpointing(self) -> None:
        """Compute activations twice, to keep few; a ValueError where the model cannot."""
        able = getattr(self.vae, "_supports_gradient_checkpointing", False)
        if not (able and self._checkpoints):
            raise ValueError(
                f"{self.name} cannot train under gradient checkpointing (it keeps its feature "
                "cache in the module, or has no support for it): use smaller or fewer clips"
            )
        self.vae.enable_gradient_checkpointing()


def load_backbone(
    path: str | Path,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    classes: Collection[str] = tuple(CLASSES),
) -> Backbone:
    """The VAE in a folder that ``save_pretrained`` wrote, to evaluate.

    ``path`` may also be a shipped model's name (``ssvae/tiny``) or a hub id, ``owner/name`` or
    ``owner/name/subfolder``, with ``@revision`` behind it for a branch, a tag or a commit. Its
    config.json names its class, one of ``classes``. Nothing is unpickled: weights must be
    safetensors. On the device "meta" it has its shape alone, and no weights are read.
    """
    if is_own(path):
        raise ValueError(
            f"{path} is a VAE of your own, which is imported only where a command is given it: "
            f"--vae {path}"
        )
    path = shipped_folder(str(path)) or path
    if torch.device(device).type != "meta":
        check_whole(Path(path))
    where: dict[str, Any]
    folder, where = hub_options(str(path))
    parts = folder.split("/")
    if not Path(path).is_dir() and len(parts) > 2 and parts[0]:
        folder, where["subfolder"] = "/".join(parts[:2]), "/".join(parts[2:])
    try:
        config = AutoencoderKLSSVAE.load_config(folder, **where)
        name = config.get("_class_name") if isinstance(config, dict) else None
        if name is None or name not in classes:
            raise ValueError(
                f"its config.json is of {name}, expected {' or '.join(classes)}; a VAE of your own "
                f"is named FILE.py:FUNCTION:{path}"
            )
        own = name == AutoencoderKLSSVAE.__name__
        if not own and not hasattr(diffusers, name):
            raise ValueError(f"diffusers {diffusers.__version__} has no {name}: install a newer")
        model: Any = AutoencoderKLSSVAE if own else getattr(diffusers, name)
        if torch.device(device).type == "meta":
            with torch.device("meta"):
                return Backbone(model.from_config(config))
        vae, loading = model.from_pretrained(
            folder,
            torch_dtype=dtype,
            use_safetensors=True,
            low_cpu_mem_usage=bool(model._keep_in_fp32_modules),  # which need it
            output_loading_info=True,
            **where,
        )
        if missing := loading["missing_keys"]:
            raise ValueError(
                f"its weights lack {len(missing)} of the model's, {sorted(missing)[0]} among them"
            )
    except Exception as error:
        raise ValueError(f"the model in {path} does not load: {error}") from error
    return Backbone((channels_last(vae) if own else vae).to(device).eval())

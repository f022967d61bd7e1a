"""From a run to a diffusers pipeline, and from captions to clips."""

import json
import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import UniPCMultistepScheduler, WanPipeline, WanTransformer3DModel
from torch import nn
from transformers import AutoModelForTextEncoding

from ssvae.diffusion.first_frame import holding, latents_of
from ssvae.diffusion.preview import expected_latents
from ssvae.diffusion.text import (
    PIPELINE_LENGTH,
    embed,
    encoder_fingerprint,
    load_tokenizer,
    pretrained_encoder,
    tokenize,
)
from ssvae.diffusion.transformer import PooledWanTransformer3DModel
from ssvae.latents.mapped import MappedAutoencoder, load_map, with_statistics
from ssvae.models.backbones import Backbone, load_backbone
from ssvae.models.finding import open_vae
from ssvae.models.fingerprint import check_same_latents
from ssvae.models.layouts import Lengths, causal
from ssvae.models.names import is_own
from ssvae.models.shipped import shipped_folder
from ssvae.storage.digests import check_whole
from ssvae.storage.files import replacing
from ssvae.storage.runs import last_checkpoint
from ssvae.storage.seeds import generator_of

CONFIG = "pipeline.json"


@dataclass(frozen=True)
class PipelineConfig:
    """What a diffusion model was trained on, and so what it makes unless told otherwise."""

    frames: int
    """Frames of a clip."""
    height: int
    width: int
    fps: float | None
    shift: float
    """Shift of times towards noise."""
    vae: str
    """Folder or hub id of the VAE."""
    text_encoder: str | None = None
    """Name or path of a frozen text encoder; None where it was trained along."""
    data: str | None = None
    """The source of the clips; None where it is not known."""
    encoder: str = ""
    """The fingerprint of the VAE's latents; where empty, nothing is known of it."""
    cache: str = ""
    """The checksum of the cache that it learned from."""
    text_fingerprint: str = ""
    """Of a text encoder in a folder: see :func:`ssvae.diffusion.text.encoder_fingerprint`."""
    condition: str = "caption"
    """What clips are made from: see :class:`ssvae.diffusion.recipe.DiffusionRecipe`."""

    def save(self, folder: Path) -> None:
        """Write it into a checkpoint or a pipeline's folder."""
        (folder / CONFIG).write_text(json.dumps(asdict(self), indent=2) + "\n")


def load_config(folder: Path) -> PipelineConfig:
    """What :meth:`PipelineConfig.save` wrote."""
    try:
        return PipelineConfig(**json.loads((folder / CONFIG).read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(
            f"{folder} is neither a checkpoint of a diffusion model nor a pipeline that ssvae "
            f"wrote: {error}"
        ) from error


def assemble(
    checkpoint: Path,
    backbone: Backbone | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> WanPipeline:
    """The pipeline of a checkpoint: the EMA of the weights, with the VAE.

    ``backbone`` is the VAE that made the latents; where None it is loaded from where it was then. A
    ValueError where it has latents of its own.
    """
    config = load_config(checkpoint)
    if backbone is None:
        try:
            backbone = load_backbone(config.vae, device, dtype)
        except ValueError as error:
            if is_own(config.vae):
                raise
            raise ValueError(
                f"the VAE that made the latents is not at {config.vae} any more ({error}): say "
                "where it is with --vae"
            ) from error
    check_same_latents(f"the model in {checkpoint}", config.encoder, backbone.vae, _remedy(config))
    kind = transformer_class(checkpoint / "transformer")
    transformer = kind.from_pretrained(
        checkpoint / "transformer", torch_dtype=dtype, use_safetensors=True
    )
    if config.text_encoder is None:
        text_encoder = AutoModelForTextEncoding.from_pretrained(
            checkpoint / "text_encoder", dtype=dtype, use_safetensors=True
        ).eval()
        tokenizer = load_tokenizer(checkpoint / "tokenizer")
    else:
        found = encoder_fingerprint(config.text_encoder)
        if found and config.text_fingerprint not in ("", found):
            raise ValueError(
                f"the text encoder in {config.text_encoder} is not the one that {checkpoint} "
                "learned with: put that back"
            )
        tokenizer, text_encoder = pretrained_encoder(config.text_encoder, device, dtype)
    pipeline = WanPipeline(
        tokenizer=tokenizer,
        text_encoder=text_encoder,
        transformer=transformer.eval(),
        vae=with_statistics(backbone, load_map(checkpoint / "map.safetensors")),  # type: ignore[arg-type]
        scheduler=scheduler_for(config.shift),  # type: ignore[arg-type]  as Wan itself runs
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)


def open_pipeline(
    model: str | Path,
    vae: str | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> tuple[WanPipeline, PipelineConfig]:
    """The pipeline of a shipped model, a diffusion run (its last checkpoint), a checkpoint, or an
    exported pipeline.

    ``vae`` says where the VAE of a run is, where it is not where it was when its latents were
    cached.
    """
    folder = checkpoint_of(model)
    config = load_config(folder)
    if (folder / "model_index.json").exists():
        if vae is not None:
            raise ValueError("an exported pipeline holds its own VAE: leave out --vae")
        pipeline = load_pipeline(folder, device, dtype)
        check_same_latents(
            f"the pipeline in {folder}", config.encoder, plain_vae(pipeline), "export it anew"
        )
        return pipeline, config
    backbone = None if vae is None else open_vae(vae, device, dtype)
    return assemble(folder, backbone, device, dtype), config


def checkpoint_of(model: str | Path) -> Path:
    """The folder of a shipped model, the last checkpoint of a run; else the folder itself."""
    folder = shipped_folder(str(model)) or Path(model)
    if not folder.is_dir():
        raise ValueError(
            f"no model at {model}: give a diffusion run, a checkpoint, a pipeline, or the name of "
            "a model that comes with ssvae (ssvae models)"
        )
    found = last_checkpoint(folder)
    if found is None:
        check_whole(folder)
    return found[1] if found else folder


def _remedy(config: PipelineConfig) -> str:
    """What to do about a VAE that is another."""
    return f"give the VAE that made them, which was at {config.vae}, with --vae"


def plain_vae(pipeline: WanPipeline) -> nn.Module:
    """A pipeline's VAE, without a map around it."""
    vae: Any = pipeline.vae
    return vae.vae if isinstance(vae, MappedAutoencoder) else vae


def transformer_class(folder: Path) -> type[WanTransformer3DModel]:
    """Ours, or Wan's own in checkpoints of ssvae 0.1's first versions."""
    name = json.loads((folder / "config.json").read_text())["_class_name"]
    ours = PooledWanTransformer3DModel
    return ours if name == ours.__name__ else WanTransformer3DModel


def scheduler_for(shift: float) -> UniPCMultistepScheduler:
    """A second-order solver (UniPC, arXiv 2302.04867) over the times of flow matching."""
    return UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift
    )


def save_pipeline(pipeline: WanPipeline, config: PipelineConfig, out: str | Path) -> None:
    """One folder that ``WanPipeline.from_pretrained`` reads once ``ssvae`` is imported."""
    with replacing(Path(out)) as partial:
        pipeline.save_pretrained(partial, safe_serialization=True)
        replace(config, vae="vae").save(partial)


def load_pipeline(
    folder: Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> WanPipeline:
    """A pipeline that :func:`save_pipeline` wrote."""
    try:
        pipeline = WanPipeline.from_pretrained(folder, torch_dtype=dtype, use_safetensors=True)
    except Exception as error:
        raise ValueError(f"the pipeline in {folder} does not load: {error}") from error
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)


def clip_lengths(pipeline: WanPipeline) -> Lengths:
    """The numbers of frames that a pipeline's VAE takes."""
    vae: Any = pipeline.vae
    if isinstance(vae, MappedAutoencoder):
        return vae.inside.layout.clip_lengths
    return causal(pipeline.vae_scale_factor_temporal)


def check_sampling(
    pipeline: WanPipeline, size: tuple[int, int, int], steps: int, guidance: float
) -> None:
    """A ValueError where clips of this size cannot be made so: diffusers would round them."""
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    if not (guidance >= 1 and math.isfinite(guidance)):
        raise ValueError(f"guidance must be a number of at least 1, which is none, got {guidance}")
    frames, height, width = size
    lengths = clip_lengths(pipeline)
    _, *patch = pipeline.transformer.config.patch_size  # type: ignore[union-attr]
    down, across = (pipeline.vae_scale_factor_spatial * side for side in patch)
    if frames < 1 or not lengths.fits(frames):
        near = min(
            filter(lengths.fits, range(1, 2 * max(frames, 1) + 64)), key=lambda n: abs(n - frames)
        )
        raise ValueError(
            f"frames must be {lengths} for this model, got {frames}: for example {near}"
        )
    if min(height, width) < 1 or height % down or width % across:
        raise ValueError(
            f"height and width must be multiples of {down} and {across} for this model, got "
            f"{height}x{width}"
        )


def _embedded(pipeline: WanPipeline, captions: list[str]) -> torch.Tensor:
    """Captions and an empty one behind them, embedded: both halves of the guidance are padded
    alike.
    """
    tokens = tokenize(pipeline.tokenizer, [*captions, ""])
    embedded = embed(pipeline.text_encoder, *tokens)
    if isinstance(pipeline.transformer, PooledWanTransformer3DModel):
        return embedded
    # Wan's own attends to the zeros too, and was trained with all of them.
    missing = PIPELINE_LENGTH - embedded.shape[1]
    return torch.nn.functional.pad(embedded, (0, 0, 0, missing))


@torch.no_grad()
def generate(
    pipeline: WanPipeline,
    captions: Sequence[str],
    size: tuple[int, int, int],
    steps: int = 30,
    guidance: float = 3.0,
    seed: int = 0,
    batch_size: int = 16,
    on_clips: Callable[[float], Any] | None = None,
    first: int = 0,
    on_step: Callable[[int, int, torch.Tensor], Any] | None = None,
    image: torch.Tensor | None = None,
) -> torch.Tensor:
    """A clip for each caption, (N, 3, T, H, W) in [-1, 1], on the CPU.

    ``size`` is frames, height and width. The noise of clip i follows from ``seed`` and i alone, not
    from the batches, so two models with latents of one shape start from the same; the clips count
    from ``first``, for processes that share them. ``on_clips`` hears how many clips are done, parts
    of them included, ``on_step`` for each batch and step the number of its first clip, the step
    from 1 on, and the latents that the step points to, for previews. Raises a ValueError for sizes
    that the model does not take, and for clips that are not finite.

    ``image`` (3, H, W) in [-1, 1], of that height and width, is the first frame of all clips, for a
    model that was trained with ``condition="first-frame"``.
    """
    check_sampling(pipeline, size, steps, guidance)
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    frames, height, width = size
    held = None if image is None else latents_of(pipeline.vae, image)
    # Diffusers counts frames as causal VAEs do.
    latent_frames = clip_lengths(pipeline).latent_frames(frames)
    counted = (latent_frames - 1) * pipeline.vae_scale_factor_temporal + 1
    clips = []
    for start in range(0, len(captions), batch_size):
        some = list(captions[start : start + batch_size])
        embedded = _embedded(pipeline, some)
        generators = [generator_of(seed, first + start + i) for i in range(len(some))]

        def advance(
            _: Any, step: int, __: Any, kwargs: Any, start: int = start, size: int = len(some)
        ) -> Any:
            if on_clips is not None:
                on_clips(start + size * (step + 1) / steps)
            if on_step is not None:
                on_step(first + start, step + 1, expected_latents(pipeline))
            if held is not None:
                kwargs["latents"][:, :, :1] = held
            return kwargs

        transformer: Any = pipeline.transformer
        with nullcontext() if held is None else holding(transformer, held):
            video = pipeline(
                prompt_embeds=embedded[:-1],
                negative_prompt_embeds=embedded[-1:].expand(len(some), -1, -1),
                height=height,
                width=width,
                num_frames=counted,
                num_inference_steps=steps,
                guidance_scale=guidance,
                generator=generators,
                output_type="pt",
                callback_on_step_end=advance,  # pyright: ignore[reportArgumentType]  mistyped there
            ).frames  # type: ignore[union-attr]
        assert isinstance(video, torch.Tensor)
        clips.append(video.float().cpu().transpose(1, 2) * 2 - 1)
    return _checked_clips(torch.cat(clips))


def _checked_clips(clips: torch.Tensor) -> torch.Tensor:
    """Clips that were generated; a ValueError where they are not finite."""
    if not torch.isfinite(clips).all():
        raise ValueError(
            "the model made clips that are not finite: its weights are broken, or the dtype "
            "overflows; try float32"
        )
    return clips

"""What a sampler is heading for, step by step, through a decoder that is fast enough to look at."""

import torch
from diffusers import UniPCMultistepScheduler, WanPipeline

from ssvae.latents.mapped import MappedAutoencoder
from ssvae.models.backbones import Backbone
from ssvae.models.fingerprint import check_same_latents, latents_fingerprint


def check_preview(pipeline: WanPipeline, preview: Backbone) -> None:
    """A ValueError where a model cannot read the latents of a pipeline's VAE."""
    vae = pipeline.vae
    inside = vae.inside if isinstance(vae, MappedAutoencoder) else Backbone(vae)  # type: ignore[arg-type]
    own, other = (
        (b.layout.channels, b.layout.time_factor, b.layout.space_factor) for b in (inside, preview)
    )
    if own != other:
        names = "{} channels, time by {}, space by {}"
        raise ValueError(
            f"the model for previews has latents of another shape ({names.format(*other)}) than "
            f"the pipeline's VAE ({names.format(*own)}): take a student of that VAE (ssvae train "
            "distil)"
        )
    if preview.vae.config.get("halves", "both") == "encoder":
        raise ValueError(
            "the model for previews is an encoder alone, which decodes nothing: take a student of "
            "both halves, or of the decoder"
        )
    remedy = "take a student of the pipeline's VAE (ssvae train distil)"
    held = latents_fingerprint(inside.vae)
    check_same_latents("the pipeline that is to be previewed", held, preview.vae, remedy)
    if not isinstance(pipeline.scheduler, UniPCMultistepScheduler):
        raise ValueError(
            "previews read what UniPC keeps of each step, and this pipeline samples with "
            f"{type(pipeline.scheduler).__name__}: replace its scheduler"
        )


def expected_latents(pipeline: WanPipeline) -> torch.Tensor:
    """The clean latents (B, C, t, h, w) that the sampler's last step pointed to, as the VAE decodes
    them.
    """
    vae: object = pipeline.vae
    clean = pipeline.scheduler.model_outputs[-1]  # type: ignore[attr-defined]
    mean, std = (
        torch.tensor(vae.config[name], device=clean.device, dtype=clean.dtype).view(1, -1, 1, 1, 1)  # type: ignore[attr-defined]
        for name in ("latents_mean", "latents_std")
    )
    z = clean * std + mean
    return vae.map.inverse(z) if isinstance(vae, MappedAutoencoder) else z

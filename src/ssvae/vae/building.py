"""From a recipe to the model that it names, and whether the two fit."""

from collections.abc import Sequence
from pathlib import Path

import torch

from ssvae.models import AutoencoderConfig, AutoencoderKLSSVAE
from ssvae.models.backbones import Backbone, load_backbone
from ssvae.models.blocks import channels_last
from ssvae.models.discriminator import Discriminator
from ssvae.models.finding import load_vae, resolve_vae
from ssvae.regularizers import LatentMasking, LocalCorrelation
from ssvae.vae.recipe import AdaptRecipe, TrainingRecipe, VAERecipe
from ssvae.vae.rivals import Rivals

SMALLEST_PERCEPTUAL = 16  # pixels of a side that VGG16 leaves anything of


def build(recipe: TrainingRecipe) -> Backbone:
    """The model, with the weights that training starts from."""
    if isinstance(recipe, AdaptRecipe):
        return load_backbone(_where(recipe))
    assert isinstance(recipe, VAERecipe)
    vae = AutoencoderKLSSVAE(**vars(recipe.model))
    if recipe.init is not None:
        vae.load_state_dict(_initial_weights(recipe.init, vae))
    return Backbone(channels_last(vae))


def build_on_meta(recipe: TrainingRecipe) -> Backbone:
    """The model without its weights."""
    if isinstance(recipe, AdaptRecipe):
        return load_backbone(_where(recipe), "meta")
    assert isinstance(recipe, VAERecipe)
    with torch.device("meta"):
        return Backbone(AutoencoderKLSSVAE(**vars(recipe.model)))


def parameters_of(recipe: TrainingRecipe) -> int:
    """Number of parameters of the model."""
    return sum(p.numel() for p in build_on_meta(recipe).vae.parameters())


def problems_of(recipe: TrainingRecipe) -> list[str]:
    """All that is wrong with a recipe, and where model, clips and losses do not fit each other."""
    wrong, lmr, clip = recipe.problems(), recipe.lmr, recipe.clip
    if isinstance(recipe, AdaptRecipe) and not recipe.model:
        return wrong
    try:
        LatentMasking(2, lmr.ratios, lmr.probabilities, lmr.block)
    except ValueError as error:
        wrong.append(str(error))
    try:
        backbone = build_on_meta(recipe)
        if recipe.gradient_checkpointing:
            backbone.enable_gradient_checkpointing()
        if recipe.compile:
            backbone.compile()
        rivals = Rivals(recipe, backbone.layout)
        for frames in {clip.frames, 1} if recipe.images.share else {clip.frames}:
            shape = backbone.latent_shape(frames, clip.height, clip.width)
            latents = torch.zeros(1, *shape, device="meta")
            lcr = LocalCorrelation(
                recipe.lcr.window, recipe.lcr.threshold, backbone.lone_first_frame
            )
            lcr(latents.squeeze(2))
            if rivals.spectrum_matching is not None:
                rivals.spectrum_matching(
                    latents, torch.zeros(1, 3, frames, clip.height, clip.width, device="meta")
                )
    except ValueError as error:
        wrong.append(str(error))
    side, size = min(clip.height, clip.width), f"{clip.height}x{clip.width}"
    if (smaller := _smallest_share(recipe)) < 1:
        side, size = int(side * smaller), f"{size}, scaled to {smaller:.3g} by equivariance"
    if recipe.perceptual.weight > 0 and side < SMALLEST_PERCEPTUAL:
        wrong.append(f"perceptual needs sides of at least {SMALLEST_PERCEPTUAL} pixels, got {size}")
    smallest = Discriminator.smallest_side(recipe.gan.halvings)
    if recipe.gan.start is not None and side < smallest:
        wrong.append(
            f"gan needs sides of at least {smallest} pixels, got {size}: give a smaller gan.halvings"
        )
    return wrong


def _smallest_share(recipe: TrainingRecipe) -> float:
    """The smallest that sides of decoded clips become, as a share."""
    shares = [1.0]
    if recipe.equivariance.probability:
        shares += recipe.equivariance.scales
    if recipe.scale_equivariance.weight:
        shares += [1 / factor for factor in recipe.scale_equivariance.factors]
    return min(shares)


def _where(recipe: AdaptRecipe) -> str:
    """Where the VAE of an :class:`AdaptRecipe` is."""
    if recipe.subfolder is None:
        return resolve_vae(recipe.model)
    inside = Path(recipe.model) / recipe.subfolder
    on_disk = Path(recipe.model).exists()
    return resolve_vae(str(inside) if on_disk else f"{recipe.model}/{recipe.subfolder}")


def _initial_weights(path: str, vae: AutoencoderKLSSVAE) -> dict[str, torch.Tensor]:
    """The weights of a trained model, which must have the shape of ``vae``."""
    trained = load_vae(path)
    other = [
        f"{name} is {trained.config[name]} there and {vae.config[name]} here"
        for name in vars(AutoencoderConfig())
        if not name.startswith("latents_")
        and _plain(trained.config[name]) != _plain(vae.config[name])
    ]
    if other:
        raise ValueError(
            f"the model in {path} has another shape ({'; '.join(other)}): give the same --model options"
        )
    return trained.state_dict()


def _plain(value: object) -> object:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
